//! Fresh sockets for sessions that look for another path.
//!
//! Some carriers' NATs end a mapping at a fixed age, however much it is used. A viewer that restarts
//! ICE shortly before that has to be met by a mapping that is young, so the session moves to a
//! socket of its own time; the old one goes on carrying until the new one works. Where no NAT is,
//! or a gateway maps the fixed port, there is nothing to be won and the session stays.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::{Candidate, CandidateKind, net::Protocol};

use super::{
    super::{session::Now, sockets::Socket},
    Task, guarded,
};

/// Sessions that restart within this time share sockets. A viewer that tries again because nothing
/// came of it, after 2 s, gets others: the port that the router has given may be the reason.
const SHARED: Duration = Duration::from_millis(1_500);
/// Sets of fresh sockets that are kept without being used.
const KEPT: usize = 2;
/// Most of them; then the newest is used, however old it is.
const MOST: usize = 8;

/// Sockets of one time, one for each of the fixed ones.
#[derive(Clone)]
pub(super) struct Fresh {
    pub(super) number: u64,
    pub(super) born: Instant,
    sockets: Vec<SocketAddr>,
    pub(super) candidates: Vec<Candidate>,
    /// Where a NAT64 shows them.
    pub(super) translated: Vec<SocketAddr>,
}

impl Task {
    /// Where a session that restarts ICE should move to.
    pub(super) fn fresh_for_restart(&mut self, now: Now) -> Option<Fresh> {
        if !self.local.mapped.is_empty() || !self.is_translated() {
            return None;
        }
        let young = |set: &&Fresh| now.instant.saturating_duration_since(set.born) < SHARED;
        if self.fresh.last().filter(young).is_none() {
            self.retire_unused();
            if self.fresh.len() < MOST {
                self.open_fresh(now);
            }
        }
        self.fresh.last().cloned()
    }

    /// Since when a router has mapped these sockets, or the fixed ones, as far as it is known.
    pub(super) fn mapped_since(&self, fresh: Option<u64>) -> Option<Instant> {
        let set = self.fresh.iter().find(|set| Some(set.number) == fresh);
        if let Some(set) = set {
            return Some(set.born);
        }
        if !self.local.mapped.is_empty() || !self.is_translated() {
            return None;
        }
        let is_fixed = |socket| !self.fresh.iter().any(|set| set.sockets.contains(&socket));
        self.stun.mapped_since(is_fixed)
    }

    /// Whether a server sees this unit under an address that is not its own.
    pub(super) fn is_translated(&self) -> bool {
        let own = |seen: &SocketAddr| self.local.host.iter().any(|host| host.ip() == seen.ip());
        self.stun.seen().any(|seen| !own(seen))
    }

    fn open_fresh(&mut self, now: Now) {
        let mut set = Fresh {
            number: self.fresh.last().map_or(1, |set| set.number + 1),
            born: now.instant,
            sockets: Vec::new(),
            candidates: Vec::new(),
            translated: Vec::new(),
        };
        for fixed in &self.config.bind {
            let socket = match Socket::open(SocketAddr::new(fixed.ip(), 0)) {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::warn!(%error, "no fresh socket");
                    continue;
                }
            };
            let local = socket.local;
            let specific = (!local.ip().is_unspecified()).then_some(local.ip());
            let machine = self.local.host.iter().map(SocketAddr::ip);
            let hosts = machine.filter(|ip| {
                ip.is_ipv4() == local.is_ipv4() && specific.is_none_or(|only| only == *ip)
            });
            let made = hosts.map(|ip| SocketAddr::new(ip, local.port()));
            set.candidates.extend(made.filter_map(|at| Candidate::host(at, Protocol::Udp).ok()));
            set.sockets.push(local);
            self.sockets.push(socket);
        }
        if !set.candidates.is_empty() {
            self.fresh.push(set);
        }
    }

    /// Closes the oldest sets of which no session sends from any socket.
    fn retire_unused(&mut self) {
        while self.fresh.len() >= KEPT {
            let used = |set: &Fresh| {
                let from = self.seats.values().filter_map(|seat| seat.session.sends_from());
                set.sockets.iter().any(|socket| from.clone().any(|at| is_from(*socket, at)))
            };
            let Some(at) = self.fresh.iter().position(|set| !used(set)) else { return };
            let gone = self.fresh.remove(at);
            self.sockets.retain(|socket| !gone.sockets.contains(&socket.local));
            self.stun.forget(&gone.sockets);
        }
    }

    /// A server sees a fresh socket at `mapped`: the sessions there tell their viewers. False when
    /// the socket is one of the fixed ones.
    pub(super) fn fresh_told(&mut self, socket: SocketAddr, mapped: SocketAddr, now: Now) -> bool {
        let Some(set) = self.fresh.iter_mut().find(|set| set.sockets.contains(&socket)) else {
            return false;
        };
        let mut hosts = set.candidates.iter().filter(|c| c.kind() == CandidateKind::Host);
        let base = hosts.find(|c| is_from(socket, c.addr())).map(Candidate::addr);
        let known = set.candidates.iter().any(|c| c.addr() == mapped);
        let Some(base) = base.filter(|_| !known) else { return true };
        let number = set.number;
        let Ok(candidate) = Candidate::server_reflexive(mapped, base, Protocol::Udp) else {
            if self.local.nat64.is_some() && !set.translated.contains(&mapped) {
                set.translated.push(mapped);
                for seat in self.seats.values_mut().filter(|seat| seat.fresh == Some(number)) {
                    guarded(seat, &mut self.stats, |session| session.tell_translated(mapped));
                }
            }
            return true;
        };
        set.candidates.push(candidate.clone());
        for seat in self.seats.values_mut().filter(|seat| seat.fresh == Some(number)) {
            guarded(seat, &mut self.stats, |session| {
                session.local_candidate(&candidate, "", now, &mut self.feeds);
            });
        }
        true
    }

    /// All own addresses that viewers know.
    pub(super) fn bases(&self) -> impl Iterator<Item = SocketAddr> + Clone + '_ {
        let fresh = self.fresh.iter().flat_map(|set| &set.candidates);
        self.candidates.iter().map(|(candidate, _)| candidate).chain(fresh).map(Candidate::local)
    }
}

/// Whether what leaves from this address leaves by this socket.
pub(super) fn is_from(socket: SocketAddr, at: SocketAddr) -> bool {
    socket.port() == at.port() && socket.is_ipv4() == at.is_ipv4()
}
