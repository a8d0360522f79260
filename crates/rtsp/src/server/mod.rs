//! The PU's side of one RTSP connection.
//!
//! [`Server`] parses requests, keeps the session and writes answers. What it cannot know it asks
//! for: whether a token is good ([`Output::Admit`]) and sockets for UDP ([`Output::OpenUdp`]). While
//! such a question is open no further request is looked at, and [`Server::wants_input`] is false.
//!
//! One connection holds one session; a second SETUP without its id is refused with 503.
//!
//! ```
//! use std::time::Instant;
//! use sightline_rtsp::server::{Config, Directory, Lookup, Output, Server};
//! # use sightline_model::{ChannelId, StreamTier};
//! struct NoCameras;
//! impl Directory for NoCameras {
//!     fn look_up(&self, _: ChannelId, _: StreamTier) -> Lookup { Lookup::Unknown }
//! }
//! let peer = "192.0.2.9".parse()?;
//! let mut server = Server::new(Config::new(peer), Box::new(|| 4), Instant::now());
//! server.handle_input(b"DESCRIBE rtsp://h/0 RTSP/1.0\r\nCSeq: 1\r\n\r\n", &NoCameras, Instant::now());
//! let Some(Output::Send(bytes)) = server.poll_output() else { panic!() };
//! assert!(bytes.starts_with(b"RTSP/1.0 401 Unauthorized\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod media;
mod methods;
mod replay;
mod resource;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use rtsp_types::{
    Message, Method, Request, Response, ResponseBuilder, StatusCode, Version, headers,
};
use sightline_media::StreamDescription;
use sightline_model::{ChannelId, SessionToken, StreamTier, TokenHash, UnixMicros};

pub use media::{Carriage, PlayTrack, Replayed};
pub use replay::{NoReplay, Replaying, Stamps, Wish};
pub use resource::{Resource, Span};

use crate::{
    TrackKind, rtp,
    transport::Offer,
    wire::{Frame, FrameError, Framer},
};

/// Tokens that one connection may try before it is closed.
const MAX_REFUSALS: u8 = 4;

/// Fixed properties of a connection.
#[derive(Debug, Clone)]
pub struct Config {
    /// The player's address.
    pub peer: IpAddr,
    /// Whether RTP over UDP to `peer` is possible.
    pub udp: bool,
    /// Whether there are recordings.
    pub archive: bool,
    /// Silence after which a session over UDP, a paused one, or a connection without one ends.
    pub session_timeout: Duration,
}

impl Config {
    /// UDP allowed, no recordings, 60 s.
    #[must_use]
    pub const fn new(peer: IpAddr) -> Self {
        Self { peer, udp: true, archive: false, session_timeout: Duration::from_secs(60) }
    }
}

/// What the server knows of cameras.
pub trait Directory {
    /// The stream at this place.
    fn look_up(&self, channel: ChannelId, tier: StreamTier) -> Lookup;
}

/// Answer of a [`Directory`].
#[derive(Debug, Clone)]
pub enum Lookup {
    /// No such camera.
    Unknown,
    /// There, but without a picture; why, in words.
    Offline(String),
    /// Giving media.
    Online {
        /// Name of the camera.
        name: Arc<str>,
        /// Its form.
        stream: Arc<StreamDescription>,
    },
}

/// What [`Server::poll_output`] gives.
#[derive(Debug)]
pub enum Output {
    /// Bytes for the player.
    Send(Bytes),
    /// Check this token; answer with [`Server::admitted`].
    Admit(SessionToken),
    /// Open a pair of UDP ports towards the player; answer with [`Server::udp_opened`].
    OpenUdp {
        /// For which track.
        kind: TrackKind,
        /// Where the player wants RTP.
        rtp: SocketAddr,
        /// Where it wants RTCP.
        rtcp: SocketAddr,
    },
    /// Begin or go on sending this stream, from a keyframe on, on [`Server::tracks_mut`].
    Play(Resource),
    /// Find the form of what was recorded first in the span of this resource; answer with
    /// [`Server::looked_up`].
    LookUp(Resource),
    /// Find what is wanted of a recording; answer with [`Server::replaying`], then send it on
    /// [`Server::tracks_mut`]. What is being sent meanwhile is left when it is found.
    Replay(Wish),
    /// Stop sending, keep the session.
    Pause,
    /// The session is over: close its sockets, forget its stream.
    Teardown,
    /// Close the connection when everything before is written.
    Close,
}

/// What an admitted token allows here.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    /// Which camera.
    pub channel: ChannelId,
    /// Whether watching is among the rights.
    pub view: bool,
    /// Whether hearing is.
    pub listen: bool,
    /// Whether watching recordings is.
    pub playback: bool,
}

#[derive(Debug)]
struct Access {
    token: TokenHash,
    grant: Grant,
}

/// A request that waits for the caller.
enum Parked {
    Access { request: Box<Request<Vec<u8>>>, token: TokenHash },
    Udp { answer: Box<ResponseBuilder>, offer: Box<Offer>, track: Box<PlayTrack> },
    LookUp { request: Box<Request<Vec<u8>>>, resource: Resource },
    Replay { request: Box<Request<Vec<u8>>>, npt: Option<UnixMicros> },
}

struct Session {
    id: String,
    resource: Resource,
    base: url::Url,
    version: Version,
    pipeline: Option<String>,
    tracks: Vec<PlayTrack>,
    playing: bool,
    /// How a recording is played, or was last.
    replay: Option<replay::Replay>,
}

/// See the module.
pub struct Server {
    config: Config,
    random: Box<dyn FnMut() -> u64 + Send>,
    framer: Framer,
    output: VecDeque<Output>,
    access: Option<Access>,
    refusals: u8,
    parked: Option<Parked>,
    session: Option<Session>,
    /// The form of the recording that was asked about last.
    recorded: Option<(Resource, Arc<StreamDescription>)>,
    cseq_out: u32,
    active_at: Instant,
    closed: bool,
}

impl Server {
    /// A fresh connection. `random` gives unpredictable numbers.
    #[must_use]
    pub fn new(config: Config, random: Box<dyn FnMut() -> u64 + Send>, now: Instant) -> Self {
        Self {
            config,
            random,
            framer: Framer::default(),
            output: VecDeque::new(),
            access: None,
            refusals: 0,
            parked: None,
            session: None,
            recorded: None,
            cseq_out: 0,
            active_at: now,
            closed: false,
        }
    }

    /// Whether the caller should read more from the player.
    #[must_use]
    pub const fn wants_input(&self) -> bool {
        self.parked.is_none() && !self.closed
    }

    /// Takes bytes of the player.
    pub fn handle_input(&mut self, bytes: &[u8], directory: &dyn Directory, now: Instant) {
        self.framer.push(bytes);
        self.advance(directory, now);
    }

    /// The answer to [`Output::Admit`]; a refusal names a status code and words for the person.
    pub fn admitted(
        &mut self,
        result: Result<Grant, (u16, String)>,
        directory: &dyn Directory,
        now: Instant,
    ) {
        let (request, token) = match self.parked.take() {
            Some(Parked::Access { request, token }) => (request, token),
            other => {
                self.parked = other;
                return;
            }
        };
        match result {
            Ok(grant) => {
                self.access = Some(Access { token, grant });
                self.dispatch(&request, directory);
            }
            Err((status, words)) => {
                self.refusals += 1;
                let status = match StatusCode::from(status) {
                    status @ (StatusCode::BadRequest
                    | StatusCode::Unauthorized
                    | StatusCode::Forbidden
                    | StatusCode::NotFound
                    | StatusCode::InternalServerError
                    | StatusCode::ServiceUnavailable
                    | StatusCode::GatewayTimeout) => status,
                    _ => StatusCode::Forbidden,
                };
                let answer = self.answer(&request, status).reason_phrase(one_line(&words));
                self.send(answer, None);
                if self.refusals >= MAX_REFUSALS {
                    self.close();
                }
            }
        }
        self.advance(directory, now);
    }

    /// The answer to [`Output::OpenUdp`]: the local address of RTP and the port of RTCP, or `None`
    /// when no ports are left.
    pub fn udp_opened(
        &mut self,
        opened: Option<(SocketAddr, u16)>,
        directory: &dyn Directory,
        now: Instant,
    ) {
        match self.parked.take() {
            Some(Parked::Udp { answer, offer, track }) => {
                self.finish_udp_setup(*answer, &offer, *track, opened);
            }
            other => {
                self.parked = other;
                return;
            }
        }
        self.advance(directory, now);
    }

    /// A packet came to the RTCP port of this session: somebody is listening.
    pub const fn heard(&mut self, now: Instant) {
        self.active_at = now;
    }

    /// Ends everything: RTCP goodbyes, a TEARDOWN where the version knows it (RFC 7826 section
    /// 13.7.2), then the connection.
    pub fn end(&mut self) {
        if let Some(session) = self.session.take() {
            let mut out = BytesMut::new();
            for track in &session.tracks {
                if matches!(track.carriage, Carriage::Interleaved { .. }) && session.playing {
                    track.write_bye(&mut out);
                }
            }
            if session.version == Version::V2_0 {
                self.cseq_out += 1;
                let mut bytes = Vec::new();
                let request = Request::builder(Method::Teardown, Version::V2_0)
                    .request_uri(session.base)
                    .header(headers::CSEQ, self.cseq_out.to_string())
                    .header(headers::SESSION, session.id)
                    .header(headers::TERMINATE_REASON, "Server-Admin")
                    .empty();
                let _ = request.write(&mut bytes);
                out.extend_from_slice(&bytes);
            }
            self.output.push_back(Output::Send(out.freeze()));
            self.output.push_back(Output::Teardown);
        }
        self.close();
    }

    /// When to call [`Server::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // A connection that carries media shows its end by itself.
        let carried = self.session.as_ref().is_some_and(|s| {
            s.playing && s.tracks.iter().all(|t| matches!(t.carriage, Carriage::Interleaved { .. }))
        });
        let grace = self.config.session_timeout + Duration::from_secs(5);
        (!carried && !self.closed && self.parked.is_none()).then(|| self.active_at + grace)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.end();
        }
    }

    /// The next thing to do for the caller.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// The tracks of the session, to send media with.
    pub fn tracks_mut(&mut self) -> &mut [PlayTrack] {
        self.session.as_mut().map_or(&mut [], |s| &mut s.tracks)
    }

    /// Whether media is to be sent.
    #[must_use]
    pub fn playing(&self) -> bool {
        self.session.as_ref().is_some_and(|s| s.playing)
    }

    fn advance(&mut self, directory: &dyn Directory, now: Instant) {
        while self.wants_input() {
            match self.framer.next_frame() {
                Ok(None) => return,
                Ok(Some(Frame::Interleaved { channel, data })) => {
                    if self.is_control_channel(channel) && !rtp::parse_rtcp(&data).is_empty() {
                        self.active_at = now;
                    }
                }
                Ok(Some(Frame::Message(Message::Request(request)))) => {
                    self.active_at = now;
                    self.dispatch(&request, directory);
                }
                Ok(Some(Frame::Message(Message::Response(_) | Message::Data(_)))) => {}
                Err(error) => self.lost_framing(error),
            }
        }
    }

    fn is_control_channel(&self, channel: u8) -> bool {
        let tracks = self.session.as_ref().map(|s| s.tracks.as_slice()).unwrap_or_default();
        tracks
            .iter()
            .any(|t| matches!(t.carriage, Carriage::Interleaved { rtcp, .. } if rtcp == channel))
    }

    fn lost_framing(&mut self, error: FrameError) {
        let status = match error {
            FrameError::Malformed => StatusCode::BadRequest,
            FrameError::HeaderTooLong => StatusCode::RequestURITooLong,
            FrameError::BodyTooLong => StatusCode::RequestMessageBodyTooLarge,
            FrameError::Version => StatusCode::RTSPVersionNotSupported,
        };
        self.send(Response::builder(Version::V1_0, status), None);
        self.end();
    }

    fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.output.push_back(Output::Close);
        }
    }

    /// An answer with the headers that every answer has.
    fn answer(&self, request: &Request<Vec<u8>>, status: StatusCode) -> ResponseBuilder {
        let mut answer = Response::builder(request.version(), status)
            .header(headers::SERVER, concat!("Sightline/", env!("CARGO_PKG_VERSION")));
        if let Some(cseq) = cseq(request) {
            answer = answer.header(headers::CSEQ, cseq.to_string());
        }
        if let Some(pipeline) = request.header(&headers::PIPELINED_REQUESTS)
            && pipeline.as_str().bytes().all(|b| b.is_ascii_alphanumeric())
        {
            answer = answer.header(headers::PIPELINED_REQUESTS, pipeline.as_str());
        }
        match status {
            StatusCode::Ok => answer.reason_phrase("OK"),
            StatusCode::Unauthorized => {
                answer.header(headers::WWW_AUTHENTICATE, "Basic realm=\"sightline\"")
            }
            StatusCode::ServiceUnavailable => answer.header(headers::RETRY_AFTER, "5"),
            StatusCode::MethodNotAllowed => answer.header(headers::ALLOW, methods::PUBLIC),
            _ => answer,
        }
    }

    fn send(&mut self, answer: ResponseBuilder, body: Option<String>) {
        let mut bytes = Vec::new();
        // Writing into memory does not fail.
        let _ = match body {
            Some(body) => answer.build(body.into_bytes()).write(&mut bytes),
            None => answer.empty().write(&mut bytes),
        };
        self.output.push_back(Output::Send(bytes.into()));
    }
}

/// `CSeq` as a number (RFC 7826 section 18.20: up to nine digits).
fn cseq(request: &Request<Vec<u8>>) -> Option<u32> {
    request.header(&headers::CSEQ)?.as_str().trim().parse().ok()
}

/// Words for a reason phrase: no line ends, not endless.
fn one_line(words: &str) -> String {
    words.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(120).collect()
}
