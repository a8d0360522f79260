//! Mappings that end although they are used: how long they live is learned from a death, and a
//! fresh socket takes over before the next one.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Event, Ladder, Path, SocketId,
    pair::Pair,
    socket::Socket,
    timing::{ASK_AGAIN, LINGER, MIN_LIFETIME, USELESS},
};

impl Ladder {
    /// A path has died: perhaps its mapping has. The next answer from a STUN server, or from the
    /// other end, tells.
    pub(super) fn suspect_mapping(&mut self, path: Path) {
        let alive_at = self.pairs.get(&path).and_then(Pair::proof).map(|proof| proof.alive_at);
        let Some(socket) = self.sockets.iter_mut().find(|s| s.id == path.socket) else { return };
        if socket.leg.is_some() || !socket.depends_on_mapping() {
            return;
        }
        if let (Some(since), Some(alive_at)) = (socket.since, alive_at) {
            socket.suspicion = Some(alive_at.saturating_duration_since(since));
        }
        self.events.push_back(Event::NeedReflexive(path.socket));
    }

    /// A socket looks otherwise from outside than before. If a path had died, or was alive until
    /// just now, its mapping has ended at that age; another address is another network.
    pub(super) fn see_changed_mapping(
        &mut self,
        now: Instant,
        id: SocketId,
        before: SocketAddr,
        after: SocketAddr,
        alive_until: Option<Instant>,
    ) {
        let Some(socket) = self.sockets.iter_mut().find(|s| s.id == id) else { return };
        let age =
            alive_until.and_then(|until| Some(until.saturating_duration_since(socket.since?)));
        let age = socket.suspicion.take().or(age);
        socket.since = Some(now);
        socket.asked = None;
        let network = socket.network;
        let same_network = before.ip() == after.ip();
        if let Some(age) = age.filter(|age| same_network && *age >= MIN_LIFETIME) {
            let known = self.lifetimes.get(&network).copied().unwrap_or(Duration::MAX);
            if age < known {
                self.lifetimes.insert(network, age);
                self.events.push_back(Event::LifetimeLearned { network, lifetime: age });
                self.nat_local.mapping_lifetime_ms = u64::try_from(age.as_millis()).ok();
            }
        }
    }

    /// When a socket that is in use needs a successor.
    fn successor_due(&self, id: SocketId) -> Option<Instant> {
        let socket = self.sockets.iter().find(|s| s.id == id)?;
        let lifetime = *self.lifetimes.get(&socket.network)?;
        if socket.probe || !socket.depends_on_mapping() {
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
        let paths = [self.active, self.spare];
        let mut sockets: Vec<SocketId> = paths.into_iter().flatten().map(|p| p.socket).collect();
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
            self.drop_socket(id);
            self.events.push_back(Event::SocketDone(id));
        }
    }

    /// Which sockets have come to their end: those with a successor that works, and those on which
    /// nothing works any more while others are there in their place.
    fn note_ends(&mut self, now: Instant) {
        let works = |id: SocketId| {
            let mut pairs = self.pairs.iter().filter(|(path, _)| path.socket == id);
            pairs.any(|(_, pair)| pair.proof().is_some())
        };
        let ends: Vec<Option<Instant>> = self
            .sockets
            .iter()
            .map(|socket| {
                let successor = |s: &&Socket| s.replaces == Some(socket.id) && works(s.id);
                let in_use = self.active.is_some_and(|path| path.socket == socket.id);
                let mut pairs = self.pairs.iter().filter(|(path, _)| path.socket == socket.id);
                let died = pairs.any(|(_, pair)| pair.deaths > 0);
                let another = |s: &Socket| {
                    s.id > socket.id && s.leg.is_some() == socket.leg.is_some() && !s.probe
                };
                if in_use {
                    None
                } else if self.sockets.iter().any(|s| successor(&s)) {
                    Some(now + LINGER)
                } else if died && !works(socket.id) && self.sockets.iter().any(another) {
                    Some(now + USELESS)
                } else {
                    None
                }
            })
            .collect();
        for (socket, end) in self.sockets.iter_mut().zip(ends) {
            socket.over = end.map(|end| socket.over.map_or(end, |known| known.min(end)));
        }
    }

    pub(super) fn renewal_due(&self) -> Option<Instant> {
        let successors = self.in_use().filter_map(|id| self.successor_due(id));
        successors.chain(self.sockets.iter().filter_map(|s| s.over)).min()
    }
}
