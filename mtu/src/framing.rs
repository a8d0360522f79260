//! Where messages end in a TCP connection (RFC 8489 section 6.2.2, RFC 8656 section 12.5), and which
//! datagrams are ChannelData.

use tokio::io::AsyncReadExt;

/// Largest message; the server's own buffer has this size.
const MAX_MESSAGE: usize = 1_500;

/// One STUN message or one ChannelData message without its padding.
pub(crate) async fn read_message(
    read: &mut (impl AsyncReadExt + Unpin),
) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 4];
    read.read_exact(&mut head).await?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (rest, padding) = match head[0] {
        0..=0x3f => (length + 16, 0),
        // Up to 0x4f in RFC 8656; clients of RFC 5766, such as coturn's, use the rest too.
        0x40..=0x7f => (length, length.next_multiple_of(4) - length),
        _ => return Err(invalid("neither STUN nor ChannelData")),
    };
    if rest + 4 > MAX_MESSAGE {
        return Err(invalid("a message is too long"));
    }
    let mut message = vec![0; 4 + rest + padding];
    message[..4].copy_from_slice(&head);
    read.read_exact(&mut message[4..]).await?;
    message.truncate(4 + rest);
    Ok(message)
}

/// RFC 8656 section 12.4: a channel number, and no more bytes than there are.
pub(crate) fn is_channel_data(datagram: &[u8]) -> bool {
    let Some(head) = datagram.first_chunk::<4>() else { return false };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    matches!(head[0], 0x40..=0x7f) && length <= datagram.len() - head.len()
}

fn invalid(what: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_cut_where_the_rfc_says() {
        let channel = [0x40, 0, 0, 3, 1, 2, 3, 0xff];
        let mut stun = vec![0, 1, 0, 4];
        stun.extend([7; 20]);
        let mut stream = std::io::Cursor::new([&channel[..], &stun].concat());
        assert_eq!(read_message(&mut stream).await.expect("whole"), channel[..7]);
        assert_eq!(read_message(&mut stream).await.expect("whole"), stun);
        for bad in [[0x80, 0, 0, 0], [0x00, 1, 0xff, 0xff], *b"GET "] {
            let mut stream = std::io::Cursor::new(bad.to_vec());
            assert!(read_message(&mut stream).await.is_err(), "{bad:?} was taken");
        }
    }
}
