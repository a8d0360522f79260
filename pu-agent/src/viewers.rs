//! Calls that come through the centre (A8.4 with step 4 travelling CU, SCU, PU): checks who
//! offers, has the media engine answer, and signs the answer with the unit's key.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use sightline_media_io::{
    gate::{Admission, BoxFuture, Gate},
    webrtc,
};
use sightline_model::{MediaSessionId, UserId};
use sightline_protocol::{
    Problem, ProblemKind, cs,
    ps::{MediaAnswer, PuToScu, ScuToPu, TokenBearer, answer_bytes, dtls_fingerprint, offer_bytes},
};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument;

use crate::{
    gate::PuGate,
    identity::Identity,
    uplink::{Handler, Uplink},
};

/// Offers that are being answered at a time; more are refused as busy.
const MAX_OFFERS: usize = 64;
/// Candidates of one session that may wait; more are lost, as RFC 8838 allows.
const MAX_CANDIDATES: usize = 32;
/// Candidates that come while their offer is being answered and are kept; the rest is lost.
const MAX_EARLY: usize = 32;
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
    offers: Arc<Semaphore>,
    signals: mpsc::Sender<Signal>,
    early: Mutex<HashMap<MediaSessionId, Early>>,
    lifecycle: Lifecycle,
}

/// Candidates of a session whose offer is being answered: the engine knows nothing of it yet.
#[derive(Default)]
struct Early {
    offers: usize,
    candidates: Vec<String>,
}

impl Viewers {
    /// Answers with `engine` whom `gate` admits.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        gate: PuGate,
        uplink: Uplink,
        engine: Arc<dyn Answerer>,
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
        let lifecycle = lifecycle.clone();
        let early = Mutex::default();
        let shared = Shared { identity, gate, uplink, engine, offers, signals, early, lifecycle };
        Self { shared: Arc::new(shared) }
    }

    fn offered(&self, session: MediaSessionId, offer: Box<cs::MediaOffer>) {
        let shared = Arc::clone(&self.shared);
        let Ok(permit) = Arc::clone(&shared.offers).try_acquire_owned() else {
            let why = "the camera is answering too many viewers at once; try again shortly";
            let result = Err(Problem::new(ProblemKind::Busy, why));
            return shared.uplink.send(PuToScu::MediaAnswer { session, result });
        };
        shared.early.lock().entry(session.clone()).or_default().offers += 1;
        let viewers = self.clone();
        let answering = async move {
            let result = shared.answer(&session, *offer).await;
            viewers.answered(&session);
            if let Err(problem) = &result {
                tracing::info!(session = %session, kind = ?problem.kind, "an offer was refused");
            }
            shared.uplink.send(PuToScu::MediaAnswer { session, result });
            drop(permit);
        };
        self.shared.lifecycle.spawn(answering.in_current_span());
    }

    /// What has come meanwhile goes to the engine now.
    fn answered(&self, session: &MediaSessionId) {
        let mut early = self.shared.early.lock();
        let Some(held) = early.get_mut(session) else { return };
        held.offers -= 1;
        if held.offers > 0 {
            return;
        }
        let candidates = early.remove(session).unwrap_or_default().candidates;
        drop(early);
        for candidate in candidates {
            self.signal(Signal::Candidate(session.clone(), candidate));
        }
    }

    fn candidate(&self, session: MediaSessionId, candidate: String) {
        if let Some(held) = self.shared.early.lock().get_mut(&session) {
            if held.candidates.len() < MAX_EARLY {
                held.candidates.push(candidate);
            }
            return;
        }
        self.signal(Signal::Candidate(session, candidate));
    }

    fn signal(&self, signal: Signal) {
        if self.shared.signals.try_send(signal).is_err() {
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
                self.signal(Signal::End(session, problem));
            }
            ScuToPu::RevokeUser { user } => gate.revoke(user.as_ref()),
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
