//! The network: realms of addresses, routers between them, servers, and the ends.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sightline_p2p::SocketId;

use crate::{
    end::{End, Signal},
    nat::{Behaviour, Nat},
};

pub const INTERNET: usize = 0;
pub const SIGNALLING: Duration = Duration::from_millis(60);

#[derive(Clone, Copy, Debug)]
pub enum Owner {
    End(usize),
    Nat(usize),
    Server(usize),
}

#[derive(Default)]
pub struct Realm {
    pub owners: BTreeMap<IpAddr, Owner>,
    pub gateway: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub body: Body,
}

/// What a packet carries. What the caller of the ladder speaks with servers is not in bytes here.
#[derive(Clone, Debug)]
pub enum Body {
    Raw(Bytes),
    Query,
    Answer(SocketAddr),
    /// With a credential that ends then, if it does.
    Allocate(Option<Instant>),
    Allocated(SocketAddr),
    ToPeer(SocketAddr, Bytes),
    FromPeer(SocketAddr, Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    Udp(SocketAddr),
    /// An end's allocation over TCP or TLS.
    Stream(usize, SocketId),
}

pub struct Allocation {
    pub client: Client,
    pub permissions: BTreeSet<IpAddr>,
    /// With the credential that opened it.
    pub ends: Option<Instant>,
}

impl Allocation {
    pub fn lives(&self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

/// A STUN server and relay.
pub struct Server {
    pub ip: IpAddr,
    pub alive: bool,
    pub allocations: BTreeMap<u16, Allocation>,
    pub relayed_bytes: u64,
}

pub enum What {
    Arrive {
        realm: usize,
        packet: Packet,
    },
    /// Between an end and a server over TCP or TLS.
    Up {
        server: usize,
        end: usize,
        socket: SocketId,
        body: Body,
    },
    Down {
        end: usize,
        socket: SocketId,
        body: Body,
    },
    Wake {
        end: usize,
    },
    Signal {
        end: usize,
        signal: Signal,
    },
    Frame {
        end: usize,
    },
    Retry {
        end: usize,
        socket: SocketId,
        left: u32,
    },
}

struct Item {
    at: Instant,
    order: u64,
    what: What,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub rng: StdRng,
    queue: BinaryHeap<Reverse<Item>>,
    order: u64,
    pub realms: Vec<Realm>,
    pub nats: Vec<Nat>,
    pub servers: Vec<Server>,
    pub ends: Vec<End>,
    pub loss: f64,
    pub jitter: Duration,
    pub delay: Duration,
    pub duplicates: f64,
    /// Datagrams that left ends, by end.
    pub sent: Vec<u64>,
    /// Keeps checks and answers as they arrive: from where, at which end.
    pub record: bool,
    pub recorded: Vec<(SocketAddr, usize, Bytes)>,
    /// Whether checks are kept from arriving.
    pub steal: bool,
    /// What an address gets that nobody has.
    pub to_attacker: Option<SocketAddr>,
    pub attacker_bytes: u64,
    pub attacker_media: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            start: now,
            rng: StdRng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            order: 0,
            realms: vec![Realm::default()],
            nats: Vec::new(),
            servers: Vec::new(),
            ends: Vec::new(),
            loss: 0.0,
            jitter: Duration::from_millis(4),
            delay: Duration::from_millis(20),
            duplicates: 0.0,
            sent: vec![0; 2],
            record: false,
            recorded: Vec::new(),
            steal: false,
            to_attacker: None,
            attacker_bytes: 0,
            attacker_media: 0,
        };
        for ip in ["192.0.2.10", "192.0.2.20"] {
            let ip: IpAddr = ip.parse().expect("an address");
            let owner = Owner::Server(world.servers.len());
            world.realms[INTERNET].owners.insert(ip, owner);
            let allocations = BTreeMap::new();
            world.servers.push(Server { ip, alive: true, allocations, relayed_bytes: 0 });
        }
        world
    }

    /// A realm behind a router in another.
    pub fn behind(&mut self, behaviour: Behaviour, outside: &str, outer: usize) -> usize {
        let inner = self.realms.len();
        let outside: IpAddr = outside.parse().expect("an address");
        self.realms[outer].owners.insert(outside, Owner::Nat(self.nats.len()));
        self.realms.push(Realm { owners: BTreeMap::new(), gateway: Some(self.nats.len()) });
        self.nats.push(Nat::new(behaviour, outside, inner, outer));
        inner
    }

    pub fn after(&mut self, delay: Duration, what: What) {
        self.order += 1;
        let (at, order) = (self.now + delay, self.order);
        self.queue.push(Reverse(Item { at, order, what }));
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(end, |_| false);
    }

    /// Runs until the condition holds, or the time is over; says whether it held.
    pub fn run_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> bool {
        let (mut at_once, mut last) = (0, self.now);
        while let Some(Reverse(item)) = self.queue.peek()
            && item.at <= end
        {
            if done(self) {
                return true;
            }
            let Some(Reverse(item)) = self.queue.pop() else { break };
            at_once = if item.at == last { at_once + 1 } else { 0 };
            assert!(at_once < 20_000, "time stands still");
            last = item.at;
            self.now = item.at;
            self.happen(item.what);
        }
        self.now = end;
        done(self)
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive { realm, packet } => self.arrive(realm, packet),
            What::Up { server, end, socket, body } => {
                self.serve(server, Client::Stream(end, socket), body);
            }
            What::Down { end, socket, body } => self.end_hears_relay(end, socket, body),
            What::Wake { end } => self.wake(end),
            What::Signal { end, signal } => self.end_hears_signal(end, signal),
            What::Frame { end } => self.frame(end),
            What::Retry { end, socket, left } => self.retry(end, socket, left),
        }
    }

    fn one_way(&mut self, realm: usize) -> Duration {
        if realm != INTERNET {
            return Duration::from_micros(500);
        }
        self.delay + self.jitter.mul_f64(self.rng.random::<f64>())
    }

    /// A packet goes out of a realm's member.
    pub fn send(&mut self, realm: usize, packet: Packet) {
        if self.rng.random_bool(self.loss) {
            return;
        }
        if self.rng.random_bool(self.duplicates) {
            self.route(realm, packet.clone());
        }
        self.route(realm, packet);
    }

    fn route(&mut self, realm: usize, mut packet: Packet) {
        if self.realms[realm].owners.contains_key(&packet.to.ip()) {
            let delay = self.one_way(realm);
            self.after(delay, What::Arrive { realm, packet });
            return;
        }
        if let (true, Body::Raw(bytes)) = (self.to_attacker == Some(packet.to), &packet.body) {
            self.attacker_bytes += bytes.len() as u64;
            self.attacker_media += u64::from(bytes[0] > 3);
        }
        let Some(gateway) = self.realms[realm].gateway else { return };
        let now = self.now;
        let nat = &mut self.nats[gateway];
        let Some(to) = nat.real(packet.to) else { return };
        packet.to = to;
        let Some(from) = nat.out(now, &mut self.rng, packet.from, packet.to) else { return };
        packet.from = from;
        let (outer, outside) = (nat.outer, nat.outside);
        if packet.to.ip() == outside {
            if nat.behaviour.hairpin {
                let delay = Duration::from_micros(500);
                self.after(delay, What::Arrive { realm: outer, packet });
            }
            return;
        }
        self.route(outer, packet);
    }

    fn arrive(&mut self, realm: usize, mut packet: Packet) {
        match self.realms[realm].owners.get(&packet.to.ip()) {
            None => {}
            Some(Owner::End(end)) => {
                let end = *end;
                if let Body::Raw(bytes) = &packet.body
                    && bytes[0] < 4
                    && self.record
                {
                    self.recorded.push((packet.from, end, bytes.clone()));
                    if self.steal {
                        return;
                    }
                }
                self.end_hears(end, packet);
            }
            Some(Owner::Server(server)) => self.server_hears(*server, packet),
            Some(Owner::Nat(nat)) => {
                let nat = &self.nats[*nat];
                let Some(inside) = nat.back(self.now, packet.from, packet.to.port()) else {
                    return;
                };
                if nat.behaviour.nat64 {
                    packet.from = sightline_p2p::Nat64Prefix::WELL_KNOWN.map(packet.from);
                }
                packet.to = inside;
                self.arrive(nat.inner, packet);
            }
        }
    }

    fn server_hears(&mut self, server: usize, packet: Packet) {
        if packet.to.port() == 3478 {
            self.serve(server, Client::Udp(packet.from), packet.body);
            return;
        }
        let Body::Raw(bytes) = packet.body else { return };
        let Some(allocation) = self.servers[server].allocations.get(&packet.to.port()) else {
            return;
        };
        let lives = allocation.lives(self.now) && self.servers[server].alive;
        if lives && allocation.permissions.contains(&packet.from.ip()) {
            let client = allocation.client;
            self.servers[server].relayed_bytes += bytes.len() as u64;
            self.answer(server, client, Body::FromPeer(packet.from, bytes));
        }
    }

    fn serve(&mut self, id: usize, client: Client, body: Body) {
        if !self.servers[id].alive {
            return;
        }
        let ip = self.servers[id].ip;
        let own = |server: &Server| {
            let mut allocations = server.allocations.iter();
            allocations.find(|(_, a)| a.client == client).map(|(port, _)| *port)
        };
        match (body, client) {
            (Body::Query, Client::Udp(from)) => self.answer(id, client, Body::Answer(from)),
            (Body::Allocate(ends), _) if ends.is_none_or(|ends| self.now < ends) => {
                let port = own(&self.servers[id]).unwrap_or_else(|| {
                    let port = self.rng.random_range(49_152..=u16::MAX);
                    let permissions = BTreeSet::new();
                    let allocation = Allocation { client, permissions, ends };
                    self.servers[id].allocations.insert(port, allocation);
                    port
                });
                self.answer(id, client, Body::Allocated(SocketAddr::new(ip, port)));
            }
            (Body::ToPeer(peer, bytes), _) => {
                let Some(port) = own(&self.servers[id]) else { return };
                let now = self.now;
                let server = &mut self.servers[id];
                let allocation = server.allocations.get_mut(&port).filter(|a| a.lives(now));
                let Some(allocation) = allocation else { return };
                allocation.permissions.insert(peer.ip());
                server.relayed_bytes += bytes.len() as u64;
                let from = SocketAddr::new(ip, port);
                self.send(INTERNET, Packet { from, to: peer, body: Body::Raw(bytes) });
            }
            _ => {}
        }
    }

    fn answer(&mut self, server: usize, client: Client, body: Body) {
        match client {
            Client::Udp(to) => {
                let from = SocketAddr::new(self.servers[server].ip, 3478);
                self.send(INTERNET, Packet { from, to, body });
            }
            Client::Stream(end, socket) => {
                let delay = self.one_way(INTERNET);
                self.after(delay, What::Down { end, socket, body });
            }
        }
    }
}
