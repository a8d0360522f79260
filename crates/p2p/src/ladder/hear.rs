//! Datagrams that come in.

use std::{net::SocketAddr, time::Instant};

use super::{
    Consumed, Event, Ladder, Path, Remote, SocketId, State, Transmit, canonical,
    pair::{Pair, Proof},
    pair_priority,
    timing::{MAX_PAIRS, MAX_PEER_REFLEXIVE, PACE},
};
use crate::{
    candidate::{CandidateKind, generation, is_usable, priority},
    check::{Heard, Role, Transaction, Unproven, counter, encode_answer, is_stun},
};

/// What a believed check says.
#[derive(Clone, Copy)]
struct Checked {
    transaction: Transaction,
    priority: u32,
    nominated: bool,
}

impl Ladder {
    /// Takes a datagram that came in through a socket or a relay.
    ///
    /// Nothing changes unless the sender knows the password, and the message is not one that was
    /// seen before.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Consumed {
        let path = Path { socket, remote: canonical(from) };
        if !is_stun(bytes) {
            let known = self.pairs.get(&path).is_some_and(|pair| pair.announced);
            if known {
                self.on_media_received(now, path);
                return Consumed::Media(path);
            }
            return Consumed::NotOurs;
        }
        let Some(message) = Unproven::decode(bytes) else { return Consumed::NotOurs };
        let consumed = if message.is_check() {
            self.hear_check(now, path, &message)
        } else if message.is_answer() {
            self.hear_answer(now, path, &message)
        } else {
            Consumed::NotOurs
        };
        if consumed == Consumed::Check {
            self.tend(now);
        }
        consumed
    }

    fn hear_check(&mut self, now: Instant, path: Path, message: &Unproven<'_>) -> Consumed {
        match message.names() {
            Some((to, _)) if to != self.local.ufrag => return Consumed::NotOurs,
            Some((_, from)) if self.remote.as_ref().is_some_and(|r| r.ufrag != from) => {
                return Consumed::Refused;
            }
            Some(_) => {}
            None => return Consumed::NotOurs,
        }
        let Some(Heard::Check { transaction, role, priority, nominated }) =
            message.prove(self.local.password.expose())
        else {
            return Consumed::Refused;
        };
        // Roles are given by the signalling: whoever has ours is not the other end.
        if role == self.role || !is_usable(path.remote) || !self.window.take(counter(transaction)) {
            return Consumed::Refused;
        }
        self.believe_check(now, path, Checked { transaction, priority, nominated })
    }

    fn believe_check(&mut self, now: Instant, path: Path, check: Checked) -> Consumed {
        self.promote_probe_socket(now, path.socket);
        if !self.sockets.iter().any(|s| s.id == path.socket) {
            return Consumed::Refused;
        }
        let seen = self.nat64.map_or(path.remote, |prefix| prefix.unmap(path.remote));
        if let Some(bytes) = encode_answer(check.transaction, seen, &self.local) {
            self.transmits.push_back(Transmit { socket: path.socket, to: path.remote, bytes });
        }
        if !self.pairs.contains_key(&path) && !self.add_peer_reflexive(now, path, check.priority) {
            return Consumed::Check;
        }
        let Some(pair) = self.pairs.get_mut(&path) else { return Consumed::Check };
        pair.heard = Some(now);
        pair.remote_generation = generation(check.priority);
        if !pair.announced {
            pair.announced = true;
            self.events.push_back(Event::PathUp(path));
        }
        let recent = pair.last_sent.is_some_and(|at| now.saturating_duration_since(at) < PACE * 4);
        if matches!(pair.state, State::Unproven { .. })
            && !recent
            && self.remote.is_some()
            && !self.triggered.contains(&path)
        {
            self.triggered.push_back(path);
        }
        let counter = counter(check.transaction);
        if check.nominated
            && self.role == Role::Controlled
            && self.nominated.is_none_or(|(newest, _)| counter > newest)
        {
            self.nominated = Some((counter, path));
        }
        self.choose(now);
        Consumed::Check
    }

    /// An address that nobody has told: behind a NAT, or sooner than the signalling
    /// (RFC 8445 section 7.3.1.3).
    fn add_peer_reflexive(&mut self, now: Instant, path: Path, remote_priority: u32) -> bool {
        let unproven = self.pairs.values().filter(|pair| {
            pair.remote == CandidateKind::PeerReflexive
                && matches!(pair.state, State::Unproven { .. })
        });
        if unproven.count() >= MAX_PEER_REFLEXIVE
            || self.pairs.len() >= MAX_PAIRS && !self.forget_a_pair()
        {
            return false;
        }
        let told = self.remotes.iter().find(|r| r.address == path.remote).copied();
        let Remote { kind, priority: remote_priority, .. } = told.unwrap_or(Remote {
            address: path.remote,
            kind: CandidateKind::PeerReflexive,
            priority: remote_priority,
            synthesized: false,
        });
        let own = self.sockets.iter().find(|s| s.id == path.socket).map_or(0, |socket| {
            let kind = socket.leg.map_or(CandidateKind::Host, CandidateKind::Relayed);
            socket.host().map_or(0, |host| priority(kind, socket.generation, host.ip()))
        });
        let of_pair = pair_priority(self.role, own, remote_priority);
        let mut pair = Pair::new(now, kind, of_pair, generation(remote_priority));
        pair.probed = self.probing.has_tried(path);
        self.pairs.insert(path, pair);
        true
    }

    fn hear_answer(&mut self, now: Instant, path: Path, message: &Unproven<'_>) -> Consumed {
        let transaction = message.transaction();
        let (Some(outstanding), Some(remote)) =
            (self.outstanding.get(&transaction).copied(), &self.remote)
        else {
            return Consumed::NotOurs;
        };
        // The answer comes from where the check went, and to where it came from
        // (RFC 8445 section 7.2.5.2.1).
        if outstanding.path != path {
            return Consumed::Refused;
        }
        match message.prove(remote.password.expose()) {
            Some(Heard::Answer { seen, .. }) => {
                self.outstanding.remove(&transaction);
                self.believe_answer(now, outstanding, seen);
                Consumed::Check
            }
            Some(Heard::Refusal { .. }) => {
                self.outstanding.remove(&transaction);
                Consumed::Check
            }
            Some(Heard::Check { .. }) | None => Consumed::Refused,
        }
    }

    fn believe_answer(&mut self, now: Instant, answered: super::Outstanding, seen: SocketAddr) {
        let path = answered.path;
        let rtt = now.saturating_duration_since(answered.sent);
        self.promote_probe_socket(now, path.socket);
        if !self.pairs.contains_key(&path) {
            // A probe has hit.
            let ip = path.remote.ip();
            let of_remote = priority(CandidateKind::PeerReflexive, 0, ip);
            if !self.add_peer_reflexive(now, path, of_remote) {
                return;
            }
        }
        let Some(pair) = self.pairs.get_mut(&path) else { return };
        let alive_until =
            pair.proof().map(|p| p.media_at.map_or(p.alive_at, |m| m.max(p.alive_at)));
        match &mut pair.state {
            State::Proven(proof) => proof.answered(now, rtt, seen),
            State::Unproven { .. } => pair.state = State::Proven(Proof::new(now, rtt, seen)),
        }
        let before = pair.last_seen_as.replace(seen);
        let moved = before.is_some_and(|before| before != seen);
        if !pair.announced {
            pair.announced = true;
            self.events.push_back(Event::PathUp(path));
        }
        if moved {
            self.doubt_mapping(now, path.socket, alive_until.unwrap_or(now));
        }
        self.choose(now);
        // The other end sees this one elsewhere: it has to be told to send there.
        if moved && self.active == Some(path) && self.role == Role::Controlling {
            self.send_check(now, path);
        }
    }
}
