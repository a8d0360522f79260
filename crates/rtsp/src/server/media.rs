//! RTP of one session: its headers, and payloads cut from the unit that all viewers share.

use bytes::{BufMut, BytesMut};
use sightline_media::{
    AccessUnit, AudioTrack, StreamDescription, VIDEO_CLOCK_HZ, packetize::Payload,
};
use sightline_model::AudioCodec;

use crate::{
    TrackKind, depacketize::packetize_aac, rtp::HEADER_LEN, rtp::Sender, sdp,
    wire::interleaved_header,
};

/// How a track's packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    /// Inside the connection, on these channels.
    Interleaved {
        /// Channel of RTP.
        rtp: u8,
        /// Channel of RTCP.
        rtcp: u8,
    },
    /// Over UDP; the caller owns the sockets.
    Udp,
}

/// A track that the player has set up.
#[derive(Debug, Clone)]
pub struct PlayTrack {
    /// Which.
    pub kind: TrackKind,
    /// How it travels.
    pub carriage: Carriage,
    /// Whether its sound is AAC, whose payloads need a header.
    aac: bool,
    sender: Sender,
}

impl PlayTrack {
    pub(super) fn new(
        kind: TrackKind,
        carriage: Carriage,
        stream: &StreamDescription,
        random: u64,
    ) -> Option<Self> {
        let (payload_type, clock_hz, aac) = match kind {
            TrackKind::Video => {
                stream.video.as_ref()?;
                (sdp::VIDEO_PAYLOAD_TYPE, VIDEO_CLOCK_HZ, false)
            }
            TrackKind::Audio => {
                let audio: &AudioTrack = stream.audio.as_ref()?;
                let aac = audio.codec == AudioCodec::Aac;
                (sdp::audio_payload_type(audio), audio.clock_hz, aac)
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "three pieces of one random number")]
        let (ssrc, sequence, base) =
            (random as u32, (random >> 32) as u16, ((random >> 32) ^ (random << 7)) as u32);
        let sender = Sender::new(payload_type, clock_hz, ssrc, sequence, base);
        Some(Self { kind, carriage, aac, sender })
    }

    /// Its sender.
    #[must_use]
    pub const fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Its sender, to tell it when the source restarts.
    pub const fn sender_mut(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// Whether `unit` belongs to it.
    #[must_use]
    pub const fn takes(&self, unit: &AccessUnit) -> bool {
        unit.is_video() == matches!(self.kind, TrackKind::Video)
    }

    /// Writes the unit's packets behind each other into `out` and gives the length of each to
    /// `packet`. Interleaved packets have their channel header.
    pub fn write(&mut self, unit: &AccessUnit, out: &mut BytesMut, mut packet: impl FnMut(usize)) {
        match unit {
            AccessUnit::Video { timestamp, captured_at, .. } => {
                let timestamp = self.sender.map(*timestamp, *captured_at);
                self.packets(unit.payloads(), timestamp, true, out, &mut packet);
            }
            AccessUnit::Audio { timestamp, captured_at, data } => {
                let timestamp = self.sender.map(*timestamp, *captured_at);
                if self.aac {
                    self.packets(packetize_aac(data), timestamp, true, out, &mut packet);
                } else {
                    self.packets(unit.payloads(), timestamp, false, out, &mut packet);
                }
            }
        }
    }

    fn packets<'a>(
        &mut self,
        payloads: impl Iterator<Item = Payload<'a>>,
        timestamp: u32,
        mark_last: bool,
        out: &mut BytesMut,
        packet: &mut impl FnMut(usize),
    ) {
        let mut payloads = payloads.peekable();
        while let Some(payload) = payloads.next() {
            let begin = out.len();
            if let Carriage::Interleaved { rtp, .. } = self.carriage {
                let Ok(length) = u16::try_from(HEADER_LEN + payload.len()) else { continue };
                out.put_slice(&interleaved_header(rtp, length));
            }
            let marker = mark_last && payloads.peek().is_none();
            self.sender.write_header(out, timestamp, marker, payload.len());
            for part in payload.parts() {
                out.put_slice(part);
            }
            packet(out.len() - begin);
        }
    }

    /// Writes a sender report, interleaved if the track is; nothing before the first unit.
    pub fn write_report(&self, out: &mut BytesMut) {
        if let Some(report) = self.sender.report() {
            self.write_control(&report, out);
        }
    }

    /// Writes the goodbye.
    pub fn write_bye(&self, out: &mut BytesMut) {
        self.write_control(&self.sender.bye(), out);
    }

    fn write_control(&self, data: &[u8], out: &mut BytesMut) {
        if let Carriage::Interleaved { rtcp, .. } = self.carriage {
            out.put_slice(&interleaved_header(rtcp, u16::try_from(data.len()).unwrap_or(0)));
        }
        out.put_slice(data);
    }
}
