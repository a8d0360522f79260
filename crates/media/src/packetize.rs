//! RTP payloads from NAL units (RFC 6184, RFC 7798).

use bytes::{BufMut, Bytes, BytesMut};

use crate::MAX_RTP_PAYLOAD;

/// Splits a length-prefixed access unit into its NAL units; the slices share the input's memory.
///
/// Stops at the first NAL unit whose length does not fit: bytes from outside never panic.
pub fn nal_units(data: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    let mut rest = data.clone();
    std::iter::from_fn(move || {
        let length = rest.get(..4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = length.checked_add(4).filter(|end| *end <= rest.len())?;
        let nal = rest.slice(4..end);
        rest = rest.slice(end..);
        Some(nal)
    })
    .filter(|nal| !nal.is_empty())
}

/// RTP payloads of an H.264 access unit, packetization-mode 1: single NAL units and FU-A, with
/// small leading units (parameter sets) gathered in a STAP-A.
#[must_use]
pub fn h264(data: &Bytes) -> Vec<Bytes> {
    let mut payloads = Vec::with_capacity(data.len() / MAX_RTP_PAYLOAD + 2);
    let mut gathered: Vec<Bytes> = Vec::new();
    for nal in nal_units(data) {
        if is_h264_parameter(nal[0]) && nal.len() <= MAX_RTP_PAYLOAD / 3 {
            gathered.push(nal);
            continue;
        }
        flush_stap_a(&mut gathered, &mut payloads);
        if nal.len() <= MAX_RTP_PAYLOAD {
            payloads.push(nal);
        } else {
            fragment_h264(&nal, &mut payloads);
        }
    }
    flush_stap_a(&mut gathered, &mut payloads);
    payloads
}

const fn is_h264_parameter(header: u8) -> bool {
    // SEI, sequence and picture parameter sets.
    matches!(header & 0x1f, 6..=8)
}

fn flush_stap_a(gathered: &mut Vec<Bytes>, payloads: &mut Vec<Bytes>) {
    const STAP_A: u8 = 24;
    if gathered.len() == 1 {
        payloads.append(gathered);
        return;
    }
    let mut rest = gathered.as_slice();
    while !rest.is_empty() {
        let mut size = 1;
        let fits = |nal: &&Bytes| {
            size += 2 + nal.len();
            size <= MAX_RTP_PAYLOAD
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        let reference = now.iter().map(|nal| nal[0] & 0x60).max().unwrap_or(0);
        let mut payload = BytesMut::with_capacity(MAX_RTP_PAYLOAD);
        payload.put_u8(reference | STAP_A);
        for nal in now {
            payload.put_u16(u16::try_from(nal.len()).unwrap_or(u16::MAX));
            payload.put_slice(nal);
        }
        payloads.push(payload.freeze());
        rest = later;
    }
    gathered.clear();
}

fn fragment_h264(nal: &Bytes, payloads: &mut Vec<Bytes>) {
    const FU_A: u8 = 28;
    let (indicator, kind) = ((nal[0] & 0xe0) | FU_A, nal[0] & 0x1f);
    let body = nal.slice(1..);
    fragment(&body, 2, payloads, |out, start, end| {
        out.put_u8(indicator);
        out.put_u8(u8::from(start) << 7 | u8::from(end) << 6 | kind);
    });
}

/// RTP payloads of an H.265 access unit: single NAL units and fragmentation units.
#[must_use]
pub fn h265(data: &Bytes) -> Vec<Bytes> {
    const FU: u8 = 49;
    let mut payloads = Vec::with_capacity(data.len() / MAX_RTP_PAYLOAD + 2);
    for nal in nal_units(data).filter(|nal| nal.len() > 2) {
        if nal.len() <= MAX_RTP_PAYLOAD {
            payloads.push(nal);
            continue;
        }
        let (first, second, kind) = ((nal[0] & 0x81) | FU << 1, nal[1], nal[0] >> 1 & 0x3f);
        fragment(&nal.slice(2..), 3, &mut payloads, |out, start, end| {
            out.put_slice(&[first, second, u8::from(start) << 7 | u8::from(end) << 6 | kind]);
        });
    }
    payloads
}

/// Cuts `body` into pieces of nearly equal size, so that no last packet is tiny.
fn fragment(
    body: &Bytes,
    header_len: usize,
    payloads: &mut Vec<Bytes>,
    mut header: impl FnMut(&mut BytesMut, bool, bool),
) {
    let room = MAX_RTP_PAYLOAD - header_len;
    let count = body.len().div_ceil(room);
    let size = body.len().div_ceil(count.max(1));
    // One allocation serves all fragments.
    let mut all = BytesMut::with_capacity(body.len() + count * header_len);
    for (i, piece) in body.chunks(size.max(1)).enumerate() {
        header(&mut all, i == 0, i + 1 == count);
        all.put_slice(piece);
        payloads.push(all.split().freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(nals: &[&[u8]]) -> Bytes {
        let mut out = BytesMut::new();
        for nal in nals {
            out.put_u32(u32::try_from(nal.len()).expect("small"));
            out.put_slice(nal);
        }
        out.freeze()
    }

    #[test]
    fn fragments_join_to_the_original() {
        let big: Vec<u8> = [0x65].into_iter().chain((0..5_000).map(|i| (i % 251) as u8)).collect();
        let payloads = h264(&unit(&[&[0x67, 1, 2], &[0x68, 3], &big]));
        assert_eq!(payloads[0][0], 0x60 | 24);
        let mut joined = vec![payloads[1][0] & 0xe0 | payloads[1][1] & 0x1f];
        for (i, p) in payloads[1..].iter().enumerate() {
            assert!(p.len() <= MAX_RTP_PAYLOAD);
            assert_eq!(p[1] >> 7 == 1, i == 0);
            assert_eq!(p[1] >> 6 & 1 == 1, i + 2 == payloads.len());
            joined.extend_from_slice(&p[2..]);
        }
        assert_eq!(joined, big);
    }

    #[test]
    fn lengths_that_lie_end_the_unit() {
        let bytes = Bytes::from_static(&[0, 0, 0, 2, 0x65, 1, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(nal_units(&bytes).count(), 1);
        assert_eq!(nal_units(&Bytes::from_static(&[0, 0])).count(), 0);
    }
}
