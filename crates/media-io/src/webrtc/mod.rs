//! WebRTC out: any number of viewers over one UDP socket per address family.
//!
//! [`start`] spawns one task that owns the sockets and every session; an [`Engine`] is the handle
//! to it. The caller has checked the play token before [`Engine::offer`] and signs the answer.
//!
//! Sessions are sans-IO (`session`): datagrams, time and hubs in; datagrams out. A session
//! that panics or breaks is dropped alone. Media is written as packets that all viewers share
//! (`feed`), so a viewer costs its own RTP header and encryption, no copy of the stream.
//!
//! Where no direct way is found in time, a session gets relayed candidates of its own besides
//! (`engine/relays`), over UDP, TCP or TLS.
//!
//! Not here: who may watch ([`crate::gate`]), the signature over the DTLS fingerprints, TURN itself
//! ([`sightline_p2p_net::relay`]).

mod budget;
mod clock;
mod control;
mod delay;
mod engine;
mod feed;
mod media;
mod negotiate;
mod offer_text;
mod replay;
mod serve;
mod session;
#[cfg(test)]
mod sim;
mod sockets;
mod stun;
mod trial;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use sightline_model::{ChannelId, MediaSessionId, NatReport};
use sightline_p2p_net::{Nat64, Relay, RelayError};
use sightline_protocol::{Problem, ProblemKind, cm::IceServer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::engine::Stats;
use crate::{archive::Archive, camera::Cameras, gate::Admission, hub::Hub};

/// Commands that may wait for the engine; more are refused as [`ProblemKind::Busy`].
const COMMANDS: usize = 256;
/// Longest SDP offer that is read.
const MAX_SDP_BYTES: usize = 64 * 1024;
/// Longest candidate line that is read.
const MAX_CANDIDATE_BYTES: usize = 512;

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct WebrtcConfig {
    /// Where to listen; port 0 takes any. One of each family is enough.
    pub bind: Vec<SocketAddr>,
    /// Most viewers at once.
    pub max_sessions: usize,
    /// First guess of a path's capacity, bits per second.
    pub initial_estimate_bps: u64,
    /// How long a session may take until media flows.
    pub connect_timeout: Duration,
    /// How long a session that has lost its path waits for the viewer to come back.
    pub disconnect_grace: Duration,
    /// How long direct ways are tried before this unit takes a place at a relay.
    pub relay_after: Duration,
    /// Whom to trust as a relay over TLS; without it none is tried.
    pub relay_tls: Option<Arc<rustls::ClientConfig>>,
    /// Cameras of this number and above are another device's, and recorded here: whoever comes to them looks
    /// back. Their live pictures are taken and sent only when the viewer asks for a quality of them.
    pub live_on_demand_from: Option<ChannelId>,
}

impl Default for WebrtcConfig {
    fn default() -> Self {
        Self {
            bind: vec![SocketAddr::from(([0, 0, 0, 0], 0))],
            max_sessions: 64,
            initial_estimate_bps: 5_000_000,
            connect_timeout: Duration::from_secs(30),
            disconnect_grace: Duration::from_secs(30),
            relay_after: Duration::from_secs(1),
            relay_tls: None,
            live_on_demand_from: None,
        }
    }
}

/// Where viewers can reach the sockets; may change at any time (A8.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalCandidates {
    /// Addresses of the machine's own interfaces. Port 0 means that of the bound socket.
    pub host: Vec<SocketAddr>,
    /// Addresses that gateways map to the sockets (UPnP, NAT-PMP, PCP).
    pub mapped: Vec<SocketAddr>,
    /// STUN servers that tell the address seen from outside.
    pub stun_servers: Vec<SocketAddr>,
    /// What has been measured of the NATs in front of the unit; viewers are told.
    pub nat: NatReport,
    /// The network's NAT64, where it has IPv6 alone.
    pub nat64: Option<Nat64>,
}

/// Makes encodings that the camera itself does not give.
pub trait QualitySource: Send + Sync + 'static {
    /// A hub with exactly this picture size and rate; it works as long as it has readers.
    ///
    /// # Errors
    /// Why it cannot be made, in words for the person.
    fn exact(&self, channel: ChannelId, width: u32, height: u32, fps: u32) -> Result<Hub, Problem>;

    /// The camera's sound as Opus; `None` where that cannot be made.
    fn opus_audio(&self, channel: ChannelId) -> Option<Hub>;
}

/// What viewers are served from.
#[derive(Clone)]
pub struct Sources {
    /// The cameras.
    pub cameras: Cameras,
    /// Encodings that they do not give.
    pub quality: Arc<dyn QualitySource>,
    /// What was recorded, where the unit records.
    pub archive: Option<Arc<dyn Archive>>,
}

/// A [`QualitySource`] for units that do not re-encode.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTranscoder;

impl QualitySource for NoTranscoder {
    fn exact(&self, _: ChannelId, _: u32, _: u32, _: u32) -> Result<Hub, Problem> {
        Err(Problem::new(
            ProblemKind::InvalidRequest,
            "this unit does not re-encode; choose the main or the sub stream",
        ))
    }

    fn opus_audio(&self, _: ChannelId) -> Option<Hub> {
        None
    }
}

/// An offer whose token and signature have been checked.
pub struct OfferRequest {
    /// The session. An offer for a running session restarts ICE or renegotiates.
    pub session: MediaSessionId,
    /// SDP offer.
    pub sdp: String,
    /// Leave to watch; in a renegotiation it takes the place of the earlier one.
    pub admission: Admission,
    /// STUN and TURN servers for this session, as the SCU has filled them in.
    pub ice_servers: Vec<IceServer>,
    /// Takes `candidate:` lines that become known later; full means that a line is lost.
    pub candidate_tx: mpsc::Sender<String>,
}

/// What [`Engine::offer`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// SDP answer.
    pub sdp: String,
    /// The offer's DTLS fingerprint, as the answer's signature needs it.
    pub offered_fingerprint: String,
    /// Our DTLS fingerprint, likewise.
    pub answered_fingerprint: String,
}

pub(crate) enum Command {
    Offer(Box<OfferRequest>, oneshot::Sender<Result<Answer, Problem>>),
    Candidate(MediaSessionId, String),
    End(MediaSessionId, Option<Problem>),
    /// Like `End`, from the watcher of an admission, for that admission alone.
    Revoked(MediaSessionId, u64, Problem),
    Candidates(LocalCandidates),
    /// A session's place at a relay, or why there is none.
    RelayUp(MediaSessionId, u64, Result<Relay, RelayError>),
    /// It is over.
    RelayDown(MediaSessionId, u64),
    Stats(oneshot::Sender<Stats>),
}

/// A datagram that a relay passed on.
pub(crate) struct Relayed {
    /// Number of the relay.
    relay: u64,
    from: SocketAddr,
    bytes: Bytes,
}

/// Handle to the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    commands: mpsc::Sender<Command>,
    bound: Arc<[SocketAddr]>,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be used.
    #[error("cannot open UDP socket {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing to listen on.
    #[error("no address to listen on is configured")]
    NoAddress,
    /// The crypto library made no certificate.
    #[error("cannot make a DTLS certificate")]
    Certificate,
}

/// Starts the engine on `tasks`; it ends with `token`.
///
/// # Errors
/// [`StartError`]: sockets or certificate.
pub fn start(
    config: WebrtcConfig,
    local: LocalCandidates,
    sources: Sources,
    token: CancellationToken,
    tasks: &TaskTracker,
) -> Result<Engine, StartError> {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let parts = engine::Parts { config, local, sources, token, tasks: tasks.clone() };
    let task = engine::Task::new(parts, inbox, commands.downgrade())?;
    let bound = task.bound().into();
    tasks.spawn(task.run());
    Ok(Engine { commands, bound })
}

impl Engine {
    /// Where the sockets are.
    #[must_use]
    pub fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// Answers an offer.
    ///
    /// # Errors
    /// A [`Problem`] for the viewer: malformed offer, nothing that it can decode, too many
    /// viewers, no such camera.
    pub async fn offer(&self, request: OfferRequest) -> Result<Answer, Problem> {
        if request.sdp.len() > MAX_SDP_BYTES {
            return Err(Problem::new(ProblemKind::InvalidRequest, "the SDP offer is too long"));
        }
        let (reply, answer) = oneshot::channel();
        self.commands
            .try_send(Command::Offer(Box::new(request), reply))
            .map_err(|_| Problem::new(ProblemKind::Busy, "the unit is busy; try again shortly"))?;
        answer.await.unwrap_or_else(|_| {
            Err(Problem::new(ProblemKind::Internal, "the media engine has stopped"))
        })
    }

    /// A candidate of the viewer; what cannot be read is ignored.
    pub async fn candidate(&self, session: MediaSessionId, line: String) {
        if line.len() <= MAX_CANDIDATE_BYTES {
            self.send(Command::Candidate(session, line)).await;
        }
    }

    /// Ends a session; the viewer is told `problem`, if any.
    pub async fn end(&self, session: MediaSessionId, problem: Option<Problem>) {
        self.send(Command::End(session, problem)).await;
    }

    /// New addresses; running sessions get them too.
    pub async fn set_candidates(&self, local: LocalCandidates) {
        self.send(Command::Candidates(local)).await;
    }

    /// Figures of now; `None` after the engine has stopped.
    pub async fn stats(&self) -> Option<Stats> {
        let (reply, stats) = oneshot::channel();
        self.send(Command::Stats(reply)).await;
        stats.await.ok()
    }

    async fn send(&self, command: Command) {
        // Fails only after the engine has stopped, when there is nothing left to tell.
        let _ = self.commands.send(command).await;
    }
}
