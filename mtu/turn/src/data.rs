//! The data path (RFC 8656 sections 11 and 12): nothing here allocates or takes a lock.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    client::ClientId,
    driver::{Driver, Family, Fragment, RelayId, RelayProtocol, WorkerIndex},
    limits::Meter,
    server::{Now, Server},
    settings::Limits,
    shared::Shared,
    users::User,
    wire::{self, MAX_DATA_HEAD, Stun},
};

/// No payload is longer, so that a Data indication around it still is a datagram.
pub(crate) const MAX_PAYLOAD: usize = 65_000;

/// Where packets to a peer go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// Out of this relay.
    Out(RelayId),
    /// To another allocation of this server, from this relayed address.
    Here(RelayId, SocketAddr),
    /// To one of another worker.
    Worker(WorkerIndex, SocketAddr),
}

impl Server {
    /// Takes ChannelData from the front of a train, as long as it comes; gives back the rest.
    pub(crate) fn handle_channel_data<'a>(
        &mut self,
        client: &ClientId,
        train: &'a [u8],
        stride: usize,
        now: Now,
        driver: &mut impl Driver,
    ) -> &'a [u8] {
        let index = self.by_client.get(client).copied();
        let mut rest = train;
        let mut known: Option<(u16, SocketAddr, Route)> = None;
        while let Some(&first) = rest.first()
            && wire::is_channel(first)
        {
            let (packet, others) = rest.split_at(stride.min(rest.len()));
            rest = others;
            let Some((number, payload)) = wire::channel_data(packet) else {
                self.counters.garbage += 1;
                continue;
            };
            if known.is_none_or(|(last, ..)| last != number) {
                known = index.and_then(|index| {
                    let peer = self.allocations[index].peer(number, now.instant)?;
                    Some((number, peer, self.route(index, peer)?))
                });
            }
            match (index, known) {
                (Some(index), Some((_, peer, route))) => {
                    self.forward(index, peer, route, payload, Fragment::Allowed, now, driver);
                }
                _ => self.counters.undeliverable += 1,
            }
        }
        rest
    }

    /// RFC 8656 section 11.2: without a permission the packet is dropped.
    pub(crate) fn handle_send(
        &mut self,
        client: &ClientId,
        stun: &Stun<'_>,
        now: Now,
        driver: &mut impl Driver,
    ) {
        let (Some(send), Some(&index)) = (wire::send(stun), self.by_client.get(client)) else {
            self.counters.undeliverable += 1;
            return;
        };
        let allocation = &self.allocations[index];
        if allocation.protocol != RelayProtocol::Udp
            || !allocation.is_permitted(send.peer.ip(), now.instant)
        {
            self.counters.undeliverable += 1;
            return;
        }
        let fragment = if send.dont_fragment { Fragment::Forbidden } else { Fragment::Allowed };
        match self.route(index, send.peer) {
            Some(route) => {
                self.forward(index, send.peer, route, send.payload, fragment, now, driver);
            }
            None => self.counters.undeliverable += 1,
        }
    }

    /// `None`: nowhere, since the peer is denied or of a family that is not relayed here.
    fn route(&mut self, index: usize, peer: SocketAddr) -> Option<Route> {
        let family = Family::of(peer.ip());
        let from = self.allocations[index].relayed(family)?;
        if peer.port() == 0 || !self.settings.peers.allows(&self.shared.live, peer) {
            self.counters.denied_peers += 1;
            return None;
        }
        Some(match self.shared.live.owner(peer) {
            None => Route::Out(RelayId::new(index, family)),
            Some(worker) if worker == self.worker => {
                Route::Here(*self.by_relayed.get(&peer)?, from)
            }
            Some(worker) => Route::Worker(worker, from),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "a packet, and what is known of it")]
    fn forward(
        &mut self,
        index: usize,
        peer: SocketAddr,
        route: Route,
        payload: &[u8],
        fragment: Fragment,
        now: Now,
        driver: &mut impl Driver,
    ) {
        let since = self.since_start(now.instant);
        let allocation = &mut self.allocations[index];
        let who = (&allocation.tally.meter, &*allocation.user);
        if !within(&self.settings.limits, &self.shared, who, payload.len(), since) {
            self.counters.over_bandwidth += 1;
            return;
        }
        let bytes = payload.len() as u64;
        allocation.bytes_to_peers += bytes;
        allocation.packets += 1;
        self.counters.packets_to_peers += 1;
        self.counters.bytes_to_peers += bytes;
        match route {
            Route::Out(relay) => driver.send_to_peer(relay, peer, payload, fragment),
            Route::Here(relay, from) => {
                self.counters.packets_between_own += 1;
                self.deliver(relay, from, payload, payload.len().max(1), now, driver);
            }
            Route::Worker(worker, from) => {
                self.counters.packets_between_own += 1;
                if !self.take_shortcut(from, peer, payload, now, driver) {
                    driver.send_to_worker(worker, from, peer, payload);
                }
            }
        }
    }

    /// RFC 8656 sections 11.4 and 12.7: what a peer sent to a relayed address goes to its client,
    /// if there is a permission.
    pub(crate) fn deliver(
        &mut self,
        relay: RelayId,
        peer: SocketAddr,
        train: &[u8],
        stride: usize,
        now: Now,
        driver: &mut impl Driver,
    ) {
        let Some(allocation) = self.allocations.get(relay.allocation()) else {
            self.counters.undeliverable += 1;
            return;
        };
        let packets = train.len().div_ceil(stride).max(1) as u64;
        if !allocation.is_permitted(peer.ip(), now.instant) {
            self.counters.unpermitted += packets;
            return;
        }
        if !self.settings.peers.allows(&self.shared.live, peer) {
            self.counters.denied_peers += packets;
            return;
        }
        let channel = allocation.channel(peer, now.instant);
        if train.is_empty() {
            // An empty datagram is a datagram.
            self.hand_over(relay.allocation(), peer, channel, train, now.instant, driver);
        }
        for payload in train.chunks(stride) {
            self.hand_over(relay.allocation(), peer, channel, payload, now.instant, driver);
        }
    }

    fn hand_over(
        &mut self,
        index: usize,
        peer: SocketAddr,
        channel: Option<u16>,
        payload: &[u8],
        now: Instant,
        driver: &mut impl Driver,
    ) {
        let since = self.since_start(now);
        let transaction =
            if channel.is_none() { self.next_transaction_bytes() } else { Default::default() };
        let allocation = &mut self.allocations[index];
        let who = (&allocation.tally.meter, &*allocation.user);
        if payload.len() > MAX_PAYLOAD
            || !within(&self.settings.limits, &self.shared, who, payload.len(), since)
        {
            self.counters.over_bandwidth += 1;
            return;
        }
        let bytes = payload.len() as u64;
        allocation.bytes_to_client += bytes;
        allocation.packets += 1;
        self.counters.packets_to_clients += 1;
        self.counters.bytes_to_clients += bytes;
        let client = &allocation.client;
        match channel {
            Some(number) => {
                let head = wire::channel_header(number, payload.len());
                // RFC 8656 section 12.5: padded in a stream.
                let stream = client.transport.is_stream();
                let tail = if stream { wire::padding(payload.len()) } else { &[] };
                driver.send_to_client(client, &head, payload, tail);
            }
            None => {
                let mut head = [0; MAX_DATA_HEAD];
                let length = wire::data_head(&mut head, &transaction, peer, payload.len());
                let tail = wire::padding(payload.len());
                driver.send_to_client(client, &head[..length], payload, tail);
            }
        }
    }
}

/// Whether so many bytes are within all limits: of an allocation, its user, and the server.
pub(crate) fn within(
    limits: &Limits,
    shared: &Shared,
    (allocation, user): (&Meter, &User),
    bytes: usize,
    since: Duration,
) -> bool {
    let within =
        |rate: Option<u64>, meter: &Meter| rate.is_none_or(|rate| meter.admit(bytes, rate, since));
    within(limits.allocation_bytes_per_s, allocation)
        && within(limits.user_bytes_per_s, &user.meter)
        && within(limits.server_bytes_per_s, &shared.meter)
}
