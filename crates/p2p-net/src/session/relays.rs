//! Which relays are asked, in which order: the better transport first, the next one soon after
//! when it does not answer, and never two on one server where a second is kept as a spare.

use std::time::{Duration, Instant};

use sightline_p2p::SocketId;

use crate::server::RelayServer;

/// The next server or transport is tried when none has answered for so long.
const STAGGER: Duration = Duration::from_millis(400);
/// A server that failed is not tried again before.
const AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
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

/// The servers of one session.
#[derive(Debug)]
pub(super) struct Relays {
    entries: Vec<Entry>,
    /// So many are to be up.
    wanted: usize,
    /// When the last one was asked.
    asked: Option<Instant>,
}

impl Relays {
    pub(super) fn new(servers: Vec<RelayServer>, wanted: usize) -> Self {
        let entries =
            servers.into_iter().map(|server| Entry { server, state: State::Idle }).collect();
        Self { entries, wanted, asked: None }
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

    fn up(&self) -> usize {
        self.entries.iter().filter(|e| matches!(e.state, State::Up(_))).count()
    }

    fn has_host(&self, host: &str) -> bool {
        let up = |e: &Entry| matches!(e.state, State::Up(_)) && e.server.place.host == host;
        self.entries.iter().any(up)
    }

    /// The next server to ask, if one is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<(usize, RelayServer)> {
        if self.due(now)? > now {
            return None;
        }
        let at = self.candidate(now)?;
        self.entries[at].state = State::Asked;
        self.asked = Some(now);
        Some((at, self.entries[at].server.clone()))
    }

    fn candidate(&self, now: Instant) -> Option<usize> {
        let free = |e: &Entry| match e.state {
            State::Idle => true,
            State::Failed(at) => now.saturating_duration_since(at) >= AGAIN,
            State::Asked | State::Up(_) => false,
        };
        let asked = |host: &str| {
            self.entries
                .iter()
                .any(|e| matches!(e.state, State::Asked) && e.server.place.host == host)
        };
        let fit = |e: &Entry| free(e) && !self.has_host(&e.server.place.host);
        // A server that has not been asked at all comes before another transport of one that has.
        let fresh = self.entries.iter().position(|e| fit(e) && !asked(&e.server.place.host));
        fresh.or_else(|| self.entries.iter().position(fit))
    }

    /// When [`Self::next`] has something to say; `None` while enough are up.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.up() >= self.wanted {
            return None;
        }
        let waits = self.entries.iter().filter(|e| matches!(e.state, State::Asked)).count();
        if self.candidate(now).is_none() {
            let failed = self.entries.iter().filter_map(|e| match e.state {
                State::Failed(at) => Some(at + AGAIN),
                State::Idle | State::Asked | State::Up(_) => None,
            });
            return failed.min();
        }
        // As many at once as are wanted; more only after a while.
        if self.up() + waits < self.wanted {
            return Some(now);
        }
        Some(self.asked.map_or(now, |asked| asked + STAGGER))
    }

    /// A server has given an allocation. Whether it is kept.
    pub(super) fn up_is(&mut self, at: usize, id: SocketId) -> bool {
        let surplus = self.up() >= self.wanted;
        let Some(entry) = self.entries.get_mut(at) else { return false };
        entry.state = if surplus { State::Idle } else { State::Up(id) };
        !surplus
    }

    /// A server has refused, or is silent.
    pub(super) fn failed(&mut self, at: usize, now: Instant) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.state = State::Failed(now);
        }
    }

    /// An allocation is gone.
    pub(super) fn gone(&mut self, id: SocketId, now: Instant) {
        for entry in &mut self.entries {
            if matches!(entry.state, State::Up(up) if up == id) {
                entry.state = State::Failed(now);
            }
        }
    }

    /// The network is another: everything is worth a try.
    pub(super) fn forget(&mut self) {
        for entry in &mut self.entries {
            entry.state = State::Idle;
        }
        self.asked = None;
    }

    /// The server of an allocation.
    pub(super) fn server_of(&self, id: SocketId) -> Option<(usize, RelayServer)> {
        let at = self.entries.iter().position(|e| matches!(e.state, State::Up(up) if up == id))?;
        Some((at, self.entries[at].server.clone()))
    }

    /// Another allocation of the same server has taken the place of the one that there was.
    pub(super) fn replaced(&mut self, at: usize, id: SocketId) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.state = State::Up(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use sightline_model::SessionToken;

    use super::*;
    use crate::server::{Place, RelayTransport};

    fn servers() -> Vec<RelayServer> {
        let of = |host: &str, transport| RelayServer {
            place: Place { host: host.into(), port: 1 },
            transport,
            username: String::new(),
            credential: SessionToken::new(String::new()),
        };
        vec![
            of("a", RelayTransport::Udp),
            of("b", RelayTransport::Udp),
            of("a", RelayTransport::Tcp),
            of("b", RelayTransport::Tcp),
        ]
    }

    fn asks(relays: &mut Relays, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| relays.next(now).map(|(at, _)| at)).collect()
    }

    #[test]
    fn a_spare_is_on_another_server() {
        let now = Instant::now();
        let mut relays = Relays::new(servers(), 2);
        assert_eq!(asks(&mut relays, now), [0, 1]);
        assert!(relays.up_is(0, SocketId(1)) && relays.up_is(1, SocketId(2)));
        assert_eq!(relays.due(now), None);
        relays.gone(SocketId(1), now);
        // The other transport of the server that is left is no spare.
        assert_eq!(asks(&mut relays, now + STAGGER), [2]);
    }

    #[test]
    fn where_udp_is_silent_tcp_is_asked_soon() {
        let now = Instant::now();
        let mut relays = Relays::new(servers(), 1);
        assert_eq!(asks(&mut relays, now), [0]);
        assert_eq!(asks(&mut relays, now), Vec::<usize>::new());
        assert_eq!(asks(&mut relays, now + STAGGER), [1]);
        assert_eq!(asks(&mut relays, now + STAGGER * 2), [2]);
        assert!(relays.up_is(2, SocketId(7)));
        assert!(!relays.up_is(0, SocketId(8)), "one is enough");
        assert_eq!(relays.due(now + STAGGER * 3), None);
    }

    #[test]
    fn nothing_is_asked_that_is_not_wanted() {
        let now = Instant::now();
        let mut relays = Relays::new(servers(), 0);
        assert_eq!(relays.due(now), None);
        relays.want_one(now);
        assert_eq!(asks(&mut relays, now), [0]);
        relays.failed(0, now);
        assert_eq!(asks(&mut relays, now), [1], "at once when the last one has failed");
    }
}
