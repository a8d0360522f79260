//! The task of one session.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_model::NatReport;
use sightline_p2p::{
    Candidate, CandidateKind, Description, Event, Ladder, Leg, Local, NetworkId, Path, Report,
    SocketId,
};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{Command, Line, SessionConfig, probes, relays::Relays};
use crate::{
    Nat64,
    gateway::{self, Protocol, Wanted},
    mux::{In, MAIN, Mux, SessionRoute},
    nat,
    network::Surroundings,
    relay::{Relay, RelayError},
    server::RelayTransport,
};

/// How often the network is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A question to a STUN server is repeated after these (RFC 8489 section 6.2.1, sooner).
const REPEATS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1_600),
];
/// STUN servers that are asked from one socket.
const STUN_SERVERS: usize = 2;
/// What helpers have found and the task has not heard; they wait then.
const FOUND: usize = 64;
/// Datagrams that are heard in a row before anything else.
const BATCH: usize = 64;

/// The caller's ends of the session's channels.
pub(super) struct Ends {
    pub(super) inbox: mpsc::Receiver<In>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) lines: mpsc::Sender<Line>,
    pub(super) report: watch::Sender<Report>,
    pub(super) first_path: watch::Sender<Option<Instant>>,
}

/// What a helper has found out.
enum Found {
    Reflexive {
        socket: SocketId,
        seen: SocketAddr,
        asked: Instant,
    },
    Relay {
        entry: usize,
        id: SocketId,
        replaces: Option<SocketId>,
        result: Result<Relay, RelayError>,
    },
    RelayDead(SocketId),
    Surroundings(Surroundings),
    Nat(NatReport),
    Mapped(Vec<SocketAddr>),
}

/// A socket or relay that this session uses.
struct Own {
    network: NetworkId,
    replaces: Option<SocketId>,
    since: Option<Instant>,
    is_relay: bool,
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
    /// From which of our addresses the other end expects packets on a path.
    pins: HashMap<Path, IpAddr>,
    relays: Relays,
    place: Surroundings,
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
        ends: Ends,
        token: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let (finder, found) = mpsc::channel(FOUND);
        let relays = Relays::new(config.servers.relays.clone(), config.warm_relays);
        let place = Surroundings::look(config.loopback);
        Self {
            mux,
            route,
            ladder,
            config,
            ends,
            found,
            finder,
            own: HashMap::new(),
            pins: HashMap::new(),
            relays,
            place,
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
        let own = Own {
            network: self.place.network(),
            replaces: None,
            since: Some(Instant::now()),
            is_relay: false,
        };
        self.own.insert(MAIN, own);
        let now = Instant::now();
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
        if self.place.outward_v4.is_none() && self.place.outward_v6.is_some() {
            self.config.relay.nat64 =
                self.token.run_until_cancelled(Nat64::discover()).await.flatten();
        }
        self.ask_stun(MAIN);
        self.watch_network();
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
                    if let Some(local) = local {
                        self.pins.insert(Path { socket, remote: from }, local);
                    }
                    self.ladder.handle_datagram(now, socket, from, &bytes);
                }
                In::Media(path) => self.ladder.on_media_received(now, path),
            }
            next = self.ends.inbox.try_recv().ok();
        }
    }

    fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Remote(description) => {
                self.ladder.set_remote(now, &description);
                for candidate in &description.candidates {
                    self.add_translated(now, candidate);
                }
            }
            Command::Line(Line::Candidate(candidate)) => {
                self.ladder.add_remote(now, &candidate);
                self.add_translated(now, &candidate);
            }
            Command::Line(Line::Nat(nat)) => self.ladder.set_remote_nat(now, nat),
        }
    }

    /// Where IPv4 is reached through NAT64 alone, an address of IPv4 has another form for this
    /// end's own sockets; a relay knows it as it is.
    fn add_translated(&mut self, now: Instant, candidate: &Candidate) {
        let Some(nat64) = self.config.relay.nat64 else { return };
        let IpAddr::V4(ip) = candidate.address.ip() else { return };
        let address = SocketAddr::new(nat64.synthesize(ip).into(), candidate.address.port());
        self.ladder.add_remote(now, &Candidate { address, ..candidate.clone() });
    }

    /// All that the ladder wants.
    fn drain(&mut self, now: Instant) {
        loop {
            let mut idle = true;
            while let Some(transmit) = self.ladder.poll_transmit() {
                idle = false;
                let is_check = transmit.bytes.starts_with(&[0, 1]);
                if is_check {
                    self.mux.expect_answer(self.route.number, &transmit.bytes);
                }
                let path = Path { socket: transmit.socket, remote: transmit.to };
                let from = self.pins.get(&path).copied();
                self.mux.send(transmit.socket, transmit.to, from, &transmit.bytes);
            }
            while let Some(event) = self.ladder.poll_event() {
                idle = false;
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

    fn gather_again(&mut self) {
        let plain: Vec<SocketId> =
            self.own.iter().filter(|(_, own)| !own.is_relay).map(|(id, _)| *id).collect();
        for socket in plain {
            self.ask_stun(socket);
        }
        self.relays.want_one(Instant::now());
    }

    /// The mapping of a socket or allocation will end: a fresh one beside it.
    fn succeed(&mut self, now: Instant, replaces: SocketId, network: NetworkId) {
        if let Some((entry, server)) = self.relays.server_of(replaces) {
            self.allocate(entry, server, Some(replaces));
            return;
        }
        self.open_socket(now, Some(replaces), network);
    }

    fn any(&self) -> SocketAddr {
        if self.mux.main_is_v6() {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        }
    }

    fn open_socket(&mut self, now: Instant, replaces: Option<SocketId>, network: NetworkId) {
        let (id, bound) = match self.mux.open(self.any(), &self.token, &self.tasks) {
            Ok(opened) => opened,
            Err(error) => {
                debug!(%error, "no further socket");
                return;
            }
        };
        let own = Own { network, replaces, since: Some(now), is_relay: false };
        self.own.insert(id, own);
        for address in self.hosts_of(bound) {
            self.add_and_tell(now, id, CandidateKind::Host, address);
        }
        self.ask_stun(id);
    }

    fn open_probes(&mut self, now: Instant, count: usize) {
        let network = self.place.network();
        let ids = probes::open(&self.mux, count, &self.token, &self.tasks);
        for id in &ids {
            let own = Own { network, replaces: None, since: Some(now), is_relay: false };
            self.own.insert(*id, own);
        }
        self.ladder.add_probe_sockets(now, network, &ids);
    }

    fn done(&mut self, now: Instant, socket: SocketId) {
        self.relays.gone(socket, now);
        self.own.remove(&socket);
        self.pins.retain(|path, _| path.socket != socket);
        if socket != MAIN {
            self.mux.close(socket);
        }
    }

    /// Asks STUN servers what a socket looks like from outside.
    fn ask_stun(&self, socket: SocketId) {
        let is_plain = self.own.get(&socket).is_some_and(|own| !own.is_relay);
        if !is_plain {
            return;
        }
        for place in self.config.servers.stun.iter().take(STUN_SERVERS) {
            let place = place.clone();
            let (mux, finder, token) =
                (Arc::clone(&self.mux), self.finder.clone(), self.token.clone());
            let nat64 = self.config.relay.nat64;
            let asking = async move {
                let Ok(addresses) = place.resolve(nat64).await else { return };
                for family in [SocketAddr::is_ipv4, SocketAddr::is_ipv6] {
                    let Some(server) = addresses.iter().copied().find(family) else { continue };
                    if !mux.main_is_v6() && server.is_ipv6() {
                        continue;
                    }
                    let asked = Instant::now();
                    if let Some(seen) = binding(&mux, socket, server).await {
                        let _ = finder.send(Found::Reflexive { socket, seen, asked }).await;
                    }
                }
            };
            self.tasks.spawn(async move { token.run_until_cancelled(asking).await });
        }
    }

    fn ask_relays(&mut self, now: Instant) {
        while let Some((entry, server)) = self.relays.next(now) {
            self.allocate(entry, server, None);
        }
    }

    fn allocate(
        &self,
        entry: usize,
        server: crate::server::RelayServer,
        replaces: Option<SocketId>,
    ) {
        let id = self.mux.new_socket_id();
        let sink = self.mux.relay_sink(id);
        let (finder, token, tasks) = (self.finder.clone(), self.token.clone(), self.tasks.clone());
        let options = self.config.relay.clone();
        self.tasks.spawn(async move {
            let result = Relay::allocate(&server, &options, sink, &token, &tasks).await;
            let dead = result.as_ref().ok().map(Relay::dead);
            if finder.send(Found::Relay { entry, id, replaces, result }).await.is_err() {
                return;
            }
            let Some(mut dead) = dead else { return };
            let died = async {
                // An error is an end too.
                let _ = dead.wait_for(Option::is_some).await;
            };
            if token.run_until_cancelled(died).await.is_some() {
                let _ = finder.send(Found::RelayDead(id)).await;
            }
        });
    }

    fn found(&mut self, found: Found) {
        let now = Instant::now();
        match found {
            Found::Reflexive { socket, seen, asked } => {
                if let Some(own) = self.own.get_mut(&socket) {
                    own.since.get_or_insert(asked);
                    self.add_and_tell(now, socket, CandidateKind::ServerReflexive, seen);
                }
            }
            Found::Relay { entry, id, replaces, result } => {
                self.relay_came(now, entry, id, replaces, result);
            }
            Found::RelayDead(id) => {
                self.relays.gone(id, now);
                if self.own.remove(&id).is_some() {
                    self.ladder.remove_local(now, id);
                }
                self.mux.close(id);
            }
            Found::Surroundings(place) => self.moved(now, place),
            Found::Mapped(addresses) => {
                for address in addresses {
                    self.add_and_tell(now, MAIN, CandidateKind::Mapped, address);
                }
            }
            Found::Nat(nat) => {
                self.ladder.set_nat(nat.clone());
                let _ = self.ends.lines.try_send(Line::Nat(nat));
                self.stale = true;
            }
        }
    }

    fn relay_came(
        &mut self,
        now: Instant,
        entry: usize,
        id: SocketId,
        replaces: Option<SocketId>,
        result: Result<Relay, RelayError>,
    ) {
        let relay = match result {
            Ok(relay) => relay,
            Err(error) => {
                debug!(%error, "no relay");
                if replaces.is_none() {
                    self.relays.failed(entry, now);
                }
                return;
            }
        };
        if replaces.is_some() {
            self.relays.replaced(entry, id);
        } else if !self.relays.up_is(entry, id) {
            return;
        }
        let leg = match relay.transport() {
            RelayTransport::Udp => Leg::Udp,
            RelayTransport::Tcp => Leg::Tcp,
            RelayTransport::Tls => Leg::Tls,
        };
        let network = self.place.network();
        self.own.insert(id, Own { network, replaces, since: Some(now), is_relay: true });
        let addresses = relay.relayed_addresses().to_vec();
        self.mux.add_relay(id, relay);
        for address in addresses {
            self.add_and_tell(now, id, CandidateKind::Relayed(leg), address);
        }
    }

    fn measure(&self) {
        if !self.config.measure {
            return;
        }
        let (servers, finder, token) =
            (self.config.servers.clone(), self.finder.clone(), self.token.clone());
        let measuring = async move {
            match nat::measure(&servers).await {
                Ok(nat) => drop(finder.send(Found::Nat(nat)).await),
                Err(error) => debug!(%error, "the NATs cannot be measured"),
            }
        };
        self.tasks.spawn(async move { token.run_until_cancelled(measuring).await });
    }

    /// Has the gateway map the main socket; what it gives is released when the session ends.
    fn map(&self) {
        let port = self.mux.main_addr().ok().and_then(|main| NonZeroU16::new(main.port()));
        let Some(port) = port.filter(|_| self.config.map) else { return };
        let wanted = vec![Wanted { protocol: Protocol::Udp, port }];
        let (sender, mut mapped) = watch::channel(Vec::new());
        self.tasks.spawn(gateway::keep(wanted, sender, self.token.clone()));
        let (finder, token) = (self.finder.clone(), self.token.clone());
        let telling = async move {
            while mapped.changed().await.is_ok() {
                let ports = mapped.borrow_and_update().iter().map(|m| m.outside).collect();
                if finder.send(Found::Mapped(ports)).await.is_err() {
                    return;
                }
            }
        };
        self.tasks.spawn(async move { token.run_until_cancelled(telling).await });
    }

    fn watch_network(&self) {
        let (finder, token, loopback) =
            (self.finder.clone(), self.token.clone(), self.config.loopback);
        let mut known = self.place.clone();
        let watching = async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let place = Surroundings::look(loopback);
                if place != known {
                    known = place.clone();
                    if finder.send(Found::Surroundings(place)).await.is_err() {
                        return;
                    }
                }
            }
        };
        self.tasks.spawn(async move { token.run_until_cancelled(watching).await });
    }

    /// The machine's addresses are others.
    fn moved(&mut self, now: Instant, place: Surroundings) {
        let before = std::mem::replace(&mut self.place, place);
        let left: BTreeSet<IpAddr> = before
            .addresses
            .iter()
            .filter(|ip| !self.place.addresses.contains(ip))
            .copied()
            .collect();
        self.pins.retain(|_, ip| !left.contains(ip));
        if !self.place.has_moved(&before) {
            if let Ok(main) = self.mux.main_addr() {
                for address in self.hosts_of(main) {
                    self.add_and_tell(now, MAIN, CandidateKind::Host, address);
                }
            }
            return;
        }
        debug!(session = self.route.number, "the machine is in another network");
        // What the old sockets look like from outside was the old network's doing: their paths
        // say nothing of this one.
        let old: Vec<SocketId> = self.own.keys().copied().collect();
        self.open_socket(now, None, self.place.network());
        for id in old {
            self.own.remove(&id);
            self.relays.gone(id, now);
            self.ladder.remove_local(now, id);
            if id != MAIN {
                self.mux.close(id);
            }
        }
        self.relays.forget();
        self.relays.want_one(now);
        self.measure();
    }
}

/// One STUN transaction from one of the sockets.
async fn binding(mux: &Mux, socket: SocketId, server: SocketAddr) -> Option<SocketAddr> {
    let mut transaction = [0; 12];
    getrandom::fill(&mut transaction).ok()?;
    let mut request = [0; 20];
    request[1] = 0x01;
    request[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    request[8..].copy_from_slice(&transaction);
    let mut answer = mux.query(transaction);
    for wait in REPEATS {
        mux.send(socket, server, None, &request);
        if let Ok(seen) = tokio::time::timeout(wait, &mut answer).await {
            return seen.ok();
        }
    }
    None
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
