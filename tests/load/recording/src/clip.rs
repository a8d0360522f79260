//! A clip of H.264, cut into pictures and packets once, so that serving it costs as little as possible.

use anyhow::{Context, ensure};

/// Kinds of NAL units (H.264 table 7-1), and of packets (RFC 6184 table 1).
const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const FU_A: u8 = 28;
/// Longest payload of a packet, in bytes: as cameras send it.
const MAX_PAYLOAD: usize = 1_400;

/// One picture, as payloads of RTP packets (RFC 6184 with packetization-mode 1).
#[derive(Debug, Default)]
pub struct Picture {
    /// Decoding can begin here.
    pub keyframe: bool,
    /// What its packets carry.
    pub payloads: Vec<Vec<u8>>,
    /// Length of its NAL units in bytes.
    pub bytes: usize,
}

/// The pictures of a clip; it begins with a keyframe, so that it can be shown again and again.
#[derive(Debug)]
pub struct Clip {
    /// In the order in which they are shown.
    pub pictures: Vec<Picture>,
    /// Parameter sets, for the description.
    pub sps: Vec<u8>,
    /// See `sps`.
    pub pps: Vec<u8>,
}

impl Clip {
    /// Reads a byte stream (H.264 annex B) whose access units begin with delimiters.
    ///
    /// # Errors
    /// When it is none, or does not begin with a keyframe.
    pub fn parse(stream: &[u8]) -> anyhow::Result<Self> {
        let (mut pictures, mut sps, mut pps) = (Vec::new(), None, None);
        let mut open: Option<Picture> = None;
        for unit in units(stream) {
            let kind = unit[0] & 0x1f;
            if kind == DELIMITER {
                pictures.extend(open.replace(Picture::default()).filter(Picture::is_whole));
                continue;
            }
            match kind {
                SPS => sps = sps.or(Some(unit)),
                PPS => pps = pps.or(Some(unit)),
                _ => {}
            }
            open.as_mut().context("the clip has no access unit delimiters")?.add(unit);
        }
        pictures.extend(open.filter(Picture::is_whole));
        let begins = pictures.first().is_some_and(|first| first.keyframe);
        ensure!(begins, "the clip does not begin with a keyframe");
        let sps = sps.filter(|sps| sps.len() > 3).context("the clip has no parameter sets")?;
        let pps = pps.context("the clip has no parameter sets")?;
        Ok(Self { pictures, sps: sps.to_vec(), pps: pps.to_vec() })
    }

    /// At so many pictures a second, in bits per second.
    #[must_use]
    pub fn bitrate(&self, fps: u32) -> f64 {
        let bytes: usize = self.pictures.iter().map(|picture| picture.bytes).sum();
        8.0 * bytes as f64 * f64::from(fps) / self.pictures.len() as f64
    }

    /// Pictures from a keyframe to the next, on average.
    #[must_use]
    pub fn group(&self) -> f64 {
        let keyframes = self.pictures.iter().filter(|picture| picture.keyframe).count();
        self.pictures.len() as f64 / keyframes as f64
    }
}

impl Picture {
    const fn is_whole(&self) -> bool {
        !self.payloads.is_empty()
    }

    fn add(&mut self, unit: &[u8]) {
        self.keyframe |= unit[0] & 0x1f == IDR;
        self.bytes += unit.len();
        if unit.len() <= MAX_PAYLOAD {
            return self.payloads.push(unit.to_vec());
        }
        let (indicator, kind) = ((unit[0] & 0x60) | FU_A, unit[0] & 0x1f);
        let pieces = unit[1..].chunks(MAX_PAYLOAD - 2);
        let last = pieces.len() - 1;
        for (number, piece) in pieces.enumerate() {
            let start = if number == 0 { 0x80 } else { 0 };
            let end = if number == last { 0x40 } else { 0 };
            let mut payload = vec![indicator, start | end | kind];
            payload.extend_from_slice(piece);
            self.payloads.push(payload);
        }
    }
}

/// The NAL units of a byte stream, none of them empty.
fn units(stream: &[u8]) -> Vec<&[u8]> {
    let codes = stream.windows(3).enumerate().filter(|(_, three)| *three == [0_u8, 0, 1]);
    let begins: Vec<usize> = codes.map(|(at, _)| at + 3).collect();
    let ends = begins.iter().skip(1).map(|next| next - 3).chain([stream.len()]);
    let units = begins.iter().zip(ends).map(|(begin, end)| trimmed(&stream[*begin..end]));
    units.filter(|unit| !unit.is_empty()).collect()
}

/// A unit ends with a bit that is set: zeros behind it belong to the next start code.
fn trimmed(unit: &[u8]) -> &[u8] {
    let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
    &unit[..unit.len() - zeros]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&[0, 0, 0, 1][..], unit].concat()).collect()
    }

    const HEAD: [&[u8]; 3] = [&[9, 0xf0], &[0x67, 66, 0, 30, 1], &[0x68, 1]];

    #[test]
    fn pictures_are_cut_at_delimiters_and_long_units_into_pieces() {
        let long: Vec<u8> = std::iter::once(0x65).chain((0..3_000).map(|n| n as u8 | 1)).collect();
        let own: [&[u8]; 3] = [&long, &[9, 0xf0], &[0x41, 7]];
        let units = [&HEAD[..], &own].concat();
        let clip = Clip::parse(&stream(&units)).expect("a clip");
        let keyframes: Vec<bool> = clip.pictures.iter().map(|picture| picture.keyframe).collect();
        assert_eq!(keyframes, [true, false]);
        let first = &clip.pictures[0].payloads;
        let heads: Vec<&[u8]> = first.iter().map(|payload| &payload[..2]).collect();
        assert_eq!(heads, [&[0x67, 66][..], &[0x68, 1], &[0x7c, 0x85], &[0x7c, 5], &[0x7c, 0x45]]);
        let joined: Vec<u8> =
            first[2..].iter().flat_map(|payload| &payload[2..]).copied().collect();
        assert_eq!(joined, long[1..]);
        assert!(first.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        assert_eq!(clip.pictures[1].payloads, [vec![0x41, 7]]);
        assert_eq!((clip.sps, clip.pps), (HEAD[1].to_vec(), HEAD[2].to_vec()));
    }

    #[test]
    fn rate_and_groups_are_those_of_all_pictures() {
        let own: [&[u8]; 3] = [&[0x65, 1], &[9, 0xf0], &[0x41, 7]];
        let units = [&HEAD[..], &own].concat();
        let clip = Clip::parse(&stream(&units)).expect("a clip");
        // 5 + 2 + 2 and 2 bytes.
        assert!((clip.bitrate(25) - 8.0 * 11.0 * 25.0 / 2.0).abs() < 1e-9);
        assert!((clip.group() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_clip_is_refused() {
        let refused = |units: &[&[u8]]| Clip::parse(&stream(units)).expect_err("none").to_string();
        assert!(refused(&[]).contains("keyframe"));
        assert!(refused(&[&[0x65, 1]]).contains("delimiters"));
        assert!(refused(&[&[9, 0xf0], &[0x41, 7]]).contains("keyframe"));
        assert!(refused(&[&[9, 0xf0], &[0x65, 7]]).contains("parameter sets"));
        assert!(Clip::parse(b"no start code at all").is_err());
    }
}
