//! Which relays are asked, in which order: the better transport first, the next one soon after
//! when it does not answer, and never two on one server where a second is kept as a spare.
//!
//! Credentials end, and no allocation outlives its own. When the centre names servers anew, each
//! allocation that stands gets a successor with the new credential, one after the other, the one
//! that carries media last.

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
    /// Its successor has been asked for.
    asked: bool,
    /// Nor is it asked for before.
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
        let entries = entries(servers);
        Self { entries, wanted, asked: None, outdated: Vec::new(), renewed: None }
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
        self.outdated.push(Outdated { id, server, asked: false, not_before });
    }

    fn up(&self) -> usize {
        self.entries.iter().filter(|e| matches!(e.state, State::Up(_))).count()
    }

    fn has_host(&self, host: &str) -> bool {
        let up = |e: &Entry| matches!(e.state, State::Up(_)) && e.server.place.host == host;
        self.entries.iter().any(up)
    }

    fn entry(&mut self, server: &RelayServer) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.server.is_same(server))
    }

    /// The next server to ask, if one is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<RelayServer> {
        if self.next_due(now)? > now {
            return None;
        }
        let at = self.candidate(now)?;
        self.entries[at].state = State::Asked;
        self.asked = Some(now);
        Some(self.entries[at].server.clone())
    }

    /// The next allocation that gets a successor, and the server that is asked for it. `active` is
    /// the one that carries media, if one does.
    pub(super) fn next_renewal(
        &mut self,
        now: Instant,
        active: Option<SocketId>,
    ) -> Option<(SocketId, RelayServer)> {
        while !self.outdated.iter().any(|outdated| outdated.asked) {
            let due = (0..self.outdated.len()).filter(|at| self.outdated[*at].not_before <= now);
            let at = due.min_by_key(|at| Some(self.outdated[*at].id) == active)?;
            let server = self.successor(at, now);
            let outdated = &mut self.outdated[at];
            match server {
                Some(server) => {
                    outdated.asked = true;
                    return Some((outdated.id, server));
                }
                None => outdated.not_before = now + AGAIN,
            }
        }
        None
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

    /// When [`Self::next`] or [`Self::next_renewal`] has something to say.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let is_asked = self.outdated.iter().any(|outdated| outdated.asked);
        let renewals = self.outdated.iter().filter(|_| !is_asked);
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
    }

    /// The server of an allocation, where it is still named.
    pub(super) fn server_of(&self, id: SocketId) -> Option<RelayServer> {
        let of = |e: &&Entry| matches!(e.state, State::Up(up) if up == id);
        self.entries.iter().find(of).map(|entry| entry.server.clone())
    }

    /// Another allocation has taken the place of the one that there was.
    pub(super) fn replaced(
        &mut self,
        server: &RelayServer,
        old: SocketId,
        new: SocketId,
        now: Instant,
    ) {
        self.outdated.retain(|outdated| outdated.id != old);
        if let Some(entry) = self.entry(server) {
            entry.state = State::Up(new);
        }
        self.outdate_unless_current(server, new, now);
    }

    /// There is no successor for an allocation yet: it is kept while it lives.
    pub(super) fn not_replaced(&mut self, server: &RelayServer, old: SocketId, now: Instant) {
        for outdated in self.outdated.iter_mut().filter(|outdated| outdated.id == old) {
            outdated.asked = false;
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
mod tests {
    use sightline_model::SessionToken;

    use super::*;
    use crate::server::{Place, RelayTransport};

    fn server(host: &str, transport: RelayTransport, username: &str) -> RelayServer {
        RelayServer {
            place: Place { host: host.into(), port: 1 },
            transport,
            username: username.into(),
            credential: SessionToken::new(String::new()),
        }
    }

    /// With this credential.
    fn servers_for(username: &str) -> Vec<RelayServer> {
        vec![
            server("a", RelayTransport::Udp, username),
            server("b", RelayTransport::Udp, username),
            server("a", RelayTransport::Tcp, username),
            server("b", RelayTransport::Tcp, username),
        ]
    }

    fn servers() -> Vec<RelayServer> {
        servers_for("")
    }

    fn place_of(asked: &RelayServer) -> usize {
        servers().iter().position(|server| server.is_same(asked)).expect("one of these")
    }

    fn asks(relays: &mut Relays, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| relays.next(now).map(|server| place_of(&server))).collect()
    }

    #[test]
    fn a_spare_is_on_another_server() {
        let now = Instant::now();
        let mut relays = Relays::new(servers(), 2);
        assert_eq!(asks(&mut relays, now), [0, 1]);
        assert!(relays.up_is(&servers()[0], SocketId(1), now));
        assert!(relays.up_is(&servers()[1], SocketId(2), now));
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
        assert!(relays.up_is(&servers()[2], SocketId(7), now));
        assert!(!relays.up_is(&servers()[0], SocketId(8), now), "one is enough");
        assert_eq!(relays.due(now + STAGGER * 3), None);
    }

    #[test]
    fn nothing_is_asked_that_is_not_wanted() {
        let now = Instant::now();
        let mut relays = Relays::new(servers(), 0);
        assert_eq!(relays.due(now), None);
        relays.want_one(now);
        assert_eq!(asks(&mut relays, now), [0]);
        relays.failed(&servers()[0], now);
        assert_eq!(asks(&mut relays, now), [1], "at once when the last one has failed");
    }

    /// Two allocations stand, the first of which carries media.
    fn two_up(now: Instant) -> Relays {
        let mut relays = Relays::new(servers_for("old"), 2);
        assert_eq!(asks(&mut relays, now), [0, 1]);
        for (at, id) in [(0, ACTIVE), (1, SPARE)] {
            assert!(relays.up_is(&servers_for("old")[at], id, now));
        }
        relays
    }

    const ACTIVE: SocketId = SocketId(1);
    const SPARE: SocketId = SocketId(2);

    #[test]
    fn allocations_get_successors_with_the_new_credential_the_spare_first() {
        let now = Instant::now();
        let mut relays = two_up(now);
        relays.renew(servers_for("new"), now);
        assert_eq!(relays.due(now), Some(now));
        let (old, server) = relays.next_renewal(now, Some(ACTIVE)).expect("the spare");
        assert_eq!((old, place_of(&server), server.username.as_str()), (SPARE, 1, "new"));
        // One after the other.
        assert!(relays.next_renewal(now, Some(ACTIVE)).is_none());
        assert_eq!(relays.due(now), None);
        relays.replaced(&server, SPARE, SocketId(3), now);
        let (old, server) = relays.next_renewal(now, Some(ACTIVE)).expect("the active one");
        assert_eq!((old, place_of(&server), server.username.as_str()), (ACTIVE, 0, "new"));
        relays.replaced(&server, ACTIVE, SocketId(4), now);
        assert_eq!((relays.due(now), relays.up()), (None, 2));
        // The old ones may go now, and nothing is asked for in their place.
        relays.gone(ACTIVE, now);
        relays.gone(SPARE, now);
        assert_eq!((relays.due(now), relays.up()), (None, 2));
    }

    #[test]
    fn a_server_that_refuses_the_successor_is_asked_again_while_the_old_one_lives() {
        let now = Instant::now();
        let mut relays = two_up(now);
        relays.renew(servers_for("new"), now);
        let (old, server) = relays.next_renewal(now, Some(ACTIVE)).expect("the spare");
        relays.not_replaced(&server, old, now);
        let (old, _) = relays.next_renewal(now, Some(ACTIVE)).expect("the other meanwhile");
        assert_eq!((old, relays.up()), (ACTIVE, 2));
        relays.not_replaced(&server, old, now);
        assert!(relays.next_renewal(now, Some(ACTIVE)).is_none());
        assert_eq!(relays.due(now), Some(now + AGAIN));
        assert!(relays.next_renewal(now + AGAIN, Some(ACTIVE)).is_some());
        // The end of an outdated one is no fault of its server.
        relays.gone(ACTIVE, now + AGAIN);
        assert_eq!(asks(&mut relays, now + AGAIN), [0]);
    }

    #[test]
    fn a_server_that_is_named_no_more_is_replaced_by_another() {
        let now = Instant::now();
        let mut relays = two_up(now);
        let others = ["b", "c"].map(|host| server(host, RelayTransport::Udp, "new"));
        relays.renew(others.to_vec(), now);
        // Of the server that is still named the allocation counts; another one is wanted.
        assert_eq!(relays.up(), 1);
        let asked = |relays: &mut Relays| {
            let (old, server) = relays.next_renewal(now, Some(ACTIVE)).expect("outdated");
            relays.replaced(&server, old, SocketId(old.0 + 10), now);
            (old, server.place.host)
        };
        assert_eq!(asked(&mut relays), (SPARE, "b".to_owned()));
        assert_eq!(asked(&mut relays), (ACTIVE, "c".to_owned()));
        assert_eq!((relays.up(), relays.due(now)), (2, None));
    }

    #[test]
    fn what_was_asked_with_the_old_credential_is_replaced_too() {
        let now = Instant::now();
        let mut relays = Relays::new(servers_for("old"), 1);
        let asked = relays.next(now).expect("one is wanted");
        relays.renew(servers_for("new"), now);
        assert!(relays.up_is(&asked, ACTIVE, now));
        let (old, server) = relays.next_renewal(now, None).expect("outdated already");
        assert_eq!((old, server.username.as_str()), (ACTIVE, "new"));
        // A list with the same credential changes nothing.
        relays.replaced(&server, old, SPARE, now);
        relays.renew(servers_for("new"), now);
        assert_eq!(relays.due(now), None);
    }

    #[test]
    fn however_often_servers_are_named_allocations_are_replaced_now_and_then() {
        let start = Instant::now();
        let mut relays = two_up(start);
        let (mut asked, mut id) = (0, 10);
        for second in 0..600_u32 {
            let now = start + Duration::from_secs(1) * second;
            relays.renew(servers_for(&format!("{second}")), now);
            while let Some((old, server)) = relays.next_renewal(now, Some(ACTIVE)) {
                id += 1;
                asked += 1;
                relays.replaced(&server, old, SocketId(id), now);
            }
        }
        // Both, at once and then each minute.
        assert_eq!(asked, 2 * 10);
    }
}
