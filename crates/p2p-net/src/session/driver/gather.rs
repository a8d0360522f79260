//! What the session looks for: sockets, what they look like from outside, relays, mappings, and
//! the machine's network.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_model::NatReport;
use sightline_p2p::{CandidateKind, Leg, NetworkId, SocketId};
use tokio::sync::watch;
use tracing::debug;

use super::{
    super::{Line, probes},
    Driver, Found, Own,
};
use crate::{
    Nat64,
    gateway::{self, Protocol, Wanted},
    mux::{MAIN, Mux},
    nat,
    nat64::Translation,
    network::Surroundings,
    relay::{Relay, RelayError},
    server::{RelayServer, RelayTransport, Servers},
};

/// A question to a STUN server is repeated after these (RFC 8489 section 6.2.1, sooner).
const REPEATS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1_600),
];
/// STUN servers that are asked from one socket.
const STUN_SERVERS: usize = 2;

impl Driver {
    pub(super) fn gather_again(&mut self) {
        let plain: Vec<SocketId> =
            self.own.iter().filter(|(_, own)| !own.is_relay).map(|(id, _)| *id).collect();
        for socket in plain {
            self.ask_stun(socket);
        }
        self.relays.want_one(Instant::now());
    }

    /// The mapping of a socket or allocation will end: a fresh one beside it.
    pub(super) fn succeed(&mut self, now: Instant, replaces: SocketId, network: NetworkId) {
        if self.own.get(&replaces).is_some_and(|own| own.is_relay) {
            if let Some(server) = self.relays.successor_of(replaces) {
                self.allocate(server, Some(replaces));
            }
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

    fn open_socket(
        &mut self,
        now: Instant,
        replaces: Option<SocketId>,
        network: NetworkId,
    ) -> Option<SocketId> {
        let (id, bound) = match self.mux.open(self.any(), &self.token, &self.tasks) {
            Ok(opened) => opened,
            Err(error) => {
                debug!(%error, "no further socket");
                return None;
            }
        };
        self.own.insert(id, Own::plain(network, replaces, Some(now)));
        for address in self.hosts_of(bound) {
            self.add_and_tell(now, id, CandidateKind::Host, address);
        }
        self.ask_stun(id);
        Some(id)
    }

    pub(super) fn open_probes(&mut self, now: Instant, count: usize) {
        let network = self.place.network();
        let opened = probes::open(&self.mux, self.any(), count, &self.token, &self.tasks);
        let ids: Vec<SocketId> = opened.iter().map(|(id, _)| *id).collect();
        for (id, permit) in opened {
            let own = Own { permit: Some(permit), ..Own::plain(network, None, Some(now)) };
            self.own.insert(id, own);
        }
        self.ladder.add_probe_sockets(now, network, &ids);
    }

    pub(super) fn done(&mut self, now: Instant, socket: SocketId) {
        self.relays.gone(socket, now);
        self.own.remove(&socket);
        self.pins.retain(|path, _| path.socket != socket);
        if socket != MAIN {
            self.mux.close(socket);
        }
        if socket == self.mapped_socket {
            self.map_newest();
        }
    }

    /// Nothing comes through the port that was mapped any more: that of the newest socket is, if
    /// there is one.
    fn map_newest(&mut self) {
        let lasting = self.own.iter().filter(|(_, own)| !own.is_relay && own.permit.is_none());
        if let Some(newest) = lasting.map(|(id, _)| *id).max() {
            self.mapped_socket = newest;
            self.map();
        }
    }

    /// Asks STUN servers what a socket looks like from outside.
    pub(super) fn ask_stun(&self, socket: SocketId) {
        let is_plain = self.own.get(&socket).is_some_and(|own| !own.is_relay);
        if !is_plain {
            return;
        }
        for place in self.config.servers.stun.iter().take(STUN_SERVERS) {
            let place = place.clone();
            let (mux, finder, token) =
                (Arc::clone(&self.mux), self.finder.clone(), self.token.clone());
            let mut nat64 = self.nat64.clone();
            let has_v4 = self.place.outward_v4.is_some() || self.config.loopback;
            let asking = async move {
                let nat64 = nat64.towards(&place.host).await;
                let Ok(addresses) = place.resolve(nat64).await else { return };
                for family in [SocketAddr::is_ipv4, SocketAddr::is_ipv6] {
                    let Some(server) = addresses.iter().copied().find(family) else { continue };
                    let reached = if server.is_ipv6() { mux.main_is_v6() } else { has_v4 };
                    if !reached {
                        continue;
                    }
                    if let Some(seen) = binding(&mux, socket, server).await {
                        let _ = finder.send(Found::Reflexive { socket, seen }).await;
                    }
                }
            };
            self.tasks.spawn(async move { token.run_until_cancelled(asking).await });
        }
    }

    pub(super) fn ask_relays(&mut self, now: Instant) {
        let active = self.ladder.active_path().map(|path| path.socket);
        while let Some((server, replaces)) = self.relays.ask(now, active) {
            if replaces.is_some() {
                debug!(session = self.route.number, "a relay with a fresh credential");
            }
            self.allocate(server, replaces);
        }
    }

    /// Servers that the centre has named since. They are asked in the next turn.
    pub(super) fn take_servers(&mut self, now: Instant, servers: Servers) {
        let Servers { stun, relays } = servers;
        if !stun.is_empty() {
            self.config.servers.stun = stun;
        }
        if !relays.is_empty() {
            self.config.servers.relays.clone_from(&relays);
            self.relays.renew(relays, now);
        }
    }

    fn allocate(&self, server: RelayServer, replaces: Option<SocketId>) {
        let id = self.mux.new_socket_id();
        let sink = self.mux.relay_sink(id);
        let (finder, token, tasks) = (self.finder.clone(), self.token.clone(), self.tasks.clone());
        let (mut options, mut nat64) = (self.config.relay.clone(), self.nat64.clone());
        self.tasks.spawn(async move {
            let known = token.run_until_cancelled(nat64.towards(&server.place.host)).await;
            options.nat64 = known.flatten();
            let result = Relay::allocate(&server, &options, sink, &token, &tasks).await;
            let dead = result.as_ref().ok().map(Relay::dead);
            if finder.send(Found::Relay { server, id, replaces, result }).await.is_err() {
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

    pub(super) fn found(&mut self, found: Found) {
        let now = Instant::now();
        match found {
            Found::Reflexive { socket, seen } => {
                self.add_and_tell(now, socket, CandidateKind::ServerReflexive, seen);
            }
            Found::Relay { server, id, replaces, result } => {
                self.relay_came(now, &server, id, replaces, result);
            }
            Found::RelayDead(id) => {
                self.relays.gone(id, now);
                if self.own.remove(&id).is_some() {
                    self.ladder.remove_local(now, id);
                }
                self.mux.close(id);
            }
            // Of a network that was left while its resolver was asked.
            Found::Nat64 { look, .. } if look != self.nat64_look => {}
            Found::Nat64 { nat64, .. } => {
                self.config.relay.nat64 = Some(nat64);
                self.ladder.set_nat64(now, nat64.prefix());
            }
            Found::Mapped(ports) => {
                // What is told late of a socket that was left says nothing of this one.
                let port = self.mux.bound(self.mapped_socket).map(|bound| bound.port());
                let ours = ports.iter().filter(|m| Some(m.wanted.port.get()) == port);
                let addresses: Vec<SocketAddr> = ours.map(|m| m.outside).collect();
                self.mapped(now, self.mapped_socket, &addresses);
            }
            Found::Nat(nat) => self.measured(now, nat),
        }
    }

    /// Where gateways map a socket now. Where they did before and do not any more is told to nobody
    /// else.
    fn mapped(&mut self, now: Instant, socket: SocketId, addresses: &[SocketAddr]) {
        self.ladder.keep_mapped(now, socket, addresses);
        for address in addresses {
            self.add_and_tell(now, socket, CandidateKind::Mapped, *address);
        }
    }

    /// Where the caller has gateways map the main socket, in whichever network the machine is: if
    /// that socket was left with the network before, it is of use again.
    pub(super) fn main_mapped(&mut self, now: Instant, addresses: &[SocketAddr]) {
        if !addresses.is_empty()
            && !self.own.contains_key(&MAIN)
            && let Ok(main) = self.mux.main_addr()
        {
            self.own.insert(MAIN, Own::plain(self.place.network(), None, Some(now)));
            for address in self.hosts_of(main) {
                self.add_and_tell(now, MAIN, CandidateKind::Host, address);
            }
            self.ask_stun(MAIN);
        }
        self.mapped(now, MAIN, addresses);
    }

    /// What stands before this end is known, perhaps only now: both ladders have to know it.
    pub(super) fn measured(&mut self, now: Instant, nat: NatReport) {
        if self.config.nat == nat {
            return;
        }
        self.config.nat.clone_from(&nat);
        self.ladder.set_nat(now, nat.clone());
        let _ = self.ends.lines.try_send(Line::Nat(nat));
        self.stale = true;
    }

    /// Where there is IPv6 alone, IPv4 may be reached through NAT64. Nobody waits for this but who
    /// has nothing but an address of IPv4.
    pub(super) fn look_for_nat64(&mut self) {
        self.nat64_look += 1;
        let known = self.config.relay.nat64;
        self.ladder.set_nat64(Instant::now(), known.map(Nat64::prefix));
        if known.is_some() {
            return;
        }
        if self.place.outward_v4.is_some() || self.place.outward_v6.is_none() {
            self.nat64 = Translation::known(None);
            return;
        }
        let (sender, translation) = Translation::unknown();
        self.nat64 = translation;
        let (look, finder, token) = (self.nat64_look, self.finder.clone(), self.token.clone());
        let looking = async move {
            let found = Nat64::discover().await;
            sender.send_replace(Some(found));
            if let Some(nat64) = found {
                let _ = finder.send(Found::Nat64 { look, nat64 }).await;
            }
        };
        self.tasks.spawn(async move { token.run_until_cancelled(looking).await });
    }

    fn relay_came(
        &mut self,
        now: Instant,
        server: &RelayServer,
        id: SocketId,
        replaces: Option<SocketId>,
        result: Result<Relay, RelayError>,
    ) {
        let relay = match result {
            Ok(relay) => relay,
            Err(error) => {
                debug!(%error, "no relay");
                match replaces {
                    Some(old) => self.relays.not_replaced(server, old, now),
                    None => self.relays.failed(server, now),
                }
                return;
            }
        };
        if let Some(old) = replaces {
            self.relays.replaced(server, old, id, now);
        } else if !self.relays.up_is(server, id, now) {
            return;
        }
        let leg = match relay.transport() {
            RelayTransport::Udp => Leg::Udp,
            RelayTransport::Tcp => Leg::Tcp,
            RelayTransport::Tls => Leg::Tls,
        };
        let network = self.place.network();
        self.own.insert(id, Own { is_relay: true, ..Own::plain(network, replaces, Some(now)) });
        let addresses = relay.relayed_addresses().to_vec();
        self.mux.add_relay(id, relay);
        for address in addresses {
            self.add_and_tell(now, id, CandidateKind::Relayed(leg), address);
        }
    }

    pub(super) fn measure(&self) {
        if !self.config.measure {
            return;
        }
        let (servers, finder, token) =
            (self.config.servers.clone(), self.finder.clone(), self.token.clone());
        let mut nat64 = self.nat64.clone();
        let measuring = async move {
            let nat64 = nat64.answer().await;
            match nat::measure(&servers, nat64).await {
                Ok(nat) => drop(finder.send(Found::Nat(nat)).await),
                Err(error) => debug!(%error, "the NATs cannot be measured"),
            }
        };
        self.tasks.spawn(async move { token.run_until_cancelled(measuring).await });
    }

    /// Has the gateway map a socket's port, in place of the one before; what it gives is released when
    /// the session ends.
    pub(super) fn map(&mut self) {
        if !self.config.map {
            return;
        }
        let bound = self.mux.bound(self.mapped_socket);
        let port = bound.and_then(|bound| NonZeroU16::new(bound.port()));
        let wanted = port.map(|port| Wanted { protocol: Protocol::Udp, port });
        let wanted = Vec::from_iter(wanted);
        if let Some(before) = &self.wanted {
            before.send_replace(wanted);
            return;
        }
        let (wants, wanted) = watch::channel(wanted);
        self.wanted = Some(wants);
        let (sender, mut mapped) = watch::channel(Vec::new());
        self.tasks.spawn(gateway::keep(wanted, sender, self.token.clone()));
        let (finder, token) = (self.finder.clone(), self.token.clone());
        let telling = async move {
            while mapped.changed().await.is_ok() {
                let ports = mapped.borrow_and_update().clone();
                if finder.send(Found::Mapped(ports)).await.is_err() {
                    return;
                }
            }
        };
        self.tasks.spawn(async move { token.run_until_cancelled(telling).await });
    }

    /// Further addresses of the sockets that there are.
    fn add_hosts(&mut self, now: Instant) {
        let plain = self.own.iter().filter(|(_, own)| !own.is_relay).map(|(id, _)| *id);
        for id in plain.collect::<Vec<_>>() {
            let Some(bound) = self.mux.bound(id) else { continue };
            for address in self.hosts_of(bound) {
                self.add_and_tell(now, id, CandidateKind::Host, address);
            }
        }
    }

    /// The machine's addresses are others.
    pub(super) fn moved(&mut self, now: Instant, place: Surroundings) {
        if place.is_cut_off() && !self.place.is_cut_off() {
            // Between two networks there is nothing to do; the next one shows soon.
            return;
        }
        let before = std::mem::replace(&mut self.place, place);
        let left: BTreeSet<IpAddr> = before
            .addresses
            .iter()
            .filter(|ip| !self.place.addresses.contains(ip))
            .copied()
            .collect();
        self.pins.retain(|_, ip| !left.contains(ip));
        if !self.place.has_moved(&before) {
            self.add_hosts(now);
            return;
        }
        debug!(session = self.route.number, "the machine is in another network");
        self.config.relay.nat64 = None;
        self.look_for_nat64();
        // What the old sockets look like from outside was the old network's doing: their paths
        // say nothing of this one.
        let old: Vec<SocketId> = self.own.keys().copied().collect();
        if let Some(fresh) = self.open_socket(now, None, self.place.network()) {
            self.mapped_socket = fresh;
        }
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
        self.map();
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
    let mut answer = mux.transactions().query(transaction);
    for wait in REPEATS {
        mux.send(socket, server, None, &request);
        if let Ok(seen) = tokio::time::timeout(wait, &mut answer).await {
            return seen.ok();
        }
    }
    None
}

#[cfg(test)]
mod tests;
