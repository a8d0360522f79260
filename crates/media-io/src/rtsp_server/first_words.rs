//! What a peer speaks that has just come.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

/// HTTP's own method; RTSP has none that begins so.
const GET: &[u8] = b"GET ";
/// Most bytes read to find it out: all that came together.
const MOST: u64 = 8 << 10;
/// Who says nothing for so long is taken for a player: players are waited for longer.
const WITHIN: Duration = Duration::from_secs(5);

/// Whether it is HTTP. What was read is in `early`.
pub(super) async fn are_http(
    reader: &mut (impl AsyncRead + Unpin),
    early: &mut BytesMut,
    token: &CancellationToken,
) -> bool {
    let decided = async {
        loop {
            if let Some(method) = early.get(..GET.len()) {
                return method == GET;
            }
            if !GET.starts_with(early) {
                return false;
            }
            if !matches!((&mut *reader).take(MOST).read_buf(early).await, Ok(1..)) {
                return false;
            }
        }
    };
    tokio::select! {
        () = token.cancelled() => false,
        decided = tokio::time::timeout(WITHIN, decided) => decided.unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn decided(pieces: &[&[u8]]) -> (bool, BytesMut) {
        let (mut theirs, mut ours) = tokio::io::duplex(64);
        let (token, mut early) = (CancellationToken::new(), BytesMut::new());
        let say = async {
            for piece in pieces {
                theirs.write_all(piece).await.expect("read");
                tokio::task::yield_now().await;
            }
            theirs
        };
        let (is, _theirs) = tokio::join!(are_http(&mut ours, &mut early, &token), say);
        (is, early)
    }

    #[tokio::test(start_paused = true)]
    async fn http_is_told_from_rtsp_by_its_first_word() {
        assert!(decided(&[b"GET /recordings"]).await.0);
        assert!(decided(&[b"G", b"E", b"T", b" /"]).await.0);
        for rtsp in [&b"OPTIONS"[..], b"GET_PARAMETER", b"$", b"G"] {
            let (is, early) = decided(&[rtsp]).await;
            assert!(!is);
            assert_eq!(early, rtsp, "nothing of it is lost");
        }
        assert!(!decided(&[]).await.0, "who says nothing is a player");
    }
}
