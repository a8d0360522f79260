//! Where messages end in a stream of bytes (RFC 8489 section 6.2.2, RFC 8656 section 12.5).

/// Longest message of a client that has an allocation: a UDP datagram at its largest.
pub(crate) const MAX_MESSAGE: usize = 4 + 65_507;
/// Longest message of a stranger; requests are far shorter.
pub(crate) const MAX_STRANGERS_MESSAGE: usize = 2_048;

/// One message at the beginning of what has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its length.
    pub(crate) length: usize,
    /// The same with padding.
    pub(crate) padded: usize,
}

/// The stream carries something else, and nobody can tell where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unframed {
    #[error("neither STUN nor ChannelData")]
    Foreign,
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
}

/// How long the first message is; `None` until enough has arrived to tell.
pub(crate) fn frame(arrived: &[u8], most: usize) -> Result<Option<Frame>, Unframed> {
    let Some(&first) = arrived.first() else { return Ok(None) };
    if first > 0x7f {
        return Err(Unframed::Foreign);
    }
    let Some(head) = arrived.first_chunk::<4>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    // Channels up to 0x4f in RFC 8656; clients of RFC 5766, such as coturn's, use the rest too.
    let length = if first >= 0x40 { 4 + length } else { 20 + length };
    if length > most {
        return Err(Unframed::TooLong(length));
    }
    Ok(Some(Frame { length, padded: length.next_multiple_of(4) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_where_the_rfc_says() {
        let channel = [0x40, 0, 0, 3, 1, 2, 3, 0xff];
        let cut = |bytes: &[u8]| frame(bytes, 1_500);
        assert_eq!(cut(&channel), Ok(Some(Frame { length: 7, padded: 8 })));
        assert_eq!(cut(&[0, 1, 0, 4]), Ok(Some(Frame { length: 24, padded: 24 })));
        for short in 0..4 {
            assert_eq!(cut(&channel[..short]), Ok(None));
        }
        assert_eq!(cut(&[0x80]), Err(Unframed::Foreign));
        assert_eq!(cut(&[0, 1, 0xff, 0xff]), Err(Unframed::TooLong(65_555)));
        assert!(cut(b"GET / HTTP/1.1").is_err());
    }

    #[test]
    fn a_million_streams_are_cut_or_refused() {
        for _ in 0..1_000_000 {
            let bytes: [u8; 8] = rand::random();
            let arrived = &bytes[..rand::random_range(0..=8)];
            if let Ok(Some(frame)) = frame(arrived, MAX_MESSAGE) {
                assert!(frame.length >= 4 && frame.length <= MAX_MESSAGE);
                assert!(frame.padded >= frame.length && frame.padded % 4 == 0);
            }
        }
    }
}
