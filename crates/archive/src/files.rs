//! Recordings as files, by HTTP/1.1: the segments, byte for byte, and what proves them (decision 0095).
//!
//! ```text
//! GET /recordings/0/main/proof?from=2026-11-21T17:00:00Z&to=2026-11-21T17:10:00Z
//! GET /recordings/0/main/playlist.m3u8?from=…&to=…&token=…
//! GET /recordings/0/main/000000000017.mp4
//! Authorization: Bearer <play token>
//! ```
//!
//! Times are those of RFC 3339, or microseconds since 1970; a proof is as decision 0091 says, with each
//! segment in a file of that name. Segments take `Range`, so that a broken download goes on; one whose
//! file is lost is 410. Players that cannot show a bearer token name it in the query.

mod ask;
mod body;
mod connection;
mod playlist;
mod segment;
mod spans;

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sightline_media_io::{
    files::{Caller, Files, Io},
    gate::BoxFuture,
};
use sightline_protocol::{Problem, ProblemKind};
use sightline_recording_store::StoreError;
use tokio_io_timeout::TimeoutStream;

use self::connection::Connection;
pub use self::spans::MAX_PROVEN;
use crate::StoreArchive;

/// A head that is not complete, or a next request that does not come, within this ends a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Who takes nothing for so long is given up.
const STALL: Duration = Duration::from_secs(10);

impl Files for StoreArchive {
    fn serve(self: Arc<Self>, io: Box<dyn Io>, caller: Caller) -> BoxFuture<'static, ()> {
        let mut io = TimeoutStream::new(io);
        io.set_write_timeout(Some(STALL));
        let connection = Arc::new(Connection::new(self, caller));
        Box::pin(async move {
            let serving = Arc::clone(&connection);
            let service = service_fn(move |request| {
                let serving = Arc::clone(&serving);
                async move { Ok::<_, Infallible>(serving.answer(request).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
            let served = http.serve_connection(TokioIo::new(Box::pin(io)), service);
            tokio::select! {
                served = served => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "a download's connection ended");
                    }
                }
                () = connection.ended() => tracing::info!("a download's session ended"),
            }
        })
    }
}

fn nothing() -> Problem {
    Problem::new(ProblemKind::NotFound, "nothing of that is recorded")
}

fn failed(error: &StoreError) -> Problem {
    tracing::warn!(%error, "recordings cannot be read for a download");
    Problem::new(ProblemKind::StorageAway, "the recordings' storage fails")
}
