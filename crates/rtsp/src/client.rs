//! The dialogue of a viewer with a PU: RTSP with media inside the same connection.
//!
//! [`Client`] asks for everything by itself: DESCRIBE, SETUP of the known tracks, PLAY, then a
//! keepalive. The caller moves bytes:
//!
//! ```
//! use std::time::Instant;
//! use sightline_model::UnixMicros;
//! use sightline_rtsp::client::{Client, Event, Options, Output};
//!
//! let url = "rtsp://192.0.2.7:554/0/main".parse()?;
//! let mut client = Client::new(Options::new(url));
//! let now = Instant::now();
//! client.start(now);
//! // After every call: drain the outputs, write the bytes.
//! while let Some(output) = client.poll_output() {
//!     match output {
//!         Output::Send(bytes) => assert!(bytes.starts_with(b"DESCRIBE rtsp://192.0.2.7")),
//!         Output::Event(Event::Described(stream)) => println!("{stream:?}"),
//!         Output::Event(Event::Unit(unit)) => println!("{} bytes", unit.len()),
//!         Output::Event(_) => {}
//!     }
//! }
//! // What the connection gives, with the time it came:
//! client.handle_input(b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n", now, UnixMicros(0));
//! assert!(matches!(client.poll_output(), Some(Output::Event(Event::Failed(_)))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Wake it with [`Client::handle_timeout`] when [`Client::poll_timeout`] says so.

mod io;
mod track;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use rtsp_types::{HeaderName, Message, Method, Request, Response, StatusCode, Version, headers};
use sightline_media::AccessUnit;
use sightline_model::UnixMicros;
use url::Url;

use crate::{
    depacketize::Depacketizer,
    replay::{ONVIF_REPLAY, ReplayExtension},
    rtp::{self, Packet, Rtcp},
    sdp::{self, Track},
    transport,
    wire::{Frame, Framer, interleaved_header},
};

pub use io::{ClientError, Event, Options, Output, Replay};
use track::ActiveTrack;

/// How long the server may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Session timeout when the server names none (RFC 2326 section 12.37).
const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    Describe,
    Setup(usize),
    Play,
    Pause,
    Playing,
    Paused,
    Teardown,
    Over,
}

/// See the module.
pub struct Client {
    options: Options,
    version: Version,
    framer: Framer,
    output: VecDeque<Output>,
    step: Step,
    cseq: u32,
    awaited: Option<(u32, Instant)>,
    keepalive_cseq: Option<u32>,
    base: Url,
    aggregate: Url,
    session: Option<String>,
    session_timeout: Duration,
    keepalive_at: Option<Instant>,
    described: Vec<Track>,
    tracks: Vec<ActiveTrack>,
    units: Vec<AccessUnit>,
}

impl Client {
    /// A client that has not begun.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut base = options.url.clone();
        base.set_query(None);
        let _ = (base.set_username(""), base.set_password(None));
        Self {
            version: if options.version_2 { Version::V2_0 } else { Version::V1_0 },
            framer: Framer::default(),
            output: VecDeque::new(),
            step: Step::Idle,
            cseq: 0,
            awaited: None,
            keepalive_cseq: None,
            aggregate: base.clone(),
            base,
            session: None,
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            keepalive_at: None,
            described: Vec::new(),
            tracks: Vec::new(),
            units: Vec::new(),
            options,
        }
    }

    /// Begins: asks for the description, then goes on by itself until media flows.
    pub fn start(&mut self, now: Instant) {
        let mut url = self.options.url.clone();
        if let Some(token) = &self.options.token {
            url.query_pairs_mut().append_pair("token", token.expose());
        }
        let request =
            self.request(Method::Describe, &url).header(headers::ACCEPT, "application/sdp");
        self.step = Step::Describe;
        self.send(request, now);
    }

    /// Asks the server to pause; [`Event::Paused`] follows. Does nothing unless media flows.
    pub fn pause(&mut self, now: Instant) {
        if self.step == Step::Playing {
            let request = self.request(Method::Pause, &self.aggregate.clone());
            self.step = Step::Pause;
            self.send(request, now);
        }
    }

    /// Goes on after a pause, with the newest keyframe.
    pub fn resume(&mut self, now: Instant) {
        if self.step == Step::Paused {
            self.play(now);
        }
    }

    /// Ends the session; [`Event::Ended`] follows.
    pub fn teardown(&mut self, now: Instant) {
        match self.step {
            Step::Teardown | Step::Over => {}
            Step::Idle => self.end(Event::Ended),
            Step::Describe
            | Step::Setup(_)
            | Step::Play
            | Step::Pause
            | Step::Playing
            | Step::Paused => {
                let request = self.request(Method::Teardown, &self.aggregate.clone());
                self.step = Step::Teardown;
                self.send(request, now);
            }
        }
    }

    /// Takes bytes of the connection; `received_at` dates units until the server has sent its own
    /// clock.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant, received_at: UnixMicros) {
        self.framer.push(bytes);
        while self.step != Step::Over {
            match self.framer.next_frame() {
                Ok(None) => return,
                Ok(Some(Frame::Interleaved { channel, data })) => {
                    self.media(channel, data, received_at);
                }
                Ok(Some(Frame::Message(Message::Response(response)))) => {
                    self.response(&response, now);
                }
                Ok(Some(Frame::Message(Message::Request(request)))) => self.answer(&request),
                Ok(Some(Frame::Message(Message::Data(_)))) => {}
                Err(error) => self.fail(error.into()),
            }
        }
    }

    /// When to call [`Client::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let answer = self.awaited.map(|(_, until)| until);
        answer.into_iter().chain(self.keepalive_at).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.awaited.is_some_and(|(_, until)| until <= now) {
            if self.step == Step::Teardown {
                self.end(Event::Ended);
            } else {
                self.fail(ClientError::Timeout);
            }
            return;
        }
        if self.keepalive_at.is_some_and(|at| at <= now) {
            self.keepalive(now);
        }
    }

    /// The next thing to do for the caller.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    fn request(&mut self, method: Method, url: &Url) -> rtsp_types::RequestBuilder {
        self.cseq += 1;
        let mut request = Request::builder(method, self.version)
            .request_uri(url.clone())
            .header(headers::CSEQ, self.cseq.to_string())
            .header(headers::USER_AGENT, concat!("sightline/", env!("CARGO_PKG_VERSION")));
        if let Some(session) = &self.session {
            request = request.header(headers::SESSION, session.as_str());
        }
        request
    }

    fn send(&mut self, request: rtsp_types::RequestBuilder, now: Instant) {
        self.awaited = Some((self.cseq, now + ANSWER_TIMEOUT));
        let mut bytes = Vec::new();
        // Writing into memory does not fail.
        let _ = request.empty().write(&mut bytes);
        self.output.push_back(Output::Send(bytes.into()));
    }

    fn keepalive(&mut self, now: Instant) {
        let request = self.request(Method::GetParameter, &self.aggregate.clone());
        self.keepalive_cseq = Some(self.cseq);
        let awaited = self.awaited;
        self.send(request, now);
        // A server may leave a keepalive unanswered; media tells whether it lives.
        self.awaited = awaited;
        self.keepalive_at = Some(now + self.session_timeout / 2);
        for index in 0..self.tracks.len() {
            let (channel, ssrc) = (self.tracks[index].channel, self.tracks[index].ssrc);
            let report = rtp::receiver_report(ssrc ^ 1);
            let mut out = BytesMut::with_capacity(4 + report.len());
            let length = u16::try_from(report.len()).unwrap_or(0);
            out.put_slice(&interleaved_header(channel + 1, length));
            out.put_slice(&report);
            self.output.push_back(Output::Send(out.freeze()));
        }
    }

    fn response(&mut self, response: &Response<Vec<u8>>, now: Instant) {
        let cseq = response.header(&headers::CSEQ).and_then(|v| v.as_str().trim().parse().ok());
        if cseq.is_some() && cseq == self.keepalive_cseq {
            self.keepalive_cseq = None;
            if response.status() == StatusCode::SessionNotFound {
                self.refused("GET_PARAMETER", response);
            }
            return;
        }
        if response.status().is_informational() || self.awaited.map(|(c, _)| c) != cseq {
            return;
        }
        self.awaited = None;
        let ok = response.status().is_success();
        match self.step {
            Step::Describe if ok => self.described(response, now),
            Step::Setup(index) if ok => self.set_up(index, response, now),
            Step::Play if ok => {
                self.step = Step::Playing;
                self.output.push_back(Output::Event(Event::Playing));
            }
            Step::Pause if ok => {
                self.step = Step::Paused;
                self.output.push_back(Output::Event(Event::Paused));
            }
            Step::Teardown => self.end(Event::Ended),
            Step::Describe => self.refused("DESCRIBE", response),
            Step::Setup(_) => self.refused("SETUP", response),
            Step::Play => self.refused("PLAY", response),
            Step::Pause => self.refused("PAUSE", response),
            Step::Idle | Step::Playing | Step::Paused | Step::Over => {}
        }
    }

    fn described(&mut self, response: &Response<Vec<u8>>, now: Instant) {
        let description = match sdp::parse(response.body()) {
            Ok(description) => description,
            Err(error) => return self.fail(error.into()),
        };
        let base = [headers::CONTENT_BASE, headers::CONTENT_LOCATION]
            .iter()
            .find_map(|name| response.header(name)?.as_str().trim().parse::<Url>().ok());
        if let Some(base) = base {
            self.base = base;
        }
        self.aggregate = self.resolve(description.control.as_deref());
        self.output.push_back(Output::Event(Event::Described(description.stream())));
        self.described = description.tracks;
        self.setup(0, now);
    }

    /// RFC 2326 appendix C.1.1: controls are relative to the base, which counts as a folder.
    fn resolve(&self, control: Option<&str>) -> Url {
        match control.map(str::trim) {
            None | Some("*" | "") => self.base.clone(),
            Some(control) => {
                let mut folder = self.base.clone();
                if !folder.path().ends_with('/') {
                    folder.set_path(&format!("{}/", folder.path()));
                }
                folder.join(control).unwrap_or(folder)
            }
        }
    }

    fn setup(&mut self, index: usize, now: Instant) {
        let Some(track) = self.described.get(index) else { return self.play(now) };
        let url = self.resolve(track.control.clone().as_deref());
        let first = u8::try_from(index * 2).unwrap_or(0);
        let offer = format!("RTP/AVP/TCP;unicast;interleaved={first}-{}", first + 1);
        let request = self.request(Method::Setup, &url).header(headers::TRANSPORT, offer);
        self.step = Step::Setup(index);
        self.send(request, now);
    }

    fn set_up(&mut self, index: usize, response: &Response<Vec<u8>>, now: Instant) {
        let answer = |what| ClientError::Answer { method: "SETUP", what };
        let Some(session) = response.header(&headers::SESSION) else {
            return self.fail(answer("names no session"));
        };
        let (id, parameters) = session.as_str().split_once(';').unwrap_or((session.as_str(), ""));
        self.session = Some(id.trim().to_owned());
        if let Some(seconds) = parameters.trim().strip_prefix("timeout=")
            && let Ok(seconds) = seconds.trim().parse::<u32>()
        {
            self.session_timeout = Duration::from_secs(u64::from(seconds.clamp(2, 3_600)));
        }
        let header = response.header(&headers::TRANSPORT).map(|v| v.as_str().to_owned());
        let chosen = transport::parse(&header.unwrap_or_default()).into_iter().next();
        let Some(channels) = chosen.as_ref().and_then(|c| c.interleaved) else {
            return self.fail(answer("names no channels"));
        };
        if let Some(track) = self.described.get(index) {
            self.tracks.push(ActiveTrack {
                depacketizer: Depacketizer::new(track),
                track: track.clone(),
                channel: channels.0.min(254),
                clock: None,
                ssrc: chosen.and_then(|c| c.ssrc).unwrap_or(0),
            });
        }
        self.setup(index + 1, now);
    }

    fn play(&mut self, now: Instant) {
        let url = self.aggregate.clone();
        let request = self.request(Method::Play, &url);
        let request = match self.options.replay {
            None => request.header(headers::RANGE, "npt=now-"),
            // The URL says from where to where; after a pause it goes on.
            Some(Replay { scale, rate_control, recorded_times }) => {
                let request = request.header(headers::SCALE, scale.to_string());
                let request = if recorded_times {
                    request.header(headers::REQUIRE, ONVIF_REPLAY)
                } else {
                    request
                };
                match HeaderName::from_static_str("Rate-Control") {
                    Ok(name) if !rate_control => request.header(name, "no"),
                    Ok(_) | Err(_) => request,
                }
            }
        };
        self.step = Step::Play;
        self.send(request, now);
        self.keepalive_at = Some(now + self.session_timeout / 2);
    }

    /// A request of the server: RFC 7826 lets it end the session or give notice.
    fn answer(&mut self, request: &Request<Vec<u8>>) {
        let cseq = request.header(&headers::CSEQ).map(|v| v.as_str().to_owned());
        let known = matches!(
            request.method(),
            Method::Options | Method::Teardown | Method::PlayNotify | Method::GetParameter
        );
        let status = if known { StatusCode::Ok } else { StatusCode::NotImplemented };
        let mut response = Response::builder(request.version(), status);
        // Only a number is echoed, so nothing can be smuggled into our own header.
        if let Some(cseq) = cseq.and_then(|c| c.trim().parse::<u32>().ok()) {
            response = response.header(headers::CSEQ, cseq.to_string());
        }
        let mut bytes = Vec::new();
        let _ = response.empty().write(&mut bytes);
        self.output.push_back(Output::Send(bytes.into()));
        if *request.method() == Method::Teardown {
            self.end(Event::Ended);
        }
    }

    fn media(&mut self, channel: u8, data: Bytes, received_at: UnixMicros) {
        let of_channel = |t: &&mut ActiveTrack| t.channel == channel || t.channel + 1 == channel;
        let Some(track) = self.tracks.iter_mut().find(of_channel) else { return };
        if channel != track.channel {
            return self.control(channel, &data);
        }
        let told = ReplayExtension::parse(&data);
        let Some(packet) = Packet::parse(data) else { return };
        if packet.payload_type != track.track.payload_type {
            return;
        }
        track.ssrc = packet.ssrc;
        if let Some(told) = told {
            track.clock = Some((packet.timestamp, told.time));
        }
        let captured_at = track.captured_at(packet.timestamp).unwrap_or(received_at);
        track.depacketizer.push(&packet, captured_at, &mut self.units);
        if self.options.raw_packets {
            let kind = track.track.kind();
            self.output.push_back(Output::Event(Event::Packet(kind, packet)));
        }
        self.output.extend(self.units.drain(..).map(|unit| Output::Event(Event::Unit(unit))));
    }

    fn control(&mut self, channel: u8, data: &[u8]) {
        for part in rtp::parse_rtcp(data) {
            match part {
                Rtcp::SenderReport { time, timestamp, .. } => {
                    let track = self.tracks.iter_mut().find(|t| t.channel + 1 == channel);
                    if let Some(track) = track {
                        track.clock = Some((timestamp, time));
                    }
                }
                Rtcp::Bye => return self.end(Event::Ended),
                Rtcp::ReceiverReport { .. } | Rtcp::Other => {}
            }
        }
    }

    fn refused(&mut self, method: &'static str, response: &Response<Vec<u8>>) {
        let status = response.status().into();
        let reason = response.reason_phrase().to_owned();
        self.fail(ClientError::Refused { method, status, reason });
    }

    fn fail(&mut self, error: ClientError) {
        self.end(Event::Failed(error));
    }

    fn end(&mut self, event: Event) {
        if self.step != Step::Over {
            self.step = Step::Over;
            self.awaited = None;
            self.keepalive_at = None;
            self.output.push_back(Output::Event(event));
        }
    }
}
