//! QUIC over the connection ladder: the offer and its candidates go through the centre, the packets
//! over whatever path works, and over a better one as soon as there is one.
//!
//! The centre sees names and passwords of the checks, and so could keep the ends apart; it cannot
//! take the place of either. Both descriptions are signed, and each end's QUIC certificate has to
//! have the key that signed.

mod centre;
mod offer;
mod renewal;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::{Connection, Endpoint};
use sightline_media_io::rtsp_server::{pinned_tls, quic as rtsp_quic};
use sightline_model::{NatReport, Rung};
use sightline_p2p_net::{
    Lifetimes, Line, Mux, RelayOptions, Session as Ways, SessionConfig, fingerprint,
    p2p::{Report, Role},
    server::Servers,
};
use sightline_protocol::Problem;
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{centre::Centre, offer::offer};
use super::{
    figures::{Figures, Stage},
    quic::is_wrong_key,
    session::Session,
    signal::Signal,
};
use crate::{
    error::{CuError, Exit},
    tls,
};

/// How long the first path may take: every rung is tried by then, and a relay over TLS twice.
const FIRST_PATH: Duration = Duration::from_secs(20);
/// How long the handshake may take on it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Relays that are kept ready: one, and a spare on another MTU, or by another transport where there is
/// one MTU alone.
const WARM_RELAYS: usize = 2;
/// How long goodbyes may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why there is no connection.
pub(super) enum Failed {
    /// The centre is away, or the PU cannot be called this way: a direct dial may still work.
    Signalling(CuError),
    /// Anything else.
    For(CuError),
}

/// A connection and what carries it.
pub(super) struct Carried {
    pub connection: Connection,
    /// Becomes the reason when the centre says that the session is over.
    pub ended: watch::Receiver<Option<CuError>>,
    endpoint: Endpoint,
    ways: Arc<Ways>,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Carried {
    /// Says goodbye to the PU, then to the centre.
    pub async fn close(self) {
        self.connection.close(0_u8.into(), b"done");
        // The last packet needs a path.
        let _ = tokio::time::timeout(GOODBYE, self.endpoint.wait_idle()).await;
        self.token.cancel();
        drop(self.ways);
        self.tasks.close();
        let _ = tokio::time::timeout(GOODBYE, self.tasks.wait()).await;
    }
}

/// What runs beside a connection; ends when connecting is given up.
struct Begun {
    token: CancellationToken,
    tasks: TaskTracker,
    kept: bool,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.kept {
            self.token.cancel();
        }
    }
}

/// Connects, gives better paths a while to show, and says which one was the best.
///
/// # Errors
/// Why there is none.
pub(crate) async fn best_way(
    session: &Session,
    settle: Duration,
) -> Result<(Duration, Report), CuError> {
    let started = Instant::now();
    let figures = Arc::new(Figures::since(started));
    let carried = match connect(session, &figures).await {
        Ok(carried) => carried,
        Err(Failed::Signalling(error) | Failed::For(error)) => return Err(error),
    };
    let took = started.elapsed();
    let mut report = carried.ways.report();
    let direct = report.wait_for(|r| r.rung.is_some_and(|rung| rung == Rung::Host));
    // Nothing is better than the best.
    let _ = tokio::time::timeout(settle, direct).await;
    let report = report.borrow().clone();
    carried.close().await;
    Ok((took, report))
}

/// Connects to the PU by way of the centre.
pub(super) async fn connect(session: &Session, figures: &Arc<Figures>) -> Result<Carried, Failed> {
    let answer = &session.answer;
    let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
    let mut begun = Begun { token, tasks, kept: false };
    let mux = socket()
        .map_err(|e| Failed::For(CuError::other(format!("no UDP socket to be had: {e}"))))?;
    // It also hears what the ladder waits for: from the beginning.
    let endpoint = mux
        .endpoint(None)
        .map_err(|e| Failed::For(CuError::other(format!("QUIC cannot be set up: {e}"))))?;
    let ways = start(session, &mux, &begun).map_err(Failed::For)?;
    let mut signal = Signal::connect(&answer.signal_url, session.ca_pem.as_deref())
        .await
        .map_err(Failed::Signalling)?;
    let (lines, ways) = split(ways);
    let mut early = Vec::new();
    let described = offer(session, &mut signal, &ways, figures, &mut early).await?;
    figures.stage(Stage::Answer);
    ways.set_remote(described).await;
    for candidate in early {
        ways.add_remote(candidate).await;
    }
    let (ended_tx, ended) = watch::channel(None);
    let (of_ways, of_figures) = (Arc::clone(&ways), Arc::clone(figures));
    let centre = Centre::new(session, signal, of_ways, of_figures, lines, ended_tx);
    begun.tasks.spawn(centre.run(begun.token.clone()));
    let connection =
        dial(session, &ways, &endpoint, ended.clone(), figures).await.map_err(Failed::For)?;
    let (token, tasks) = (begun.token.clone(), begun.tasks.clone());
    // From here on the caller ends it.
    begun.kept = true;
    Ok(Carried { connection, ended, endpoint, ways, token, tasks })
}

/// One for both families, where the machine has both.
fn socket() -> std::io::Result<Arc<Mux>> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
        .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    Mux::new(socket)
}

fn start(session: &Session, mux: &Arc<Mux>, begun: &Begun) -> Result<Ways, CuError> {
    let relay_tls = tls::client_config(session.ca_pem.as_deref())?;
    let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    let config = SessionConfig {
        role: Role::Controlling,
        fingerprint: fingerprint(&session.key.public()),
        nat: NatReport::default(),
        lifetimes: session.networks.as_deref().map_or_else(Lifetimes::default, Lifetimes::open),
        servers: Servers::read(&session.answer.ice_servers),
        relay: RelayOptions { tls: Some(Arc::new(relay_tls)), ..RelayOptions::default() },
        warm_relays: WARM_RELAYS,
        loopback: session.local_portal || session.answer.quic.iter().any(is_loopback),
        mapped: Vec::new(),
        map: !session.local_portal,
        measure: true,
    };
    Ways::start(mux, config, &begun.token, &begun.tasks)
        .map_err(|e| CuError::other(format!("no way can be looked for: {e}")))
}

fn split(mut ways: Ways) -> (Option<mpsc::Receiver<Line>>, Arc<Ways>) {
    (ways.take_lines(), Arc::new(ways))
}

/// The same error once more.
pub(super) fn again(error: &CuError) -> CuError {
    CuError { problem: error.problem, ..CuError::new(error.exit, error.message.clone()) }
}

fn over(problem: Option<Problem>) -> CuError {
    problem.map_or_else(|| CuError::unreachable("the camera has ended the stream"), CuError::from)
}

/// Waits for a path, then makes the two ends prove their keys.
async fn dial(
    session: &Session,
    ways: &Ways,
    endpoint: &Endpoint,
    mut ended: watch::Receiver<Option<CuError>>,
    figures: &Figures,
) -> Result<Connection, CuError> {
    let mut first = ways.first_path();
    tokio::select! {
        found = tokio::time::timeout(FIRST_PATH, first.wait_for(Option::is_some)) => {
            if !matches!(found, Ok(Ok(_))) {
                return Err(no_way(&ways.report().borrow()));
            }
        }
        Ok(why) = ended.wait_for(Option::is_some) => {
            return Err(why.as_ref().map_or_else(|| over(None), again));
        }
    }
    figures.stage(Stage::Path);
    let key = pinned_tls::pkcs8(session.key.signing_key().as_bytes());
    let connecting = rtsp_quic::connect(endpoint, ways.address(), &key, session.answer.device_key);
    match tokio::time::timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(rtsp_quic::QuicError::Connection(e))) if is_wrong_key(&e) => Err(CuError::security(
            "whoever answered for the camera does not have its key: somebody may be in between. Nothing was played",
        )),
        Ok(Err(e)) => Err(CuError::unreachable(format!("the camera did not accept QUIC: {e}"))),
        Err(_) => {
            Err(CuError::unreachable("a way to the camera was found, but QUIC did not get through"))
        }
    }
}

fn no_way(report: &Report) -> CuError {
    let mut words = "no way to the camera was found".to_owned();
    for why in &report.why_not_better {
        words.push_str("; ");
        words.push_str(why);
    }
    CuError::new(Exit::Unreachable, words)
}
