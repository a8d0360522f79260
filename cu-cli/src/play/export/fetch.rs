//! HTTP inside the QUIC connection.
//!
//! The unit closes a stream on which nothing is asked for a few seconds; the connection below
//! stays. So a stream that was closed says nothing, and another one is opened.

use std::{ops::Range, path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use quinn::{Connection, RecvStream, SendStream};
use sightline_model::{ChannelId, SessionToken, StreamTier, UnixMicros};
use sightline_protocol::Problem;
use sightline_recording::{
    chain::{MAX_PROOF_LEN, Proof},
    statement::Digest,
};
use tokio::{
    fs::{self, OpenOptions},
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, Join},
    task::AbortHandle,
    time::timeout,
};

use super::{
    blocking, cannot,
    checked::Part,
    folder::{Folder, hash_of},
    word,
};
use crate::error::{CuError, Exit};

/// Nothing comes for so long: the connection is taken for broken.
const STALL: Duration = Duration::from_secs(20);
/// Longest refusal that is read, in bytes.
const MAX_REFUSAL: usize = 64 << 10;

/// Where streams to the camera's unit come from.
pub(super) trait Dial {
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens one.
    async fn dial(&self) -> Result<Self::Io, CuError>;
}

impl Dial for Connection {
    type Io = Join<RecvStream, SendStream>;

    async fn dial(&self) -> Result<Self::Io, CuError> {
        let (send, receive) = self.open_bi().await.map_err(|e| lost(&e))?;
        Ok(tokio::io::join(receive, send))
    }
}

/// Asks a unit for the recordings of one camera and tier.
pub(super) struct Fetch<'a, D> {
    dial: &'a D,
    token: SessionToken,
    /// What the paths begin with.
    place: String,
    stream: Option<Stream>,
}

/// A stream, as long as both sides keep it.
struct Stream {
    requests: SendRequest<Empty<Bytes>>,
    /// Moves the bytes; ends with this.
    driver: AbortHandle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Stream {
    async fn open(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, CuError> {
        let (requests, driving) = http1::handshake(TokioIo::new(io)).await.map_err(|e| lost(&e))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = driving.await {
                tracing::debug!(%error, "the download's connection ended");
            }
        });
        Ok(Self { requests, driver: driver.abort_handle() })
    }
}

impl<'a, D: Dial> Fetch<'a, D> {
    pub fn new(dial: &'a D, token: SessionToken, of: (ChannelId, StreamTier)) -> Self {
        let (channel, tier) = of;
        let place = format!("/recordings/{channel}/{}", word(tier));
        Self { dial, token, place, stream: None }
    }

    /// What proves the recordings of a span.
    pub async fn proof(&mut self, span: &Range<UnixMicros>) -> Result<Proof, CuError> {
        let path = format!("{}/proof?from={}&to={}", self.place, span.start.0, span.end.0);
        let answer = self.get(&path, None).await?;
        let Some(body) = whole(answer.into_body(), MAX_PROOF_LEN).await? else {
            return Err(CuError::other(format!(
                "the camera's proof has more than {} MB; ask for less at a time",
                MAX_PROOF_LEN / 1_000_000
            )));
        };
        Proof::parse(&body).map_err(|e| CuError::security(format!("the camera's proof: {e}")))
    }

    /// Fetches one segment into the folder, or what is missing of it.
    pub async fn segment(
        &mut self,
        part: &Part,
        folder: &mut Folder,
        say: impl Fn(u64),
    ) -> Result<(), CuError> {
        let content = part.segment.content;
        if folder.has(content) {
            return Ok(());
        }
        let begun = folder.begun(content);
        loop {
            let continued = self.bytes(part, folder, &say).await?;
            if hash(&begun).await? == content {
                return folder.keep(content).await;
            }
            // What came is of no use, also not to be gone on with.
            fs::remove_file(&begun).await.map_err(|e| cannot("remove", &begun, &e))?;
            // A loss of power may have torn what lay here: then the unit is not to blame.
            if !continued {
                return Err(CuError::security(format!(
                    "the bytes of {} are not those that the recorder has signed",
                    part.name
                )));
            }
        }
    }

    /// Fetches the bytes of a segment that have not come yet; says whether there were others, which
    /// these go on from.
    async fn bytes(
        &mut self,
        part: &Part,
        folder: &mut Folder,
        say: &impl Fn(u64),
    ) -> Result<bool, CuError> {
        let segment = &part.segment;
        let begun = folder.begun(segment.content);
        let cannot_write = |e: std::io::Error| cannot("write", &begun, &e);
        let mut have = fs::metadata(&begun).await.map_or(0, |stat| stat.len());
        if have >= segment.len {
            have = 0;
        }
        let path = format!("{}/{}", self.place, part.name);
        let rest = (have > 0).then_some((have, segment.content));
        let mut answer = self.get(&path, rest).await?;
        let continued = have > 0 && answer.status() == StatusCode::PARTIAL_CONTENT;
        if !continued {
            have = 0;
        }
        let mut open = OpenOptions::new();
        let open = open.create(true).write(true).truncate(!continued).append(continued);
        let mut file = open.open(&begun).await.map_err(cannot_write)?;
        loop {
            let frame = timeout(STALL, answer.body_mut().frame()).await;
            let Some(frame) = frame.map_err(|_| stalled())? else { break };
            let Ok(bytes) = frame.map_err(|e| lost(&e))?.into_data() else { continue };
            have += bytes.len() as u64;
            if have > segment.len {
                break;
            }
            file.write_all(&bytes).await.map_err(cannot_write)?;
            folder.count(bytes.len() as u64);
            say(have);
        }
        file.sync_all().await.map_err(cannot_write)?;
        Ok(continued)
    }

    /// Asks for a file; `rest`: only for what lies behind so many bytes, if it is the file with
    /// this hash.
    async fn get(
        &mut self,
        path: &str,
        rest: Option<(u64, Digest)>,
    ) -> Result<Response<Incoming>, CuError> {
        loop {
            let request = self.request(path, rest)?;
            let (stream, used) = self.stream().await?;
            let answer = timeout(STALL, stream.requests.send_request(request)).await;
            match answer.map_err(|_| stalled())? {
                Ok(answer) => return accepted(answer).await,
                // The unit may have closed it while the request was on its way.
                Err(_) if used => self.stream = None,
                Err(error) => return Err(lost(&error)),
            }
        }
    }

    fn request(
        &self,
        path: &str,
        rest: Option<(u64, Digest)>,
    ) -> Result<Request<Empty<Bytes>>, CuError> {
        let mut request = Request::get(path)
            .header(header::HOST, "camera")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()));
        if let Some((from, content)) = rest {
            request = request
                .header(header::RANGE, format!("bytes={from}-"))
                .header(header::IF_RANGE, format!("\"{content}\""));
        }
        let request = request.body(Empty::new());
        request.map_err(|e| CuError::other(format!("no request: {e}")))
    }

    /// A stream that takes a request, and whether it has carried one before.
    async fn stream(&mut self) -> Result<(&mut Stream, bool), CuError> {
        if let Some(mut stream) = self.stream.take()
            && matches!(timeout(STALL, stream.requests.ready()).await, Ok(Ok(())))
        {
            return Ok((self.stream.insert(stream), true));
        }
        let io = timeout(STALL, self.dial.dial()).await.map_err(|_| stalled())??;
        let stream = Stream::open(io).await?;
        Ok((self.stream.insert(stream), false))
    }
}

/// The answer, unless it is a refusal.
async fn accepted(answer: Response<Incoming>) -> Result<Response<Incoming>, CuError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = whole(answer.into_body(), MAX_REFUSAL).await?.unwrap_or_default();
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(CuError::from(problem)),
        // An older unit speaks RTSP alone.
        Err(_) => Err(CuError::new(
            Exit::Other,
            format!("the camera's unit does not hand out recordings ({status}); update it"),
        )),
    }
}

/// All bytes of a body, which may take its time as long as something comes. None: there are more
/// than `most`.
async fn whole<B>(mut body: B, most: usize) -> Result<Option<Vec<u8>>, CuError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    let mut whole = Vec::new();
    loop {
        let frame = timeout(STALL, body.frame()).await.map_err(|_| stalled())?;
        let Some(frame) = frame else { return Ok(Some(whole)) };
        let Ok(bytes) = frame.map_err(|e| lost(&e))?.into_data() else { continue };
        if bytes.len() > most - whole.len() {
            return Ok(None);
        }
        whole.extend_from_slice(&bytes);
    }
}

async fn hash(path: &Path) -> Result<Digest, CuError> {
    let path = path.to_path_buf();
    blocking(move || hash_of(&path).map_err(|e| cannot("read", &path, &e))).await
}

fn lost(error: &(dyn std::error::Error + 'static)) -> CuError {
    CuError::unreachable(format!("the connection to the camera broke: {error}"))
}

fn stalled() -> CuError {
    CuError::unreachable("the camera sends nothing any more")
}

#[cfg(test)]
mod tests;
