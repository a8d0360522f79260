//! An end: a ladder with the caller around it, as `p2p-net` is one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sightline_model::{NatReport, Rung};
use sightline_p2p::{
    Candidate, CandidateKind, Config, Consumed, Credentials, Description, Event, Ladder, Leg,
    Local, Nat64Prefix, NetworkId, Path, Role, SocketId,
};

use crate::world::{Body, Owner, Packet, SIGNALLING, What, World};

/// What the signalling carries.
#[derive(Clone, Debug)]
pub enum Signal {
    Describe(String),
    Candidate(String),
    Nat(NatReport),
}

#[derive(Clone, Debug)]
pub enum Socket {
    Direct { address: SocketAddr, replaces: Option<SocketId> },
    Relay { client: SocketAddr, leg: Leg, server: usize, replaces: Option<SocketId> },
}

pub struct End {
    pub role: Role,
    pub ladder: Ladder,
    pub realm: usize,
    pub ips: Vec<IpAddr>,
    pub network: NetworkId,
    pub sockets: BTreeMap<SocketId, Socket>,
    /// What its network lets out: UDP, TCP to any port, TLS to 443.
    pub legs: Vec<Leg>,
    /// Which servers it knows, best first.
    pub servers: Vec<usize>,
    /// When its credential for them ends, if it does.
    pub credential: Option<Instant>,
    pub nat64: bool,
    /// The port that its gateway maps.
    pub mapped: Option<SocketAddr>,
    next: u64,
    wake: Option<Instant>,
    /// When media came in, at the viewer.
    pub frames: Vec<Instant>,
    /// Media that went out, by rung.
    pub media_bytes: BTreeMap<Rung, u64>,
    pub actives: Vec<(Instant, Path, Rung)>,
    pub events: Vec<(Instant, Event)>,
    pub online: bool,
    /// Sends no media.
    pub quiet: bool,
    waiting: BTreeSet<SocketId>,
}

pub const VIEWER: usize = 0;
pub const CAMERA: usize = 1;
const FRAME: Duration = Duration::from_millis(40);
const PACKETS: usize = 4;

/// A camera's ladder behind a router, without a network around it.
pub fn lone(now: Instant, nat: NatReport) -> Ladder {
    let mut rng = StdRng::seed_from_u64(1);
    let (credentials, seed) = (Credentials::generate(&mut rng), rng.random());
    let (role, lifetimes) = (Role::Controlled, BTreeMap::new());
    let config = Config { role, credentials, seed, nat, lifetimes, probing: true };
    let mut ladder = Ladder::new(now, config);
    let host = (CandidateKind::Host, SocketAddr::from(([192, 168, 1, 5], 5_000)));
    let outside = (CandidateKind::ServerReflexive, SocketAddr::from(([203, 0, 113, 1], 5_000)));
    for (kind, address) in [host, outside] {
        let (socket, network) = (SocketId(1), NetworkId(1));
        let local = Local { socket, kind, address, network, replaces: None, since: Some(now) };
        ladder.add_local(now, &local);
    }
    ladder
}

impl World {
    /// An end in a realm with these addresses. The first one is the viewer.
    pub fn add_end(&mut self, realm: usize, ips: &[&str], nat: NatReport) -> usize {
        let index = self.ends.len();
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().expect("an address")).collect();
        for ip in &ips {
            // IPv6 needs no translation: whoever has it is on the Internet.
            if matches!(ip, IpAddr::V6(_)) {
                self.realms[0].owners.insert(*ip, Owner::End(index));
            }
            self.realms[realm].owners.insert(*ip, Owner::End(index));
        }
        let role = if index == VIEWER { Role::Controlling } else { Role::Controlled };
        let config = Config {
            role,
            credentials: Credentials::generate(&mut self.rng),
            seed: self.rng.random(),
            nat,
            lifetimes: BTreeMap::new(),
            probing: true,
        };
        self.ends.push(End {
            role,
            ladder: Ladder::new(self.now, config),
            realm,
            ips,
            network: NetworkId(1),
            sockets: BTreeMap::new(),
            legs: vec![Leg::Udp, Leg::Tcp, Leg::Tls],
            servers: vec![0, 1],
            credential: None,
            nat64: false,
            mapped: None,
            next: 1,
            wake: None,
            frames: Vec::new(),
            media_bytes: BTreeMap::new(),
            actives: Vec::new(),
            events: Vec::new(),
            online: true,
            quiet: false,
            waiting: BTreeSet::new(),
        });
        index
    }

    /// The viewer asks for the stream; the camera answers when it hears of it.
    pub fn begin(&mut self) {
        self.gather(VIEWER);
        self.allocate(VIEWER, None, 0);
        self.describe(VIEWER);
        self.drain(VIEWER);
    }

    fn describe(&mut self, end: usize) {
        let text = self.ends[end].ladder.description([9; 32]).to_string();
        let signal = Signal::Describe(text);
        self.after(SIGNALLING, What::Signal { end: 1 - end, signal });
    }

    /// Opens sockets and asks what they look like from outside.
    pub fn gather(&mut self, end: usize) {
        let ips = self.ends[end].ips.clone();
        let mut dual = ips.clone();
        dual.dedup_by_key(|ip| ip.is_ipv6());
        for ip in dual {
            self.open(end, ip, None);
        }
        if self.ends[end].nat64 {
            let now = self.now;
            self.ends[end].ladder.set_nat64(now, Nat64Prefix::WELL_KNOWN);
        }
    }

    /// An end has measured its router, and says so.
    pub fn measured(&mut self, end: usize, nat: NatReport) {
        let now = self.now;
        self.ends[end].ladder.set_nat(now, nat.clone());
        self.drain(end);
        self.after(SIGNALLING, What::Signal { end: 1 - end, signal: Signal::Nat(nat) });
    }

    fn fresh(&mut self, end: usize) -> (SocketId, u16) {
        let end = &mut self.ends[end];
        end.next += 1;
        (SocketId(end.next), 10_000 + (end.next % 50_000) as u16)
    }

    fn open(&mut self, end: usize, ip: IpAddr, replaces: Option<SocketId>) -> SocketId {
        let (id, port) = self.fresh(end);
        let address = SocketAddr::new(ip, port);
        self.ends[end].sockets.insert(id, Socket::Direct { address, replaces });
        self.tell(end, id, CandidateKind::Host, address, replaces);
        if let Some(outside) = self.ends[end].mapped.filter(|_| replaces.is_none()) {
            let gateway = self.realms[self.ends[end].realm].gateway.expect("a gateway");
            self.nats[gateway].forwarded.insert(outside.port(), address);
            self.tell(end, id, CandidateKind::Mapped, outside, replaces);
        }
        self.query(end, id);
        id
    }

    fn tell(
        &mut self,
        end: usize,
        socket: SocketId,
        kind: CandidateKind,
        address: SocketAddr,
        replaces: Option<SocketId>,
    ) {
        let (now, network) = (self.now, self.ends[end].network);
        let local = Local { socket, kind, address, network, replaces, since: Some(now) };
        if let Some(candidate) = self.ends[end].ladder.add_local(now, &local) {
            let signal = Signal::Candidate(candidate.to_string());
            self.after(SIGNALLING, What::Signal { end: 1 - end, signal });
        }
    }

    /// Asks again for what has not been answered.
    pub fn retry(&mut self, end: usize, socket: SocketId, left: u32) {
        let waits = self.ends[end].waiting.contains(&socket);
        if waits && left > 0 {
            match self.ends[end].sockets.get(&socket) {
                Some(Socket::Direct { .. }) => self.query_once(end, socket),
                Some(Socket::Relay { .. }) => {
                    let credential = self.ends[end].credential;
                    self.through_relay(end, socket, Body::Allocate(credential));
                }
                None => return,
            }
            let left = left - 1;
            self.after(Duration::from_millis(500), What::Retry { end, socket, left });
        }
    }

    fn query(&mut self, end: usize, socket: SocketId) {
        self.ends[end].waiting.insert(socket);
        self.retry(end, socket, 6);
    }

    fn query_once(&mut self, end: usize, socket: SocketId) {
        let Some(Socket::Direct { address, .. }) = self.ends[end].sockets.get(&socket) else {
            return;
        };
        let from = *address;
        let mut to = SocketAddr::new(self.servers[0].ip, 3478);
        if from.is_ipv6() {
            if !self.ends[end].nat64 {
                return;
            }
            to = Nat64Prefix::WELL_KNOWN.map(to);
        }
        self.send_from(end, Packet { from, to, body: Body::Query });
    }

    /// A relay over the best leg that the network lets out, from the server of that rank.
    pub fn allocate(&mut self, end: usize, replaces: Option<SocketId>, rank: usize) {
        let leg = self.ends[end].legs.first().copied();
        let servers = &self.ends[end].servers;
        let alive: Vec<usize> =
            servers.iter().copied().filter(|s| self.servers[*s].alive).collect();
        let (Some(leg), false) = (leg, alive.is_empty()) else { return };
        let server = alive[rank % alive.len()];
        let (id, port) = self.fresh(end);
        let ip = self.ends[end].ips[0];
        let client = SocketAddr::new(ip, port);
        self.ends[end].sockets.insert(id, Socket::Relay { client, leg, server, replaces });
        self.ends[end].waiting.insert(id);
        self.retry(end, id, 6);
    }

    fn through_relay(&mut self, end: usize, id: SocketId, body: Body) {
        let Some(Socket::Relay { client, leg, server, .. }) = self.ends[end].sockets.get(&id)
        else {
            return;
        };
        let (client, leg, server) = (*client, *leg, *server);
        if leg == Leg::Udp {
            let mut to = SocketAddr::new(self.servers[server].ip, 3478);
            if client.is_ipv6() {
                to = Nat64Prefix::WELL_KNOWN.map(to);
            }
            self.send_from(end, Packet { from: client, to, body });
        } else if self.ends[end].online {
            let delay = self.delay;
            self.after(delay, What::Up { server, end, socket: id, body });
        }
    }

    fn send_from(&mut self, end: usize, packet: Packet) {
        self.sent[end] += 1;
        let from_v6 = packet.from.is_ipv6();
        let synthesized = matches!(packet.to.ip(), IpAddr::V6(v6)
            if Nat64Prefix::WELL_KNOWN.extract(v6).is_some());
        let realm = if from_v6 && !synthesized { 0 } else { self.ends[end].realm };
        if self.ends[end].online {
            self.send(realm, packet);
        }
    }

    /// Sends on a path of the ladder.
    fn send_path(&mut self, end: usize, socket: SocketId, to: SocketAddr, bytes: Bytes) {
        match self.ends[end].sockets.get(&socket) {
            Some(Socket::Direct { address, .. }) => {
                let from = *address;
                self.send_from(end, Packet { from, to, body: Body::Raw(bytes) });
            }
            Some(Socket::Relay { .. }) => self.through_relay(end, socket, Body::ToPeer(to, bytes)),
            None => {}
        }
    }

    pub fn end_hears(&mut self, end: usize, packet: Packet) {
        let Packet { from, to, body } = packet;
        let found = self.ends[end].sockets.iter().find(|(_, socket)| match socket {
            Socket::Direct { address, .. } => *address == to,
            Socket::Relay { client, leg, .. } => *client == to && *leg == Leg::Udp,
        });
        let Some((id, socket)) = found else { return };
        let (id, socket) = (*id, socket.clone());
        match (socket, body) {
            (Socket::Direct { replaces, .. }, Body::Answer(mapped)) => {
                self.ends[end].waiting.remove(&id);
                self.tell(end, id, CandidateKind::ServerReflexive, mapped, replaces);
                self.drain(end);
            }
            (Socket::Direct { .. }, Body::Raw(bytes)) => self.take(end, id, from, &bytes),
            (Socket::Relay { .. }, body) => self.end_hears_relay(end, id, body),
            (Socket::Direct { .. }, _) => {}
        }
    }

    pub fn end_hears_relay(&mut self, end: usize, id: SocketId, body: Body) {
        let Some(Socket::Relay { leg, replaces, .. }) = self.ends[end].sockets.get(&id) else {
            return;
        };
        match body {
            Body::Allocated(address) => {
                let (kind, replaces) = (CandidateKind::Relayed(*leg), *replaces);
                self.ends[end].waiting.remove(&id);
                self.tell(end, id, kind, address, replaces);
                self.drain(end);
            }
            Body::FromPeer(from, bytes) => self.take(end, id, from, &bytes),
            _ => {}
        }
    }

    pub fn take(&mut self, end: usize, id: SocketId, from: SocketAddr, bytes: &[u8]) {
        let now = self.now;
        let consumed = self.ends[end].ladder.handle_datagram(now, id, from, bytes);
        if let (Consumed::Media(_), Role::Controlling) = (consumed, self.ends[end].role) {
            self.ends[end].frames.push(now);
            // The transport's acknowledgements.
            if let Some(path) = self.ends[end].ladder.active_path() {
                self.send_path(end, path.socket, path.remote, Bytes::from_static(&[0xc1; 40]));
            }
        }
        self.drain(end);
    }

    pub fn end_hears_signal(&mut self, end: usize, signal: Signal) {
        let now = self.now;
        match signal {
            Signal::Describe(text) => {
                let description: Description = text.parse().expect("what we wrote");
                if self.ends[end].role == Role::Controlled {
                    self.gather(end);
                    self.describe(end);
                    self.after(FRAME, What::Frame { end });
                }
                self.ends[end].ladder.set_remote(now, &description);
            }
            Signal::Candidate(text) => {
                let candidate: Candidate = text.parse().expect("what we wrote");
                self.ends[end].ladder.add_remote(now, &candidate);
            }
            Signal::Nat(nat) => self.ends[end].ladder.set_remote_nat(now, nat),
        }
        self.drain(end);
    }

    pub fn wake(&mut self, end: usize) {
        let now = self.now;
        if self.ends[end].wake.is_some_and(|at| at <= now) {
            self.ends[end].wake = None;
            self.ends[end].ladder.handle_timeout(now);
            self.drain(end);
        }
    }

    pub fn frame(&mut self, end: usize) {
        self.after(FRAME, What::Frame { end });
        let path = self.ends[end].ladder.active_path().filter(|_| !self.ends[end].quiet);
        let Some(path) = path else { return };
        let rung = self.ends[end].ladder.paths().find(|p| p.path == path).map(|p| p.rung);
        for _ in 0..PACKETS {
            let bytes = Bytes::from_static(&[0xc0; 1200]);
            *self.ends[end].media_bytes.entry(rung.expect("a path")).or_default() += 1200;
            self.send_path(end, path.socket, path.remote, bytes);
        }
    }

    /// Does what the ladder wants.
    pub fn drain(&mut self, end: usize) {
        loop {
            if let Some(transmit) = self.ends[end].ladder.poll_transmit() {
                self.send_path(end, transmit.socket, transmit.to, transmit.bytes);
            } else if let Some(event) = self.ends[end].ladder.poll_event() {
                self.ends[end].events.push((self.now, event.clone()));
                self.obey(end, event);
            } else {
                break;
            }
        }
        let due = self.ends[end].ladder.poll_timeout();
        if let Some(due) = due
            && self.ends[end].wake.is_none_or(|wake| due < wake)
        {
            self.ends[end].wake = Some(due.max(self.now));
            self.after(due.saturating_duration_since(self.now), What::Wake { end });
        }
    }

    fn obey(&mut self, end: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Active { path, rung } => self.ends[end].actives.push((now, path, rung)),
            Event::NeedSocket { replaces, .. } => match self.ends[end].sockets.get(&replaces) {
                Some(Socket::Direct { address, .. }) => {
                    let ip = address.ip();
                    self.open(end, ip, Some(replaces));
                }
                Some(Socket::Relay { server, .. }) => {
                    let rank = *server;
                    self.allocate(end, Some(replaces), rank);
                }
                None => {}
            },
            Event::NeedReflexive(socket) => self.query(end, socket),
            Event::NeedRelay => {
                let rank = self.rng.random_range(0..2);
                self.allocate(end, None, rank);
            }
            Event::NeedProbeSockets { count } => {
                let ip = self.ends[end].ips[0];
                let mut ids = Vec::new();
                for _ in 0..count {
                    let (id, port) = self.fresh(end);
                    let (address, replaces) = (SocketAddr::new(ip, port), None);
                    self.ends[end].sockets.insert(id, Socket::Direct { address, replaces });
                    ids.push(id);
                }
                let network = self.ends[end].network;
                self.ends[end].ladder.add_probe_sockets(now, network, &ids);
            }
            Event::SocketDone(socket) => {
                self.ends[end].sockets.remove(&socket);
            }
            Event::Lost | Event::PathUp(_) | Event::PathDown(_) | Event::LifetimeLearned { .. } => {
            }
        }
    }

    /// The longest pause in the picture since then.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let frames: Vec<Instant> =
            self.ends[VIEWER].frames.iter().copied().filter(|at| *at >= since).collect();
        let inner = frames.windows(2).map(|pair| pair[1] - pair[0]);
        let ends = [
            frames.first().map_or(self.now - since, |first| *first - since),
            frames.last().map_or(Duration::ZERO, |last| self.now - *last),
        ];
        inner.chain(ends).max().unwrap_or_default()
    }

    pub fn rung(&self, end: usize) -> Option<Rung> {
        self.ends[end].ladder.report().rung
    }
}
