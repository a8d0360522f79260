//! Ports of a symmetric NAT, found by trying: many sockets on its inside, each sending to the one
//! address of the other end, against many ports tried from there. With 256 sockets and 1,500 tries
//! one of the ports is hit 997 times in 1,000. A round that hits nothing is followed by another after
//! a pause: both ends know both reports, so that their rounds fall together.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use rand::RngExt;
use sightline_model::{NatDependence, NatReport};

use super::{
    Event, Ladder, NetworkId, Path, SocketId,
    seekers::Seeker,
    socket::Socket,
    timing::{
        MAX_PROBE_SOCKETS, MAX_PROBES, PROBE_AFTER, PROBE_FOR, PROBE_PACE, PROBE_PAUSE,
        PROBE_REPEAT, PROBE_SOON, PROBE_WAIT,
    },
};
use crate::candidate::{CandidateKind, is_private};

/// What stands in the way of probing, or what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has not been needed, or not long enough.
    NotYet,
    Running,
    /// So many ports were tried.
    Failed(usize),
    Succeeded,
}

#[derive(Debug)]
pub(super) struct Probing {
    allowed: bool,
    work: Work,
    /// Ports that were tried from one socket, at one address.
    tried: BTreeSet<(SocketId, SocketAddr)>,
    /// The next round does not begin before.
    pause: Option<Instant>,
    pub outcome: Outcome,
}

#[derive(Debug)]
enum Work {
    None,
    /// This end is behind the symmetric NAT: its sockets all send to the other's address.
    Open {
        until: Instant,
        target: SocketAddr,
        sockets: Vec<(SocketId, Option<Instant>)>,
        next: Instant,
    },
    /// The other is: its ports are tried.
    Seek {
        until: Instant,
        from: SocketId,
        ip: IpAddr,
        next: Instant,
        /// So many more in this round.
        left: usize,
        /// Its place among those of the machine.
        _seeker: Seeker,
    },
}

impl Probing {
    pub const fn new(allowed: bool) -> Self {
        Self {
            allowed,
            work: Work::None,
            tried: BTreeSet::new(),
            pause: None,
            outcome: Outcome::NotYet,
        }
    }

    /// Whether this address was found by trying.
    pub fn has_tried(&self, path: Path) -> bool {
        self.tried.contains(&(path.socket, path.remote))
    }
}

pub(super) fn is_symmetric(nat: &NatReport) -> Option<bool> {
    nat.mapping.map(|mapping| mapping != NatDependence::EndpointIndependent)
}

/// The next one after this: what is a little late on a busy machine is made up for.
fn keep_pace(next: &mut Instant, now: Instant) {
    *next += PROBE_PACE;
    if now.saturating_duration_since(*next) > PROBE_PACE * 4 {
        *next = now + PROBE_PACE;
    }
}

impl Ladder {
    /// Takes the sockets that [`Event::NeedProbeSockets`] asked for. They are the ladder's until
    /// [`Event::SocketDone`] gives them back one by one.
    pub fn add_probe_sockets(&mut self, now: Instant, network: NetworkId, added: &[SocketId]) {
        let mut refused = Vec::new();
        match &mut self.probing.work {
            Work::Open { sockets, .. } => {
                let room = MAX_PROBE_SOCKETS.saturating_sub(sockets.len()).min(added.len());
                sockets.extend(added[..room].iter().map(|id| (*id, None)));
                refused.extend_from_slice(&added[room..]);
                for id in &added[..room] {
                    let mut socket = Socket::new(*id, network);
                    socket.probe = true;
                    socket.since = Some(now);
                    self.sockets.push(socket);
                }
            }
            Work::None | Work::Seek { .. } => refused.extend_from_slice(added),
        }
        self.events.extend(refused.into_iter().map(Event::SocketDone));
        self.tend(now);
    }

    /// The other end has been heard on a socket that probes: it stays.
    pub(super) fn promote_probe_socket(&mut self, _now: Instant, id: SocketId) {
        if let Work::Open { sockets, .. } = &mut self.probing.work {
            sockets.retain(|(probe, _)| *probe != id);
        }
    }

    /// When the next round begins, if probing could help.
    fn probe_start(&self) -> Option<Instant> {
        let possible = self.probing.allowed
            && matches!(self.probing.work, Work::None)
            && self.allowance.has_round()
            && !self.has_direct()
            && self.public_of_remote().is_some();
        if !possible {
            return None;
        }
        let other = match (is_symmetric(&self.nat_local), is_symmetric(&self.nat_remote)) {
            (Some(true), Some(false)) => &self.nat_remote,
            (Some(false), Some(true)) if self.public_socket().is_some() => &self.nat_local,
            _ => return None,
        };
        // Where the other filter is known to let in no other port there is nothing to wait for.
        let strict = other.filtering == Some(NatDependence::AddressAndPortDependent);
        let first = self.started? + if strict { PROBE_SOON } else { PROBE_AFTER };
        Some(self.probing.pause.map_or(first, |pause| pause.max(first)))
    }

    fn has_direct(&self) -> bool {
        self.pairs
            .iter()
            .any(|(path, pair)| pair.proof().is_some() && !self.rung(*path, pair).is_relayed())
    }

    fn public_of_remote(&self) -> Option<SocketAddr> {
        // Neither a home nor this machine or its router is searched for open ports on the other
        // end's word. A third party's address could be named all the same: that the allowance
        // bounds, and nothing else.
        let public = |ip: IpAddr| ip.is_ipv4() && !is_private(ip) && !self.is_own(ip);
        let mut reflexive = self
            .remotes
            .iter()
            .filter(|r| r.kind == CandidateKind::ServerReflexive && public(r.address.ip()));
        let address = reflexive.next_back()?.address;
        let own = self.sockets.iter().filter(|s| s.leg.is_none()).flat_map(|s| &s.hosts);
        match self.nat64 {
            Some(prefix) if !own.clone().any(SocketAddr::is_ipv4) => Some(prefix.map(address)),
            Some(_) | None => Some(address),
        }
    }

    /// Whether something of this end is reached there, as far as it knows.
    fn is_own(&self, ip: IpAddr) -> bool {
        let has_it = |s: &Socket| {
            s.hosts.iter().chain(&s.reflexive).chain(&s.mapped).any(|address| address.ip() == ip)
        };
        self.sockets.iter().any(has_it)
    }

    /// The socket that the other end knows by its reflexive address.
    fn public_socket(&self) -> Option<SocketId> {
        let public = |s: &&Socket| s.leg.is_none() && s.reflexive.iter().any(SocketAddr::is_ipv4);
        self.sockets.iter().rfind(public).map(|s| s.id)
    }

    fn start_probing(&mut self, now: Instant) {
        let until = now + PROBE_FOR;
        let Some(target) = self.public_of_remote() else { return };
        let work = if is_symmetric(&self.nat_local) == Some(true) {
            Work::Open { until, target, sockets: Vec::new(), next: now }
        } else {
            let Some(from) = self.public_socket() else { return };
            let Some(seeker) = self.seekers.enter() else {
                // The other end's sockets are open for a while: there may be a place soon.
                self.probing.pause = Some(now + PROBE_WAIT);
                return;
            };
            let (ip, left) = (target.ip(), MAX_PROBES);
            Work::Seek { until, from, ip, next: now, left, _seeker: seeker }
        };
        if !self.allowance.take_round() {
            return;
        }
        if matches!(work, Work::Open { .. }) {
            self.events.push_back(Event::NeedProbeSockets { count: MAX_PROBE_SOCKETS });
        }
        self.probing.work = work;
        self.probing.outcome = Outcome::Running;
    }

    pub(super) fn probe(&mut self, now: Instant) {
        if self.probe_start().is_some_and(|start| now >= start) {
            self.start_probing(now);
        }
        let over = match &self.probing.work {
            Work::None => return,
            Work::Open { until, .. } | Work::Seek { until, .. } => now >= *until,
        };
        if self.has_direct() || over {
            self.end_probing(now);
            return;
        }
        if let Some(path) = self.next_probe(now) {
            self.probing.tried.insert((path.socket, path.remote));
            self.send_bare_check(now, path, false);
        }
    }

    fn next_probe(&mut self, now: Instant) -> Option<Path> {
        match &mut self.probing.work {
            Work::None => None,
            Work::Open { target, sockets, next, .. } => {
                if now < *next {
                    return None;
                }
                let (socket, sent) = sockets.iter_mut().min_by_key(|(_, sent)| *sent)?;
                if sent.is_some_and(|sent| now < sent + PROBE_REPEAT) {
                    return None;
                }
                *sent = Some(now);
                keep_pace(next, now);
                Some(Path { socket: *socket, remote: *target })
            }
            Work::Seek { from, ip, next, left, .. } => {
                if now < *next || *left == 0 {
                    return None;
                }
                *left -= 1;
                keep_pace(next, now);
                let port = loop {
                    let port = self.rng.random_range(1024..=u16::MAX);
                    if !self.probing.tried.contains(&(*from, SocketAddr::new(*ip, port))) {
                        break port;
                    }
                };
                Some(Path { socket: *from, remote: SocketAddr::new(*ip, port) })
            }
        }
    }

    pub(super) fn probe_due(&self) -> Option<Instant> {
        match &self.probing.work {
            Work::None => self.probe_start(),
            Work::Open { until, sockets, next, .. } => {
                let first = sockets.iter().map(|(_, sent)| sent.map(|s| s + PROBE_REPEAT)).min();
                let due = first.map(|due| due.map_or(*next, |due| due.max(*next)));
                Some(due.map_or(*until, |due| due.min(*until)))
            }
            Work::Seek { until, next, left, .. } => {
                Some(if *left == 0 { *until } else { (*next).min(*until) })
            }
        }
    }

    fn end_probing(&mut self, now: Instant) {
        let tried = self.probing.tried.len();
        let found = self.has_direct();
        self.probing.pause = Some(now + PROBE_PAUSE);
        self.probing.outcome = if found { Outcome::Succeeded } else { Outcome::Failed(tried) };
        if let Work::Open { sockets, .. } = std::mem::replace(&mut self.probing.work, Work::None) {
            for (id, _) in sockets {
                self.drop_socket(id);
                self.events.push_back(Event::SocketDone(id));
            }
        }
    }
}
