//! What the other end may have this one send to: each address that it names gets packets, and so do
//! the ports of its router that are tried.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::timing::{HOST_EVERY, KEPT_FOR_OUTSIDE, MAX_HOSTS, MAX_REMOTES, MAX_ROUNDS, TELL_EVERY};
use crate::candidate::CandidateKind;

/// What is left of it for the other end of one call; cheap to clone. A call that goes on with
/// another ladder hands it on ([`Ladder::within`](super::Ladder::within)): the bounds are the
/// call's, and whoever begins anew gets nothing more.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<Mutex<Told>>);

#[derive(Debug)]
struct Told {
    /// Machines, or networks of IPv6, the one first that has not been named for longest.
    hosts: VecDeque<IpAddr>,
    /// When the last place of a machine was given back.
    hosts_since: Instant,
    /// Addresses that may be named at once.
    left: usize,
    /// When the last one was given back.
    since: Instant,
    /// Rounds of probing that have begun.
    rounds: u32,
}

impl Allowance {
    /// All of it.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Told {
            hosts: VecDeque::new(),
            hosts_since: now,
            left: MAX_REMOTES,
            since: now,
            rounds: 0,
        })))
    }

    /// How many further machines may be named now.
    #[must_use]
    pub fn machines_left(&self) -> usize {
        MAX_HOSTS.saturating_sub(self.told().hosts.len())
    }

    /// Whether a further address there is taken. One that is known already need not be asked for.
    pub(super) fn take(&self, now: Instant, ip: IpAddr, kind: CandidateKind) -> bool {
        self.told().take(now, ip, kind)
    }

    /// Whether ports may be tried once more.
    pub(super) fn has_round(&self) -> bool {
        self.told().rounds < MAX_ROUNDS
    }

    /// Begins a round, if there is one left.
    pub(super) fn take_round(&self) -> bool {
        let mut told = self.told();
        let left = told.rounds < MAX_ROUNDS;
        told.rounds += u32::from(left);
        left
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Counters are whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn take(&mut self, now: Instant, ip: IpAddr, kind: CandidateKind) -> bool {
        let back = times(&mut self.since, now, TELL_EVERY);
        self.left = self.left.saturating_add(back).min(MAX_REMOTES);
        // A phone that goes from network to network has ever new addresses.
        let back = times(&mut self.hosts_since, now, HOST_EVERY).min(self.hosts.len());
        self.hosts.drain(..back);
        // Whoever opens a fresh socket names all its interfaces once more: they must not use up the
        // places of what says where it is now, as routers, servers and relays see it.
        let kept = if kind == CandidateKind::Host { KEPT_FOR_OUTSIDE } else { 0 };
        let host = host_of(ip);
        let known = self.hosts.iter().position(|known| *known == host);
        let fits = known.is_some() || self.hosts.len() + kept < MAX_HOSTS;
        if !fits || self.left <= kept {
            return false;
        }
        self.left -= 1;
        if let Some(at) = known {
            self.hosts.remove(at);
        }
        self.hosts.push_back(host);
        true
    }
}

/// How many times so long has passed since then, which moves on by it.
fn times(since: &mut Instant, now: Instant, every: Duration) -> usize {
    let times = now.saturating_duration_since(*since).as_millis() / every.as_millis();
    let times = u32::try_from(times).unwrap_or(u32::MAX);
    *since += every.checked_mul(times).unwrap_or(Duration::ZERO);
    times as usize
}

/// A subscriber of IPv6 has a whole network of addresses.
fn host_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(n: usize) -> IpAddr {
        IpAddr::from([198, 18, (n >> 8) as u8, n as u8])
    }

    #[test]
    fn one_machine_is_given_back_in_a_minute() {
        let now = Instant::now();
        let allowance = Allowance::new(now);
        let take = |now, n| allowance.take(now, machine(n), CandidateKind::ServerReflexive);
        assert!((0..MAX_HOSTS).all(|n| take(now, n)));
        let later = now + HOST_EVERY - Duration::from_millis(1);
        assert!(!take(later, 100), "not before");
        // What is in use is named again, and keeps its place.
        assert!(take(later, 0));
        let later = now + HOST_EVERY * 2;
        assert!(take(later, 100) && take(later, 101));
        assert!(!take(later, 102), "and not more");
        assert!(take(later, 0));
    }

    #[test]
    fn addresses_of_interfaces_leave_room_for_those_outside() {
        let now = Instant::now();
        let allowance = Allowance::new(now);
        let take = |n, kind| allowance.take(now, machine(n), kind);
        let hosts = (0..200).filter(|n| take(*n, CandidateKind::Host)).count();
        assert_eq!(hosts, MAX_HOSTS - KEPT_FOR_OUTSIDE);
        let outside = (200..400).filter(|n| take(*n, CandidateKind::ServerReflexive)).count();
        assert_eq!((outside, allowance.machines_left()), (KEPT_FOR_OUTSIDE, 0));
    }
}
