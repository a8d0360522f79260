//! The task of one session.

mod gather;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_model::NatReport;
use sightline_p2p::{
    Candidate, CandidateKind, Consumed, Description, Event, Ladder, Local, NetworkId, Path, Report,
    SocketId,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{Command, Line, SessionConfig, relays::Relays};
use crate::{
    Nat64,
    gateway::{MappedPort, Wanted},
    mux::{In, MAIN, Mux, SessionRoute},
    nat64::Translation,
    network::Surroundings,
    relay::{Relay, RelayError},
    server::RelayServer,
};

/// What helpers have found and the task has not heard; they wait then.
const FOUND: usize = 64;
/// Datagrams that are heard in a row before anything else.
const BATCH: usize = 64;

/// The number of the first session over a socket.
const FIRST_SESSION: u64 = 1;
/// Paths of which it is remembered at which of our addresses they arrive.
const MAX_PINS: usize = 1_024;

/// The caller's ends of the session's channels.
pub(super) struct Ends {
    pub(super) inbox: mpsc::Receiver<In>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) lines: mpsc::Sender<Line>,
    pub(super) report: watch::Sender<Report>,
    pub(super) first_path: watch::Sender<Option<Instant>>,
    pub(super) surroundings: watch::Receiver<Surroundings>,
}

/// What a helper has found out.
enum Found {
    Reflexive {
        socket: SocketId,
        seen: SocketAddr,
    },
    Relay {
        /// With the credential that was shown to it.
        server: RelayServer,
        id: SocketId,
        replaces: Option<SocketId>,
        result: Result<Relay, RelayError>,
    },
    RelayDead(SocketId),
    Nat64 {
        look: u64,
        nat64: Nat64,
    },
    Nat(NatReport),
    Mapped(Vec<MappedPort>),
}

/// A socket or relay that this session uses.
struct Own {
    network: NetworkId,
    replaces: Option<SocketId>,
    since: Option<Instant>,
    is_relay: bool,
    /// Of a socket that probes, or was opened for it.
    permit: Option<OwnedSemaphorePermit>,
}

impl Own {
    const fn plain(network: NetworkId, replaces: Option<SocketId>, since: Option<Instant>) -> Self {
        Self { network, replaces, since, is_relay: false, permit: None }
    }
}

pub(super) struct Driver {
    mux: Arc<Mux>,
    route: Arc<SessionRoute>,
    ladder: Ladder,
    config: SessionConfig,
    ends: Ends,
    found: mpsc::Receiver<Found>,
    finder: mpsc::Sender<Found>,
    own: HashMap<SocketId, Own>,
    /// The socket whose port the session has mapped by the home gateway, and where that is said.
    mapped_socket: SocketId,
    wanted: Option<watch::Sender<Vec<Wanted>>>,
    /// From which of our addresses the other end expects packets on a path.
    pins: HashMap<Path, IpAddr>,
    relays: Relays,
    place: Surroundings,
    nat64: Translation,
    /// Counts how often NAT64 was looked for: each network has its own.
    nat64_look: u64,
    /// Whether the report has to be made anew.
    stale: bool,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Driver {
    pub(super) fn new(
        mux: Arc<Mux>,
        route: Arc<SessionRoute>,
        ladder: Ladder,
        config: SessionConfig,
        mut ends: Ends,
        token: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let (finder, found) = mpsc::channel(FOUND);
        let relays = Relays::new(config.servers.relays.clone(), config.warm_relays);
        let place = ends.surroundings.borrow_and_update().clone();
        let nat64 = Translation::known(config.relay.nat64);
        Self {
            mux,
            route,
            ladder,
            config,
            ends,
            found,
            finder,
            own: HashMap::new(),
            mapped_socket: MAIN,
            wanted: None,
            pins: HashMap::new(),
            relays,
            place,
            nat64,
            nat64_look: 0,
            stale: false,
            token,
            tasks,
        }
    }

    pub(super) fn description(&self, fingerprint: [u8; 32]) -> Description {
        self.ladder.description(fingerprint)
    }

    /// What the main socket has by itself: known before anybody is asked.
    pub(super) fn gather_hosts(&mut self) -> std::io::Result<()> {
        let main = self.mux.main_addr()?;
        let now = Instant::now();
        // Below the first session nothing has been sent; for later ones nobody knows how old the
        // mapping is.
        let since = (self.route.number == FIRST_SESSION).then_some(now);
        let own = Own::plain(self.place.network(), None, since);
        self.own.insert(MAIN, own);
        for address in self.hosts_of(main) {
            // In the description already.
            self.add_local(now, MAIN, CandidateKind::Host, address);
        }
        for address in self.config.mapped.clone() {
            self.add_local(now, MAIN, CandidateKind::Mapped, address);
        }
        Ok(())
    }

    /// Addresses of this machine at which a socket is reached that is bound to `bound`.
    fn hosts_of(&self, bound: SocketAddr) -> Vec<SocketAddr> {
        let ip = bound.ip();
        if !ip.is_unspecified() {
            return vec![SocketAddr::new(ip.to_canonical(), bound.port())];
        }
        let v6 = self.mux.main_is_v6();
        let reached = self.place.addresses.iter().filter(|ip| v6 || ip.is_ipv4());
        reached.map(|ip| SocketAddr::new(*ip, bound.port())).collect()
    }

    fn add_local(
        &mut self,
        now: Instant,
        socket: SocketId,
        kind: CandidateKind,
        address: SocketAddr,
    ) -> Option<Candidate> {
        let own = self.own.get(&socket)?;
        let Own { network, replaces, since, .. } = *own;
        self.ladder.add_local(now, &Local { socket, kind, address, network, replaces, since })
    }

    /// The same, and tells the other end.
    fn add_and_tell(
        &mut self,
        now: Instant,
        socket: SocketId,
        kind: CandidateKind,
        address: SocketAddr,
    ) {
        if let Some(candidate) = self.add_local(now, socket, kind, address) {
            // A caller that does not listen loses lines, as RFC 8838 allows.
            let _ = self.ends.lines.try_send(Line::Candidate(candidate));
        }
    }

    pub(super) async fn run(mut self) {
        self.look_for_nat64();
        self.ask_stun(MAIN);
        self.measure();
        self.map();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            let now = Instant::now();
            self.ask_relays(now);
            self.drain(now);
            if std::mem::take(&mut self.stale) {
                self.report();
            }
            let due = [self.ladder.poll_timeout(), self.relays.due(now)];
            let due = due.into_iter().flatten().min();
            tokio::select! {
                () = self.token.cancelled() => break,
                Some(first) = self.ends.inbox.recv() => self.hear(first),
                Some(found) = self.found.recv() => self.found(found),
                command = self.ends.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                () = sleep_until(due) => self.ladder.handle_timeout(Instant::now()),
                Ok(()) = self.ends.surroundings.changed() => {
                    let place = self.ends.surroundings.borrow_and_update().clone();
                    self.moved(Instant::now(), place);
                }
                _ = tick.tick() => self.stale = true,
            }
        }
        self.end();
    }

    fn end(&mut self) {
        *self.route.active.lock() = None;
        self.mux.routes().remove_session(self.route.number);
        for id in self.own.keys().filter(|id| **id != MAIN) {
            self.mux.close(*id);
        }
    }

    fn hear(&mut self, first: In) {
        let now = Instant::now();
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(what) = next else { break };
            match what {
                In::Datagram { socket, from, local, bytes } => {
                    let consumed = self.ladder.handle_datagram(now, socket, from, &bytes);
                    if let (Consumed::Check, Some(local)) = (consumed, local) {
                        self.pin(Path { socket, remote: from }, local);
                    }
                }
                In::Media(path) => self.ladder.on_media_received(now, path),
            }
            next = self.ends.inbox.try_recv().ok();
        }
    }

    /// The other end has reached this address of ours: it is answered from there.
    fn pin(&mut self, path: Path, local: IpAddr) {
        if self.pins.len() >= MAX_PINS {
            self.pins.clear();
        }
        self.pins.insert(path, local);
    }

    fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Remote(description) => self.ladder.set_remote(now, &description),
            Command::Line(Line::Candidate(candidate)) => self.ladder.add_remote(now, &candidate),
            Command::Line(Line::Nat(nat)) => self.ladder.set_remote_nat(now, nat),
            Command::Nat(nat) => self.measured(now, nat),
            Command::Mapped(addresses) => self.main_mapped(now, &addresses),
            Command::Servers(servers) => self.take_servers(now, servers),
        }
    }

    /// All that the ladder wants.
    fn drain(&mut self, now: Instant) {
        loop {
            let events: Vec<_> = std::iter::from_fn(|| self.ladder.poll_event()).collect();
            let mut idle = events.is_empty();
            // Before the answer to a check leaves: the other end sends over the path at once then,
            // and what comes from an unknown address is taken for a plain dial.
            for event in &events {
                if let Event::PathUp(path) = event {
                    self.mux.routes().path_up(&self.route, *path);
                }
            }
            while let Some(transmit) = self.ladder.poll_transmit() {
                idle = false;
                let is_check = transmit.bytes.starts_with(&[0, 1]);
                if is_check {
                    self.mux.transactions().expect_answer(self.route.number, &transmit.bytes);
                }
                let path = Path { socket: transmit.socket, remote: transmit.to };
                let from = self.pins.get(&path).copied();
                self.mux.send(transmit.socket, transmit.to, from, &transmit.bytes);
            }
            for event in events {
                self.event(now, event);
            }
            if idle {
                return;
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        debug!(session = self.route.number, event = event_name(&event), "ladder");
        match event {
            Event::Active { path, rung } => {
                debug!(session = self.route.number, ?rung, "path");
                self.activate(path);
                self.ends.first_path.send_if_modified(|at| {
                    let first = at.is_none();
                    at.get_or_insert(now);
                    first
                });
                self.stale = true;
            }
            Event::Lost => {
                self.stale = true;
                self.gather_again();
            }
            Event::PathUp(path) => self.mux.routes().path_up(&self.route, path),
            Event::PathDown(path) => {
                self.mux.routes().path_down(&self.route, path);
                self.pins.remove(&path);
            }
            Event::NeedSocket { replaces, network } => self.succeed(now, replaces, network),
            Event::NeedReflexive(socket) => self.ask_stun(socket),
            Event::NeedRelay => self.relays.want_one(now),
            Event::NeedProbeSockets { count } => self.open_probes(now, count),
            Event::SocketDone(socket) => self.done(now, socket),
            Event::LifetimeLearned { network, lifetime } => {
                debug!(?lifetime, "mappings end in this network");
                let lifetimes = self.config.lifetimes.clone();
                // Writing to disk may take its time.
                self.tasks.spawn_blocking(move || {
                    if let Err(error) = lifetimes.learned(network, lifetime) {
                        debug!(%error, "cannot keep what was learned of the network");
                    }
                });
            }
        }
    }

    fn activate(&self, path: Path) {
        let Some(wire) = self.mux.wire(path.socket) else { return };
        let local = self.pins.get(&path).copied();
        let active = crate::mux::Active { wire, remote: path.remote, local };
        *self.route.active.lock() = Some(active);
    }

    fn report(&self) {
        let report = self.ladder.report();
        self.ends.report.send_if_modified(|known| {
            let changed = *known != report;
            *known = report;
            changed
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

const fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Active { .. } => "active",
        Event::Lost => "lost",
        Event::PathUp(_) => "path up",
        Event::PathDown(_) => "path down",
        Event::NeedSocket { .. } => "need socket",
        Event::NeedReflexive(_) => "need reflexive",
        Event::NeedRelay => "need relay",
        Event::NeedProbeSockets { .. } => "need probe sockets",
        Event::SocketDone(_) => "socket done",
        Event::LifetimeLearned { .. } => "lifetime learned",
    }
}
