//! One worker's server: its allocations, and the way in for everything that arrives.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use slab::Slab;
use stun_rs::{MessageClass, MessageMethod, TransactionId};

use crate::{
    allocation::Allocation,
    answer::{Answer, RawAttribute},
    client::{ClientId, canonical},
    counters::Counters,
    driver::{Driver, Family, IcmpError, RelayId, RelayProtocol, Ticket, Usage, WorkerIndex},
    limits::{Limiter, Meter},
    requests::refuse,
    settings::Settings,
    shared::Shared,
    shortcut::Shortcuts,
    wire::{self, Stun},
};

/// CONNECTION-ATTEMPT (RFC 6062 section 6.1).
const CONNECTION_ATTEMPT: u16 = 0x000c;

/// The time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For timers.
    pub instant: Instant,
    /// For the expiry of credentials, in seconds since 1970.
    pub unix_s: u64,
}

pub(crate) type Map<K, V> = HashMap<K, V, foldhash::quality::RandomState>;

/// STUN and TURN for the clients of one worker.
#[derive(Debug)]
pub struct Server {
    pub(crate) worker: WorkerIndex,
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) allocations: Slab<Allocation>,
    pub(crate) by_client: Map<ClientId, usize>,
    pub(crate) by_relayed: Map<SocketAddr, RelayId>,
    pub(crate) shortcuts: Shortcuts,
    /// When which allocation ends.
    pub(crate) ends: BTreeSet<(Instant, usize)>,
    /// When a port that this server reserved may have to be released.
    pub(crate) held_until: Option<Instant>,
    pub(crate) refusals: Limiter,
    pub(crate) bindings: Limiter,
    /// What may be told of refused peers: of one subscriber, and at all.
    pub(crate) tellings: (Limiter, Meter),
    /// Refused peers that were not told.
    pub(crate) untold: u64,
    pub(crate) counters: Counters,
    indications: u64,
    /// Allocations ever made.
    pub(crate) made: u64,
}

impl Server {
    /// A server without allocations.
    #[must_use]
    pub fn new(worker: WorkerIndex, shared: Arc<Shared>, settings: Arc<Settings>) -> Self {
        Self {
            worker,
            shared,
            settings,
            allocations: Slab::new(),
            by_client: Map::default(),
            by_relayed: Map::default(),
            shortcuts: Shortcuts::default(),
            ends: BTreeSet::new(),
            held_until: None,
            refusals: Limiter::default(),
            bindings: Limiter::default(),
            tellings: Default::default(),
            untold: 0,
            counters: Counters::default(),
            indications: 0,
            made: 0,
        }
    }

    /// From now on these settings hold. Allocations stand; what they may do is judged anew.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
        self.shortcuts.clear();
        for (_, allocation) in &mut self.allocations {
            allocation.revoke();
        }
    }

    /// The settings that hold.
    #[must_use]
    pub const fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What it has done.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Allocations of this server.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// What each allocation has carried until now.
    pub fn usage(&self, now: Now) -> impl Iterator<Item = Usage> {
        self.allocations.iter().map(move |(_, allocation)| allocation.usage(now.instant))
    }

    /// Takes what came from a client: a datagram, or several of `stride` bytes each but for the
    /// last, which may be shorter; of a stream, one message.
    pub fn handle_input(
        &mut self,
        client: &ClientId,
        train: &[u8],
        stride: usize,
        now: Now,
        driver: &mut impl Driver,
    ) {
        let mut rest = train;
        while let Some(&first) = rest.first() {
            if wire::is_channel(first) {
                rest = self.handle_channel_data(client, rest, stride.max(1), now, driver);
                continue;
            }
            let (packet, others) = rest.split_at(stride.clamp(1, rest.len()));
            rest = others;
            match Stun::parse(packet) {
                Some(stun) if stun.kind == wire::SEND_INDICATION => {
                    self.handle_send(client, &stun, now, driver);
                }
                Some(stun) => self.handle_request(client, &stun, now, driver),
                None => self.counters.garbage += 1,
            }
        }
    }

    /// Takes what came from a peer to a relayed address; a train as with
    /// [`handle_input`](Self::handle_input).
    pub fn handle_peer_input(
        &mut self,
        relay: RelayId,
        peer: SocketAddr,
        train: &[u8],
        stride: usize,
        now: Now,
        driver: &mut impl Driver,
    ) {
        self.deliver(relay, canonical(peer), train, stride.max(1), now, driver);
    }

    /// Takes a datagram that another worker's relayed address sent to one of this server's.
    pub fn handle_relayed(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        now: Now,
        driver: &mut impl Driver,
    ) {
        match self.by_relayed.get(&to) {
            Some(&relay) => {
                self.deliver(relay, from, payload, payload.len().max(1), now, driver);
                self.lend(relay.allocation(), from, to, now, driver);
            }
            None => self.counters.undeliverable += 1,
        }
    }

    /// Takes an ICMP error that a packet to a peer caused (RFC 8656 section 11.5).
    pub fn handle_icmp(
        &mut self,
        relay: RelayId,
        peer: SocketAddr,
        error: IcmpError,
        now: Now,
        driver: &mut impl Driver,
    ) {
        let peer = canonical(peer);
        let transaction = self.next_transaction();
        let Some(allocation) = self.allocations.get(relay.allocation()) else { return };
        if !allocation.is_permitted(peer.ip(), now.instant) {
            return;
        }
        let indication = crate::requests::icmp(transaction, peer, error);
        if let Some(message) = indication.and_then(|indication| indication.encode(None, false)) {
            driver.send_to_client(&allocation.client, &message, &[], &[]);
        }
    }

    /// Ends what a client has, since its connection has ended.
    pub fn handle_gone(&mut self, client: &ClientId, now: Now, driver: &mut impl Driver) {
        if let Some(&index) = self.by_client.get(client) {
            self.end(index, now.instant, driver);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now, driver: &mut impl Driver) {
        while let Some(&(ends, index)) = self.ends.first() {
            if ends > now.instant {
                break;
            }
            self.end(index, now.instant, driver);
        }
        if self.held_until.is_some_and(|until| until <= now.instant) {
            let (lapsed, next) = self.shared.lapsed(now.instant);
            self.held_until = next;
            for address in lapsed {
                driver.release_held(address);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.ends.first().map(|&(ends, _)| ends);
        ends.into_iter().chain(self.held_until).min()
    }

    /// Ends all allocations.
    pub fn close(&mut self, now: Now, driver: &mut impl Driver) {
        while let Some(&(_, index)) = self.ends.first() {
            self.end(index, now.instant, driver);
        }
    }

    /// Answers a request of which the driver said [`Later`](crate::Extension::Later).
    pub fn answer(
        &mut self,
        ticket: &Ticket,
        outcome: Result<Vec<RawAttribute>, (u16, &'static str)>,
        driver: &mut impl Driver,
    ) {
        let answer = match outcome {
            Ok(raw) => {
                let class = MessageClass::SuccessResponse;
                Answer { raw, ..Answer::new(ticket.method, class, ticket.transaction) }
            }
            Err((code, reason)) => refuse(code, reason).answer(ticket.method, ticket.transaction),
        };
        if let Some(message) = answer.encode(Some(&ticket.seal), false) {
            driver.send_to_client(&ticket.client, &message, &[], &[]);
        }
    }

    /// Whether this peer may connect to a TCP relay now.
    #[must_use]
    pub fn may_connect(&self, relay: RelayId, peer: SocketAddr, now: Now) -> bool {
        let ip = canonical(peer).ip();
        let allocation = self.allocations.get(relay.allocation());
        allocation.is_some_and(|allocation| allocation.is_permitted(ip, now.instant))
            && self.settings.peers.allows_connection(ip)
    }

    /// Whether this client has an allocation.
    #[must_use]
    pub fn has_allocation(&self, client: &ClientId) -> bool {
        self.by_client.contains_key(client)
    }

    /// Tells the client of a TCP relay that a peer has connected (RFC 6062 section 5.3); `false`
    /// when the peer has no permission, and its connection must be closed.
    #[must_use]
    pub fn offer_connection(
        &mut self,
        relay: RelayId,
        peer: SocketAddr,
        connection: u32,
        now: Now,
        driver: &mut impl Driver,
    ) -> bool {
        let peer = canonical(peer);
        if !self.may_connect(relay, peer, now) {
            return false;
        }
        let transaction = self.next_transaction();
        let Some(allocation) = self.allocations.get(relay.allocation()) else { return false };
        let Ok(method) = MessageMethod::try_from(CONNECTION_ATTEMPT) else { return false };
        let kind = wire::attribute::CONNECTION_ID;
        let raw = vec![RawAttribute { kind, value: connection.to_be_bytes().to_vec() }];
        let indication = Answer::new(method, MessageClass::Indication, transaction)
            .with(stun_rs::attributes::turn::XorPeerAddress::from(peer));
        let message = Answer { raw, ..indication }.encode(None, false);
        if let Some(message) = &message {
            driver.send_to_client(&allocation.client, message, &[], &[]);
        }
        message.is_some()
    }

    /// Not random: nobody answers an indication.
    pub(crate) fn next_transaction(&mut self) -> TransactionId {
        TransactionId::from(self.next_transaction_bytes())
    }

    pub(crate) fn next_transaction_bytes(&mut self) -> [u8; 12] {
        self.indications += 1;
        let mut transaction = [0; 12];
        transaction[..2].copy_from_slice(&self.worker.0.to_be_bytes());
        transaction[4..].copy_from_slice(&self.indications.to_be_bytes());
        transaction
    }

    pub(crate) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.shared.start)
    }

    /// Moves the end of an allocation.
    pub(crate) fn ends_at(&mut self, index: usize, ends: Instant) {
        let allocation = &mut self.allocations[index];
        self.ends.remove(&(allocation.ends, index));
        allocation.ends = ends;
        self.ends.insert((ends, index));
    }

    /// Gives up one relayed address of an allocation.
    pub(crate) fn close_relay(&mut self, index: usize, family: Family, driver: &mut impl Driver) {
        let allocation = &mut self.allocations[index];
        let Some(address) = allocation.relayed(family) else { return };
        allocation.set_relayed(family, None);
        if allocation.protocol == RelayProtocol::Udp {
            // Before anybody else can have the address: what was lent is not for its next owner.
            allocation.revoke();
            self.by_relayed.remove(&address);
            self.shortcuts.left(address);
            self.shared.live.closed(address);
        }
        driver.close_relay(RelayId::new(index, family));
    }

    pub(crate) fn end(&mut self, index: usize, now: Instant, driver: &mut impl Driver) {
        for family in [Family::V4, Family::V6] {
            self.close_relay(index, family, driver);
        }
        let allocation = self.allocations.remove(index);
        if let Some(streams) = &allocation.streams {
            streams.close();
        }
        self.by_client.remove(&allocation.client);
        self.ends.remove(&(allocation.ends, index));
        self.shared.leave(&allocation.user_name);
        driver.released(&allocation.client);
        driver.ended(allocation.usage(now));
    }
}
