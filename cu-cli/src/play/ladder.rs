//! QUIC over the connection ladder: the offer and its candidates go through the centre, the packets
//! over whatever path works, and over a better one as soon as there is one.
//!
//! The centre sees names and passwords of the checks, and so could keep the ends apart; it cannot
//! take the place of either. Both descriptions are signed, and each end's QUIC certificate has to
//! have the key that signed.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::{Connection, Endpoint};
use sightline_media_io::rtsp_server::{pinned_tls, quic as rtsp_quic};
use sightline_model::{DeviceId, MediaSessionId, NatReport, Rung, SessionToken};
use sightline_p2p_net::{
    Lifetimes, Line, Mux, RelayOptions, Session as Ways, SessionConfig, Surroundings, fingerprint,
    p2p::{Description, Report, Role},
    path_report,
    server::Servers,
};
use sightline_protocol::{
    Problem, ProblemKind,
    cs::{CuToScu, KEEP_ALIVE_MS, ScuToCu},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    figures::{Figures, Path, Stage},
    quic::is_wrong_key,
    session::Session,
    signal::{Signal, sign_offer, verify_answer},
};
use crate::{
    api::now,
    error::{CuError, Exit},
    home::ClientKey,
    tls,
};

/// How long the PU may take to answer the offer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the first path may take: every rung is tried by then, and a relay over TLS twice.
const FIRST_PATH: Duration = Duration::from_secs(20);
/// How long the handshake may take on it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Relays that are kept ready: one, and a spare on another server.
const WARM_RELAYS: usize = 2;
/// A candidate may come before the answer; so many are kept.
const MAX_EARLY: usize = 64;
/// Reasons alone are told to the centre so often at most.
const REASONS_EVERY: Duration = Duration::from_secs(5);
/// Between two tries to reach the SCU again.
const RECONNECT: Duration = Duration::from_secs(1);
/// Candidates that are told again; the newest.
const MAX_TOLD: usize = 48;
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
    let centre = Centre {
        signal: Some(signal),
        again: Again::new(session, &ways),
        session: answer.session.clone(),
        ways: Arc::clone(&ways),
        figures: Arc::clone(figures),
        lines,
        ended: ended_tx,
        told: None,
        first_told: false,
    };
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

/// Offers, and takes the PU's answer once it has proven itself.
async fn offer(
    session: &Session,
    signal: &mut Signal,
    ways: &Ways,
    figures: &Figures,
    early: &mut Vec<Line>,
) -> Result<Description, Failed> {
    let answer = &session.answer;
    let sdp = ways.description().to_string();
    let offer = sign_offer(&answer.session, &answer.token, &session.key, sdp.clone())
        .map_err(Failed::For)?;
    let (name, device) = (answer.session.clone(), answer.device.clone());
    signal
        .send(&CuToScu::Offer { session: name, device, offer: Box::new(offer) })
        .await
        .map_err(Failed::Signalling)?;
    figures.stage(Stage::Signalling);
    let answering = async {
        loop {
            match signal.next().await.map_err(Failed::Signalling)? {
                ScuToCu::Answer { session: of, answer: theirs } if of == answer.session => {
                    verify_answer(&of, &answer.device_key, &sdp, &theirs).map_err(Failed::For)?;
                    return described(&theirs.sdp, &answer.device_key).map_err(Failed::For);
                }
                ScuToCu::Candidate { session: of, candidate } if of == answer.session => {
                    // Those of other transports, and the empty one at the end, are of no use.
                    if let Ok(candidate) = candidate.parse()
                        && early.len() < MAX_EARLY
                    {
                        early.push(candidate);
                    }
                }
                ScuToCu::Refused { session: of, problem } if of == answer.session => {
                    return Err(refused(problem));
                }
                ScuToCu::Ended { session: of, problem } if of == answer.session => {
                    return Err(Failed::For(over(problem)));
                }
                ScuToCu::Malformed { problem } => {
                    return Err(Failed::Signalling(CuError::other(problem.detail)));
                }
                ScuToCu::Answer { .. }
                | ScuToCu::Candidate { .. }
                | ScuToCu::Refused { .. }
                | ScuToCu::Ended { .. }
                | ScuToCu::KeepAliveAck { .. } => {}
            }
        }
    };
    tokio::time::timeout(ANSWER, answering).await.unwrap_or_else(|_| {
        Err(Failed::Signalling(CuError::timeout("the camera did not answer in time")))
    })
}

/// Reads the answer; the fingerprint in it must be that of the key that the PU is known by.
fn described(sdp: &str, device_key: &sightline_model::PublicKey) -> Result<Description, CuError> {
    let description: Description = sdp
        .parse()
        .map_err(|e| CuError::other(format!("the camera's answer makes no sense: {e}")))?;
    if description.fingerprint != fingerprint(device_key) {
        return Err(CuError::security(
            "the camera's answer names another key than the camera's: somebody may be in between. Nothing was played",
        ));
    }
    Ok(description)
}

/// A unit that says no would say it to a direct dial too; one that cannot be called, or does not know
/// such offers, may answer there.
fn refused(problem: Problem) -> Failed {
    use ProblemKind::{
        Busy, CameraOffline, Forbidden, TokenExpired, TokenInUse, TokenRevoked, Unauthenticated,
    };
    let final_word = matches!(
        problem.kind,
        Forbidden
            | Unauthenticated
            | TokenRevoked
            | TokenExpired
            | TokenInUse
            | CameraOffline
            | Busy
    );
    if final_word { Failed::For(problem.into()) } else { Failed::Signalling(problem.into()) }
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

/// The connection to the SCU while media flows. Media needs no centre: losing it ends nothing.
struct Centre {
    signal: Option<Signal>,
    again: Again,
    session: MediaSessionId,
    ways: Arc<Ways>,
    figures: Arc<Figures>,
    lines: Option<mpsc::Receiver<Line>>,
    ended: watch::Sender<Option<CuError>>,
    /// The path that the centre knows, and since when.
    told: Option<(sightline_protocol::pc::PathReport, Instant)>,
    /// Whether it knows the stages too.
    first_told: bool,
}

impl Centre {
    async fn run(mut self, token: CancellationToken) {
        let mut keep_alive = tokio::time::interval(Duration::from_millis(KEEP_ALIVE_MS.into()));
        let mut look = tokio::time::interval(Duration::from_millis(200));
        let mut report = self.ways.report();
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                message = next(&mut self.signal) => match message {
                    Ok(message) => self.heard(message),
                    Err(_) => self.signal = None,
                },
                signal = back(&mut self.again.connecting) => self.back(signal).await,
                Some(line) = next_line(&mut self.lines), if self.signal.is_some() => {
                    let (session, candidate) = (self.session.clone(), line.to_string());
                    self.again.keep(line);
                    self.say(&CuToScu::Candidate { session, candidate }).await;
                }
                Ok(()) = report.changed() => self.show(&report.borrow_and_update()),
                _ = keep_alive.tick() => self.say(&CuToScu::KeepAlive { cu_time: now() }).await,
                _ = look.tick() => {
                    if self.again.has_moved() {
                        // Nothing comes on the old connection any more, not even its end.
                        self.signal = None;
                    }
                    if self.signal.is_none() {
                        self.again.connect();
                    }
                    self.tell_path().await;
                }
            }
        }
        let session = self.session.clone();
        self.say(&CuToScu::End { session }).await;
        if let Some(signal) = self.signal {
            signal.close().await;
        }
    }

    /// A new connection to the SCU: it has to know the call, and the PU the new candidates. The PU
    /// knows the call by the passwords of its checks, and goes on with it.
    async fn back(&mut self, signal: Option<Signal>) {
        self.signal = signal;
        match self.again.offer() {
            Ok(offer) => self.say(&offer).await,
            Err(_) => self.signal = None,
        }
    }

    async fn say(&mut self, message: &CuToScu) {
        if let Some(signal) = &mut self.signal
            && signal.send(message).await.is_err()
        {
            self.signal = None;
        }
    }

    fn heard(&self, message: ScuToCu) {
        match message {
            ScuToCu::Candidate { session, candidate } if session == self.session => {
                if let Ok(candidate) = candidate.parse() {
                    self.ways.try_add_remote(candidate);
                }
            }
            ScuToCu::Ended { session, problem } if session == self.session => {
                self.ended.send_replace(Some(over(problem)));
            }
            // Only a new offer can be refused now; media needs no centre.
            ScuToCu::Answer { .. }
            | ScuToCu::Candidate { .. }
            | ScuToCu::Refused { .. }
            | ScuToCu::Ended { .. }
            | ScuToCu::KeepAliveAck { .. }
            | ScuToCu::Malformed { .. } => {}
        }
    }

    fn show(&self, report: &Report) {
        let (Some(rung), Some(remote)) = (report.rung, report.remote) else { return };
        let mut path = Path::new("quic", rung.is_relayed(), remote.to_string());
        path.rung = Some(rung);
        path.why_not_better.clone_from(&report.why_not_better);
        self.figures.path(path);
    }

    /// After the first picture, and after every change.
    async fn tell_path(&mut self) {
        let Some(stages) = self.figures.stages() else { return };
        let report = self.ways.report().borrow().clone();
        let Some(path) = path_report(&report) else { return };
        let known = self.told.as_ref().is_some_and(|(told, at)| {
            // Reasons may change as more is tried; nobody needs each of them.
            *told == path || told.rung == path.rung && at.elapsed() < REASONS_EVERY
        });
        if known {
            return;
        }
        let stages = (!std::mem::replace(&mut self.first_told, true)).then_some(stages);
        self.told = Some((path.clone(), Instant::now()));
        let (session, nat) = (self.session.clone(), Some(report.nat_local));
        self.say(&CuToScu::PathReport { session, path, stages, nat }).await;
    }
}

/// What it takes to call again when the connection to the SCU is gone.
struct Again {
    url: String,
    ca_pem: Option<String>,
    session: MediaSessionId,
    device: DeviceId,
    token: SessionToken,
    key: ClientKey,
    description: Description,
    place: Surroundings,
    connecting: Option<JoinHandle<Option<Signal>>>,
    tried: Instant,
}

impl Again {
    fn new(session: &Session, ways: &Ways) -> Self {
        let answer = &session.answer;
        Self {
            url: answer.signal_url.clone(),
            ca_pem: session.ca_pem.clone(),
            session: answer.session.clone(),
            device: answer.device.clone(),
            token: answer.token.clone(),
            key: session.key.clone(),
            description: ways.description().clone(),
            place: Surroundings::look(false),
            connecting: None,
            tried: Instant::now(),
        }
    }

    /// Keeps what was told, newest first: it is told again with a new offer.
    fn keep(&mut self, line: Line) {
        match line {
            Line::Candidate(candidate) => {
                self.description.candidates.insert(0, candidate);
                self.description.candidates.truncate(MAX_TOLD);
            }
            Line::Nat(nat) => self.description.nat = nat,
        }
    }

    /// Whether the machine is in another network than the last time.
    fn has_moved(&mut self) -> bool {
        let place = Surroundings::look(false);
        if place.is_cut_off() {
            return false;
        }
        let moved = place.has_moved(&self.place);
        self.place = place;
        if moved {
            self.connecting = None;
            self.tried = Instant::now() - RECONNECT;
        }
        moved
    }

    fn connect(&mut self) {
        if self.connecting.is_some() || self.tried.elapsed() < RECONNECT {
            return;
        }
        self.tried = Instant::now();
        let (url, ca_pem) = (self.url.clone(), self.ca_pem.clone());
        self.connecting =
            Some(tokio::spawn(async move { Signal::connect(&url, ca_pem.as_deref()).await.ok() }));
    }

    fn offer(&self) -> Result<CuToScu, CuError> {
        let sdp = self.description.to_string();
        let offer = sign_offer(&self.session, &self.token, &self.key, sdp)?;
        let (session, device) = (self.session.clone(), self.device.clone());
        Ok(CuToScu::Offer { session, device, offer: Box::new(offer) })
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        if let Some(connecting) = self.connecting.take() {
            connecting.abort();
        }
    }
}

/// Resolves when a new connection stands, or when none came about.
async fn back(connecting: &mut Option<JoinHandle<Option<Signal>>>) -> Option<Signal> {
    let Some(running) = connecting else { return std::future::pending().await };
    let signal = running.await.ok().flatten();
    *connecting = None;
    signal
}

async fn next(signal: &mut Option<Signal>) -> Result<ScuToCu, CuError> {
    match signal {
        Some(signal) => signal.next().await,
        None => std::future::pending().await,
    }
}

async fn next_line(lines: &mut Option<mpsc::Receiver<Line>>) -> Option<Line> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}
