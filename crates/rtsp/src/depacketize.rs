//! Access units out of RTP packets (RFC 6184, RFC 7798, RFC 3551, RFC 7587, RFC 3640).
//!
//! Packets must come in order, as they do inside a connection. A gap drops the unit that it cuts
//! and, for a picture, everything up to the next keyframe: a decoder never sees a torn picture.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sightline_media::{AccessUnit, ParameterSets, StreamDescription, packetize::Payload};
use sightline_model::{AudioCodec, UnixMicros, VideoCodec};

use crate::{
    rtp::Packet,
    sdp::{Track, TrackMedia},
};

/// Largest access unit, in bytes.
const MAX_UNIT: usize = 8 << 20;
/// Samples of an AAC-LC frame.
const AAC_FRAME: i64 = 1_024;

/// Turns one track's packets into access units.
///
/// ```
/// use bytes::Bytes;
/// use sightline_media::{AudioTrack, StreamDescription};
/// use sightline_model::{AudioCodec, UnixMicros};
/// use sightline_rtsp::{depacketize::Depacketizer, rtp::Packet, sdp};
///
/// let audio =
///     AudioTrack { codec: AudioCodec::Pcmu, clock_hz: 8_000, channels: 1, config: Bytes::new() };
/// let stream = StreamDescription { video: None, audio: Some(audio) };
/// let described = sdp::parse(sdp::write("Yard", 1, &stream).as_bytes())?;
/// let mut track = Depacketizer::new(&described.tracks[0]);
/// let packet = Packet {
///     payload_type: 0, marker: false, sequence: 1, timestamp: 160, ssrc: 9,
///     payload: Bytes::from_static(&[0xff; 160]),
/// };
/// let mut units = Vec::new();
/// track.push(&packet, UnixMicros(0), &mut units);
/// assert_eq!(units.len(), 1);
/// # Ok::<(), sdp::SdpError>(())
/// ```
#[derive(Debug)]
pub struct Depacketizer {
    coding: Coding,
    sequence: Option<u16>,
    /// Extended timestamp of the newest packet.
    timestamp: Option<i64>,
    lost: u64,
}

#[derive(Debug)]
enum Coding {
    Video(Box<Video>),
    Sound,
    Aac { fragment: BytesMut },
}

impl Depacketizer {
    /// For a track of a description.
    #[must_use]
    pub fn new(track: &Track) -> Self {
        let coding = match &track.media {
            TrackMedia::Video(video) => {
                Coding::Video(Box::new(Video::new(video.parameter_sets.clone())))
            }
            TrackMedia::Audio(audio) => match audio.codec {
                AudioCodec::Aac => Coding::Aac { fragment: BytesMut::new() },
                AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 | AudioCodec::Opus => {
                    Coding::Sound
                }
            },
        };
        Self { coding, sequence: None, timestamp: None, lost: 0 }
    }

    /// Packets that are known to be missing.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a packet; adds the units that it completes to `out`.
    pub fn push(&mut self, packet: &Packet, captured_at: UnixMicros, out: &mut Vec<AccessUnit>) {
        let mut gapped = false;
        if let Some(last) = self.sequence {
            let gap = packet.sequence.wrapping_sub(last).wrapping_sub(1);
            if gap >= 0x8000 {
                return; // A repeated or late packet.
            }
            self.lost += u64::from(gap);
            gapped = gap > 0;
        }
        self.sequence = Some(packet.sequence);
        let timestamp = self.extend(packet.timestamp);
        if gapped {
            self.coding.gap(timestamp);
        }
        match &mut self.coding {
            Coding::Video(video) => video.push(packet, timestamp, captured_at, out),
            Coding::Sound if packet.payload.is_empty() => {}
            Coding::Sound => {
                let data = packet.payload.clone();
                out.push(AccessUnit::Audio { timestamp, captured_at, data });
            }
            Coding::Aac { fragment } => aac(fragment, packet, timestamp, captured_at, out),
        }
    }

    fn extend(&mut self, timestamp: u32) -> i64 {
        let extended = self.timestamp.map_or(i64::from(timestamp), |last| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_possible_wrap,
                reason = "difference modulo 2^32"
            )]
            let step = timestamp.wrapping_sub(last as u32) as i32;
            last.saturating_add(i64::from(step))
        });
        self.timestamp = Some(extended);
        extended
    }
}

impl Coding {
    /// Packets before the one at `timestamp` are missing.
    fn gap(&mut self, timestamp: i64) {
        match self {
            // The unit of this packet may have lost its beginning.
            Self::Video(video) => {
                video.lose();
                video.timestamp = timestamp;
            }
            Self::Sound => {}
            Self::Aac { fragment } => fragment.clear(),
        }
    }
}

#[derive(Debug)]
struct Video {
    sets: ParameterSets,
    timestamp: i64,
    captured_at: UnixMicros,
    data: BytesMut,
    /// The unit under construction: has a keyframe's slice, has parameter sets, has slices, all of
    /// which nothing refers to.
    keyframe: bool,
    has_sets: bool,
    slices: bool,
    referenced: bool,
    /// Where in `data` the length of the fragmented NAL unit goes.
    fragment: Option<usize>,
    wait_keyframe: bool,
    /// The unit has a hole or is too large.
    broken: bool,
}

impl Video {
    fn new(sets: ParameterSets) -> Self {
        Self {
            sets,
            timestamp: 0,
            captured_at: UnixMicros(0),
            data: BytesMut::new(),
            keyframe: false,
            has_sets: false,
            slices: false,
            referenced: false,
            fragment: None,
            wait_keyframe: true,
            broken: false,
        }
    }

    fn lose(&mut self) {
        self.reset();
        self.broken = true;
        self.wait_keyframe = true;
    }

    fn reset(&mut self) {
        self.data.clear();
        self.keyframe = false;
        self.has_sets = false;
        self.slices = false;
        self.referenced = false;
        self.fragment = None;
        self.broken = false;
    }

    fn push(
        &mut self,
        packet: &Packet,
        timestamp: i64,
        captured_at: UnixMicros,
        out: &mut Vec<AccessUnit>,
    ) {
        if timestamp != self.timestamp && (self.broken || !self.data.is_empty()) {
            // The marker of the last unit is missing; it may still be whole.
            self.finish(out);
        }
        if self.data.is_empty() {
            self.timestamp = timestamp;
            self.captured_at = captured_at;
        }
        if !self.broken {
            let taken = match self.sets {
                ParameterSets::H264 { .. } => self.h264(&packet.payload),
                ParameterSets::H265 { .. } => self.h265(&packet.payload),
            };
            if taken.is_none() || self.data.len() > MAX_UNIT {
                self.lose();
            }
        }
        if packet.marker {
            self.finish(out);
        }
    }

    fn h264(&mut self, payload: &Bytes) -> Option<()> {
        let header = *payload.first()?;
        match header & 0x1f {
            1..=23 => self.nal(payload),
            24 => {
                let mut rest = payload.slice(1..);
                while !rest.is_empty() {
                    self.nal(&take_sized(&mut rest)?)?;
                }
                Some(())
            }
            28 => {
                let fragment = *payload.get(1)?;
                let header = [header & 0xe0 | fragment & 0x1f];
                self.fragment(fragment, &header, &payload[2..])
            }
            // STAP-B, MTAP and FU-B belong to packetization-mode 2, which nobody offers here.
            _ => None,
        }
    }

    fn h265(&mut self, payload: &Bytes) -> Option<()> {
        let (first, second) = (*payload.first()?, *payload.get(1)?);
        match first >> 1 & 0x3f {
            48 => {
                let mut rest = payload.slice(2..);
                while !rest.is_empty() {
                    self.nal(&take_sized(&mut rest)?)?;
                }
                Some(())
            }
            49 => {
                let fragment = *payload.get(2)?;
                let header = [first & 0x81 | (fragment & 0x3f) << 1, second];
                self.fragment(fragment, &header, &payload[3..])
            }
            50..=63 => None,
            _ => self.nal(payload),
        }
    }

    fn nal(&mut self, nal: &[u8]) -> Option<()> {
        if self.fragment.is_some() {
            return None; // A fragmented unit has no end.
        }
        self.note(nal)?;
        self.data.put_u32(u32::try_from(nal.len()).ok()?);
        self.data.put_slice(nal);
        Some(())
    }

    fn fragment(&mut self, flags: u8, header: &[u8], body: &[u8]) -> Option<()> {
        let (start, end) = (flags & 0x80 != 0, flags & 0x40 != 0);
        let at = match (start, self.fragment) {
            (true, None) => {
                self.note(header)?;
                let at = self.data.len();
                self.data.put_u32(0);
                self.data.put_slice(header);
                at
            }
            (false, Some(at)) => at,
            (true, Some(_)) | (false, None) => return None,
        };
        self.data.put_slice(body);
        self.fragment = Some(at);
        if end {
            let length = u32::try_from(self.data.len() - at - 4).ok()?;
            self.data[at..at + 4].copy_from_slice(&length.to_be_bytes());
            self.fragment = None;
        }
        Some(())
    }

    /// Learns what a NAL unit is from its header.
    fn note(&mut self, nal: &[u8]) -> Option<()> {
        let header = *nal.first()?;
        match self.sets {
            ParameterSets::H264 { .. } => match header & 0x1f {
                kind @ 1..=5 => {
                    self.slices = true;
                    self.keyframe |= kind == 5;
                    self.referenced |= header & 0x60 != 0;
                }
                7 => self.has_sets = true,
                _ => {}
            },
            ParameterSets::H265 { .. } => match header >> 1 & 0x3f {
                kind @ 0..=31 => {
                    self.slices = true;
                    self.keyframe |= (16..=23).contains(&kind);
                    // Even types below 16 are sub-layer non-reference pictures (H.265 table 7-1).
                    self.referenced |= kind >= 16 || kind % 2 == 1;
                }
                33 => self.has_sets = true,
                _ => {}
            },
        }
        Some(())
    }

    fn finish(&mut self, out: &mut Vec<AccessUnit>) {
        let whole = !self.broken && self.fragment.is_none() && self.slices;
        if !whole && !self.data.is_empty() && (self.slices || self.fragment.is_some()) {
            self.wait_keyframe = true;
        }
        if whole && (self.keyframe || !self.wait_keyframe) {
            self.wait_keyframe = false;
            if self.keyframe && !self.has_sets {
                self.prepend_sets();
            }
            out.push(AccessUnit::Video {
                timestamp: self.timestamp,
                captured_at: self.captured_at,
                keyframe: self.keyframe,
                disposable: !self.referenced,
                codec: match self.sets {
                    ParameterSets::H264 { .. } => VideoCodec::H264,
                    ParameterSets::H265 { .. } => VideoCodec::H265,
                },
                data: self.data.split().freeze(),
            });
        }
        self.reset();
    }

    /// A keyframe carries its parameter sets in front, even when its source sends them only in the
    /// description.
    fn prepend_sets(&mut self) {
        let sets: &[&Bytes] = match &self.sets {
            ParameterSets::H264 { sps, pps } => &[sps, pps],
            ParameterSets::H265 { vps, sps, pps } => &[vps, sps, pps],
        };
        let mut data = BytesMut::with_capacity(self.data.len() + 256);
        for set in sets.iter().filter(|s| !s.is_empty()) {
            data.put_u32(u32::try_from(set.len()).unwrap_or(0));
            data.put_slice(set);
        }
        data.put_slice(&self.data);
        self.data = data;
    }
}

fn take_sized(rest: &mut Bytes) -> Option<Bytes> {
    let size = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    rest.advance(2);
    (size > 0 && size <= rest.len()).then(|| rest.split_to(size))
}

/// AAC-hbr: 13 bits of size and 3 of index for every unit (RFC 3640 section 3.3.6).
fn aac(
    fragment: &mut BytesMut,
    packet: &Packet,
    timestamp: i64,
    captured_at: UnixMicros,
    out: &mut Vec<AccessUnit>,
) {
    let mut rest = packet.payload.clone();
    if rest.len() < 4 {
        return;
    }
    let headers = usize::from(rest.get_u16()).div_ceil(16);
    if rest.len() < headers * 2 {
        return;
    }
    let mut sizes = rest.split_to(headers * 2);
    for index in 0..headers {
        let size = usize::from(sizes.get_u16() >> 3);
        if size > rest.len() {
            // One unit over several packets; the marker is on the last.
            fragment.put_slice(&rest);
            if packet.marker && fragment.len() == size {
                let data = fragment.split().freeze();
                out.push(AccessUnit::Audio { timestamp, captured_at, data });
            }
            if packet.marker || fragment.len() > size {
                fragment.clear();
            }
            return;
        }
        let data = rest.split_to(size);
        if !data.is_empty() {
            let timestamp = timestamp.saturating_add(AAC_FRAME * i64::try_from(index).unwrap_or(0));
            out.push(AccessUnit::Audio { timestamp, captured_at, data });
        }
    }
}

/// RTP payload of an AAC unit: one unit behind one header (RFC 3640); cut when it is long.
pub fn packetize_aac(data: &[u8]) -> impl Iterator<Item = Payload<'_>> {
    let size = u16::try_from(data.len()).unwrap_or(u16::MAX).min(0x1fff);
    let [high, low] = (size << 3).to_be_bytes();
    let pieces = data.chunks(sightline_media::MAX_RTP_PAYLOAD - 4);
    pieces.map(move |piece| Payload::aac([0, 16, high, low], piece))
}

/// Depacketizers for the tracks of a description.
#[must_use]
pub fn for_tracks(tracks: &[Track]) -> Vec<Depacketizer> {
    tracks.iter().map(Depacketizer::new).collect()
}

/// Whether two descriptions can go through the same RTP session: same codings and clocks.
#[must_use]
pub fn same_session(one: &StreamDescription, other: &StreamDescription) -> bool {
    let video = |d: &StreamDescription| d.video.as_ref().map(sightline_media::VideoTrack::codec);
    let audio = |d: &StreamDescription| d.audio.as_ref().map(|a| (a.codec, a.clock_hz, a.channels));
    video(one) == video(other) && audio(one) == audio(other)
}
