//! What each method does.

use std::net::SocketAddr;

use rtsp_types::{Method, Request, ResponseBuilder, StatusCode, Version, headers};
use sightline_media::StreamDescription;

use super::{
    Access, Carriage, Directory, Lookup, Output, Parked, PlayTrack, Resource, Server, Session,
    cseq, replay, resource,
};
use crate::{
    TrackKind,
    replay::ONVIF_REPLAY,
    sdp,
    transport::{self, Offer},
};

/// Methods that exist here.
pub(super) const PUBLIC: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";
/// Features of RFC 7826 section 11.1 that are here.
const SUPPORTED: &str = "play.basic";
/// What is there besides where there are recordings (RFC 7826 section 11.1, ONVIF).
const WITH_RECORDINGS: [&str; 3] = ["play.scale", "play.speed", ONVIF_REPLAY];

pub(super) type Asked = Request<Vec<u8>>;

impl Server {
    /// Carries out one request. May come here twice: before and after its token was checked.
    pub(super) fn dispatch(&mut self, request: &Asked, directory: &dyn Directory) {
        if cseq(request).is_none() {
            return self.refuse(request, StatusCode::BadRequest);
        }
        if let Some(unknown) = unknown_feature(request, self.config.archive) {
            let answer = self.answer(request, StatusCode::OptionNotSupported);
            return self.send(answer.header(headers::UNSUPPORTED, unknown), None);
        }
        match request.method() {
            Method::Options => self.options(request),
            Method::Describe => self.with_access(request, directory, Self::describe),
            Method::Setup => self.with_access(request, directory, Self::setup),
            Method::Play => self.with_session(request, Self::play),
            Method::Pause => self.with_session(request, Self::pause),
            Method::Teardown => self.with_session(request, Self::teardown),
            Method::GetParameter | Method::SetParameter => self.parameter(request),
            Method::Announce | Method::Record | Method::Redirect | Method::PlayNotify => {
                self.refuse(request, StatusCode::MethodNotAllowed);
            }
            Method::Extension(_) => self.refuse(request, StatusCode::NotImplemented),
        }
    }

    pub(super) fn refuse(&mut self, request: &Asked, status: StatusCode) {
        let answer = self.answer(request, status);
        self.send(answer, None);
    }

    fn options(&mut self, request: &Asked) {
        let mut answer = self.answer(request, StatusCode::Ok).header(headers::PUBLIC, PUBLIC);
        if request.version() == Version::V2_0 {
            let more: &[&str] = if self.config.archive { &WITH_RECORDINGS } else { &[] };
            let supported = [&[SUPPORTED][..], more].concat().join(", ");
            answer = answer.header(headers::SUPPORTED, supported);
        }
        self.send(answer, None);
    }

    /// Lets `then` run when the request's token, or the one that the connection was let in with,
    /// is good for the camera that the URL names.
    fn with_access(
        &mut self,
        request: &Asked,
        directory: &dyn Directory,
        then: fn(&mut Self, &Asked, Resource, &dyn Directory),
    ) {
        let Some(url) = request.request_uri() else {
            return self.refuse(request, StatusCode::BadRequest);
        };
        let authorization = request.header(&headers::AUTHORIZATION).map(|v| v.as_str());
        let token = resource::token(url, authorization);
        match (&self.access, token) {
            (None, None) => return self.refuse(request, StatusCode::Unauthorized),
            (Some(_), None) => {}
            (Some(access), Some(token)) if access.token == token.hash() => {}
            // A session belongs to the token that it began with.
            (Some(_), Some(_)) if self.session.is_some() => {
                return self.refuse(request, StatusCode::Forbidden);
            }
            (None | Some(_), Some(token)) => {
                self.access = None;
                let request = Box::new(request.clone());
                self.parked = Some(Parked::Access { request, token: token.hash() });
                self.output.push_back(Output::Admit(token));
                return;
            }
        }
        let Some(resource) = Resource::parse(url) else {
            return self.refuse(request, StatusCode::NotFound);
        };
        let allowed = |a: &Access| {
            let right = if resource.span.is_some() { a.grant.playback } else { a.grant.view };
            right && a.grant.channel == resource.channel
        };
        if self.access.as_ref().is_some_and(allowed) {
            return then(self, request, resource, directory);
        }
        let status = match directory.look_up(resource.channel, resource.tier) {
            Lookup::Unknown => StatusCode::NotFound,
            Lookup::Offline(_) | Lookup::Online { .. } => StatusCode::Forbidden,
        };
        self.refuse(request, status);
    }

    /// The stream as this viewer may have it: without sound unless they may listen.
    fn stream_for(&self, stream: &StreamDescription) -> StreamDescription {
        let listen = self.access.as_ref().is_some_and(|a| a.grant.listen);
        let audio = stream.audio.clone().filter(|_| listen);
        StreamDescription { video: stream.video.clone(), audio }
    }

    fn describe(&mut self, request: &Asked, resource: Resource, directory: &dyn Directory) {
        let accept = request.header(&headers::ACCEPT).map(|v| v.as_str()).unwrap_or("*/*");
        if !["application/sdp", "application/*", "*/*"].iter().any(|t| accept.contains(t)) {
            return self.refuse(request, StatusCode::NotAcceptable);
        }
        let Some((name, stream)) = self.stream_at(request, resource, directory) else { return };
        let Some(url) = request.request_uri() else { return };
        let base = resource.base(url);
        let number = (self.random)() >> 2;
        let stream = self.stream_for(&stream);
        let description = match &resource.span {
            None => sdp::write(&name, number, &stream),
            Some(span) => sdp::write_recorded(&name, number, &stream, &replay::sdp_range(span)),
        };
        let mut answer = self
            .answer(request, StatusCode::Ok)
            .header(headers::CONTENT_TYPE, "application/sdp")
            .header(headers::CONTENT_BASE, base.as_str())
            .header(headers::CACHE_CONTROL, "no-store");
        if request.version() == Version::V2_0 {
            answer = answer.header(headers::MEDIA_PROPERTIES, replay::properties(&resource));
        }
        self.send(answer, Some(description));
    }

    fn setup(&mut self, request: &Asked, resource: Resource, directory: &dyn Directory) {
        if let Err(status) = self.check_setup(request, &resource) {
            return self.refuse(request, status);
        }
        let Some((_, stream)) = self.stream_at(request, resource, directory) else { return };
        let stream = self.stream_for(&stream);
        let only = match (&stream.video, &stream.audio) {
            (Some(_), None) => Some(TrackKind::Video),
            (None, Some(_)) => Some(TrackKind::Audio),
            (Some(_), Some(_)) | (None, None) => None,
        };
        let Some(kind) = resource.track.or(only) else {
            return self.refuse(request, StatusCode::AggregateOperationNotAllowed);
        };
        let (carriage, offer) = match self.choose(request, kind) {
            Ok(chosen) => chosen,
            Err(status) => return self.refuse(request, status),
        };
        let random = (self.random)();
        let Some(track) = PlayTrack::new(kind, carriage, &stream, random) else {
            return self.refuse(request, StatusCode::NotFound);
        };
        let Some(url) = request.request_uri() else { return };
        if self.session.is_none() {
            let id = format!("{:016x}{:016x}", (self.random)(), (self.random)());
            self.session = Some(Session {
                id,
                resource: Resource { track: None, ..resource },
                base: resource.base(url),
                version: request.version(),
                pipeline: pipeline(request),
                tracks: Vec::new(),
                playing: false,
                replay: None,
            });
        }
        self.set_up_track(request, carriage, offer, track);
    }

    fn check_setup(&self, request: &Asked, resource: &Resource) -> Result<(), StatusCode> {
        let Some(session) = &self.session else {
            return match request.header(&headers::SESSION) {
                Some(_) => Err(StatusCode::SessionNotFound),
                None => Ok(()),
            };
        };
        match request.header(&headers::SESSION) {
            Some(id) if session_id(id.as_str()) == session.id => {}
            Some(_) => return Err(StatusCode::SessionNotFound),
            // RFC 7826 section 18.33: one id for requests sent before the session's is known.
            None if session.pipeline.is_some() && session.pipeline == pipeline(request) => {}
            None => return Err(StatusCode::ServiceUnavailable),
        }
        if !session.resource.same_stream(resource) {
            return Err(StatusCode::AggregateOperationNotAllowed);
        }
        if session.playing { Err(StatusCode::MethodNotValidInThisState) } else { Ok(()) }
    }

    fn set_up_track(
        &mut self,
        request: &Asked,
        carriage: Carriage,
        offer: Offer,
        track: PlayTrack,
    ) {
        let timeout = self.config.session_timeout.as_secs();
        let mut answer = self.answer(request, StatusCode::Ok);
        if let Some(session) = &self.session {
            answer = answer.header(headers::SESSION, format!("{};timeout={timeout}", session.id));
        }
        if let (Version::V2_0, Some(session)) = (request.version(), &self.session) {
            let ranges = if self.config.archive { "npt, clock" } else { "npt" };
            answer = answer
                .header(headers::MEDIA_PROPERTIES, replay::properties(&session.resource))
                .header(headers::ACCEPT_RANGES, ranges);
        }
        match carriage {
            Carriage::Interleaved { rtp, rtcp } => {
                let transport = transport::interleaved_answer((rtp, rtcp), track.sender().ssrc());
                self.keep_track(track);
                self.send(answer.header(headers::TRANSPORT, transport), None);
            }
            Carriage::Udp => {
                let (rtp, rtcp) = offer.client_port.unwrap_or_default();
                self.output.push_back(Output::OpenUdp {
                    kind: track.kind,
                    rtp: SocketAddr::new(self.config.peer, rtp),
                    rtcp: SocketAddr::new(self.config.peer, rtcp),
                });
                let (answer, offer, track) = (Box::new(answer), Box::new(offer), Box::new(track));
                self.parked = Some(Parked::Udp { answer, offer, track });
            }
        }
    }

    pub(super) fn finish_udp_setup(
        &mut self,
        answer: ResponseBuilder,
        offer: &Offer,
        track: PlayTrack,
        opened: Option<(SocketAddr, u16)>,
    ) {
        let Some(server) = opened else {
            // Players ask for interleaved packets next.
            let mut refusal =
                rtsp_types::Response::builder(Version::V1_0, StatusCode::UnsupportedTransport)
                    .empty();
            let answer = answer.empty();
            refusal.set_version(answer.version());
            if let Some(cseq) = answer.header(&headers::CSEQ) {
                refusal.insert_header(headers::CSEQ, cseq.clone());
            }
            let mut bytes = Vec::new();
            let _ = refusal.write(&mut bytes);
            self.output.push_back(Output::Send(bytes.into()));
            if self.session.as_ref().is_some_and(|s| s.tracks.is_empty()) {
                self.session = None;
            }
            return;
        };
        let transport = transport::udp_answer(offer, server, track.sender().ssrc());
        self.keep_track(track);
        self.send(answer.header(headers::TRANSPORT, transport), None);
    }

    fn keep_track(&mut self, track: PlayTrack) {
        if let Some(session) = &mut self.session {
            session.tracks.retain(|t| t.kind != track.kind);
            session.tracks.push(track);
            session.tracks.sort_by_key(|t| t.kind);
        }
    }

    /// The first offer that can be met.
    fn choose(&self, request: &Asked, kind: TrackKind) -> Result<(Carriage, Offer), StatusCode> {
        let header = request.header(&headers::TRANSPORT).ok_or(StatusCode::UnsupportedTransport)?;
        let mut refusal = StatusCode::UnsupportedTransport;
        for offer in transport::parse(header.as_str()) {
            if !offer.plain_rtp || offer.multicast || offer.not_play {
                continue;
            }
            if offer.tcp {
                if let Some((rtp, rtcp)) = self.channels(offer.interleaved, kind) {
                    return Ok((Carriage::Interleaved { rtp, rtcp }, offer));
                }
                refusal = StatusCode::BadRequest;
            } else if self.config.udp && offer.client_port.is_some_and(|(a, b)| a > 0 && b > 0) {
                if offer.only_to(self.config.peer) {
                    return Ok((Carriage::Udp, offer));
                }
                refusal = StatusCode::DestinationProhibited;
            }
        }
        Err(refusal)
    }

    /// The channels asked for, or the next that are free; `None` when another track has them.
    fn channels(&self, asked: Option<(u8, u8)>, kind: TrackKind) -> Option<(u8, u8)> {
        let tracks = self.session.as_ref().map(|s| s.tracks.as_slice()).unwrap_or_default();
        let others = || tracks.iter().filter(|t| t.kind != kind);
        let used = |channel: u8| {
            others().any(|t| match t.carriage {
                Carriage::Interleaved { rtp, rtcp } => rtp == channel || rtcp == channel,
                Carriage::Udp => false,
            })
        };
        match asked {
            Some((rtp, rtcp)) => (rtp != rtcp && !used(rtp) && !used(rtcp)).then_some((rtp, rtcp)),
            None => (0..8).map(|n| (n * 2, n * 2 + 1)).find(|(a, b)| !used(*a) && !used(*b)),
        }
    }

    fn with_session(&mut self, request: &Asked, then: fn(&mut Self, &Asked)) {
        let Some(session) = &self.session else {
            return self.refuse(request, StatusCode::SessionNotFound);
        };
        let named = match request.header(&headers::SESSION) {
            Some(id) => session_id(id.as_str()) == session.id,
            None => session.pipeline.is_some() && session.pipeline == pipeline(request),
        };
        if !named {
            return self.refuse(request, StatusCode::SessionNotFound);
        }
        // A URL that names one track of several would act on half of a session.
        let track = request.request_uri().and_then(Resource::parse).and_then(|r| r.track);
        if track.is_some() && session.tracks.len() > 1 {
            return self.refuse(request, StatusCode::OnlyAggregateOperationAllowed);
        }
        then(self, request);
    }

    pub(super) fn play_live(&mut self, request: &Asked) {
        let Some(session) = &self.session else { return };
        let info = rtp_info(session, request.version(), None);
        let mut answer = self
            .answer(request, StatusCode::Ok)
            .header(headers::SESSION, session.id.as_str())
            .header(headers::RANGE, "npt=now-")
            .header(headers::RTP_INFO, info);
        if request.header(&headers::SCALE).is_some() {
            answer = answer.header(headers::SCALE, "1.0");
        }
        let begin = !session.playing || session.replay.is_some();
        let resource = session.resource;
        self.send(answer, None);
        if let (true, Some(session)) = (begin, &mut self.session) {
            (session.playing, session.replay) = (true, None);
            self.output.push_back(Output::Play(resource));
        }
    }

    fn pause(&mut self, request: &Asked) {
        let Some(session) = self.session.as_mut().filter(|s| s.playing) else {
            return self.refuse(request, StatusCode::MethodNotValidInThisState);
        };
        session.playing = false;
        let id = session.id.clone();
        let range = replay::standing(session).unwrap_or_else(|| "npt=now-".to_owned());
        self.output.push_back(Output::Pause);
        let answer = self.answer(request, StatusCode::Ok).header(headers::SESSION, id);
        self.send(answer.header(headers::RANGE, range), None);
    }

    fn teardown(&mut self, request: &Asked) {
        self.session = None;
        self.output.push_back(Output::Teardown);
        self.refuse(request, StatusCode::Ok);
    }

    /// Without a body, a sign of life (RFC 2326 section 10.8); parameters exist none.
    fn parameter(&mut self, request: &Asked) {
        let mut answer = self.answer(request, StatusCode::Ok);
        if let Some(asked) = request.header(&headers::SESSION) {
            match &self.session {
                Some(session) if session_id(asked.as_str()) == session.id => {
                    answer = answer.header(headers::SESSION, session.id.as_str());
                }
                Some(_) | None => return self.refuse(request, StatusCode::SessionNotFound),
            }
        }
        if request.body().trim_ascii().is_empty() {
            self.send(answer, None);
        } else {
            self.refuse(request, StatusCode::ParameterNotUnderstood);
        }
    }
}

fn session_id(header: &str) -> &str {
    header.split(';').next().unwrap_or_default().trim()
}

fn pipeline(request: &Asked) -> Option<String> {
    request.header(&headers::PIPELINED_REQUESTS).map(|v| v.as_str().trim().to_owned())
}

/// The first feature in `Require` that is not here.
fn unknown_feature(request: &Asked, archive: bool) -> Option<String> {
    let required = request.header(&headers::REQUIRE)?.as_str().to_owned();
    let known = |feature: &&str| {
        matches!(*feature, "" | SUPPORTED) || (archive && WITH_RECORDINGS.contains(feature))
    };
    let unknown = required.split(',').map(str::trim).find(|f| !known(f))?;
    Some(unknown.chars().filter(char::is_ascii_graphic).take(64).collect())
}

/// RFC 2326 section 12.33, RFC 7826 section 18.45. `time_us` stands for the beginning of what is
/// replayed; live, the time of the next packet is not known after a pause and is left out.
pub(super) fn rtp_info(session: &Session, version: Version, time_us: Option<i64>) -> String {
    let of_track = |track: &PlayTrack| {
        let sender = track.sender();
        let sequence = sender.next_sequence();
        let url = format!("{}{}", session.base, track.kind.as_str());
        let time = match time_us {
            Some(time_us) => sender.replay_timestamp(time_us),
            None => sender.first_timestamp(),
        };
        let time = time.map(|t| format!(";rtptime={t}")).unwrap_or_default();
        match version {
            Version::V1_0 => format!("url={url};seq={sequence}{time}"),
            Version::V2_0 => {
                format!("url=\"{url}\" ssrc={:08X}:seq={sequence}{time}", sender.ssrc())
            }
        }
    };
    session.tracks.iter().map(of_track).collect::<Vec<_>>().join(",")
}
