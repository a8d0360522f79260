//! Where messages end in what a relay sends over TCP and TLS.

use std::io;

use bytes::{Buf, Bytes, BytesMut};

/// Cuts the next message off a stream (RFC 8656 sections 3.1 and 12.5).
pub(super) fn next_message(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(head) = buffer.get(..4) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (length, padded) = match head[0] {
        0..=0x3f => (20 + length, 20 + length),
        0x40..=0x7f => (4 + length, (4 + length).next_multiple_of(4)),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    if buffer.len() < padded {
        return Ok(None);
    }
    let message = buffer.split_to(length).freeze();
    buffer.advance(padded - length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_messages() {
        let stun = [&[0, 1, 0, 4][..], &[7; 20]].concat();
        let channel = [&[0x40, 1, 0, 5][..], b"hello", &[0; 3]].concat();
        let whole = [&stun[..], &channel, &stun].concat();
        for cut in 0..whole.len() {
            let mut buffer = BytesMut::new();
            let mut out = Vec::new();
            for part in [&whole[..cut], &whole[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(message) = next_message(&mut buffer).expect("good") {
                    out.push(message);
                }
            }
            assert_eq!(out, [&stun[..], &channel[..9], &stun]);
        }
        assert!(next_message(&mut BytesMut::from(&b"HTTP/1.1 400"[..])).is_ok());
        assert!(next_message(&mut BytesMut::from(&[0x80, 0, 0, 0][..])).is_err());
    }
}
