//! RTP and RTCP packets (RFC 3550), as far as RTSP needs them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sightline_model::UnixMicros;

use crate::replay::ReplayExtension;

/// Bytes of an RTP header without contributing sources or extension.
pub const HEADER_LEN: usize = 12;

/// Seconds from 1900, where NTP begins, to 1970.
const NTP_UNIX_OFFSET_S: i64 = 2_208_988_800;

/// A received RTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Payload type.
    pub payload_type: u8,
    /// Marker: the end of a picture.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp on the track's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// The payload without padding.
    pub payload: Bytes,
}

impl Packet {
    /// Reads a packet; `None` when it is none.
    #[must_use]
    pub fn parse(mut data: Bytes) -> Option<Self> {
        if data.len() < HEADER_LEN || data[0] >> 6 != 2 {
            return None;
        }
        let (flags, second) = (data[0], data[1]);
        data.advance(2);
        let sequence = data.get_u16();
        let timestamp = data.get_u32();
        let ssrc = data.get_u32();
        let sources = usize::from(flags & 0x0f) * 4;
        if data.len() < sources {
            return None;
        }
        data.advance(sources);
        if flags & 0x10 != 0 {
            if data.len() < 4 {
                return None;
            }
            data.advance(2);
            let words = usize::from(data.get_u16()) * 4;
            if data.len() < words {
                return None;
            }
            data.advance(words);
        }
        if flags & 0x20 != 0 {
            let padding = usize::from(*data.last()?);
            if padding == 0 || padding > data.len() {
                return None;
            }
            data.truncate(data.len() - padding);
        }
        let (marker, payload_type) = (second & 0x80 != 0, second & 0x7f);
        Some(Self { payload_type, marker, sequence, timestamp, ssrc, payload: data })
    }
}

/// Where a sender's stream stands; the source of every header that a session sends for a track.
#[derive(Debug, Clone)]
pub struct Sender {
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    packets: u32,
    octets: u32,
    timeline: Timeline,
}

impl Sender {
    /// A sender that has sent nothing. `ssrc`, `sequence` and `timestamp` should be drawn at random
    /// (RFC 3550 section 5.1); `timestamp` stands for the instant that [`Sender::start`] names.
    #[must_use]
    pub const fn new(
        payload_type: u8,
        clock_hz: u32,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
    ) -> Self {
        let timeline = Timeline::new(clock_hz, timestamp);
        Self { payload_type, ssrc, sequence, packets: 0, octets: 0, timeline }
    }

    /// Synchronization source.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Sequence number of the next packet.
    #[must_use]
    pub const fn next_sequence(&self) -> u16 {
        self.sequence
    }

    /// The RTP timestamp of the first instant; `None` once something was sent.
    #[must_use]
    pub fn first_timestamp(&self) -> Option<u32> {
        (self.packets == 0).then_some(self.timeline.base)
    }

    /// Sets the instant that the first timestamp stands for; the same for all tracks of a session,
    /// so that players show what was captured together together.
    pub const fn start(&mut self, origin: UnixMicros) {
        if self.timeline.origin.is_none() {
            self.timeline.origin = Some(origin);
        }
    }

    /// Maps the source's time to the session's; call it once for every access unit.
    pub fn map(&mut self, timestamp: i64, captured_at: UnixMicros) -> u32 {
        self.timeline.map(timestamp, captured_at)
    }

    /// The source has been away or was changed: its next timestamp is unrelated to the last.
    pub const fn source_restarted(&mut self) {
        self.timeline.anchor = None;
    }

    /// Recorded media follows: `time_us`, on a scale of the caller's in microseconds, stands right
    /// behind everything that was sent.
    pub fn begin_replay(&mut self, time_us: i64) {
        self.timeline.replay = Some((time_us, self.timeline.last_ticks + 1));
    }

    /// The timestamp that stands for `time_us` since [`Sender::begin_replay`].
    #[must_use]
    pub fn replay_timestamp(&self, time_us: i64) -> Option<u32> {
        self.timeline.replayed(time_us).map(|ticks| self.timeline.rtp(ticks))
    }

    /// The same for a unit that is sent now.
    pub fn map_replayed(&mut self, time_us: i64, taken_at: UnixMicros) -> u32 {
        let ticks = self.timeline.replayed(time_us).unwrap_or(0);
        let rtp = self.timeline.rtp(ticks);
        self.timeline.last_ticks = self.timeline.last_ticks.max(ticks);
        self.timeline.newest = Some((taken_at, rtp));
        rtp
    }

    /// Writes the header of the next packet, whose payload has `length` bytes.
    pub fn write_header(
        &mut self,
        out: &mut BytesMut,
        timestamp: u32,
        marker: bool,
        length: usize,
    ) {
        self.write_extended_header(out, timestamp, marker, length, None);
    }

    /// The same for a unit that is replayed, with ONVIF's extension.
    pub fn write_replay_header(
        &mut self,
        out: &mut BytesMut,
        timestamp: u32,
        marker: bool,
        length: usize,
        extension: &ReplayExtension,
    ) {
        self.write_extended_header(out, timestamp, marker, length, Some(extension));
    }

    fn write_extended_header(
        &mut self,
        out: &mut BytesMut,
        timestamp: u32,
        marker: bool,
        length: usize,
        extension: Option<&ReplayExtension>,
    ) {
        out.put_u8(0x80 | u8::from(extension.is_some()) << 4);
        out.put_u8(u8::from(marker) << 7 | self.payload_type);
        out.put_u16(self.sequence);
        out.put_u32(timestamp);
        out.put_u32(self.ssrc);
        if let Some(extension) = extension {
            out.put_slice(&extension.to_bytes());
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// Sender report and source description that tie the newest unit's timestamp to the time it
    /// was captured at; `None` before the first unit.
    #[must_use]
    pub fn report(&self) -> Option<Bytes> {
        let (captured_at, timestamp) = self.timeline.newest?;
        let mut out = BytesMut::with_capacity(64);
        out.put_slice(&[0x80, 200, 0, 6]);
        out.put_u32(self.ssrc);
        out.put_u64(ntp(captured_at));
        out.put_u32(timestamp);
        out.put_u32(self.packets);
        out.put_u32(self.octets);
        // Every compound packet names its source (RFC 3550 section 6.1). The name says nothing of
        // the device.
        let name = format!("{:08x}@sightline", self.ssrc);
        let length = 4 + 2 + name.len() + 1;
        let words = length.div_ceil(4);
        out.put_slice(&[0x81, 202]);
        out.put_u16(u16::try_from(words).unwrap_or(u16::MAX));
        out.put_u32(self.ssrc);
        out.put_slice(&[1, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
        out.put_slice(name.as_bytes());
        out.put_bytes(0, words * 4 - length + 1);
        Some(out.freeze())
    }

    /// The goodbye of this source (RFC 3550 section 6.6), behind an empty receiver report.
    #[must_use]
    pub fn bye(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16);
        out.put_slice(&[0x80, 201, 0, 1]);
        out.put_u32(self.ssrc);
        out.put_slice(&[0x81, 203, 0, 1]);
        out.put_u32(self.ssrc);
        out.freeze()
    }
}

/// Maps source timestamps, which may start anew at any time, to one that only rises.
#[derive(Debug, Clone)]
struct Timeline {
    clock_hz: u32,
    base: u32,
    origin: Option<UnixMicros>,
    /// Source timestamp and its distance from `base`, in ticks.
    anchor: Option<(i64, i64)>,
    newest: Option<(UnixMicros, u32)>,
    last_ticks: i64,
    /// Time of what is replayed, in microseconds, and its distance from `base`, in ticks.
    replay: Option<(i64, i64)>,
}

impl Timeline {
    const fn new(clock_hz: u32, base: u32) -> Self {
        let (origin, anchor, newest, replay) = (None, None, None, None);
        Self { clock_hz, base, origin, anchor, newest, last_ticks: -1, replay }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo 2^32")]
    const fn rtp(&self, ticks: i64) -> u32 {
        self.base.wrapping_add(ticks as u32)
    }

    /// In ticks from `base`; below zero for what was taken before replay began, in reverse.
    fn replayed(&self, time_us: i64) -> Option<i64> {
        let (from_us, from) = self.replay?;
        let passed = i128::from(time_us) - i128::from(from_us);
        let ticks = (passed * i128::from(self.clock_hz)).div_euclid(1_000_000);
        Some(from.saturating_add(i64::try_from(ticks).unwrap_or(0)))
    }

    fn map(&mut self, timestamp: i64, captured_at: UnixMicros) -> u32 {
        let origin = *self.origin.get_or_insert(captured_at);
        let elapsed_us = captured_at.0.saturating_sub(origin.0);
        let by_clock =
            i64::try_from(i128::from(elapsed_us) * i128::from(self.clock_hz) / 1_000_000)
                .unwrap_or(i64::MAX / 2);
        let limit = i64::from(self.clock_hz) * 10;
        let ticks = self
            .anchor
            .map(|(from, at)| at.saturating_add(timestamp.saturating_sub(from)))
            // A jump that the wall clock does not confirm is a new source timeline.
            .filter(|ticks| ticks.saturating_sub(by_clock).abs() < limit);
        let ticks = ticks.unwrap_or_else(|| {
            // Never back: players drop what is older than what they have shown.
            let ticks = by_clock.max(self.last_ticks + 1);
            self.anchor = Some((timestamp, ticks));
            ticks
        });
        self.last_ticks = self.last_ticks.max(ticks);
        let rtp = self.rtp(ticks);
        self.newest = Some((captured_at, rtp));
        rtp
    }
}

/// NTP timestamp (RFC 5905 section 6) of a time.
#[must_use]
pub fn ntp(time: UnixMicros) -> u64 {
    let seconds = time.0.div_euclid(1_000_000).saturating_add(NTP_UNIX_OFFSET_S);
    let micros = u64::try_from(time.0.rem_euclid(1_000_000)).unwrap_or(0);
    (u64::try_from(seconds).unwrap_or(0) << 32) | ((micros << 32) / 1_000_000)
}

/// The time that an NTP timestamp of the era of 1900 stands for.
#[must_use]
pub fn from_ntp(ntp: u64) -> UnixMicros {
    let seconds = i64::try_from(ntp >> 32).unwrap_or(0) - NTP_UNIX_OFFSET_S;
    let micros = i64::try_from(((ntp & 0xffff_ffff) * 1_000_000) >> 32).unwrap_or(0);
    UnixMicros(seconds * 1_000_000 + micros)
}

/// What a received RTCP packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rtcp {
    /// When a timestamp was, by the sender's clock.
    SenderReport {
        /// The sender.
        ssrc: u32,
        /// Wall clock.
        time: UnixMicros,
        /// The same instant on the track's clock.
        timestamp: u32,
    },
    /// What a receiver got.
    ReceiverReport {
        /// Worst loss of all blocks since the last report, in 1/256.
        lost_256ths: u8,
    },
    /// The source ends.
    Bye,
    /// Another kind.
    Other,
}

/// Reads a compound packet; stops at the first part that does not fit.
#[must_use]
pub fn parse_rtcp(data: &[u8]) -> Vec<Rtcp> {
    let mut rest = data;
    let mut parts = Vec::new();
    while let Some(header) = rest.get(..4) {
        let length = 4 + usize::from(u16::from_be_bytes([header[2], header[3]])) * 4;
        let Some(part) = rest.get(..length).filter(|p| p[0] >> 6 == 2) else { break };
        parts.push(parse_rtcp_part(part));
        rest = &rest[length..];
    }
    parts
}

fn parse_rtcp_part(part: &[u8]) -> Rtcp {
    let word =
        |at: usize| part.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    match part[1] {
        200 => match (word(4), word(8), word(12), word(16)) {
            (Some(ssrc), Some(high), Some(low), Some(timestamp)) => Rtcp::SenderReport {
                ssrc,
                time: from_ntp(u64::from(high) << 32 | u64::from(low)),
                timestamp,
            },
            _ => Rtcp::Other,
        },
        201 => {
            let blocks = part.get(8..).unwrap_or_default().chunks_exact(24);
            Rtcp::ReceiverReport { lost_256ths: blocks.map(|b| b[4]).max().unwrap_or(0) }
        }
        203 => Rtcp::Bye,
        _ => Rtcp::Other,
    }
}

/// An empty receiver report: tells a server over UDP that somebody is listening.
#[must_use]
pub fn receiver_report(ssrc: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(8);
    out.put_slice(&[0x80, 201, 0, 1]);
    out.put_u32(ssrc);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip() {
        let mut sender = Sender::new(96, 90_000, 7, u16::MAX, 1_000);
        let mut out = BytesMut::new();
        let timestamp = sender.map(55, UnixMicros(1));
        sender.write_header(&mut out, timestamp, true, 3);
        out.put_slice(b"abc");
        let packet = Packet::parse(out.freeze()).expect("valid");
        assert_eq!((packet.sequence, packet.timestamp, packet.marker), (u16::MAX, 1_000, true));
        assert_eq!(&packet.payload[..], b"abc");
        assert_eq!(sender.next_sequence(), 0);
    }

    #[test]
    fn a_source_that_restarts_never_turns_time_back() {
        let mut sender = Sender::new(96, 90_000, 7, 0, 0);
        sender.start(UnixMicros(0));
        assert_eq!(sender.map(1_000_000, UnixMicros(0)), 0);
        assert_eq!(sender.map(1_003_600, UnixMicros(40_000)), 3_600);
        sender.source_restarted();
        assert_eq!(sender.map(5, UnixMicros(5_000_000)), 450_000);
        // The wall clock was set back and the source jumped: time goes on by one tick.
        assert_eq!(sender.map(-9_000_000, UnixMicros(-3_000_000)), 450_001);
    }

    #[test]
    fn replayed_media_goes_on_behind_what_was_sent() {
        let mut sender = Sender::new(96, 90_000, 7, 0, 50);
        assert_eq!(sender.map(7_000, UnixMicros(0)), 50);
        assert_eq!(sender.replay_timestamp(5), None);
        sender.begin_replay(1_000_000);
        assert_eq!(sender.replay_timestamp(1_000_000), Some(51));
        assert_eq!(sender.map_replayed(1_040_000, UnixMicros(9)), 51 + 3_600);
        assert_eq!(sender.map_replayed(960_000, UnixMicros(8)), 51_u32.wrapping_sub(3_600));
        sender.begin_replay(0);
        assert_eq!(sender.map_replayed(0, UnixMicros(9)), 51 + 3_601);
    }

    #[test]
    fn reports_say_what_was_captured_when() {
        let mut sender = Sender::new(96, 90_000, 7, 0, 5);
        assert!(sender.report().is_none());
        let at = UnixMicros(1_700_000_000_123_456);
        sender.map(0, at);
        let report = sender.report().expect("something was sent");
        assert_eq!(report.len() % 4, 0);
        let parts = parse_rtcp(&report);
        let Rtcp::SenderReport { ssrc: 7, time, timestamp: 5 } = parts[0] else {
            panic!("{parts:?}")
        };
        assert!(at.0 - time.0 <= 1, "{time:?}");
        assert_eq!(parts.len(), 2);
        assert_eq!(parse_rtcp(&sender.bye()).last(), Some(&Rtcp::Bye));
    }

    #[test]
    fn packets_that_lie_are_refused() {
        for bad in [
            &[0x80u8; 11][..],
            &[0x9f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
            &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200],
        ] {
            assert!(Packet::parse(Bytes::copy_from_slice(bad)).is_none(), "{bad:?}");
        }
        assert!(parse_rtcp(&[0x80, 200, 0, 9, 1]).is_empty());
        assert_eq!(parse_rtcp(&[0x80, 200, 0, 0]), [Rtcp::Other]);
    }
}
