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
//! segment in a file of that name. Segments take `Range`, so that a broken download goes on. Players
//! that cannot show a bearer token name it in the query.

mod playlist;

use std::{
    io::{self, SeekFrom},
    ops::{Range, RangeInclusive},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{self, HeaderMap},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use sightline_media_io::{
    files::{Caller, Files, Io, Leave},
    gate::BoxFuture,
};
use sightline_model::{ChannelId, Right, SessionToken, StreamTier, UnixMicros};
use sightline_protocol::{Problem, ProblemKind};
use sightline_recording::{
    chain::Proof,
    statement::{Digest, Sequence, Subject},
};
use sightline_recording_store::{MAX_PAGE, OpenFile, SegmentRow, Store, StoreError, file_name};
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    sync::Mutex,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::io::ReaderStream;

use self::playlist::{Listed, MAX_LISTED, playlist};
use crate::StoreArchive;

/// Most segments that one proof is made for: more than a day of them.
pub const MAX_PROVEN: usize = 25_000;
/// A head that is not complete, or a next request that does not come, within this ends a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Who takes nothing for so long is given up.
const STALL: Duration = Duration::from_secs(10);
/// What is read from a file at once, in bytes.
const CHUNK: usize = 64 << 10;

type Body = UnsyncBoxBody<Bytes, io::Error>;

impl Files for StoreArchive {
    fn serve(self: Arc<Self>, io: Box<dyn Io>, caller: Caller) -> BoxFuture<'static, ()> {
        let mut io = TimeoutStream::new(io);
        io.set_write_timeout(Some(STALL));
        let connection = Arc::new(Connection { archive: self, caller, leave: Mutex::default() });
        Box::pin(async move {
            let serving = Arc::clone(&connection);
            let service = service_fn(move |request| {
                let serving = Arc::clone(&serving);
                async move { Ok::<_, std::convert::Infallible>(serving.answer(request).await) }
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

/// One connection: leave that was given once holds as long as it is asked for with the same token.
struct Connection {
    archive: Arc<StoreArchive>,
    caller: Caller,
    leave: Mutex<Option<Given>>,
}

struct Given {
    token: SessionToken,
    leave: Leave,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ask {
    channel: ChannelId,
    tier: StreamTier,
    what: What,
    /// Of the query.
    token: Option<SessionToken>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Proof(Range<UnixMicros>),
    Playlist(Range<UnixMicros>),
    Segment(Sequence),
}

impl Ask {
    fn parse(path: &str, query: Option<&str>) -> Option<Self> {
        let mut parts = path.strip_prefix("/recordings/")?.split('/');
        let channel = ChannelId(parts.next()?.parse().ok()?);
        let tier = match parts.next()? {
            "main" => StreamTier::Main,
            "sub" => StreamTier::Sub,
            _ => return None,
        };
        let Query { from, to, token } = Query::parse(query.unwrap_or_default())?;
        let span = from.zip(to).map(|(from, to)| from..to).filter(|span| span.start < span.end);
        let what = match (parts.next()?, parts.next()) {
            ("proof", None) => What::Proof(span?),
            ("playlist.m3u8", None) => What::Playlist(span?),
            (name, None) => {
                let sequence = Sequence(name.strip_suffix(".mp4")?.parse().ok()?);
                // One file has one name.
                (name == file_name(sequence)).then_some(What::Segment(sequence))?
            }
            _ => return None,
        };
        Some(Self { channel, tier, what, token })
    }
}

#[derive(Debug, Default)]
struct Query {
    from: Option<UnixMicros>,
    to: Option<UnixMicros>,
    token: Option<SessionToken>,
}

impl Query {
    fn parse(query: &str) -> Option<Self> {
        let mut found = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "from" => found.from = Some(time(&value)?),
                "to" => found.to = Some(time(&value)?),
                "token" => found.token = Some(SessionToken::new(value.into_owned())),
                _ => return None,
            }
        }
        Some(found)
    }
}

fn time(text: &str) -> Option<UnixMicros> {
    let micros = text.parse::<i64>().ok();
    let micros = micros.or_else(|| Some(text.parse::<Timestamp>().ok()?.as_microsecond()));
    micros.map(UnixMicros)
}

impl Connection {
    /// When the session is over that leave was given for.
    async fn ended(&self) {
        loop {
            let ended = self.leave.lock().await.as_ref().map(|g| g.leave.admission.ended.clone());
            let Some(mut ended) = ended else {
                // Looked at again soon: whoever has no leave yet gets nothing either.
                tokio::time::sleep(HEAD_WITHIN).await;
                continue;
            };
            // An error means that its end can no longer be told: it is over, too.
            let _ = ended.wait_for(Option::is_some).await;
            return;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let found = self.find(&request).await;
        found.unwrap_or_else(|problem| refusal(&problem))
    }

    async fn find(&self, request: &Request<Incoming>) -> Result<Response<Body>, Problem> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let why = "recordings are only read";
            return Err(Problem::new(ProblemKind::InvalidRequest, why));
        }
        let uri = request.uri();
        let ask = Ask::parse(uri.path(), uri.query());
        let ask =
            ask.ok_or_else(|| Problem::new(ProblemKind::NotFound, "there is no such file"))?;
        let token = ask.token.clone().or_else(|| in_header(request.headers()));
        let token = token
            .ok_or_else(|| Problem::new(ProblemKind::Unauthenticated, "a play token is needed"))?;
        self.may(token, ask.channel).await?;
        let archive = &self.archive;
        let store = archive.store.borrow().clone();
        let store = store.ok_or_else(|| {
            Problem::new(ProblemKind::CameraOffline, "the recordings' storage is away")
        })?;
        let subject = archive.subject(ask.channel, ask.tier).ok_or_else(nothing)?;
        let is_head = request.method() == Method::HEAD;
        match ask.what {
            What::Proof(span) => archive.proof(&store, &subject, span).await,
            What::Playlist(span) => {
                archive.playlist(&store, &subject, span, ask.token.as_ref()).await
            }
            What::Segment(sequence) => {
                let opened = archive.segment(&store, &subject, sequence).await?;
                segment(opened, request.headers(), is_head).await
            }
        }
    }

    /// Whether the caller may fetch this camera's recordings.
    async fn may(&self, token: SessionToken, channel: ChannelId) -> Result<(), Problem> {
        let mut given = self.leave.lock().await;
        if given.as_ref().is_none_or(|given| given.token != token) {
            // The one before ends first.
            *given = None;
            let leave = self.caller.admit(&token).await?;
            *given = Some(Given { token, leave });
        }
        let Some(Given { leave, .. }) = &*given else { return Err(nothing()) };
        let grant = &leave.admission.grant;
        let rights = [Right::Playback, Right::Listen];
        if grant.channel != channel || !rights.iter().all(|right| grant.rights.allows(*right)) {
            let why = "you have no right to fetch this camera's recordings, picture and sound";
            return Err(Problem::new(ProblemKind::Forbidden, why));
        }
        Ok(())
    }
}

fn in_header(headers: &HeaderMap) -> Option<SessionToken> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(|token| SessionToken::new(token.to_owned()))
}

impl StoreArchive {
    fn subject(&self, channel: ChannelId, tier: StreamTier) -> Option<Subject> {
        let camera = (self.camera_of)(channel)?;
        Some(Subject { recorder: self.recorder.clone(), camera, tier })
    }

    /// What of a span may be seen.
    fn seen(&self, span: &Range<UnixMicros>) -> Vec<Range<UnixMicros>> {
        let Some(visible) = &self.visible else { return vec![span.clone()] };
        let visible = visible.borrow().clone();
        visible.iter().filter_map(|part| crate::cut(span, part)).collect()
    }

    async fn proof(
        &self,
        store: &Store,
        subject: &Subject,
        span: Range<UnixMicros>,
    ) -> Result<Response<Body>, Problem> {
        let mut chains = Vec::new();
        for part in self.seen(&span) {
            let inside = self.whole_segments(store, subject, part).await?;
            let Some(inside) = inside else { continue };
            match store.prove(subject, inside, MAX_PROVEN).await {
                Ok(proven) => chains.extend(proven.map(|proven| proven.proof)),
                Err(StoreError::Misuse(_)) => {
                    let why = "that is more than a day; ask for less at a time";
                    return Err(Problem::new(ProblemKind::InvalidRequest, why));
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        if chains.is_empty() {
            return Err(nothing());
        }
        let json = Proof::new(chains).to_json();
        let json = json.map_err(|e| Problem::new(ProblemKind::Internal, e.to_string()))?;
        Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CACHE_CONTROL, "no-store")
            .body(full(json.into()))
            .map_err(|e| Problem::new(ProblemKind::Internal, e.to_string()))
    }

    async fn playlist(
        &self,
        store: &Store,
        subject: &Subject,
        span: Range<UnixMicros>,
        token: Option<&SessionToken>,
    ) -> Result<Response<Body>, Problem> {
        let mut listed = Vec::new();
        for part in self.seen(&span) {
            let inside = self.whole_segments(store, subject, part).await?;
            let Some(inside) = inside else { continue };
            let mut after = None;
            loop {
                let page = store.segments(subject, inside.clone(), after, MAX_PAGE).await;
                let page = page.map_err(|error| failed(&error))?;
                for row in page.rows.into_iter().filter(|row| !row.damaged) {
                    if listed.len() == MAX_LISTED {
                        let why = "that is more than six hours; ask for less at a time";
                        return Err(Problem::new(ProblemKind::InvalidRequest, why));
                    }
                    listed.extend(head_of(store, subject, row).await?);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        if listed.is_empty() {
            return Err(nothing());
        }
        let token = token.map(|token| {
            let mut query = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
            query.append_pair("token", token.expose()).finish()
        });
        let text = playlist(&listed, token.as_deref().unwrap_or_default());
        Response::builder()
            .header(header::CONTENT_TYPE, "application/vnd.apple.mpegurl")
            .header(header::CACHE_CONTROL, "no-store")
            .body(full(text.into()))
            .map_err(|e| Problem::new(ProblemKind::Internal, e.to_string()))
    }

    /// The part of a span in which no segment begins that was begun for somebody else.
    async fn whole_segments(
        &self,
        store: &Store,
        subject: &Subject,
        part: Range<UnixMicros>,
    ) -> Result<Option<Range<UnixMicros>>, Problem> {
        let first = store.segments(subject, part.clone(), None, 1).await;
        let first = first.map_err(|error| failed(&error))?.rows.into_iter().next();
        let Some(first) = first else { return Ok(None) };
        let own = self.seen(&(first.start()..first.end()));
        let from = if own == [first.start()..first.end()] { part.start } else { first.end() };
        let inside = from.max(part.start)..part.end;
        Ok((inside.start < inside.end).then_some(inside))
    }

    async fn segment(
        &self,
        store: &Store,
        subject: &Subject,
        sequence: Sequence,
    ) -> Result<OpenFile, Problem> {
        let opened = store.open_file(subject, sequence).await.map_err(|error| failed(&error))?;
        let opened = opened.ok_or_else(nothing)?;
        let whole = opened.row.start()..opened.row.end();
        if self.seen(&whole) == [whole] { Ok(opened) } else { Err(nothing()) }
    }
}

/// A segment as a playlist lists it; none: it has expired since it was found.
async fn head_of(
    store: &Store,
    subject: &Subject,
    row: SegmentRow,
) -> Result<Option<Listed>, Problem> {
    let opened = store.open_file(subject, row.sequence).await.map_err(|error| failed(&error))?;
    let Some(OpenFile { file, .. }) = opened else { return Ok(None) };
    let SegmentRow { sequence, segment, correction_us, .. } = row;
    let mut head = Vec::new();
    let mut file = tokio::fs::File::from_std(file).take(segment.head_len.into());
    let read = file.read_to_end(&mut head).await;
    read.map_err(|e| Problem::new(ProblemKind::CameraOffline, e.to_string()))?;
    let head = Digest(Sha256::digest(&head).into());
    Ok(Some(Listed { sequence, segment, head, correction_us }))
}

/// A segment's bytes, or those of it that were asked for (RFC 9110, 14).
async fn segment(
    opened: OpenFile,
    headers: &HeaderMap,
    is_head: bool,
) -> Result<Response<Body>, Problem> {
    let OpenFile { file, len, row } = opened;
    let internal = |e: &dyn std::fmt::Display| Problem::new(ProblemKind::Internal, e.to_string());
    let etag = format!("\"{}\"", row.segment.content);
    let asked = match wanted(headers, &etag, len) {
        Ok(asked) => asked,
        Err(Unsatisfiable) => {
            return Response::builder()
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{len}"))
                .body(empty())
                .map_err(|e| internal(&e));
        }
    };
    let answer = Response::builder()
        .header(header::CONTENT_TYPE, "video/mp4")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, etag)
        .header(header::CACHE_CONTROL, "private, immutable");
    let (from, count, answer) = match asked {
        None => (0, len, answer),
        Some(range) => {
            let (from, to) = (*range.start(), *range.end());
            let stated = format!("bytes {from}-{to}/{len}");
            let answer = answer.status(StatusCode::PARTIAL_CONTENT);
            (from, to - from + 1, answer.header(header::CONTENT_RANGE, stated))
        }
    };
    let answer = answer.header(header::CONTENT_LENGTH, count);
    let body = if is_head { empty() } else { stream(file, from, count).await? };
    answer.body(body).map_err(|e| internal(&e))
}

async fn stream(file: std::fs::File, from: u64, count: u64) -> Result<Body, Problem> {
    let mut file = tokio::fs::File::from_std(file);
    let sought = file.seek(SeekFrom::Start(from)).await;
    sought.map_err(|e| Problem::new(ProblemKind::Internal, e.to_string()))?;
    let chunks = ReaderStream::with_capacity(file.take(count), CHUNK);
    Ok(StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync())
}

#[derive(Debug, PartialEq, Eq)]
struct Unsatisfiable;

/// The one range that is asked for; none: all of it.
fn wanted(
    headers: &HeaderMap,
    etag: &str,
    len: u64,
) -> Result<Option<RangeInclusive<u64>>, Unsatisfiable> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(range) = text(header::RANGE) else { return Ok(None) };
    if text(header::IF_RANGE).is_some_and(|condition| condition != etag) {
        return Ok(None);
    }
    // What is no range of bytes is left out of account (RFC 9110, 14.2).
    let Ok(parsed) = http_range_header::parse_range_header(range) else { return Ok(None) };
    let valid = parsed.validate(len).map_err(|_| Unsatisfiable)?;
    let mut valid = valid.into_iter();
    match (valid.next(), valid.next()) {
        (Some(one), None) => Ok(Some(one)),
        // Several at once nobody asks us for; all of it holds them.
        _ => Ok(None),
    }
}

fn refusal(problem: &Problem) -> Response<Body> {
    let json = serde_json::to_vec(problem).unwrap_or_default();
    let mut answer = Response::new(full(json.into()));
    let status = StatusCode::from_u16(problem.kind.status());
    *answer.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = header::HeaderValue::from_static("application/problem+json");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn nothing() -> Problem {
    Problem::new(ProblemKind::NotFound, "nothing of that is recorded")
}

fn failed(error: &StoreError) -> Problem {
    tracing::warn!(%error, "recordings cannot be read for a download");
    Problem::new(ProblemKind::CameraOffline, "the recordings' storage fails")
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests;
