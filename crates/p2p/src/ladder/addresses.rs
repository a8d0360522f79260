//! Addresses that come and go, at this end and at the other, and the pairs that they make.

use std::{net::SocketAddr, time::Instant};

use super::{
    Event, Ladder, Local, Path, Remote, Socket, SocketId, State, canonical,
    pair::Pair,
    pair_priority,
    timing::{MAX_PAIRS, MAX_REFLEXIVE, MAX_REMOTES, MAX_SOCKETS},
};
use crate::{
    candidate::{Candidate, CandidateKind, generation, is_private, is_usable, priority},
    description::Description,
    nat64::Nat64Prefix,
};

impl Ladder {
    /// Takes an address of this end, at any time. Returns the line for the other end; `None` when
    /// there is nothing to tell: it was known, it is of no use, or it belongs to no socket.
    pub fn add_local(&mut self, now: Instant, local: &Local) -> Option<Candidate> {
        if !is_usable(local.address) {
            return None;
        }
        let added = match local.kind {
            CandidateKind::Host | CandidateKind::Relayed(_) => self.add_host(local),
            CandidateKind::Mapped | CandidateKind::ServerReflexive => self.add_outside(now, local),
            CandidateKind::PeerReflexive => false,
        };
        self.tend(now);
        if !added {
            return None;
        }
        let address = canonical(local.address);
        let socket = self.sockets.iter().find(|s| s.id == local.socket)?;
        Some(socket.candidate(local.kind, address))
    }

    fn add_host(&mut self, local: &Local) -> bool {
        if !self.sockets.iter().any(|s| s.id == local.socket) {
            if self.sockets.iter().filter(|s| !s.probe).count() >= MAX_SOCKETS {
                return false;
            }
            let mut socket = Socket::new(local.socket, local.network);
            socket.since = local.since;
            socket.replaces = local.replaces;
            if let CandidateKind::Relayed(leg) = local.kind {
                socket.leg = Some(leg);
            }
            let old = local.replaces.and_then(|id| self.sockets.iter().find(|s| s.id == id));
            socket.generation = old.map_or(0, |old| old.generation.wrapping_add(1));
            self.sockets.push(socket);
        }
        let Some(socket) = self.sockets.iter_mut().find(|s| s.id == local.socket) else {
            return false;
        };
        let address = canonical(local.address);
        if socket.hosts.contains(&address) {
            return false;
        }
        socket.hosts.push(address);
        for remote in self.remotes.clone() {
            self.pair_up(local.socket, remote);
        }
        true
    }

    fn add_outside(&mut self, now: Instant, local: &Local) -> bool {
        let address = canonical(local.address);
        let Some(socket) = self.sockets.iter_mut().find(|s| s.id == local.socket) else {
            return false;
        };
        if local.kind == CandidateKind::Mapped {
            let new = !socket.mapped.contains(&address);
            if new {
                socket.mapped.push(address);
            }
            return new;
        }
        // Behind a symmetric NAT each server sees another address: only one that no server has
        // seen is a change.
        let same_family = |a: &&SocketAddr| a.is_ipv6() == address.is_ipv6();
        let before = socket.reflexive.iter().rev().find(same_family).copied();
        let was_known = socket.reflexive.contains(&address);
        match before {
            Some(_) if was_known => socket.suspicion = None,
            Some(before) => {
                if socket.suspicion.is_some() || socket.reflexive.len() >= MAX_REFLEXIVE {
                    socket.reflexive.retain(|a| a.is_ipv6() != address.is_ipv6());
                }
                socket.reflexive.push(address);
                self.see_changed_mapping(now, local.socket, before, address);
            }
            None => socket.reflexive.push(address),
        }
        // A host without a NAT has told this address already.
        let socket = self.sockets.iter().find(|s| s.id == local.socket);
        !was_known && socket.is_some_and(|s| !s.hosts.contains(&address))
    }

    /// Gateways map this socket at these addresses only: what else was added as
    /// [`Mapped`](CandidateKind::Mapped) is nobody's way in any more, and is described to nobody. Whom
    /// it was told to finds that out by its checks.
    pub fn keep_mapped(&mut self, now: Instant, id: SocketId, mapped: &[SocketAddr]) {
        if let Some(socket) = self.sockets.iter_mut().find(|s| s.id == id) {
            socket.mapped.retain(|known| mapped.iter().any(|kept| canonical(*kept) == *known));
        }
        self.tend(now);
    }

    /// Takes a socket or allocation away that is gone, with all its paths.
    pub fn remove_local(&mut self, now: Instant, socket: SocketId) {
        self.drop_socket(socket);
        if self.active.is_some_and(|path| path.socket == socket) {
            self.active = None;
            self.reawaken(now);
            self.choose(now);
            if self.active.is_none() {
                self.events.push_back(Event::Lost);
            }
        }
        self.tend(now);
    }

    pub(super) fn drop_socket(&mut self, socket: SocketId) {
        self.sockets.retain(|s| s.id != socket);
        let paths: Vec<Path> = self.pairs.keys().filter(|p| p.socket == socket).copied().collect();
        for path in paths {
            self.drop_pair(path);
        }
    }

    fn drop_pair(&mut self, path: Path) {
        if self.pairs.remove(&path).is_some_and(|pair| pair.announced) {
            self.events.push_back(Event::PathDown(path));
        }
        if self.spare == Some(path) {
            self.spare = None;
        }
    }

    /// Takes what the other end told first. The first one counts.
    pub fn set_remote(&mut self, now: Instant, description: &Description) {
        if self.remote.is_some() {
            return;
        }
        self.remote = Some(description.credentials.clone());
        self.nat_remote = description.nat.clone();
        self.started = Some(now);
        // Whoever has checked already is answered in kind.
        self.triggered
            .extend(self.pairs.iter().filter(|(_, p)| p.heard.is_some()).map(|(p, _)| *p));
        for candidate in &description.candidates {
            self.take_remote(now, candidate);
        }
        self.tend(now);
    }

    /// Takes a candidate that the other end told later. What it names beyond measure is not taken:
    /// packets would go to whomever it likes.
    pub fn add_remote(&mut self, now: Instant, candidate: &Candidate) {
        self.take_remote(now, candidate);
        self.tend(now);
    }

    fn take_remote(&mut self, now: Instant, candidate: &Candidate) {
        let address = canonical(candidate.address);
        let is_known = self.remotes.iter().any(|r| r.address == address);
        let (kind, priority) = (candidate.kind, candidate.priority);
        if !is_usable(address) || !is_known && !self.allowance.take(now, address.ip(), kind) {
            return;
        }
        self.take_address(Remote { address, kind, priority, synthesized: false });
        if let Some(prefix) = self.nat64
            && address.is_ipv4()
            && !is_private(address.ip())
        {
            let address = prefix.map(address);
            self.take_address(Remote { address, kind, priority, synthesized: true });
        }
    }

    fn take_address(&mut self, remote: Remote) {
        let address = remote.address;
        match self.remotes.iter_mut().find(|r| r.address == address) {
            Some(known) if known.priority >= remote.priority => return,
            Some(known) => *known = remote,
            None => {
                if self.remotes.len() >= MAX_REMOTES && !self.forget_a_remote() {
                    return;
                }
                self.remotes.push(remote);
            }
        }
        for pair in self.pairs.iter_mut().filter(|(p, _)| p.remote == address).map(|(_, p)| p) {
            pair.remote = remote.kind;
            pair.remote_generation = generation(remote.priority);
        }
        let sockets: Vec<SocketId> =
            self.sockets.iter().filter(|s| !s.probe).map(|s| s.id).collect();
        for socket in sockets {
            self.pair_up(socket, remote);
        }
    }

    /// Makes room: the oldest address that never answered, or does not any more.
    fn forget_a_remote(&mut self) -> bool {
        let idle = |remote: &Remote| {
            let mut pairs = self.pairs.iter().filter(|(path, _)| path.remote == remote.address);
            pairs.all(|(_, pair)| matches!(pair.state, State::Unproven { tries: 3.., .. }))
        };
        let Some(at) = self.remotes.iter().position(idle) else { return false };
        let address = self.remotes.remove(at).address;
        let paths: Vec<Path> = self.pairs.keys().filter(|p| p.remote == address).copied().collect();
        for path in paths {
            self.drop_pair(path);
        }
        true
    }

    fn pair_up(&mut self, id: SocketId, remote: Remote) {
        let Some(socket) = self.sockets.iter().find(|s| s.id == id) else { return };
        let path = Path { socket: id, remote: remote.address };
        let reaches =
            socket.reaches(remote.address) && !(remote.synthesized && socket.leg.is_some());
        if !reaches || self.pairs.contains_key(&path) {
            return;
        }
        let kind = socket.leg.map_or(CandidateKind::Host, CandidateKind::Relayed);
        let own = socket.host().map_or(0, |host| priority(kind, socket.generation, host.ip()));
        let priority = pair_priority(self.role, own, remote.priority);
        if self.pairs.len() >= MAX_PAIRS && !self.forget_a_pair() {
            return;
        }
        let pair = Pair::new(self.next_paced, remote.kind, priority, generation(remote.priority));
        self.pairs.insert(path, pair);
    }

    /// Makes room: the least promising pair that has not answered.
    pub(super) fn forget_a_pair(&mut self) -> bool {
        let unproven = self.pairs.iter().filter_map(|(path, pair)| match pair.state {
            State::Unproven { tries, .. } => Some((tries, u64::MAX - pair.priority, *path)),
            State::Proven(_) => None,
        });
        let Some((_, _, path)) = unproven.max() else { return false };
        self.drop_pair(path);
        true
    }

    /// This end's network translates IPv6 to IPv4: the other end's IPv4 addresses are tried through
    /// that. Servers' addresses are the caller's to map. `None` where it does not, or not any more:
    /// what was put together with the prefix of another network is an address of nobody.
    pub fn set_nat64(&mut self, now: Instant, prefix: impl Into<Option<Nat64Prefix>>) {
        let prefix = prefix.into();
        if std::mem::replace(&mut self.nat64, prefix) == prefix {
            return;
        }
        self.forget_synthesized();
        if let Some(prefix) = prefix {
            self.synthesize(prefix);
        }
        self.tend(now);
    }

    fn synthesize(&mut self, prefix: Nat64Prefix) {
        let v4 = |r: &&Remote| r.address.is_ipv4() && !is_private(r.address.ip());
        let v4: Vec<Remote> = self.remotes.iter().filter(v4).copied().collect();
        for remote in v4 {
            let address = prefix.map(remote.address);
            if self.remotes.len() < MAX_REMOTES {
                self.take_address(Remote { address, synthesized: true, ..remote });
            }
        }
    }

    fn forget_synthesized(&mut self) {
        let (gone, kept): (Vec<Remote>, _) =
            std::mem::take(&mut self.remotes).into_iter().partition(|r| r.synthesized);
        self.remotes = kept;
        // The path in use goes with its socket, or dies.
        let is_gone = |path: &&Path| {
            self.active != Some(**path) && gone.iter().any(|r| r.address == path.remote)
        };
        let paths: Vec<Path> = self.pairs.keys().filter(is_gone).copied().collect();
        for path in paths {
            self.drop_pair(path);
        }
    }
}
