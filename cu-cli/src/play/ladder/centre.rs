//! What the centre is told and tells while media flows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_model::{DeviceId, MediaSessionId, SessionToken};
use sightline_p2p_net::{
    Line, Session as Ways, Surroundings,
    p2p::{CandidateKind, Description, Report},
    path_report,
    server::Servers,
};
use sightline_protocol::{
    cs::{CuToScu, KEEP_ALIVE_MS, ScuToCu},
    pc::PathReport,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        figures::{Figures, Path},
        session::Session,
        signal::{Signal, sign_offer},
    },
    over,
    renewal::Renewal,
};
use crate::{api::now, error::CuError, home::ClientKey};

/// Reasons alone are told to the centre so often at most.
const REASONS_EVERY: Duration = Duration::from_secs(5);
/// Between two tries to reach the SCU again.
const RECONNECT: Duration = Duration::from_secs(1);
/// Candidates that are told again; the newest.
const MAX_TOLD: usize = 48;

/// The connection to the SCU while media flows. Media needs no centre: losing it ends nothing.
pub(super) struct Centre {
    signal: Option<Signal>,
    again: Again,
    renewal: Renewal,
    session: MediaSessionId,
    ways: Arc<Ways>,
    figures: Arc<Figures>,
    lines: Option<mpsc::Receiver<Line>>,
    ended: watch::Sender<Option<CuError>>,
    /// The path that the centre knows, and since when.
    told: Option<(PathReport, Instant)>,
    /// Whether it knows the stages too.
    first_told: bool,
}

impl Centre {
    pub(super) fn new(
        session: &Session,
        signal: Signal,
        ways: Arc<Ways>,
        figures: Arc<Figures>,
        lines: Option<mpsc::Receiver<Line>>,
        ended: watch::Sender<Option<CuError>>,
    ) -> Self {
        Self {
            signal: Some(signal),
            again: Again::new(session, &ways),
            renewal: Renewal::new(session),
            session: session.answer.session.clone(),
            ways,
            figures,
            lines,
            ended,
            told: None,
            first_told: false,
        }
    }

    pub(super) async fn run(mut self, token: CancellationToken) {
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
                servers = self.renewal.next() => self.renewed(servers).await,
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
        self.offer().await;
    }

    /// Relays with fresh credentials for this end. With the offer once more the PU gets its own.
    async fn renewed(&mut self, servers: Servers) {
        self.ways.set_servers(servers).await;
        self.offer().await;
    }

    async fn offer(&mut self) {
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

    fn heard(&mut self, message: ScuToCu) {
        match message {
            ScuToCu::Candidate { session, candidate } if session == self.session => {
                if let Ok(candidate) = candidate.parse() {
                    self.ways.try_add_remote(candidate);
                }
            }
            ScuToCu::Ended { session, problem } if session == self.session => {
                self.ended.send_replace(Some(over(problem)));
            }
            ScuToCu::KeepAliveAck { server_time, .. } => self.renewal.clock(server_time),
            // Only a new offer can be refused now; media needs no centre.
            ScuToCu::Answer { .. }
            | ScuToCu::Candidate { .. }
            | ScuToCu::Refused { .. }
            | ScuToCu::Ended { .. }
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
    surroundings: watch::Receiver<Surroundings>,
    connecting: Option<JoinHandle<Option<Signal>>>,
    tried: Instant,
}

impl Again {
    fn new(session: &Session, ways: &Ways) -> Self {
        let answer = &session.answer;
        let mut surroundings = ways.surroundings();
        let place = surroundings.borrow_and_update().clone();
        Self {
            url: answer.signal_url.clone(),
            ca_pem: session.ca_pem.clone(),
            session: answer.session.clone(),
            device: answer.device.clone(),
            token: answer.token.clone(),
            key: session.key.clone(),
            description: ways.description().clone(),
            place,
            surroundings,
            connecting: None,
            tried: Instant::now(),
        }
    }

    /// Keeps what was told, newest first: it is told again with a new offer.
    fn keep(&mut self, line: Line) {
        match line {
            Line::Candidate(candidate) => {
                // One socket is mapped, at one place: where it was before is nobody's way in.
                if candidate.kind == CandidateKind::Mapped {
                    self.description.candidates.retain(|told| told.kind != CandidateKind::Mapped);
                }
                self.description.candidates.insert(0, candidate);
                self.description.candidates.truncate(MAX_TOLD);
            }
            Line::Nat(nat) => self.description.nat = nat,
        }
    }

    /// Whether the machine is in another network than the last time.
    fn has_moved(&mut self) -> bool {
        if !self.surroundings.has_changed().unwrap_or(false) {
            return false;
        }
        let place = self.surroundings.borrow_and_update().clone();
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
