//! Ports that home gateways map (A8.3 steps 1 and 2): PCP (RFC 6887) or NAT-PMP (RFC 6886) where
//! the router speaks one of them, UPnP IGD otherwise. Leases are renewed while they are wanted and
//! released at the end.

mod lease;
mod terms;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use igd_next::aio::{Gateway, tokio::Tokio};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::lease::{Lease, find_igd, pcp_port};
use crate::network::Surroundings;

/// How often the network is looked at, and after how long a gateway that did not answer is asked
/// again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_secs(120);
/// At the end, a request that is on its way has so long to be answered: what it brings is to be
/// released, too.
const FINISH: Duration = Duration::from_secs(1);
/// How long releasing everything may take.
const RELEASE: Duration = Duration::from_secs(2);

/// What is behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// A port of this machine that is to be reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wanted {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: NonZeroU16,
}

/// Where a wanted port is reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedPort {
    /// Which.
    pub wanted: Wanted,
    /// Where.
    pub outside: SocketAddr,
}

/// Keeps `wanted` mapped until `token` is cancelled, and then releases it. `mapped` says what is
/// mapped now. Does nothing where this machine has a public address.
pub async fn keep(
    wanted: Vec<Wanted>,
    mapped: watch::Sender<Vec<MappedPort>>,
    token: CancellationToken,
) {
    let mut keeper = Keeper::new(wanted, mapped, token.clone());
    let mut place: Option<(Option<Ipv4Addr>, Option<Ipv4Addr>)> = None;
    // When anything is due.
    let mut next = Instant::now();
    loop {
        let now = Surroundings::look(false);
        let here = (now.outward_v4, now.gateway);
        let moved = place != Some(here);
        if moved {
            place = Some(here);
            keeper.begin_anew();
        }
        if moved || Instant::now() >= next {
            run_out(keeper.refresh(&now), &token).await;
            next = keeper.next();
            keeper.tell();
        }
        tokio::select! {
            () = token.cancelled() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    keeper.release().await;
}

/// Lets `work` come to its end; when `token` is cancelled, for a moment only.
async fn run_out(work: impl Future<Output = ()>, token: &CancellationToken) {
    let mut work = pin!(work);
    if token.run_until_cancelled(work.as_mut()).await.is_none() {
        // Silence is no reason to wait.
        let _ = tokio::time::timeout(FINISH, work).await;
    }
}

/// What is mapped, and what is to be.
struct Keeper {
    wanted: Vec<Wanted>,
    leases: Vec<Lease>,
    /// Those that the gateway may keep though they are of no use any more.
    surplus: Vec<Lease>,
    /// What UPnP is being asked for.
    asked: Option<Lease>,
    mapped: watch::Sender<Vec<MappedPort>>,
    /// When ports that are not mapped are asked for.
    ask_at: Instant,
    /// Once it is cancelled nothing further is asked for.
    token: CancellationToken,
}

impl Keeper {
    fn new(
        wanted: Vec<Wanted>,
        mapped: watch::Sender<Vec<MappedPort>>,
        token: CancellationToken,
    ) -> Self {
        let (leases, surplus, asked) = (Vec::new(), Vec::new(), None);
        Self { wanted, leases, surplus, asked, mapped, ask_at: Instant::now(), token }
    }

    /// In another network: the old gateway is out of reach, its leases run out.
    fn begin_anew(&mut self) {
        self.leases.clear();
        self.surplus.clear();
        self.asked = None;
        self.ask_at = Instant::now();
        self.tell();
    }

    /// When [`refresh`](Self::refresh) has something to do.
    fn next(&self) -> Instant {
        self.leases.iter().map(|lease| lease.terms.next()).fold(self.ask_at, Instant::min)
    }

    /// Renews what is due, and asks for what is not there. A gateway that does not renew a lease
    /// may have started anew, elsewhere: it is looked for at once, and the lease is kept while it
    /// lives. What has been given is among the leases at once, and what UPnP is asked for is
    /// remembered before: whoever drops this loses an answer that is on its way, and nothing else.
    async fn refresh(&mut self, place: &Surroundings) {
        let Some(own) = place.outward_v4.filter(|ip| is_translated(*ip)) else {
            self.ask_at = Instant::now() + ASK_AGAIN;
            return;
        };
        let mut missing: Vec<Wanted> = Vec::new();
        if Instant::now() >= self.ask_at {
            let is_there = |wanted: &Wanted| self.leases.iter().any(|l| l.mapped.wanted == *wanted);
            missing.extend(self.wanted.iter().filter(|wanted| !is_there(wanted)));
            self.ask_at = Instant::now() + ASK_AGAIN;
        }
        for lease in self.leases.iter_mut().filter(|lease| Instant::now() >= lease.terms.next()) {
            if self.token.is_cancelled() {
                return;
            }
            if lease.renew().await.is_none() {
                missing.push(lease.mapped.wanted);
            }
        }
        if !missing.is_empty() {
            self.ask(&missing, own, place.gateway).await;
        }
        let now = Instant::now();
        let leases = std::mem::take(&mut self.leases).into_iter();
        let (over, kept): (Vec<_>, _) = leases.partition(|lease| lease.terms.is_over(now));
        self.leases = kept;
        // A gateway that knows no other ones than permanent ones has them still.
        self.surplus.extend(over);
        while let Some(lease) = self.surplus.last() {
            lease.give_back().await;
            self.surplus.pop();
        }
    }

    async fn ask(&mut self, missing: &[Wanted], own: Ipv4Addr, gateway: Option<Ipv4Addr>) {
        let token = self.token.clone();
        // It maps nothing, and need not come to its end.
        let searching = async { token.run_until_cancelled(find_igd(own)).await.flatten() };
        // Both at once: who has no PCP is silent rather than refusing.
        let found = unless(self.ask_pcp(missing, own, gateway), searching).await;
        let Some((igd, outside)) = found else { return };
        self.ask_igd(&igd, outside, missing, own).await;
    }

    async fn ask_igd(
        &mut self,
        igd: &Arc<Gateway<Tokio>>,
        outside: IpAddr,
        missing: &[Wanted],
        own: Ipv4Addr,
    ) {
        for wanted in missing {
            if self.token.is_cancelled() {
                return;
            }
            let lease = self.asked.insert(Lease::by_igd(igd, outside, *wanted, own));
            let is_given = lease.ask().await.is_some();
            if !is_given {
                lease.withdraw().await;
            }
            let Some(lease) = self.asked.take().filter(|_| is_given) else { continue };
            debug!("a port is mapped by UPnP");
            self.add(lease);
        }
    }

    /// Whether there is a gateway that maps by PCP or NAT-PMP.
    async fn ask_pcp(
        &mut self,
        missing: &[Wanted],
        own: Ipv4Addr,
        gateway: Option<Ipv4Addr>,
    ) -> bool {
        let Some(gateway) = gateway else { return false };
        let mut any = false;
        for wanted in missing {
            if self.token.is_cancelled() {
                break;
            }
            match pcp_port(*wanted, own, gateway).await {
                Some(lease) => {
                    debug!("a port is mapped by PCP or NAT-PMP");
                    self.add(lease);
                    any = true;
                }
                // The others would be silent too.
                None if !any => break,
                None => {}
            }
        }
        any
    }

    /// Takes a lease, and tells of it: the next one may be long in coming.
    fn add(&mut self, fresh: Lease) {
        let leases = std::mem::take(&mut self.leases).into_iter();
        let (old, kept): (Vec<_>, _) =
            leases.partition(|old| old.mapped.wanted == fresh.mapped.wanted);
        self.leases = kept;
        self.surplus.extend(old.into_iter().filter(|old| old.outlives(&fresh)));
        self.leases.push(fresh);
        self.leases.sort_unstable_by_key(|lease| lease.mapped.wanted);
        self.tell();
    }

    fn tell(&self) {
        let ports: Vec<_> = self.leases.iter().map(|lease| lease.mapped).collect();
        self.mapped.send_if_modified(|known| {
            let changed = *known != ports;
            known.clone_from(&ports);
            changed
        });
    }

    async fn release(self) {
        let releasing = async {
            for lease in self.leases.iter().chain(&self.surplus) {
                lease.release().await;
            }
            if let Some(lease) = &self.asked {
                lease.withdraw().await;
            }
        };
        if tokio::time::timeout(RELEASE, releasing).await.is_err() {
            debug!("the gateway did not confirm that mappings are released");
        }
    }
}

/// What `searching` finds, unless `asking` comes to something: then nobody waits for the search.
async fn unless<T>(
    asking: impl Future<Output = bool>,
    searching: impl Future<Output = Option<T>>,
) -> Option<T> {
    let asking = pin!(asking);
    let searching = pin!(searching);
    match select(asking, searching).await {
        Either::Left((true, _)) => None,
        Either::Left((false, searching)) => searching.await,
        Either::Right((found, asking)) => {
            if asking.await {
                None
            } else {
                found
            }
        }
    }
}

/// Whether the Internet sees another address than this one.
fn is_translated(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    // 100.64.0.0/10 is between a carrier and its customers (RFC 6598).
    ip.is_private() || (a == 100 && (64..128).contains(&b))
}

#[cfg(test)]
mod tests;
