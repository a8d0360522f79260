//! One connection: who asks, for how long they may, and how often they may be refused.

use std::sync::Arc;

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderValue},
};
use sightline_media_io::files::{Caller, Leave};
use sightline_model::{ChannelId, Right, SessionToken};
use sightline_protocol::{Problem, ProblemKind};
use tokio::sync::{Mutex, watch};

use super::{
    ask::{Ask, What},
    body::{Body, full},
    nothing, segment,
};
use crate::StoreArchive;

/// So many refusals end a connection: as many as an RTSP connection gets.
const MAX_REFUSALS: u8 = 4;

/// Leave that was given once holds as long as it is asked for with the same token.
pub(super) struct Connection {
    archive: Arc<StoreArchive>,
    caller: Caller,
    state: Mutex<State>,
    /// What tells the end of the session whose leave holds.
    holds: watch::Sender<Option<Ended>>,
}

#[derive(Default)]
struct State {
    given: Option<Given>,
    refusals: u8,
}

struct Given {
    token: SessionToken,
    leave: Leave,
}

/// Becomes `Some` when the session is over.
type Ended = watch::Receiver<Option<Problem>>;

/// Why nothing is given, and the status that says so.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    problem: Problem,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { status: problem.kind.status(), problem }
    }
}

impl Refusal {
    /// What was recorded, but is not there any more: asking again is of no use.
    pub fn lost() -> Self {
        let why = "this part of the recording is lost: its file is missing or damaged";
        let status = StatusCode::GONE.as_u16();
        Self { status, problem: Problem::new(ProblemKind::NotFound, why) }
    }

    fn answer(&self) -> Response<Body> {
        let json = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut answer = Response::new(full(json.into()));
        let status = StatusCode::from_u16(self.status);
        *answer.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = HeaderValue::from_static("application/problem+json");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        answer
    }
}

impl Connection {
    pub fn new(archive: Arc<StoreArchive>, caller: Caller) -> Self {
        let (state, holds) = (Mutex::default(), watch::Sender::new(None));
        Self { archive, caller, state, holds }
    }

    /// Resolves when the session is over whose leave holds then.
    pub async fn ended(&self) {
        let mut holds = self.holds.subscribe();
        loop {
            let ended = holds.borrow_and_update().clone();
            tokio::select! {
                // First: the end of a session whose leave has been given back is nobody's.
                biased;
                // Cannot fail: the sender is ours.
                _ = holds.changed() => {}
                () = over(ended) => return,
            }
        }
    }

    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let refused = match self.find(&request).await {
            Ok(answer) => return answer,
            Err(refused) => refused,
        };
        let mut answer = refused.answer();
        if self.is_guessing(&refused).await {
            tracing::info!("a download's connection ends after too many refusals");
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }

    async fn find(&self, request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let why = "recordings are only read";
            return Err(Problem::new(ProblemKind::InvalidRequest, why).into());
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
            Problem::new(ProblemKind::StorageAway, "the recordings' storage is away")
        })?;
        let subject = archive.subject(ask.channel, ask.tier).ok_or_else(nothing)?;
        let is_head = request.method() == Method::HEAD;
        match ask.what {
            What::Proof(span) => Ok(archive.proof(&store, &subject, &span).await?),
            What::Playlist(span) => {
                Ok(archive.playlist(&store, &subject, &span, ask.token.as_ref()).await?)
            }
            What::Segment(sequence) => {
                let opened = archive.segment(&store, &subject, sequence).await?;
                Ok(segment::answer(opened, request.headers(), is_head).await?)
            }
        }
    }

    /// Whether the caller may fetch this camera's recordings.
    async fn may(&self, token: SessionToken, channel: ChannelId) -> Result<(), Problem> {
        let mut state = self.state.lock().await;
        if state.given.as_ref().is_none_or(|given| given.token != token) {
            // The one before ends first, and its end is not that of what follows.
            self.holds.send_replace(None);
            state.given = None;
            let leave = self.caller.admit(&token).await?;
            self.holds.send_replace(Some(leave.admission.ended.clone()));
            state.given = Some(Given { token, leave });
        }
        let Some(Given { leave, .. }) = &state.given else { return Err(nothing()) };
        let ended = &leave.admission.ended;
        if let Some(why) = ended.borrow().clone() {
            return Err(why);
        }
        // Its end can no longer be told.
        if ended.has_changed().is_err() {
            return Err(Problem::new(ProblemKind::Unauthenticated, "the session is over"));
        }
        let grant = &leave.admission.grant;
        let rights = [Right::Playback, Right::Listen];
        if grant.channel != channel || !rights.iter().all(|right| grant.rights.allows(*right)) {
            let why = "you have no right to fetch this camera's recordings, picture and sound";
            return Err(Problem::new(ProblemKind::Forbidden, why));
        }
        Ok(())
    }

    /// Whether somebody without leave was refused once too often. Whoever has it may ask for what is
    /// not there, but not show other tokens for ever.
    async fn is_guessing(&self, refused: &Refusal) -> bool {
        let mut state = self.state.lock().await;
        let is_a_guess = refused.status == StatusCode::UNAUTHORIZED.as_u16();
        if is_a_guess || state.given.is_none() {
            state.refusals = state.refusals.saturating_add(1);
        }
        state.refusals >= MAX_REFUSALS
    }
}

/// Resolves when a session is over; never without one.
async fn over(ended: Option<Ended>) {
    match ended {
        Some(mut ended) => {
            // An error means that its end can no longer be told: it is over, too.
            let _ = ended.wait_for(Option::is_some).await;
        }
        None => std::future::pending().await,
    }
}

fn in_header(headers: &HeaderMap) -> Option<SessionToken> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(|token| SessionToken::new(token.to_owned()))
}
