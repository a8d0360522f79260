//! PLAY of recordings.
//!
//! What was recorded is reached in two ways: by `Range: clock=` in a session of the live stream, and
//! by a URL that names a span (`/0/main/20261121T170000Z-20261121T170500Z`), for players that know no
//! more than URLs and `npt`. What is there only the caller knows: requests wait for it.

use std::{sync::Arc, time::Instant};

use bytes::BytesMut;
use rtsp_types::{Method, Request, StatusCode, Version, headers};
use sightline_media::StreamDescription;
use sightline_model::UnixMicros;

use super::{
    Carriage, Directory, Lookup, Output, Parked, Resource, Server, Session, Span, cseq, methods,
    methods::Asked, one_line,
};
use crate::replay::{Frames, NptTime, ONVIF_REPLAY, PlayHeaders, Range, TimeRange};

/// Scales that are played (RFC 7826 section 18.29).
const PROPERTIES: &str =
    "Random-Access, Time-Progressing, Unlimited, Scales=\"-16:-0.125, 0.125:16\"";

/// By which clock recorded units are stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// The recording's own: as ONVIF demands, and in reverse (decision 0093).
    Recorded,
    /// That of showing, which only rises.
    Shown,
}

/// What a player wants of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Whose.
    pub resource: Resource,
    /// From when on; none: from what is shown.
    pub at: Option<UnixMicros>,
    /// Until when, not included; in reverse before [`Self::at`]. None: to the end.
    pub until: Option<UnixMicros>,
    /// How fast the recording's time passes.
    pub scale: f64,
    /// How fast it is sent beside the time of showing.
    pub speed: f64,
    /// Which pictures; none: as many as go through.
    pub frames: Option<Frames>,
    /// Whether the server keeps the pace; else it sends as fast as the player takes.
    pub rate_control: bool,
    /// Whether ONVIF's extension is wanted.
    pub onvif: bool,
    /// Low byte of the `CSeq` of its PLAY, for the extension.
    pub cseq: u8,
}

/// What is played in answer to a [`Wish`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replaying {
    /// From when on.
    pub from: UnixMicros,
    /// Until when; none: to the end.
    pub until: Option<UnixMicros>,
    /// The scale that was chosen.
    pub scale: f64,
    /// The speed that was chosen.
    pub speed: f64,
    /// By which clock units are stamped.
    pub stamps: Stamps,
    /// What stands for `from` on that clock, in microseconds.
    pub time_us: i64,
}

/// Why a recording is not played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoReplay {
    /// Nothing was recorded there.
    Nothing,
    /// The storage fails; in words.
    Failed(String),
}

/// How a session's recording is played.
#[derive(Debug)]
pub(super) struct Replay {
    stamps: Stamps,
    position: UnixMicros,
    until: Option<UnixMicros>,
    reverse: bool,
    /// Where `npt` counts from, when the player asks in that form.
    npt: Option<UnixMicros>,
}

impl Replay {
    fn range(&self, from: UnixMicros, to: Option<UnixMicros>) -> Range {
        match self.npt {
            None => Range::Clock(TimeRange { from: Some(from), to }),
            Some(zero) => {
                let of = |time: UnixMicros| {
                    NptTime::Micros(u64::try_from(time.0.saturating_sub(zero.0)).unwrap_or(0))
                };
                Range::Npt(TimeRange { from: Some(of(from)), to: to.map(of) })
            }
        }
    }
}

/// What a PLAY means.
enum Meaning {
    Live,
    Recorded { at: Option<UnixMicros>, until: Option<UnixMicros>, npt: Option<UnixMicros> },
    Outside,
}

impl Server {
    /// The answer to [`Output::LookUp`]: the form of what was recorded first in the span.
    pub fn looked_up(
        &mut self,
        result: Result<Arc<StreamDescription>, NoReplay>,
        directory: &dyn Directory,
        now: Instant,
    ) {
        let (request, resource) = match self.parked.take() {
            Some(Parked::LookUp { request, resource }) => (request, resource),
            other => {
                self.parked = other;
                return;
            }
        };
        match result {
            Ok(stream) => {
                self.recorded = Some((resource, stream));
                self.dispatch(&request, directory);
            }
            Err(why) => self.refuse_replay(&request, &why),
        }
        self.advance(directory, now);
    }

    /// The answer to [`Output::Replay`]; units follow when it is played.
    pub fn replaying(
        &mut self,
        result: Result<Replaying, NoReplay>,
        directory: &dyn Directory,
        now: Instant,
    ) {
        let (request, npt) = match self.parked.take() {
            Some(Parked::Replay { request, npt }) => (request, npt),
            other => {
                self.parked = other;
                return;
            }
        };
        match result {
            Ok(replaying) => self.begin_replay(&request, &replaying, npt),
            Err(why) => {
                // What was played of it before was left to look for this.
                if let Some(session) = self.session.as_mut().filter(|s| s.replay.is_some()) {
                    session.playing = false;
                }
                self.refuse_replay(&request, &why);
            }
        }
        self.advance(directory, now);
    }

    /// What is being sent of a recording, so that PAUSE can say where it stands.
    pub const fn replayed(&mut self, at: UnixMicros) {
        if let Some(session) = &mut self.session
            && let Some(replay) = &mut session.replay
        {
            replay.position = at;
        }
    }

    /// The span, or the recording, is over: goodbyes for the tracks inside the connection, and a
    /// notice where the version knows it (RFC 7826 section 13.5.1). The session stays.
    pub fn replay_ended(&mut self, now: Instant) {
        let Some(session) = self.session.as_mut().filter(|s| s.playing && s.replay.is_some())
        else {
            return;
        };
        session.playing = false;
        self.active_at = now;
        let mut out = BytesMut::new();
        if session.version == Version::V2_0 {
            self.cseq_out += 1;
            let info = methods::rtp_info(session, session.version, None);
            let mut notice = Request::builder(Method::PlayNotify, Version::V2_0)
                .request_uri(session.base.clone())
                .header(headers::CSEQ, self.cseq_out.to_string())
                .header(headers::SESSION, session.id.as_str())
                .header(headers::NOTIFY_REASON, "end-of-stream")
                .header(headers::RTP_INFO, info);
            if let Some(replay) = &session.replay {
                let range = Range::Clock(TimeRange { from: None, to: Some(replay.position) });
                notice = notice.header(headers::RANGE, range.to_string());
            }
            let mut bytes = Vec::new();
            // Writing into memory does not fail.
            let _ = notice.empty().write(&mut bytes);
            out.extend_from_slice(&bytes);
        }
        for track in &session.tracks {
            if matches!(track.carriage, Carriage::Interleaved { .. }) {
                track.write_bye(&mut out);
            }
        }
        self.output.push_back(Output::Send(out.freeze()));
    }

    /// Name and form of what a resource names; none when the request was refused or has to wait.
    pub(super) fn stream_at(
        &mut self,
        request: &Asked,
        resource: Resource,
        directory: &dyn Directory,
    ) -> Option<(Arc<str>, Arc<StreamDescription>)> {
        let found = match directory.look_up(resource.channel, resource.tier) {
            Lookup::Unknown => {
                self.refuse(request, StatusCode::NotFound);
                return None;
            }
            found @ (Lookup::Offline(_) | Lookup::Online { .. }) => found,
        };
        if resource.span.is_none() {
            if let Lookup::Online { name, stream } = found {
                return Some((name, stream));
            }
            self.refuse(request, StatusCode::ServiceUnavailable);
            return None;
        }
        if !self.config.archive {
            self.refuse_in_words(request, StatusCode::NotImplemented, "nothing is recorded here");
            return None;
        }
        // A camera that is away can be looked back at.
        let name = match found {
            Lookup::Online { name, .. } => name,
            Lookup::Unknown | Lookup::Offline(_) => "Recording".into(),
        };
        match &self.recorded {
            Some((of, stream)) if of.same_stream(&resource) => Some((name, Arc::clone(stream))),
            Some(_) | None => {
                let resource = Resource { track: None, ..resource };
                let request = Box::new(request.clone());
                self.parked = Some(Parked::LookUp { request, resource });
                self.output.push_back(Output::LookUp(resource));
                None
            }
        }
    }

    pub(super) fn play(&mut self, request: &Asked) {
        let Some(session) = self.session.as_ref().filter(|s| !s.tracks.is_empty()) else {
            return self.refuse(request, StatusCode::MethodNotValidInThisState);
        };
        let asked = match PlayHeaders::of(request) {
            Ok(asked) => asked,
            Err(error) => return self.refuse_in_words(request, error.status(), &error.to_string()),
        };
        match meaning(session, &asked) {
            Meaning::Live => self.play_live(request),
            Meaning::Outside => self.refuse_replay(request, &NoReplay::Nothing),
            Meaning::Recorded { .. } if !self.config.archive => {
                let words = "nothing is recorded here";
                self.refuse_in_words(request, StatusCode::InvalidRange, words);
            }
            Meaning::Recorded { .. } if self.access.as_ref().is_none_or(|a| !a.grant.playback) => {
                let words = "you may not watch the recordings of this camera";
                self.refuse_in_words(request, StatusCode::Forbidden, words);
            }
            Meaning::Recorded { at, until, npt } => {
                let wish = Wish {
                    resource: session.resource,
                    at,
                    until,
                    scale: asked.scale.map_or(1.0, |scale| scale.value()),
                    // The most that the player takes (RFC 7826 section 18.50).
                    speed: asked.speed.map_or(1.0, |speed| speed.upper()),
                    frames: asked.frames,
                    rate_control: asked.rate_control,
                    onvif: requires_onvif(request),
                    cseq: cseq(request).unwrap_or(0).to_be_bytes()[3],
                };
                self.parked = Some(Parked::Replay { request: Box::new(request.clone()), npt });
                self.output.push_back(Output::Replay(wish));
            }
        }
    }

    fn begin_replay(&mut self, request: &Asked, replaying: &Replaying, npt: Option<UnixMicros>) {
        let Some(session) = &mut self.session else { return };
        let Replaying { from, until, scale, speed, stamps, time_us } = *replaying;
        // Stamps go on through jumps; those of another clock begin anew.
        if session.replay.as_ref().is_none_or(|before| before.stamps != stamps) {
            for track in &mut session.tracks {
                track.sender_mut().begin_replay(time_us);
            }
        }
        let replay = Replay { stamps, position: from, until, reverse: scale < 0.0, npt };
        let range = replay.range(from, until).to_string();
        session.replay = Some(replay);
        session.playing = true;
        let info = methods::rtp_info(session, request.version(), Some(time_us));
        let id = session.id.clone();
        let mut answer = self
            .answer(request, StatusCode::Ok)
            .header(headers::SESSION, id)
            .header(headers::RANGE, range)
            .header(headers::SCALE, number(scale))
            .header(headers::RTP_INFO, info);
        if request.header(&headers::SPEED).is_some() {
            answer = answer.header(headers::SPEED, number(speed));
        }
        if request.version() == Version::V2_0 {
            answer = answer.header(headers::SEEK_STYLE, "First-Prior");
        }
        self.send(answer, None);
    }

    fn refuse_replay(&mut self, request: &Asked, why: &NoReplay) {
        match why {
            NoReplay::Nothing => {
                let words = "nothing was recorded there";
                self.refuse_in_words(request, StatusCode::InvalidRange, words);
            }
            NoReplay::Failed(words) => {
                self.refuse_in_words(request, StatusCode::ServiceUnavailable, words);
            }
        }
    }

    pub(super) fn refuse_in_words(&mut self, request: &Asked, status: StatusCode, words: &str) {
        let answer = self.answer(request, status).reason_phrase(one_line(words));
        self.send(answer, None);
    }
}

/// `a=range` of a span.
pub(super) fn sdp_range(span: &Span) -> String {
    let range = match span.to {
        Some(to) => {
            let length = u64::try_from(to.0.saturating_sub(span.from.0)).unwrap_or(0);
            let (from, to) = (NptTime::Micros(0), NptTime::Micros(length));
            Range::Npt(TimeRange { from: Some(from), to: Some(to) })
        }
        None => Range::clock_from(span.from),
    };
    range.to_string()
}

/// RFC 7826 section 18.29.
pub(super) const fn properties(resource: &Resource) -> &'static str {
    match resource.span {
        // A live stream that is not kept.
        None => "No-Seeking, Time-Progressing, Time-Duration=0.0",
        Some(_) => PROPERTIES,
    }
}

/// Where `session` stands in its recording, for PAUSE; none when it is live.
pub(super) fn standing(session: &Session) -> Option<String> {
    let replay = session.replay.as_ref()?;
    Some(replay.range(replay.position, None).to_string())
}

fn requires_onvif(request: &Asked) -> bool {
    let required = request.header(&headers::REQUIRE).map(|v| v.as_str()).unwrap_or_default();
    required.split(',').any(|feature| feature.trim() == ONVIF_REPLAY)
}

fn meaning(session: &Session, asked: &PlayHeaders) -> Meaning {
    let reverse = asked.is_reverse();
    let Some(span) = session.resource.span else {
        return match (&asked.range, &session.replay) {
            (Some(Range::Clock(TimeRange { from, to })), _) => {
                let at = Some(from.unwrap_or_else(|| edge(reverse)));
                Meaning::Recorded { at, until: *to, npt: None }
            }
            (None, Some(replay)) => {
                // An end that lies the other way has no meaning any more.
                let until = replay.until.filter(|_| replay.reverse == reverse);
                Meaning::Recorded { at: None, until, npt: None }
            }
            // Every beginning of a live stream means now (RFC 7826 section 13.4.6).
            (Some(Range::Npt(_)), _) | (None, None) => Meaning::Live,
        };
    };
    let (begin, end) = if reverse {
        (span.to.unwrap_or_else(|| edge(true)), Some(span.from))
    } else {
        (span.from, span.to)
    };
    let after = |time: NptTime| match time {
        NptTime::Now => None,
        NptTime::Micros(us) => {
            Some(UnixMicros(span.from.0.saturating_add(i64::try_from(us).unwrap_or(i64::MAX))))
        }
    };
    let (at, until, npt) = match asked.range {
        None if session.replay.is_some() => (None, None, None),
        None => (Some(begin), None, None),
        Some(Range::Clock(range)) => (Some(range.from.unwrap_or(begin)), range.to, None),
        Some(Range::Npt(TimeRange { from, to })) => {
            let (from, to) = (from.map(after), to.map(after));
            if from == Some(None) || to == Some(None) {
                return Meaning::Outside;
            }
            (Some(from.flatten().unwrap_or(begin)), to.flatten(), Some(span.from))
        }
    };
    // The span bounds what is played of it.
    let until = match (until, end) {
        (Some(until), Some(end)) if reverse => Some(until.max(end)),
        (Some(until), Some(end)) => Some(until.min(end)),
        (until, end) => until.or(end),
    };
    let is_outside = |at: UnixMicros| at < span.from || span.to.is_some_and(|to| at > to);
    let is_empty = |at: UnixMicros| match until {
        Some(until) if reverse => until >= at,
        Some(until) => until <= at,
        None => false,
    };
    match at {
        Some(at) if is_outside(at) || is_empty(at) => Meaning::Outside,
        Some(_) | None => Meaning::Recorded { at, until, npt },
    }
}

/// Where a recording begins: in reverse, its end.
const fn edge(reverse: bool) -> UnixMicros {
    UnixMicros(if reverse { i64::MAX } else { i64::MIN })
}

/// As both RFCs write scales.
fn number(value: f64) -> String {
    crate::replay::Scale::new(value).map_or_else(|| "1.0".to_owned(), |scale| scale.to_string())
}
