//! RTP payloads from NAL units (RFC 6184 packetization-mode 1, RFC 7798).
//!
//! A payload is a few bytes of header and a slice of the access unit; the bytes of the picture are
//! copied once, into the packet that is sent.

use std::borrow::Cow;

use bytes::Bytes;
use sightline_model::VideoCodec;

use crate::MAX_RTP_PAYLOAD;

/// Splits a length-prefixed access unit into its NAL units; the slices share the input's memory.
///
/// Stops at the first NAL unit whose length does not fit: bytes from outside never panic.
pub fn nal_units(data: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    let data = data.clone();
    let mut at = 0;
    std::iter::from_fn(move || {
        let nal = next_nal(&data, &mut at)?;
        Some(data.slice_ref(nal))
    })
}

/// The next NAL unit that is not empty.
fn next_nal<'a>(data: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    loop {
        let (length, rest) = data.get(*at..)?.split_first_chunk()?;
        let nal = rest.get(..u32::from_be_bytes(*length) as usize)?;
        *at += 4 + nal.len();
        if !nal.is_empty() {
            return Some(nal);
        }
    }
}

/// What goes in front of a slice of the access unit; the longest is that of AAC (RFC 3640).
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    bytes: [u8; 4],
    len: usize,
}

/// One RTP payload, at most [`MAX_RTP_PAYLOAD`] bytes.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    header: Header,
    body: Cow<'a, [u8]>,
}

impl<'a> Payload<'a> {
    const fn whole(body: &'a [u8]) -> Self {
        Self { header: Header { bytes: [0; 4], len: 0 }, body: Cow::Borrowed(body) }
    }

    /// A piece of AAC behind its header.
    #[must_use]
    pub const fn aac(header: [u8; 4], body: &'a [u8]) -> Self {
        Self { header: Header { bytes: header, len: 4 }, body: Cow::Borrowed(body) }
    }

    /// Its bytes: the one part behind the other.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 2] {
        [self.header.bytes.get(..self.header.len).unwrap_or_default(), &self.body]
    }

    /// How many bytes it has.
    #[expect(clippy::len_without_is_empty, reason = "none is ever empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.len + self.body.len()
    }
}

/// The payloads of one access unit; see [`crate::AccessUnit::payloads`].
#[derive(Debug, Clone)]
pub struct Payloads<'a> {
    coding: Coding,
    data: &'a [u8],
    at: usize,
    /// What is left of a NAL unit that does not fit one payload.
    fragments: Option<Fragments<'a>>,
    /// A NAL unit that was looked at too early.
    held: Option<&'a [u8]>,
}

#[derive(Debug, Clone, Copy)]
enum Coding {
    H264,
    H265,
    /// `data` is the payload.
    Whole,
}

/// A NAL unit in pieces of nearly equal size, so that no last packet is tiny.
#[derive(Debug, Clone)]
struct Fragments<'a> {
    /// Of the next piece, without its start and end bits.
    header: Header,
    size: usize,
    rest: &'a [u8],
    begun: bool,
}

impl<'a> Payloads<'a> {
    pub(crate) const fn video(codec: VideoCodec, data: &'a [u8]) -> Self {
        let coding = match codec {
            VideoCodec::H264 => Coding::H264,
            VideoCodec::H265 => Coding::H265,
        };
        Self { coding, data, at: 0, fragments: None, held: None }
    }

    pub(crate) const fn whole(data: &'a [u8]) -> Self {
        Self { coding: Coding::Whole, data, at: 0, fragments: None, held: None }
    }

    fn nal(&mut self) -> Option<&'a [u8]> {
        self.held.take().or_else(|| next_nal(self.data, &mut self.at))
    }

    fn one(&mut self, nal: &'a [u8], split: fn(&[u8]) -> Option<Header>) -> Payload<'a> {
        if nal.len() > MAX_RTP_PAYLOAD
            && let Some(header) = split(nal)
        {
            // The NAL unit's own header is one byte shorter and goes into the fragment's.
            let rest = nal.get(header.len - 1..).unwrap_or_default();
            let count = rest.len().div_ceil(MAX_RTP_PAYLOAD - header.len);
            let size = rest.len().div_ceil(count.max(1)).max(1);
            let mut fragments = Fragments { header, size, rest, begun: false };
            let first = fragments.next();
            self.fragments = Some(fragments);
            if let Some(first) = first {
                return first;
            }
        }
        Payload::whole(nal)
    }

    /// Single NAL units and FU-A; small leading units (parameter sets) are gathered in a STAP-A.
    fn h264(&mut self) -> Option<Payload<'a>> {
        let first = self.nal()?;
        let mut size = 1 + 2 + first.len();
        if !is_small_h264_parameter(first) || size > MAX_RTP_PAYLOAD {
            return Some(self.one(first, fu_a));
        }
        let mut gathered = Vec::new();
        while let Some(nal) = self.nal() {
            size += 2 + nal.len();
            if !is_small_h264_parameter(nal) || size > MAX_RTP_PAYLOAD {
                self.held = Some(nal);
                break;
            }
            if gathered.is_empty() {
                gathered.push(first);
            }
            gathered.push(nal);
        }
        Some(if gathered.is_empty() { Payload::whole(first) } else { stap_a(&gathered) })
    }

    /// Single NAL units and fragmentation units.
    fn h265(&mut self) -> Option<Payload<'a>> {
        let nal = std::iter::from_fn(|| self.nal()).find(|nal| nal.len() > 2)?;
        Some(self.one(nal, fu_h265))
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Payload<'a>;

    fn next(&mut self) -> Option<Payload<'a>> {
        if let Some(piece) = self.fragments.as_mut().and_then(Fragments::next) {
            return Some(piece);
        }
        self.fragments = None;
        match self.coding {
            Coding::H264 => self.h264(),
            Coding::H265 => self.h265(),
            Coding::Whole if self.data.is_empty() => None,
            Coding::Whole => Some(Payload::whole(std::mem::take(&mut self.data))),
        }
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Payload<'a>;

    fn next(&mut self) -> Option<Payload<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (piece, rest) = self.rest.split_at(self.size.min(self.rest.len()));
        let (start, end) = (!self.begun, rest.is_empty());
        self.begun = true;
        self.rest = rest;
        let mut header = self.header;
        // Start and end are the highest bits of the FU header, the last byte, in both codings.
        if let Some(last) = header.bytes.get_mut(header.len - 1) {
            *last |= u8::from(start) << 7 | u8::from(end) << 6;
        }
        Some(Payload { header, body: Cow::Borrowed(piece) })
    }
}

/// RFC 6184 section 5.8.
fn fu_a(nal: &[u8]) -> Option<Header> {
    const FU_A: u8 = 28;
    let header = *nal.first()?;
    Some(Header { bytes: [(header & 0xe0) | FU_A, header & 0x1f, 0, 0], len: 2 })
}

/// RFC 7798 section 4.4.3.
fn fu_h265(nal: &[u8]) -> Option<Header> {
    const FU: u8 = 49;
    let [first, second] = *nal.first_chunk()?;
    Some(Header { bytes: [(first & 0x81) | FU << 1, second, first >> 1 & 0x3f, 0], len: 3 })
}

/// SEI, sequence and picture parameter sets.
fn is_small_h264_parameter(nal: &[u8]) -> bool {
    nal.len() <= MAX_RTP_PAYLOAD / 3
        && nal.first().is_some_and(|header| matches!(header & 0x1f, 6..=8))
}

/// RFC 6184 section 5.7.1.
fn stap_a(nals: &[&[u8]]) -> Payload<'static> {
    const STAP_A: u8 = 24;
    let reference = nals.iter().filter_map(|nal| nal.first()).map(|h| h & 0x60).max();
    let mut body = Vec::with_capacity(1 + nals.iter().map(|nal| 2 + nal.len()).sum::<usize>());
    body.push(reference.unwrap_or(0) | STAP_A);
    for nal in nals {
        body.extend(u16::try_from(nal.len()).unwrap_or(u16::MAX).to_be_bytes());
        body.extend_from_slice(nal);
    }
    Payload { header: Header::default(), body: Cow::Owned(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(nals: &[&[u8]]) -> Bytes {
        let mut out = Vec::new();
        for nal in nals {
            out.extend(u32::try_from(nal.len()).expect("small").to_be_bytes());
            out.extend_from_slice(nal);
        }
        out.into()
    }

    fn packets(codec: VideoCodec, data: &[u8]) -> Vec<Vec<u8>> {
        let join = |payload: Payload<'_>| {
            let joined = payload.parts().concat();
            assert_eq!(joined.len(), payload.len());
            assert!(joined.len() <= MAX_RTP_PAYLOAD);
            joined
        };
        Payloads::video(codec, data).map(join).collect()
    }

    fn big(header: &[u8]) -> Vec<u8> {
        header.iter().copied().chain((0..5_000).map(|i| (i % 251) as u8)).collect()
    }

    #[test]
    fn fragments_join_to_the_original() {
        let big = big(&[0x65]);
        let data = unit(&[&[0x67, 1, 2], &[0x68, 3], &big]);
        let payloads = packets(VideoCodec::H264, &data);
        assert_eq!(payloads[0], [0x60 | 24, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3]);
        let mut joined = vec![payloads[1][0] & 0xe0 | payloads[1][1] & 0x1f];
        for (i, p) in payloads[1..].iter().enumerate() {
            assert_eq!(p[1] >> 7 == 1, i == 0);
            assert_eq!(p[1] >> 6 & 1 == 1, i + 2 == payloads.len());
            joined.extend_from_slice(&p[2..]);
        }
        assert_eq!(joined, big);
    }

    #[test]
    fn fragments_of_h265_join_to_the_original() {
        let big = big(&[0x26, 0x01]);
        let payloads = packets(VideoCodec::H265, &unit(&[&[0x40, 1, 9], &[7], &big]));
        assert_eq!(payloads[0], [0x40, 1, 9]);
        let mut joined = vec![payloads[1][0] & 0x81 | (payloads[1][2] & 0x3f) << 1, payloads[1][1]];
        for (i, p) in payloads[1..].iter().enumerate() {
            assert_eq!(p[0] >> 1 & 0x3f, 49);
            assert_eq!((p[2] >> 7 == 1, p[2] >> 6 & 1 == 1), (i == 0, i + 2 == payloads.len()));
            joined.extend_from_slice(&p[3..]);
        }
        assert_eq!(joined, big);
    }

    #[test]
    fn one_parameter_set_alone_is_not_wrapped_and_many_fill_several_packets() {
        let data = unit(&[&[0x06, 5], &[0x65, 1]]);
        assert_eq!(packets(VideoCodec::H264, &data), [vec![0x06, 5], vec![0x65, 1]]);
        let set = [0x68; 390];
        let data = unit(&[&set, &set, &set, &set, &[0x65, 1]]);
        let lengths: Vec<_> = packets(VideoCodec::H264, &data).iter().map(Vec::len).collect();
        assert_eq!(lengths, [1 + 3 * 392, 390, 2]);
    }

    #[test]
    fn lengths_that_lie_end_the_unit() {
        let bytes = Bytes::from_static(&[0, 0, 0, 2, 0x65, 1, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(nal_units(&bytes).count(), 1);
        assert_eq!(packets(VideoCodec::H264, &bytes), [[0x65, 1]]);
        assert_eq!(nal_units(&Bytes::from_static(&[0, 0])).count(), 0);
    }
}
