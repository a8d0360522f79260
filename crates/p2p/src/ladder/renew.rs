//! Mappings that end although they are used: how long they live is learned from a death, and a
//! fresh socket takes over before the next one.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Event, Ladder, NetworkId, Path, SocketId,
    pair::Pair,
    socket::Socket,
    timing::{ASK_AGAIN, LINGER, LOOK_AGAIN, MIN_LIFETIME, USELESS, WATCH},
};

impl Ladder {
    /// Whether a mapping of UDP stands behind a path that has proven itself.
    fn depends_on_mapping(&self, path: Path) -> bool {
        let seen = self.pairs.get(&path).and_then(|pair| pair.last_seen_as);
        let socket = self.sockets.iter().find(|s| s.id == path.socket);
        socket.zip(seen).is_some_and(|(socket, seen)| socket.depends_on_mapping(seen))
    }

    /// A path has died: perhaps its mapping has. The next answer from a STUN server, or from the
    /// other end, tells.
    pub(super) fn suspect_mapping(&mut self, path: Path) {
        let alive_at = self.pairs.get(&path).and_then(Pair::proof).map(|proof| proof.alive_at);
        let depends = self.depends_on_mapping(path);
        let Some(socket) = self.sockets.iter_mut().find(|s| s.id == path.socket) else { return };
        if socket.leg.is_some() || socket.probe || !depends {
            return;
        }
        let age = socket.since.zip(alive_at).map(|(since, at)| at.saturating_duration_since(since));
        if socket.over.is_some() {
            self.outlived(path.socket, age);
            return;
        }
        socket.suspicion = age;
        self.events.push_back(Event::NeedReflexive(path.socket));
    }

    /// A socket was replaced in time, and has died now, or been watched for long enough: so long
    /// its mapping lives at least.
    fn outlived(&mut self, id: SocketId, age: Option<Duration>) {
        let Some(network) = self.sockets.iter().find(|s| s.id == id).map(|s| s.network) else {
            return;
        };
        let known = self.lifetimes.get(&network).copied();
        if let (Some(age), Some(known)) = (age, known)
            && age > known + known / 8
        {
            self.learn(network, age);
        }
    }

    fn learn(&mut self, network: NetworkId, lifetime: Duration) {
        self.lifetimes.insert(network, lifetime);
        self.nat_local.mapping_lifetime_ms = u64::try_from(lifetime.as_millis()).ok();
        self.events.push_back(Event::LifetimeLearned { network, lifetime });
    }

    /// The other end says that it sees a socket elsewhere. That is its word alone, and nothing is
    /// learned from it: a STUN server is asked.
    pub(super) fn doubt_mapping(&mut self, now: Instant, id: SocketId, alive_until: Instant) {
        let Some(socket) = self.sockets.iter_mut().find(|s| s.id == id) else { return };
        let recent = |at: Instant| now.saturating_duration_since(at) < ASK_AGAIN;
        if socket.leg.is_some() || socket.probe || socket.doubted.is_some_and(recent) {
            return;
        }
        socket.doubted = Some(now);
        let age = socket.since.map(|since| alive_until.saturating_duration_since(since));
        socket.suspicion = socket.suspicion.or(age);
        self.events.push_back(Event::NeedReflexive(id));
    }

    /// A STUN server sees a socket otherwise than before. If a path had died, its mapping has ended
    /// at that age; another address is another network.
    pub(super) fn see_changed_mapping(
        &mut self,
        now: Instant,
        id: SocketId,
        before: SocketAddr,
        after: SocketAddr,
    ) {
        let Some(socket) = self.sockets.iter_mut().find(|s| s.id == id) else { return };
        let age = socket.suspicion.take();
        socket.since = Some(now);
        socket.asked = None;
        let network = socket.network;
        let same_network = before.ip() == after.ip();
        if let Some(age) = age.filter(|age| same_network && *age >= MIN_LIFETIME) {
            let known = self.lifetimes.get(&network).copied().unwrap_or(Duration::MAX);
            if age < known {
                self.learn(network, age);
            }
        }
    }

    /// When a socket that is in use needs a successor.
    fn successor_due(&self, id: SocketId) -> Option<Instant> {
        let socket = self.sockets.iter().find(|s| s.id == id)?;
        let lifetime = *self.lifetimes.get(&socket.network)?;
        if socket.probe {
            return None;
        }
        // Of a mapping of unknown age nothing is to be hoped.
        let due = socket.since.map(|since| since + lifetime.mul_f32(0.7));
        match (due, socket.asked) {
            (Some(due), Some(asked)) => Some(due.max(asked + ASK_AGAIN)),
            (Some(due), None) => Some(due),
            (None, Some(asked)) => Some(asked + ASK_AGAIN),
            (None, None) => self.started,
        }
    }

    fn in_use(&self) -> impl Iterator<Item = SocketId> + '_ {
        let paths = [self.active, self.spare].into_iter().flatten();
        let mapped = paths.filter(|path| self.depends_on_mapping(*path));
        let mut sockets: Vec<SocketId> = mapped.map(|path| path.socket).collect();
        sockets.dedup();
        sockets.into_iter()
    }

    /// Asks for successors, lets go of predecessors.
    pub(super) fn renew(&mut self, now: Instant) {
        let due: Vec<SocketId> = self
            .in_use()
            .filter(|id| self.successor_due(*id).is_some_and(|due| now >= due))
            .collect();
        for id in due {
            if let Some(socket) = self.sockets.iter_mut().find(|s| s.id == id) {
                socket.asked = Some(now);
                let network = socket.network;
                self.events.push_back(Event::NeedSocket { replaces: id, network });
            }
        }
        self.note_ends(now);
        let done = self.sockets.iter().filter(|s| s.over.is_some_and(|at| now >= at));
        let done: Vec<SocketId> = done.map(|s| s.id).collect();
        for id in done {
            let since = self.sockets.iter().find(|s| s.id == id).and_then(|s| s.since);
            let lives = self.pairs.iter().any(|(p, pair)| p.socket == id && pair.proof().is_some());
            if lives {
                self.outlived(id, since.map(|since| now.saturating_duration_since(since)));
            }
            self.drop_socket(id);
            self.events.push_back(Event::SocketDone(id));
        }
    }

    /// Which sockets have come to their end: those with a successor that works, and those on which
    /// nothing works any more while others are there in their place.
    fn note_ends(&mut self, now: Instant) {
        let ends: Vec<Option<Instant>> =
            self.sockets.iter().map(|socket| self.end_of(socket, now)).collect();
        for (socket, end) in self.sockets.iter_mut().zip(ends) {
            let in_use = self.active.is_some_and(|path| path.socket == socket.id);
            let earliest = socket.over.into_iter().chain(end).min();
            socket.over = earliest.filter(|_| !in_use);
        }
    }

    fn works(&self, id: SocketId) -> bool {
        self.pairs.iter().any(|(path, pair)| path.socket == id && pair.proof().is_some())
    }

    fn end_of(&self, socket: &Socket, now: Instant) -> Option<Instant> {
        let works = self.works(socket.id);
        if self.sockets.iter().any(|s| s.replaces == Some(socket.id) && self.works(s.id)) {
            return Some(if works { self.watched_until(socket, now) } else { now + LINGER });
        }
        let mut pairs = self.pairs.iter().filter(|(path, _)| path.socket == socket.id);
        let died = !works && pairs.any(|(_, pair)| pair.deaths > 0);
        // Allocations are made anew; an own socket goes only where another one does its work.
        let another = |s: &Socket| match (s.leg, socket.leg) {
            (Some(_), Some(_)) => s.id > socket.id,
            (None, None) => !s.probe && self.works(s.id) && s.covers(socket),
            (Some(_), None) | (None, Some(_)) => false,
        };
        (died && self.sockets.iter().any(another)).then(|| now + USELESS)
    }

    /// A socket that was replaced in time is kept while it works, to see how long its mapping
    /// really lives: what was learned may be too short.
    fn watched_until(&self, socket: &Socket, now: Instant) -> Instant {
        let lifetime = self.lifetimes.get(&socket.network).filter(|_| socket.leg.is_none());
        let end = socket.since.zip(lifetime).map(|(since, lifetime)| since + *lifetime * 3);
        end.unwrap_or(now).min(now + WATCH).max(now + LINGER)
    }

    /// While media is relayed, or nothing works, sockets may come to look otherwise from outside
    /// without any path telling: then the other end checks in vain.
    pub(super) fn look_again(&mut self, now: Instant) {
        let active = self.active.and_then(|path| Some(self.rung(path, self.pairs.get(&path)?)));
        if self.remote.is_none() || active.is_some_and(|rung| !rung.is_relayed()) {
            self.look_at = None;
            return;
        }
        if now < *self.look_at.get_or_insert(now + LOOK_AGAIN) {
            return;
        }
        self.look_at = Some(now + LOOK_AGAIN);
        let direct =
            self.sockets.iter().filter(|s| s.leg.is_none() && !s.probe && s.over.is_none());
        self.events.extend(direct.map(|socket| Event::NeedReflexive(socket.id)));
    }

    pub(super) fn renewal_due(&self) -> Option<Instant> {
        let successors = self.in_use().filter_map(|id| self.successor_due(id));
        successors.chain(self.sockets.iter().filter_map(|s| s.over)).min()
    }
}

#[cfg(test)]
mod tests {
    use sightline_model::NatReport;

    use super::*;
    use crate::{
        CandidateKind, Config, Credentials, Description, Local, Role,
        check::{Transaction, encode_answer},
    };
    use rand::{SeedableRng, rngs::StdRng};

    const SOCKET: SocketId = SocketId(1);

    struct Bed {
        ladder: Ladder,
        other: Credentials,
        now: Instant,
    }

    impl Bed {
        /// A unit behind a NAT and somebody who watches.
        fn new() -> Self {
            let mut rng = StdRng::from_seed([3; 32]);
            let (own, other) = (Credentials::generate(&mut rng), Credentials::generate(&mut rng));
            let now = Instant::now();
            let config = Config {
                role: Role::Controlled,
                credentials: own,
                seed: [5; 32],
                nat: NatReport::default(),
                lifetimes: std::collections::BTreeMap::new(),
                probing: false,
            };
            let mut bed = Self { ladder: Ladder::new(now, config), other: other.clone(), now };
            bed.tell(CandidateKind::Host, "192.168.1.2:7000");
            bed.tell(CandidateKind::ServerReflexive, "203.0.113.1:7000");
            let theirs = "candidate:1 1 udp 1 198.51.100.7 9 typ host";
            let candidates = vec![theirs.parse().expect("a candidate")];
            let nat = NatReport::default();
            let description =
                Description { credentials: other, fingerprint: [0; 32], nat, candidates };
            bed.ladder.set_remote(now, &description);
            bed
        }

        fn tell(&mut self, kind: CandidateKind, address: &str) {
            let local = Local {
                socket: SOCKET,
                kind,
                address: address.parse().expect("an address"),
                network: NetworkId(1),
                replaces: None,
                since: Some(self.now),
            };
            self.ladder.add_local(self.now, &local);
        }

        /// The other end answers every check for so long, and says where it sees the unit. Gives
        /// what the ladder wants meanwhile.
        fn watched(&mut self, seconds: u64, seen: &str) -> Vec<Event> {
            let seen = seen.parse().expect("an address");
            let mut events = Vec::new();
            for _ in 0..seconds * 20 {
                self.now += Duration::from_millis(50);
                self.ladder.handle_timeout(self.now);
                while let Some(check) = self.ladder.poll_transmit() {
                    let transaction: Transaction = check.bytes[8..20].try_into().expect("twelve");
                    let answer = encode_answer(transaction, seen, &self.other).expect("encoded");
                    self.ladder.handle_datagram(self.now, SOCKET, check.to, &answer);
                }
                events.extend(std::iter::from_fn(|| self.ladder.poll_event()));
            }
            events
        }
    }

    fn asks(events: &[Event]) -> usize {
        events.iter().filter(|event| matches!(event, Event::NeedReflexive(_))).count()
    }

    #[test]
    fn the_other_ends_word_alone_teaches_no_lifetime() {
        let mut bed = Bed::new();
        bed.watched(20, "203.0.113.1:7000");
        // It says now this, now that.
        for port in 0..60 {
            let events = bed.watched(1, &format!("203.0.113.1:{}", 7_100 + port % 2));
            assert!(asks(&events) <= 1, "{events:?}");
            // Whatever it says, the STUN server sees the same address as before.
            bed.tell(CandidateKind::ServerReflexive, "203.0.113.1:7000");
        }
        assert!(bed.ladder.lifetimes().is_empty(), "{:?}", bed.ladder.lifetimes());
    }

    #[test]
    fn what_a_stun_server_confirms_teaches_a_lifetime() {
        let mut bed = Bed::new();
        bed.watched(20, "203.0.113.1:7000");
        let events = bed.watched(1, "203.0.113.1:7100");
        assert_eq!(asks(&events), 1, "{events:?}");
        bed.tell(CandidateKind::ServerReflexive, "203.0.113.1:7100");
        let learned = bed.ladder.lifetimes().get(&NetworkId(1)).copied().expect("learned");
        assert!((19..=20).contains(&learned.as_secs()), "{learned:?}");
    }
}
