//! HTTP inside the QUIC connection.

use std::{
    ops::Range,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use quinn::Connection;
use sha2::{Digest as _, Sha256};
use sightline_model::{ChannelId, SessionToken, StreamTier, UnixMicros};
use sightline_protocol::Problem;
use sightline_recording::{
    chain::{MAX_PROOF_LEN, Proof},
    statement::Digest,
};
use tokio::{
    fs::{self, File, OpenOptions},
    io::{AsyncReadExt, AsyncWriteExt},
    task::AbortHandle,
};

use super::{Part, cannot};
use crate::{
    error::{CuError, Exit},
    play::session::Session,
};

/// Nothing comes for so long: the connection is taken for broken.
const STALL: Duration = Duration::from_secs(20);
/// Longest refusal that is read, in bytes.
const MAX_REFUSAL: usize = 64 << 10;

/// Counts what came.
#[derive(Debug, Default)]
pub(super) struct Fetched(AtomicU64);

impl Fetched {
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection.
pub(super) struct Fetch {
    requests: SendRequest<Empty<Bytes>>,
    token: SessionToken,
    /// Moves the bytes; ends with this.
    driver: AbortHandle,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Fetch {
    pub async fn open(connection: &Connection, session: &Session) -> Result<Self, CuError> {
        let (send, receive) = connection.open_bi().await.map_err(|e| lost(&e))?;
        let io = TokioIo::new(tokio::io::join(receive, send));
        let (requests, driving) = http1::handshake(io).await.map_err(|e| lost(&e))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = driving.await {
                tracing::debug!(%error, "the download's connection ended");
            }
        });
        let (token, driver) = (session.answer.token.clone(), driver.abort_handle());
        Ok(Self { requests, token, driver })
    }

    /// What proves the recordings of a span.
    pub async fn proof(
        &mut self,
        channel: ChannelId,
        tier: StreamTier,
        span: Range<UnixMicros>,
    ) -> Result<Proof, CuError> {
        let (from, to) = (span.start.0, span.end.0);
        let path = format!("/recordings/{channel}/{}/proof?from={from}&to={to}", word(tier));
        let answer = self.get(&path, 0).await?;
        let body = Limited::new(answer.into_body(), MAX_PROOF_LEN).collect();
        let body = tokio::time::timeout(STALL, body).await.map_err(|_| stalled())?;
        let body = body.map_err(|e| lost(e.as_ref()))?.to_bytes();
        Proof::parse(&body).map_err(|e| CuError::security(format!("the camera's proof: {e}")))
    }

    /// Fetches one segment into the folder, or what is missing of it.
    pub async fn segment(
        &mut self,
        channel: ChannelId,
        tier: StreamTier,
        part: &Part,
        (folder, progress): (&Path, &Fetched),
        say: impl Fn(u64),
    ) -> Result<(), CuError> {
        let whole = folder.join(&part.name);
        if is_signed(&whole, part).await {
            return Ok(());
        }
        let begun = folder.join(format!("{}.begun", part.name));
        let cannot_write = |e: std::io::Error| cannot("write", &begun, &e);
        let mut have = fs::metadata(&begun).await.map_or(0, |stat| stat.len());
        if have >= part.segment.len {
            have = 0;
        }
        let path = format!("/recordings/{channel}/{}/{}", word(tier), part.name);
        let mut answer = self.get(&path, have).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            have = 0;
        }
        let mut open = OpenOptions::new();
        let open = open.create(true).write(true).truncate(have == 0).append(have > 0);
        let mut file = open.open(&begun).await.map_err(cannot_write)?;
        loop {
            let frame = tokio::time::timeout(STALL, answer.body_mut().frame()).await;
            let Some(frame) = frame.map_err(|_| stalled())? else { break };
            let Ok(bytes) = frame.map_err(|e| lost(&e))?.into_data() else { continue };
            have += bytes.len() as u64;
            if have > part.segment.len {
                break;
            }
            file.write_all(&bytes).await.map_err(cannot_write)?;
            progress.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            say(have);
        }
        file.sync_all().await.map_err(cannot_write)?;
        drop(file);
        if !is_signed(&begun, part).await {
            // What came is of no use, also not to be gone on with.
            fs::remove_file(&begun).await.map_err(cannot_write)?;
            return Err(CuError::security(format!(
                "the bytes of {} are not those that the recorder has signed",
                part.name
            )));
        }
        fs::rename(&begun, &whole).await.map_err(cannot_write)
    }

    async fn get(&mut self, path: &str, from: u64) -> Result<Response<Incoming>, CuError> {
        let mut request = Request::get(path)
            .header(header::HOST, "camera")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()));
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let request = request.body(Empty::new());
        let request = request.map_err(|e| CuError::other(format!("no request: {e}")))?;
        self.requests.ready().await.map_err(|e| lost(&e))?;
        let answer = tokio::time::timeout(STALL, self.requests.send_request(request)).await;
        let answer = answer.map_err(|_| stalled())?.map_err(|e| lost(&e))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_REFUSAL).collect().await;
        let body = body.map_err(|e| lost(e.as_ref()))?.to_bytes();
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(CuError::from(problem)),
            // An older unit speaks RTSP alone.
            Err(_) => Err(CuError::new(
                Exit::Other,
                format!("the camera's unit does not hand out recordings ({status}); update it"),
            )),
        }
    }
}

/// Whether a file holds the bytes that were signed.
async fn is_signed(path: &Path, part: &Part) -> bool {
    let Ok(mut file) = File::open(path).await else { return false };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).await {
            Ok(0) => return Digest(hasher.finalize().into()) == part.segment.content,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(_) => return false,
        }
    }
}

const fn word(tier: StreamTier) -> &'static str {
    match tier {
        StreamTier::Main => "main",
        StreamTier::Sub => "sub",
    }
}

fn lost(error: &(dyn std::error::Error + 'static)) -> CuError {
    CuError::unreachable(format!("the connection to the camera broke: {error}"))
}

fn stalled() -> CuError {
    CuError::unreachable("the camera sends nothing any more")
}
