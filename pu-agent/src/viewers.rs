//! Calls that come through the centre (A8.4 with step 4 travelling CU, SCU, PU): checks who
//! offers, has the media engine answer, and signs the answer with the unit's key.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use sightline_media_io::{
    gate::{Admission, BoxFuture, Gate},
    webrtc,
};
use sightline_model::{MediaSessionId, UserId};
use sightline_p2p_net::p2p::{Description, DescriptionError};
use sightline_protocol::{
    Problem, ProblemKind,
    cm::IceServer,
    cs,
    ps::{
        MediaAnswer, PuToScu, RecordingAnswer, RecordingCall, ScuToPu, TokenBearer, answer_bytes,
        dtls_fingerprint, offer_bytes,
    },
};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::Instrument;

use crate::{
    gate::PuGate,
    identity::Identity,
    ladders::Ladders,
    recorder::Recorder,
    uplink::{Handler, Uplink},
};

/// Offers that are being answered at a time; more are refused as busy.
const MAX_OFFERS: usize = 64;
/// Questions about recordings that are being answered at a time; more are refused as busy.
const MAX_QUESTIONS: usize = 16;
/// Candidates of one session that may wait; more are lost, as RFC 8838 allows.
const MAX_CANDIDATES: usize = 32;
/// Signals to the engine that may wait; more candidates are lost, ends are told by the gate too.
const MAX_SIGNALS: usize = 256;

/// What answers offers: [`webrtc::Engine`], or a stand-in where there is no media.
pub trait Answerer: Send + Sync + 'static {
    /// Answers an offer whose bearer has been admitted.
    fn offer(
        &self,
        request: webrtc::OfferRequest,
    ) -> BoxFuture<'_, Result<webrtc::Answer, Problem>>;
    /// A candidate of the viewer.
    fn candidate(&self, session: MediaSessionId, line: String) -> BoxFuture<'_, ()>;
    /// Ends a session.
    fn end(&self, session: MediaSessionId, problem: Option<Problem>) -> BoxFuture<'_, ()>;
}

impl Answerer for webrtc::Engine {
    fn offer(
        &self,
        request: webrtc::OfferRequest,
    ) -> BoxFuture<'_, Result<webrtc::Answer, Problem>> {
        Box::pin(self.offer(request))
    }

    fn candidate(&self, session: MediaSessionId, line: String) -> BoxFuture<'_, ()> {
        Box::pin(self.candidate(session, line))
    }

    fn end(&self, session: MediaSessionId, problem: Option<Problem>) -> BoxFuture<'_, ()> {
        Box::pin(self.end(session, problem))
    }
}

enum Signal {
    Candidate(MediaSessionId, String),
    End(MediaSessionId, Option<Problem>),
}

/// Hears the SCU; cheap to clone.
#[derive(Clone)]
pub struct Viewers {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Arc<Identity>,
    gate: PuGate,
    uplink: Uplink,
    engine: Arc<dyn Answerer>,
    /// Calls over QUIC, where there is an endpoint for them.
    ladders: Option<Ladders>,
    /// What records, where that is configured.
    recorder: Option<Recorder>,
    questions: Arc<Semaphore>,
    offers: Arc<Semaphore>,
    signals: mpsc::Sender<Signal>,
    /// Candidates of sessions whose offer is still being checked.
    early: Mutex<HashMap<MediaSessionId, Vec<String>>>,
    servers: watch::Sender<Vec<IceServer>>,
    lifecycle: Lifecycle,
}

impl Viewers {
    /// Answers with `engine` whom `gate` admits.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        gate: PuGate,
        uplink: Uplink,
        engine: Arc<dyn Answerer>,
        ladders: Option<Ladders>,
        recorder: Option<Recorder>,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (signals, mut queue) = mpsc::channel(MAX_SIGNALS);
        let to = Arc::clone(&engine);
        lifecycle.spawn(async move {
            while let Some(signal) = queue.recv().await {
                match signal {
                    Signal::Candidate(session, line) => to.candidate(session, line).await,
                    Signal::End(session, problem) => to.end(session, problem).await,
                }
            }
        });
        let offers = Arc::new(Semaphore::new(MAX_OFFERS));
        let questions = Arc::new(Semaphore::new(MAX_QUESTIONS));
        let lifecycle = lifecycle.clone();
        let (early, servers) = (Mutex::default(), watch::Sender::default());
        let shared = Shared {
            identity,
            gate,
            uplink,
            engine,
            ladders,
            recorder,
            questions,
            offers,
            signals,
            early,
            servers,
            lifecycle,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The servers that the last offer named: a unit that registered before the SCU knew of any MTU
    /// learns of them here.
    #[must_use]
    pub fn servers(&self) -> watch::Receiver<Vec<IceServer>> {
        self.shared.servers.subscribe()
    }

    fn offered(&self, session: MediaSessionId, offer: Box<cs::MediaOffer>) {
        let shared = Arc::clone(&self.shared);
        let Ok(permit) = Arc::clone(&shared.offers).try_acquire_owned() else {
            let why = "the camera is answering too many viewers at once; try again shortly";
            let result = Err(Problem::new(ProblemKind::Busy, why));
            return shared.uplink.send(PuToScu::MediaAnswer { session, result });
        };
        shared.early.lock().entry(session.clone()).or_default();
        let answering = async move {
            let result = match &shared.ladders {
                Some(ladders) if Description::is_quic(&offer.sdp) => {
                    shared.answer_quic(ladders, &session, *offer).await
                }
                Some(_) | None => shared.answer(&session, *offer).await,
            };
            shared.let_through(&session);
            if let Err(problem) = &result {
                tracing::info!(session = %session, kind = ?problem.kind, "an offer was refused");
            }
            shared.uplink.send(PuToScu::MediaAnswer { session, result });
            drop(permit);
        };
        self.shared.lifecycle.spawn(answering.in_current_span());
    }

    /// A question about recordings. The SCU waits no longer for some that are still worked on.
    fn asked(&self, call: RecordingCall) {
        let RecordingCall { request, ask } = call;
        let (uplink, recorder) = (self.shared.uplink.clone(), self.shared.recorder.clone());
        let within = uplink.status().borrow().registration();
        let Ok(permit) = Arc::clone(&self.shared.questions).try_acquire_owned() else {
            let why = "the recorder is answering other questions; try again shortly";
            let result = Err(Problem::new(ProblemKind::Busy, why));
            let answer = RecordingAnswer { request, result };
            return uplink.answer(within, PuToScu::Recorded(answer));
        };
        let answering = async move {
            let result = match recorder {
                Some(recorder) => recorder.answer(ask).await,
                None => Err(Problem::new(ProblemKind::NotFound, "this device does not record")),
            };
            uplink.answer(within, PuToScu::Recorded(RecordingAnswer { request, result }));
            drop(permit);
        };
        self.shared.lifecycle.spawn(answering.in_current_span());
    }

    /// Those that come while the offer is being checked wait for the end of that.
    fn candidate(&self, session: MediaSessionId, line: String) {
        let mut early = self.shared.early.lock();
        match early.get_mut(&session) {
            Some(waiting) if waiting.len() < MAX_CANDIDATES => waiting.push(line),
            Some(_) => metrics::counter!("sightline_pu_signals_dropped_total").increment(1),
            None => self.shared.deliver(session, line),
        }
    }
}

impl Shared {
    fn let_through(&self, session: &MediaSessionId) {
        // Under the lock, so that none overtakes them.
        let mut early = self.early.lock();
        for line in early.remove(session).unwrap_or_default() {
            self.deliver(session.clone(), line);
        }
    }

    fn deliver(&self, session: MediaSessionId, line: String) {
        let line = match &self.ladders {
            Some(ladders) => ladders.line(&session, line),
            None => Some(line),
        };
        if let Some(line) = line {
            self.signal(Signal::Candidate(session, line));
        }
    }

    fn signal(&self, signal: Signal) {
        if self.signals.try_send(signal).is_err() {
            metrics::counter!("sightline_pu_signals_dropped_total").increment(1);
        }
    }
}

impl Handler for Viewers {
    fn message(&self, message: ScuToPu) {
        let gate = &self.shared.gate;
        match message {
            ScuToPu::PrepareMedia { session, channel: _, capabilities } => {
                gate.prepare(session, capabilities);
            }
            ScuToPu::MediaOffer { session, offer } => self.offered(session, offer),
            ScuToPu::Candidate { session, candidate } => {
                self.candidate(session, candidate);
            }
            ScuToPu::EndSession { session, problem } => {
                gate.end_session(&session, problem.clone());
                self.shared.signal(Signal::End(session, problem));
            }
            ScuToPu::RevokeUser { user } => gate.revoke(user.as_ref()),
            ScuToPu::Recording(call) => self.asked(call),
            // The uplink's own business.
            ScuToPu::Challenge { .. }
            | ScuToPu::Registered { .. }
            | ScuToPu::Refused { .. }
            | ScuToPu::KeepAliveAck { .. }
            | ScuToPu::TokenResult { .. }
            | ScuToPu::OwnerChanged { .. }
            | ScuToPu::Goodbye => {}
        }
    }

    fn registered(&self) {
        self.shared.gate.registered();
    }

    fn owner(&self, owner: Option<UserId>) {
        self.shared.gate.owner_is(owner.as_ref());
        if let Some(recorder) = &self.shared.recorder {
            recorder.owner_is(owner.as_ref());
        }
        if let Err(error) = self.shared.identity.owner_is(owner.as_ref()) {
            tracing::error!(%error, "cannot note the unit's owner");
        }
    }
}

impl Shared {
    async fn answer(
        &self,
        session: &MediaSessionId,
        offer: cs::MediaOffer,
    ) -> Result<MediaAnswer, Problem> {
        let admission = self.admit(session, &offer).await?;
        self.servers.send_if_modified(|known| {
            let new = *known != offer.ice_servers && !offer.ice_servers.is_empty();
            if new {
                known.clone_from(&offer.ice_servers);
            }
            new
        });
        let (candidate_tx, candidates) = mpsc::channel(MAX_CANDIDATES);
        let request = webrtc::OfferRequest {
            session: session.clone(),
            sdp: offer.sdp,
            admission,
            ice_servers: offer.ice_servers,
            candidate_tx,
        };
        let answer = self.engine.offer(request).await?;
        self.trickle(session.clone(), candidates);
        let signed =
            answer_bytes(session, &answer.offered_fingerprint, &answer.answered_fingerprint);
        Ok(MediaAnswer {
            sdp: answer.sdp,
            public_key: self.identity.public_key(),
            signature: self.identity.sign(&signed),
        })
    }

    /// The same for a viewer who wants RTSP inside QUIC: the description has no codecs, and the
    /// fingerprints are those of the two ends' keys.
    async fn answer_quic(
        &self,
        ladders: &Ladders,
        session: &MediaSessionId,
        offer: cs::MediaOffer,
    ) -> Result<MediaAnswer, Problem> {
        let description: Description = offer.sdp.parse().map_err(|error: DescriptionError| {
            Problem::new(ProblemKind::InvalidRequest, error.to_string())
        })?;
        let offered = description.fingerprint_text();
        let admission = self.admit(session, &offer).await?;
        let client = offer.client_key;
        let servers = &offer.ice_servers;
        let answer = ladders.answer(session, description, client, admission, servers).await?;
        let signed = answer_bytes(session, &offered, &answer.fingerprint_text());
        Ok(MediaAnswer {
            sdp: answer.to_string(),
            public_key: self.identity.public_key(),
            signature: self.identity.sign(&signed),
        })
    }

    /// The offer must come from the holder of the key that it names, and whole: else an SCU could
    /// put its own DTLS certificate in the place of the viewer's.
    async fn admit(
        &self,
        session: &MediaSessionId,
        offer: &cs::MediaOffer,
    ) -> Result<Admission, Problem> {
        let fingerprint = dtls_fingerprint(&offer.sdp).ok_or_else(|| {
            let why = "the offer must have one DTLS fingerprint, by SHA-256";
            Problem::new(ProblemKind::InvalidRequest, why)
        })?;
        let signed = offer_bytes(session, &offer.token, &fingerprint);
        if !offer.client_key.verify(&signed, &offer.signature) {
            let why = "the offer was not signed by the client that it names";
            return Err(Problem::new(ProblemKind::InvalidToken, why));
        }
        let bearer = TokenBearer::Key { client: offer.client_key };
        let admission = match self.gate.again(&offer.token, &bearer) {
            Some(admission) => admission,
            None => self.gate.admit(&offer.token, bearer).await?,
        };
        if admission.grant.session != *session {
            let why = "the play token opens another session";
            return Err(Problem::new(ProblemKind::InvalidToken, why));
        }
        Ok(admission)
    }

    /// Sends the engine's later candidates to the viewer (RFC 8838), until the session is over.
    fn trickle(&self, session: MediaSessionId, mut candidates: mpsc::Receiver<String>) {
        let uplink = self.uplink.clone();
        self.lifecycle.spawn(async move {
            while let Some(candidate) = candidates.recv().await {
                uplink.send(PuToScu::Candidate { session: session.clone(), candidate });
            }
        });
    }
}

/// STUN servers among those that the centre names, resolved.
pub async fn stun_servers(servers: &[sightline_protocol::cm::IceServer]) -> Vec<SocketAddr> {
    /// Enough to learn the address seen from outside.
    const MAX: usize = 4;
    let mut found = Vec::new();
    for url in servers.iter().flat_map(|server| &server.urls) {
        let Some(rest) = url.strip_prefix("stun:") else { continue };
        let with_port = if rest.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok()) {
            rest.to_owned()
        } else {
            format!("{rest}:3478")
        };
        match tokio::net::lookup_host(&with_port).await {
            Ok(addresses) => found.extend(addresses.take(2)),
            Err(error) => tracing::debug!(%error, "the name of a STUN server is unknown"),
        }
        if found.len() >= MAX {
            break;
        }
    }
    found.truncate(MAX);
    found
}
