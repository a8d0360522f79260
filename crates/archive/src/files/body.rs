//! Bodies of answers.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::{self, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// What is handed out, or read from a file, at once; in bytes.
pub(super) const CHUNK: usize = 64 << 10;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body that was made in memory. Its place is free again when the last of it has been sent.
pub(super) fn placed(bytes: Vec<u8>, place: OwnedSemaphorePermit) -> Body {
    Pieces(Bytes::from_owner(Placed { bytes, _place: place })).boxed_unsync()
}

struct Placed {
    bytes: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Hands out a little at a time: what was handed out, a server may copy before it is sent.
struct Pieces(Bytes);

impl body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let count = self.0.len().min(CHUNK);
        let piece = (count > 0).then(|| self.0.split_to(count));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::body::Body as _;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_place_is_taken_until_the_last_piece_has_gone() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().expect("free");
        let mut body = placed(vec![7; CHUNK + 1], place);
        assert_eq!(body.size_hint().exact(), Some(CHUNK as u64 + 1));
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.expect("no error").into_data().expect("bytes"));
        }
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK, 1]);
        drop(body);
        assert_eq!(places.available_permits(), 0, "not all of it has been sent");
        drop(pieces);
        assert_eq!(places.available_permits(), 1);
    }
}
