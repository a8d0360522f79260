//! Messages and interleaved packets out of a byte stream.
//!
//! The length of every piece is found and bounded here, before `rtsp-types` parses it: so an
//! endless header costs no more than [`MAX_HEADER`] bytes, and a version that nobody speaks can be
//! told from garbage (505 rather than 400).

use bytes::{Buf, Bytes, BytesMut};
use rtsp_types::Message;

/// Longest start line with headers, in bytes.
pub const MAX_HEADER: usize = 16 << 10;
/// Longest body, in bytes.
pub const MAX_BODY: usize = 64 << 10;

/// One piece of the stream.
#[derive(Debug)]
pub enum Frame {
    /// A request or a response.
    Message(Message<Vec<u8>>),
    /// RTP or RTCP inside the connection (RFC 2326 section 10.12).
    Interleaved {
        /// Channel number.
        channel: u8,
        /// The packet.
        data: Bytes,
    },
}

/// The stream cannot be read on: where the next message begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not an RTSP message.
    #[error("malformed message")]
    Malformed,
    /// Header longer than [`MAX_HEADER`].
    #[error("header too long")]
    HeaderTooLong,
    /// Body longer than [`MAX_BODY`].
    #[error("body too long")]
    BodyTooLong,
    /// A version of RTSP other than 1.0 and 2.0.
    #[error("RTSP version not supported")]
    Version,
}

/// Cuts a byte stream into [`Frame`]s.
///
/// ```
/// use sightline_rtsp::wire::{Frame, Framer};
/// let mut framer = Framer::default();
/// framer.push(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n");
/// assert!(framer.next_frame()?.is_none());
/// framer.push(b"\r\n$\x01\x00\x02ab");
/// assert!(matches!(framer.next_frame()?, Some(Frame::Message(_))));
/// assert!(matches!(framer.next_frame()?, Some(Frame::Interleaved { channel: 1, .. })));
/// # Ok::<(), sightline_rtsp::wire::FrameError>(())
/// ```
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes of `buffer` already searched for the end of the header.
    searched: usize,
}

impl Framer {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame; `None` when more bytes are needed. After an error the stream is lost.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        // Empty lines between messages are allowed (RFC 7826 section 5.1).
        while self.searched == 0 && matches!(self.buffer.first(), Some(b'\r' | b'\n')) {
            self.buffer.advance(1);
        }
        match self.buffer.first() {
            None => Ok(None),
            Some(b'$') => Ok(self.interleaved()),
            Some(_) => self.message(),
        }
    }

    fn interleaved(&mut self) -> Option<Frame> {
        let header = self.buffer.get(..4)?;
        let channel = header[1];
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if self.buffer.len() < 4 + length {
            return None;
        }
        self.buffer.advance(4);
        Some(Frame::Interleaved { channel, data: self.buffer.split_to(length).freeze() })
    }

    fn message(&mut self) -> Result<Option<Frame>, FrameError> {
        // Garbage is found out at once, not when it has filled the buffer.
        if !self.buffer.first().is_some_and(u8::is_ascii_graphic) {
            return Err(FrameError::Malformed);
        }
        let from = self.searched.saturating_sub(3);
        let found = self.buffer[from..].windows(4).position(|w| w == b"\r\n\r\n");
        let Some(end) = found.map(|at| from + at + 4) else {
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_HEADER {
                return Err(FrameError::HeaderTooLong);
            }
            return Ok(None);
        };
        if end > MAX_HEADER {
            return Err(FrameError::HeaderTooLong);
        }
        // So that the end is found again at once while the body is awaited.
        self.searched = end - 1;
        let body = body_length(&self.buffer[..end])?;
        if body > MAX_BODY {
            return Err(FrameError::BodyTooLong);
        }
        if self.buffer.len() < end + body {
            return Ok(None);
        }
        self.searched = 0;
        let bytes = self.buffer.split_to(end + body);
        check_version(&bytes[..end])?;
        match Message::<Vec<u8>>::parse(&bytes[..]) {
            Ok((Message::Data(_), _)) | Err(_) => Err(FrameError::Malformed),
            // Two readings of one length would let a request hide inside another.
            Ok((_, used)) if used != bytes.len() => Err(FrameError::Malformed),
            Ok((message, _)) => Ok(Some(Frame::Message(message))),
        }
    }
}

fn body_length(header: &[u8]) -> Result<usize, FrameError> {
    let mut length = None;
    for line in header.split(|b| *b == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        if !line[..colon].trim_ascii().eq_ignore_ascii_case(b"content-length") {
            continue;
        }
        let digits = line[colon + 1..].trim_ascii();
        if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(FrameError::Malformed);
        }
        let value = digits.iter().fold(0, |n, d| n * 10 + usize::from(d - b'0'));
        if length.is_some_and(|l| l != value) {
            return Err(FrameError::Malformed);
        }
        length = Some(value);
    }
    Ok(length.unwrap_or(0))
}

/// `RTSP/x.y` stands last in a request's first line and first in a response's.
fn check_version(header: &[u8]) -> Result<(), FrameError> {
    let line = header.split(|b| *b == b'\r').next().unwrap_or_default();
    let words = || line.split(|b| *b == b' ');
    let of = |word: Option<&[u8]>| word.and_then(|w| w.strip_prefix(b"RTSP/").map(<[u8]>::to_vec));
    let version = of(words().next()).or_else(|| of(words().next_back()));
    match version.as_deref() {
        Some(b"1.0" | b"2.0") => Ok(()),
        Some(other) if other.iter().all(|b| b.is_ascii_digit() || *b == b'.') => {
            Err(FrameError::Version)
        }
        Some(_) | None => Err(FrameError::Malformed),
    }
}

/// Puts the interleaved header in front of a packet of `length` bytes.
#[must_use]
pub fn interleaved_header(channel: u8, length: u16) -> [u8; 4] {
    let [high, low] = length.to_be_bytes();
    [b'$', channel, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        let mut framer = Framer::default();
        framer.push(bytes);
        framer.next_frame()
    }

    #[test]
    fn byte_by_byte_gives_the_same_as_at_once() {
        let text = b"\r\nSET_PARAMETER rtsp://a/0 RTSP/2.0\r\nCSeq: 1\r\nContent-Length: 3\r\n\r\nabc$\0\0\x01xOPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n";
        let mut framer = Framer::default();
        let mut kinds = Vec::new();
        for byte in text {
            framer.push(&[*byte]);
            while let Some(frame) = framer.next_frame().expect("valid") {
                kinds.push(matches!(frame, Frame::Message(_)));
            }
        }
        assert_eq!(kinds, [true, false, true]);
        assert_eq!(framer.buffered(), 0);
    }

    #[test]
    fn refuses_what_it_cannot_bound() {
        let long = format!("OPTIONS * RTSP/1.0\r\nX: {}", "a".repeat(MAX_HEADER));
        assert_eq!(first(long.as_bytes()).err(), Some(FrameError::HeaderTooLong));
        let body = b"OPTIONS * RTSP/1.0\r\nContent-Length: 65537\r\n\r\n";
        assert_eq!(first(body).err(), Some(FrameError::BodyTooLong));
        let two = b"OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(first(two).err(), Some(FrameError::Malformed));
        assert_eq!(first(b"\x16\x03\x01\x02").err(), Some(FrameError::Malformed));
        assert_eq!(first(b" DESCRIBE * RTSP/1.0\r\n\r\n").err(), Some(FrameError::Malformed));
        assert_eq!(first(b"GET / HTTP/1.1\r\n\r\n").err(), Some(FrameError::Malformed));
        assert_eq!(first(b"OPTIONS * RTSP/3.0\r\n\r\n").err(), Some(FrameError::Version));
        assert_eq!(
            first(b"OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n").err(),
            Some(FrameError::Malformed)
        );
    }
}
