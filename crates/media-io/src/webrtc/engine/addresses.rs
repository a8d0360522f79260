//! Where the sockets can be reached: own interfaces, mapped addresses, and what STUN servers see.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sightline_model::NatDependence;
use str0m::{Candidate, CandidateKind, net::Protocol};

use super::{
    super::{
        LocalCandidates,
        session::{Around, MAPPED, Now},
        sockets::Socket,
        stun,
    },
    Task, guarded,
};

/// How often the address seen from outside is asked for: it also keeps the router's mapping.
const STUN_INTERVAL: Duration = Duration::from_secs(15);
/// Asked again soon while nothing is known.
const STUN_RETRY: Duration = Duration::from_secs(1);

/// After so long without any answer, UDP is taken for blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(2);

/// A question to a STUN server.
struct Question {
    transaction: [u8; 12],
    socket: SocketAddr,
    server: SocketAddr,
}

/// What a server sees of a socket.
struct Told {
    socket: SocketAddr,
    server: SocketAddr,
    seen: SocketAddr,
    since: Instant,
}

/// What STUN servers were asked, and what they said.
pub(super) struct Asked {
    pub(super) next: Instant,
    open: Vec<Question>,
    told: Vec<Told>,
    /// Since when servers have been asked in vain; `None` before the first question.
    vain_since: Option<Instant>,
    /// Whether any of them has ever answered.
    heard: bool,
}

impl Asked {
    pub(super) const fn new(now: Instant) -> Self {
        Self { next: now, open: Vec::new(), told: Vec::new(), vain_since: None, heard: false }
    }

    /// Where servers see the sockets.
    pub(super) fn seen(&self) -> impl Iterator<Item = &SocketAddr> {
        self.told.iter().map(|told| &told.seen)
    }

    /// Since when such sockets have been seen where they are seen now; that is when the router has
    /// mapped them, within the time between two questions. Nothing where every peer gets a mapping
    /// of its own.
    pub(super) fn mapped_since(&self, is_such: impl Fn(SocketAddr) -> bool) -> Option<Instant> {
        if self.mapping() == Some(NatDependence::AddressAndPortDependent) {
            return None;
        }
        self.told.iter().filter(|told| is_such(told.socket)).map(|told| told.since).min()
    }

    /// How the router in front maps ports, where two servers see one socket (RFC 5780 section 4.3).
    fn mapping(&self) -> Option<NatDependence> {
        let mut known = None;
        for (at, told) in self.told.iter().enumerate() {
            let earlier = self.told.iter().take(at);
            let mut others =
                earlier.filter(|other| other.socket == told.socket && other.server != told.server);
            match others.next() {
                Some(other) if other.seen != told.seen => {
                    return Some(NatDependence::AddressAndPortDependent);
                }
                Some(_) => known = Some(NatDependence::EndpointIndependent),
                None => {}
            }
        }
        known
    }

    /// These sockets are closed.
    pub(super) fn forget(&mut self, sockets: &[SocketAddr]) {
        self.told.retain(|told| !sockets.contains(&told.socket));
        self.open.retain(|question| !sockets.contains(&question.socket));
    }

    /// Whether nothing has come back by UDP for so long that nothing will.
    pub(super) fn udp_is_blocked(&self, now: Instant) -> bool {
        !self.heard && self.vain_since.is_some_and(|since| now >= since + BLOCKED_AFTER)
    }
}

impl Task {
    pub(super) fn set_local(&mut self, local: LocalCandidates, now: Now) {
        self.stun.next = now.instant;
        self.stun.open.clear();
        if self.local.stun_servers != local.stun_servers || self.local.host != local.host {
            (self.stun.vain_since, self.stun.heard) = (None, false);
        }
        self.drop_unmapped(&local.mapped, now);
        if local.nat64.is_none() || self.local.nat64 != local.nat64 {
            self.forget_translated();
        }
        self.local = local;
        self.look_around(now);
        let mut addresses = self.local.host.clone();
        for address in &mut addresses {
            let bound = self.sockets.iter().map(|s| s.local);
            let port = bound.clone().find(|b| b.is_ipv4() == address.is_ipv4()).map(|b| b.port());
            if address.port() == 0 {
                address.set_port(port.unwrap_or(0));
            }
        }
        if addresses.is_empty() {
            addresses.extend(
                self.sockets.iter().map(|s| s.local).filter(|local| !local.ip().is_unspecified()),
            );
        }
        // A socket can serve only addresses of its own family.
        addresses.retain(|a| self.sockets.iter().any(|s| s.local.is_ipv4() == a.is_ipv4()));
        for address in addresses {
            self.add_candidate(Candidate::host(address, Protocol::Udp), "", now);
        }
        for mapped in self.local.mapped.clone() {
            self.add_reflexive(mapped, MAPPED, now);
        }
    }

    /// What is known of the network: as the caller has measured, else as STUN servers see the
    /// sockets.
    fn look_around(&mut self, now: Now) {
        let mut nat = self.local.nat.clone();
        let blocked = self.stun.udp_is_blocked(now.instant).then_some(false);
        nat.udp = nat.udp.or(self.stun.heard.then_some(true)).or(blocked);
        if self.stun.seen().next().is_some() {
            nat.translated = nat.translated.or_else(|| Some(self.is_translated()));
            nat.mapping = nat.mapping.or_else(|| self.stun.mapping());
        }
        let (mapped, nat64) = (self.local.mapped.clone(), self.local.nat64);
        let around = Around { mapped, nat, nat64 };
        if *self.around == around {
            return;
        }
        self.around = Arc::new(around);
        for seat in self.seats.values_mut() {
            seat.session.set_around(&self.around);
        }
    }

    fn add_reflexive(&mut self, mapped: SocketAddr, extension: &'static str, now: Now) {
        let own = self.candidates.iter().map(|(candidate, _)| candidate);
        let base = own
            .clone()
            .find(|c| c.kind() == CandidateKind::Host && c.addr().is_ipv4() == mapped.is_ipv4())
            .map(Candidate::addr);
        // A gateway's port that a STUN server sees too is known already.
        let known = own.clone().any(|c| c.addr() == mapped);
        match base {
            Some(base) if !known => {
                let made = Candidate::server_reflexive(mapped, base, Protocol::Udp);
                self.add_candidate(made, extension, now);
            }
            None if !self.translated.contains(&mapped) => self.add_translated(mapped),
            Some(_) | None => {}
        }
    }

    /// An address of IPv4 that a NAT64 gives a socket of IPv6. The library pairs addresses of one
    /// family; the viewer is told all the same, and its checks arrive from an address of IPv6.
    fn add_translated(&mut self, mapped: SocketAddr) {
        if self.local.nat64.is_none() || !mapped.is_ipv4() {
            return;
        }
        self.translated.push(mapped);
        for seat in self.seats.values_mut().filter(|seat| seat.fresh.is_none()) {
            guarded(seat, &mut self.stats, |session| session.tell_translated(mapped));
        }
    }

    /// The NAT64 that has shown the sockets is no more, or another network's. Where the next one
    /// shows them is told when a server says so.
    fn forget_translated(&mut self) {
        self.translated.clear();
        for set in &mut self.fresh {
            set.translated.clear();
        }
    }

    /// Takes back what gateways have ceased to map.
    fn drop_unmapped(&mut self, mapped: &[SocketAddr], now: Now) {
        let gone = self.candidates.extract_if(.., |(candidate, extension)| {
            *extension == MAPPED && !mapped.contains(&candidate.addr())
        });
        let gone: Vec<Candidate> = gone.map(|(candidate, _)| candidate).collect();
        for candidate in gone {
            self.drop_candidate(&candidate, now);
        }
    }

    fn drop_candidate(&mut self, candidate: &Candidate, now: Now) {
        for seat in self.seats.values_mut() {
            guarded(seat, &mut self.stats, |session| {
                session.drop_local(candidate, now, &mut self.feeds);
            });
        }
    }

    fn add_candidate<E: std::fmt::Display>(
        &mut self,
        made: Result<Candidate, E>,
        extension: &'static str,
        now: Now,
    ) {
        let candidate = match made {
            Ok(candidate) => candidate,
            Err(error) => return tracing::debug!(%error, "own address not usable"),
        };
        if self.candidates.iter().any(|(known, _)| *known == candidate) {
            return;
        }
        // Sessions that have moved to fresh sockets have their own.
        for seat in self.seats.values_mut().filter(|seat| seat.fresh.is_none()) {
            guarded(seat, &mut self.stats, |session| {
                session.local_candidate(&candidate, extension, now, &mut self.feeds);
            });
        }
        self.candidates.push((candidate, extension));
    }

    pub(super) fn ask_stun(&mut self, now: Now) {
        if now.instant < self.stun.next {
            return;
        }
        self.look_around(now);
        self.stun.open.clear();
        self.stun.next = now.instant + STUN_INTERVAL;
        for server in self.local.stun_servers.clone() {
            let family = |socket: &&mut Socket| socket.local.is_ipv4() == server.is_ipv4();
            for socket in self.sockets.iter_mut().filter(family) {
                let mut transaction = [0; 12];
                if getrandom::fill(&mut transaction).is_err() {
                    return;
                }
                self.stun.open.push(Question { transaction, socket: socket.local, server });
                let request = stun::request(transaction);
                socket.push(None, server, &request, &mut self.counts);
                self.stun.next = now.instant + STUN_RETRY;
                self.stun.vain_since.get_or_insert(now.instant);
            }
        }
    }

    /// Whether the datagram answers a question of ours.
    pub(super) fn stun_answer(&mut self, socket: SocketAddr, bytes: &[u8], now: Now) -> bool {
        if self.stun.open.is_empty() {
            return false;
        }
        let Some((transaction, mapped)) = stun::response(bytes) else { return false };
        let mut open = self.stun.open.iter();
        let asked = open.position(|q| q.transaction == transaction && q.socket == socket);
        let Some(asked) = asked else { return false };
        let Question { server, .. } = self.stun.open.swap_remove(asked);
        if self.stun.open.is_empty() {
            self.stun.next = now.instant + STUN_INTERVAL;
        }
        self.stun.heard = true;
        self.told(socket, server, mapped, now);
        true
    }

    /// A server sees this socket at `mapped`; another address than before takes its place.
    pub(super) fn told(
        &mut self,
        socket: SocketAddr,
        server: SocketAddr,
        mapped: SocketAddr,
        now: Now,
    ) {
        let told = &mut self.stun.told;
        let known = told.iter_mut().find(|told| (told.socket, told.server) == (socket, server));
        let before = match known {
            Some(told) => {
                if told.seen != mapped {
                    told.since = now.instant;
                }
                Some(std::mem::replace(&mut told.seen, mapped))
            }
            None => {
                told.push(Told { socket, server, seen: mapped, since: now.instant });
                None
            }
        };
        self.look_around(now);
        if self.fresh_told(socket, mapped, now) {
            return;
        }
        let told = &self.stun.told;
        let stale = before.filter(|old| !told.iter().any(|told| told.seen == *old));
        if let Some(stale) = stale {
            self.translated.retain(|known| *known != stale);
            let gone = self.candidates.extract_if(.., |(candidate, extension)| {
                extension.is_empty()
                    && candidate.kind() == CandidateKind::ServerReflexive
                    && candidate.addr() == stale
            });
            let gone: Vec<Candidate> = gone.map(|(candidate, _)| candidate).collect();
            for candidate in gone {
                self.drop_candidate(&candidate, now);
            }
        }
        self.add_reflexive(mapped, "", now);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fresh::tests::task, *};
    use crate::camera::Cameras;

    #[tokio::test]
    async fn where_a_nat64_has_shown_the_sockets_is_forgotten_with_it() {
        let mut task = task(Cameras::default());
        task.translated.push(([198, 51, 100, 7], 4_000).into());
        // The network that the unit has moved to has none.
        let local = task.local.clone();
        task.set_local(local, Now::read());
        assert!(task.translated.is_empty(), "{:?}", task.translated);
    }
}
