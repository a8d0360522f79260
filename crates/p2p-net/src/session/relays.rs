//! Which relays are asked, in which order: the better transport first, the next one soon after
//! when it does not answer. A second one, kept as a spare, is on another MTU where there is one.
//!
//! Credentials end, and no allocation outlives its own. When the centre names servers anew, each
//! allocation that stands gets a successor with the new credential, one after the other, the one
//! that carries media last. Where its server is named no more, the successor is on one of those that
//! are: they are asked for that first, and for nothing else while the old allocations live.

use std::time::{Duration, Instant};

use sightline_p2p::SocketId;

use crate::server::RelayServer;

/// The next server or transport is tried when none has answered for so long.
const STAGGER: Duration = Duration::from_millis(400);
/// A server that failed is not tried again before.
const AGAIN: Duration = Duration::from_secs(10);
/// However often the centre names servers anew, allocations are replaced no sooner than so long
/// after the last time.
const RENEW_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Asked,
    Up(SocketId),
    Failed(Instant),
}

#[derive(Debug)]
struct Entry {
    server: RelayServer,
    state: State,
}

/// An allocation whose credential is not the newest.
#[derive(Debug)]
struct Outdated {
    id: SocketId,
    /// Whose it is; it may be listed no more.
    server: RelayServer,
    /// Its successor is not asked for before.
    not_before: Instant,
}

/// The servers of one session.
#[derive(Debug)]
pub(super) struct Relays {
    entries: Vec<Entry>,
    /// So many are to be up.
    wanted: usize,
    /// When the last one was asked.
    asked: Option<Instant>,
    outdated: Vec<Outdated>,
    /// Allocations whose successors have been asked for, for whichever reason.
    succeeded: Vec<SocketId>,
    /// When allocations last began to be replaced.
    renewed: Option<Instant>,
}

/// Each server once.
fn entries(servers: Vec<RelayServer>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for server in servers {
        if !entries.iter().any(|entry| entry.server.is_same(&server)) {
            entries.push(Entry { server, state: State::Idle });
        }
    }
    entries
}

impl Relays {
    pub(super) fn new(servers: Vec<RelayServer>, wanted: usize) -> Self {
        Self {
            entries: entries(servers),
            wanted,
            asked: None,
            outdated: Vec::new(),
            succeeded: Vec::new(),
            renewed: None,
        }
    }

    /// One at least.
    pub(super) fn want_one(&mut self, now: Instant) {
        self.wanted = self.wanted.max(1);
        // What was tried long ago may work now: the network may be another.
        for entry in &mut self.entries {
            if matches!(entry.state, State::Failed(at) if now.saturating_duration_since(at) >= STAGGER * 5)
            {
                entry.state = State::Idle;
            }
        }
    }

    /// The centre has named servers anew. Those that have refused may have done so for the
    /// credential: they are tried again.
    pub(super) fn renew(&mut self, servers: Vec<RelayServer>, now: Instant) {
        let before = std::mem::replace(&mut self.entries, entries(servers));
        for Entry { server, state } in before {
            let listed = self.entries.iter_mut().find(|entry| entry.server.is_same(&server));
            let is_current =
                listed.as_ref().is_some_and(|entry| entry.server.has_credential_of(&server));
            match (listed, state) {
                (Some(entry), State::Asked | State::Up(_)) => entry.state = state,
                (Some(_), State::Idle | State::Failed(_)) | (None, _) => {}
            }
            if let State::Up(id) = state
                && !is_current
            {
                self.outdate(id, server, now);
            }
        }
    }

    fn outdate(&mut self, id: SocketId, server: RelayServer, now: Instant) {
        if self.outdated.iter().any(|outdated| outdated.id == id) {
            return;
        }
        let not_before = match self.renewed {
            // All that the same list outdates goes together.
            Some(at) if at >= now => at,
            Some(at) => now.max(at + RENEW_EVERY),
            None => now,
        };
        self.renewed = Some(not_before);
        self.outdated.push(Outdated { id, server, not_before });
    }

    /// Allocations that stand: those of servers that are named no more, too, while they live.
    fn up(&self) -> usize {
        let is_listed = |id: SocketId| {
            self.entries.iter().any(|e| matches!(e.state, State::Up(listed) if listed == id))
        };
        let listed = self.entries.iter().filter(|e| matches!(e.state, State::Up(_))).count();
        listed + self.outdated.iter().filter(|outdated| !is_listed(outdated.id)).count()
    }

    /// Whether an allocation stands at the MTU of this server.
    fn has_mtu_of(&self, server: &RelayServer) -> bool {
        let up = |e: &Entry| matches!(e.state, State::Up(_)) && e.server.is_of_one_mtu(server);
        self.entries.iter().any(up)
    }

    fn entry(&mut self, server: &RelayServer) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.server.is_same(server))
    }

    /// The next server to ask, if one is due, and the allocation whose place the one there is to
    /// take, if it is a successor. `active` is the one that carries media, if one does.
    ///
    /// Successors come first: where all servers are others, whoever asks one of them for something
    /// else leaves an allocation without a successor.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        active: Option<SocketId>,
    ) -> Option<(RelayServer, Option<SocketId>)> {
        if let Some((old, server)) = self.next_renewal(now, active) {
            return Some((server, Some(old)));
        }
        self.next(now).map(|server| (server, None))
    }

    /// The next server to ask for a further allocation.
    fn next(&mut self, now: Instant) -> Option<RelayServer> {
        if self.next_due(now)? > now {
            return None;
        }
        let at = self.candidate(now)?;
        self.entries[at].state = State::Asked;
        self.asked = Some(now);
        Some(self.entries[at].server.clone())
    }

    /// The next outdated allocation that gets a successor, and the server that is asked for it.
    fn next_renewal(
        &mut self,
        now: Instant,
        active: Option<SocketId>,
    ) -> Option<(SocketId, RelayServer)> {
        while !self.is_renewing() {
            let due = (0..self.outdated.len()).filter(|at| self.outdated[*at].not_before <= now);
            let at = due.min_by_key(|at| Some(self.outdated[*at].id) == active)?;
            if let Some(server) = self.successor(at, now) {
                let id = self.outdated[at].id;
                self.succeeded.push(id);
                return Some((id, server));
            }
            self.outdated[at].not_before = now + AGAIN;
        }
        None
    }

    /// Whether the successor of an outdated allocation has been asked for: one after the other.
    fn is_renewing(&self) -> bool {
        self.outdated.iter().any(|outdated| self.succeeded.contains(&outdated.id))
    }

    /// The server that is asked for a successor when the ladder wants one. None while one has been
    /// asked for already; nor where the server is named no more: there is one elsewhere soon.
    pub(super) fn successor_of(&mut self, id: SocketId) -> Option<RelayServer> {
        if self.succeeded.contains(&id) {
            return None;
        }
        let of = |e: &&Entry| matches!(e.state, State::Up(up) if up == id);
        let server = self.entries.iter().find(of)?.server.clone();
        self.succeeded.push(id);
        Some(server)
    }

    /// The same server, or, where that is named no more, another one.
    fn successor(&mut self, at: usize, now: Instant) -> Option<RelayServer> {
        let same = self.entries.iter().find(|e| e.server.is_same(&self.outdated[at].server));
        if let Some(entry) = same {
            return Some(entry.server.clone());
        }
        let other = self.candidate(now)?;
        self.entries[other].state = State::Asked;
        self.asked = Some(now);
        Some(self.entries[other].server.clone())
    }

    fn candidate(&self, now: Instant) -> Option<usize> {
        let free = |e: &Entry| match e.state {
            State::Idle => true,
            State::Failed(at) => now.saturating_duration_since(at) >= AGAIN,
            State::Asked | State::Up(_) => false,
        };
        let asked = |server: &RelayServer| {
            let is_asked =
                |e: &Entry| matches!(e.state, State::Asked) && e.server.is_of_one_mtu(server);
            self.entries.iter().any(is_asked)
        };
        let fit = |e: &Entry| free(e) && !self.has_mtu_of(&e.server);
        // An MTU that has not been asked at all comes before another transport of one that has.
        let fresh = self.entries.iter().position(|e| fit(e) && !asked(&e.server));
        fresh.or_else(|| self.entries.iter().position(fit))
    }

    /// When [`Self::ask`] has something to say.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let is_renewing = self.is_renewing();
        let renewals = self.outdated.iter().filter(|_| !is_renewing);
        renewals.map(|outdated| outdated.not_before).chain(self.next_due(now)).min()
    }

    /// `None` while enough are up.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        if self.up() >= self.wanted {
            return None;
        }
        let waits = self.entries.iter().filter(|e| matches!(e.state, State::Asked)).count();
        if self.candidate(now).is_none() {
            let failed = self.entries.iter().filter_map(|e| match e.state {
                // Other ways into an MTU that serves already are of no use, however long ago they
                // failed.
                State::Failed(at) if !self.has_mtu_of(&e.server) => Some(at + AGAIN),
                State::Failed(_) | State::Idle | State::Asked | State::Up(_) => None,
            });
            return failed.min();
        }
        // As many at once as are wanted; more only after a while.
        if self.up() + waits < self.wanted {
            return Some(now);
        }
        Some(self.asked.map_or(now, |asked| asked + STAGGER))
    }

    /// A server has given an allocation to whoever has this credential. Whether it is kept.
    pub(super) fn up_is(&mut self, server: &RelayServer, id: SocketId, now: Instant) -> bool {
        let surplus = self.up() >= self.wanted;
        let Some(entry) = self.entry(server) else { return false };
        entry.state = if surplus { State::Idle } else { State::Up(id) };
        if !surplus {
            self.outdate_unless_current(server, id, now);
        }
        !surplus
    }

    /// The centre may have named servers anew while this one was asked.
    fn outdate_unless_current(&mut self, server: &RelayServer, id: SocketId, now: Instant) {
        let is_current =
            |entry: &Entry| entry.server.is_same(server) && entry.server.has_credential_of(server);
        if !self.entries.iter().any(is_current) {
            self.outdate(id, server.clone(), now);
        }
    }

    /// A server has refused, or is silent.
    pub(super) fn failed(&mut self, server: &RelayServer, now: Instant) {
        if let Some(entry) = self.entry(server) {
            entry.state = State::Failed(now);
        }
    }

    /// An allocation is gone.
    pub(super) fn gone(&mut self, id: SocketId, now: Instant) {
        // That its credential has ended says nothing of the server.
        let was_outdated = self.outdated.iter().any(|outdated| outdated.id == id);
        self.outdated.retain(|outdated| outdated.id != id);
        for entry in &mut self.entries {
            if matches!(entry.state, State::Up(up) if up == id) {
                entry.state = if was_outdated { State::Idle } else { State::Failed(now) };
            }
        }
    }

    /// The network is another: everything is worth a try.
    pub(super) fn forget(&mut self) {
        for entry in &mut self.entries {
            entry.state = State::Idle;
        }
        self.asked = None;
        self.outdated.clear();
        self.succeeded.clear();
    }

    /// Another allocation has taken the place of the one that there was.
    pub(super) fn replaced(
        &mut self,
        server: &RelayServer,
        old: SocketId,
        new: SocketId,
        now: Instant,
    ) {
        self.succeeded.retain(|id| *id != old);
        self.outdated.retain(|outdated| outdated.id != old);
        if let Some(entry) = self.entry(server) {
            entry.state = State::Up(new);
        }
        self.outdate_unless_current(server, new, now);
    }

    /// There is no successor for an allocation yet: it is kept while it lives.
    pub(super) fn not_replaced(&mut self, server: &RelayServer, old: SocketId, now: Instant) {
        self.succeeded.retain(|id| *id != old);
        for outdated in self.outdated.iter_mut().filter(|outdated| outdated.id == old) {
            outdated.not_before = now + AGAIN;
        }
        if let Some(entry) = self.entry(server)
            && matches!(entry.state, State::Asked)
        {
            entry.state = State::Failed(now);
        }
    }
}

#[cfg(test)]
mod tests;
