//! How many addresses the other end may name: each of them gets packets from this one.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use super::timing::{MAX_HOSTS, MAX_REMOTES, TELL_EVERY};

/// What is left of it.
#[derive(Debug)]
pub(super) struct Told {
    /// Machines, or networks of IPv6: never more than so many in a session.
    hosts: BTreeSet<IpAddr>,
    /// Addresses that may be named at once.
    left: usize,
    /// When the last one was given back.
    since: Instant,
}

impl Told {
    pub fn new(now: Instant) -> Self {
        Self { hosts: BTreeSet::new(), left: MAX_REMOTES, since: now }
    }

    /// Whether a further address there is taken. One that is known already need not be asked for.
    pub fn take(&mut self, now: Instant, ip: IpAddr) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let back = passed.as_millis() / TELL_EVERY.as_millis();
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        self.since += TELL_EVERY.checked_mul(back).unwrap_or(Duration::ZERO);
        self.left = self.left.saturating_add(back as usize).min(MAX_REMOTES);
        let host = host_of(ip);
        let fits = self.hosts.contains(&host) || self.hosts.len() < MAX_HOSTS;
        if !fits || self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.hosts.insert(host);
        true
    }
}

/// A subscriber of IPv6 has a whole network of addresses.
fn host_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
    }
}
