//! RTP of one session: its headers, and payloads cut from the unit that all viewers share.

use bytes::{BufMut, BytesMut};
use sightline_media::{
    AccessUnit, AudioTrack, StreamDescription, VIDEO_CLOCK_HZ, packetize::Payload,
};
use sightline_model::{AudioCodec, UnixMicros, VideoCodec};

use crate::{
    TrackKind,
    depacketize::packetize_aac,
    replay::{EXTENSION_LEN, ReplayExtension},
    rtp::{HEADER_LEN, Sender},
    sdp,
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

/// When a recorded unit is shown, and what is told beside it.
#[derive(Debug, Clone, Copy)]
pub struct Replayed {
    /// Its time, in microseconds on the scale that [`super::Stamps`] names.
    pub time_us: i64,
    /// When it was taken.
    pub taken_at: UnixMicros,
    /// For players that asked for ONVIF's extension.
    pub extension: Option<ReplayExtension>,
}

/// The coding that the player was told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Video(VideoCodec),
    Audio(AudioTrack),
}

/// A track that the player has set up.
#[derive(Debug, Clone)]
pub struct PlayTrack {
    /// Which.
    pub kind: TrackKind,
    /// How it travels.
    pub carriage: Carriage,
    form: Form,
    sender: Sender,
}

impl PlayTrack {
    pub(super) fn new(
        kind: TrackKind,
        carriage: Carriage,
        stream: &StreamDescription,
        random: u64,
    ) -> Option<Self> {
        let (payload_type, clock_hz, form) = match kind {
            TrackKind::Video => {
                let video = stream.video.as_ref()?;
                (sdp::VIDEO_PAYLOAD_TYPE, VIDEO_CLOCK_HZ, Form::Video(video.codec()))
            }
            TrackKind::Audio => {
                let audio: &AudioTrack = stream.audio.as_ref()?;
                (sdp::audio_payload_type(audio), audio.clock_hz, Form::Audio(audio.clone()))
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "three pieces of one random number")]
        let (ssrc, sequence, base) =
            (random as u32, (random >> 32) as u16, ((random >> 32) ^ (random << 7)) as u32);
        let sender = Sender::new(payload_type, clock_hz, ssrc, sequence, base);
        Some(Self { kind, carriage, form, sender })
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

    /// Whether a stream of this form can go on where the player was told another one's.
    #[must_use]
    pub fn fits(&self, stream: &StreamDescription) -> bool {
        match &self.form {
            Form::Video(codec) => stream.video.as_ref().is_some_and(|v| v.codec() == *codec),
            Form::Audio(audio) => stream.audio.as_ref() == Some(audio),
        }
    }

    /// Writes the unit's packets behind each other into `out` and gives the length of each to
    /// `packet`. Interleaved packets have their channel header.
    pub fn write(&mut self, unit: &AccessUnit, out: &mut BytesMut, packet: impl FnMut(usize)) {
        let (AccessUnit::Video { timestamp, captured_at, .. }
        | AccessUnit::Audio { timestamp, captured_at, .. }) = unit;
        let timestamp = self.sender.map(*timestamp, *captured_at);
        self.write_at(unit, timestamp, None, out, packet);
    }

    /// The same for a recorded unit, after [`super::Server::replaying`].
    pub fn write_replayed(
        &mut self,
        unit: &AccessUnit,
        replayed: &Replayed,
        out: &mut BytesMut,
        packet: impl FnMut(usize),
    ) {
        let timestamp = self.sender.map_replayed(replayed.time_us, replayed.taken_at);
        self.write_at(unit, timestamp, replayed.extension, out, packet);
    }

    fn write_at(
        &mut self,
        unit: &AccessUnit,
        timestamp: u32,
        extension: Option<ReplayExtension>,
        out: &mut BytesMut,
        mut packet: impl FnMut(usize),
    ) {
        let is_aac = matches!(&self.form, Form::Audio(audio) if audio.codec == AudioCodec::Aac);
        let stamp = Stamp { timestamp, extension, ends_with_marker: true };
        match unit {
            AccessUnit::Video { .. } => self.packets(unit.payloads(), stamp, out, &mut packet),
            AccessUnit::Audio { data, .. } if is_aac => {
                self.packets(packetize_aac(data), stamp, out, &mut packet);
            }
            AccessUnit::Audio { .. } => {
                let stamp = Stamp { ends_with_marker: false, ..stamp };
                self.packets(unit.payloads(), stamp, out, &mut packet);
            }
        }
    }

    fn packets<'a>(
        &mut self,
        payloads: impl Iterator<Item = Payload<'a>>,
        stamp: Stamp,
        out: &mut BytesMut,
        packet: &mut impl FnMut(usize),
    ) {
        let Stamp { timestamp, mut extension, ends_with_marker } = stamp;
        let mut payloads = payloads.peekable();
        while let Some(payload) = payloads.next() {
            let begin = out.len();
            // Told once for every unit, with its first packet.
            let extension = extension.take();
            if let Carriage::Interleaved { rtp, .. } = self.carriage {
                let extra = if extension.is_some() { EXTENSION_LEN } else { 0 };
                let Ok(length) = u16::try_from(HEADER_LEN + extra + payload.len()) else {
                    continue;
                };
                out.put_slice(&interleaved_header(rtp, length));
            }
            let marker = ends_with_marker && payloads.peek().is_none();
            match &extension {
                None => self.sender.write_header(out, timestamp, marker, payload.len()),
                Some(extension) => self.sender.write_replay_header(
                    out,
                    timestamp,
                    marker,
                    payload.len(),
                    extension,
                ),
            }
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

/// What the headers of one unit's packets say.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    timestamp: u32,
    extension: Option<ReplayExtension>,
    /// Whether the last packet has RTP's marker.
    ends_with_marker: bool,
}
