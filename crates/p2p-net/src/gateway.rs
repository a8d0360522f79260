//! Ports that home gateways map (A8.3 steps 1 and 2): PCP (RFC 6887) or NAT-PMP (RFC 6886) where
//! the router speaks one of them, UPnP IGD otherwise. Leases are renewed while they are wanted and
//! released at the end.

mod terms;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

use crab_nat::{
    InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp,
};
use igd_next::{
    AddPortError, PortMappingProtocol, SearchOptions,
    aio::{
        Gateway,
        tokio::{Tokio, search_gateway},
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::terms::Terms;
use crate::network::Surroundings;

/// How long a lease is asked for; a gateway may give another.
const LEASE: Duration = Duration::from_secs(3_600);
/// How often the network is looked at, and after how long a gateway that did not answer is asked
/// again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_secs(120);
/// How long UPnP may take to find a gateway.
const SEARCH: Duration = Duration::from_secs(3);
/// How long one request to it may take.
const REQUEST: Duration = Duration::from_secs(4);
/// How long releasing everything may take.
const RELEASE: Duration = Duration::from_secs(2);
/// What a gateway's user interface shows.
const DESCRIPTION: &str = "Sightline camera";

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
    let mut leases: Vec<Lease> = Vec::new();
    let mut place: Option<(Option<Ipv4Addr>, Option<Ipv4Addr>)> = None;
    // When ports that are not mapped are asked for, and when anything is due.
    let mut ask_at = Instant::now();
    let mut next = ask_at;
    loop {
        let now = Surroundings::look(false);
        let here = (now.outward_v4, now.gateway);
        let moved = place != Some(here);
        if moved {
            // The old gateway is out of reach: its leases run out.
            leases.clear();
            place = Some(here);
            ask_at = Instant::now();
        }
        if moved || Instant::now() >= next {
            let refreshing = refresh(&mut leases, &wanted, &now, &mut ask_at);
            if token.run_until_cancelled(refreshing).await.is_none() {
                break;
            }
            next = leases.iter().map(|lease| lease.terms.next()).fold(ask_at, Instant::min);
            let ports: Vec<_> = leases.iter().map(|lease| lease.mapped).collect();
            mapped.send_if_modified(|known| {
                let changed = *known != ports;
                known.clone_from(&ports);
                changed
            });
        }
        tokio::select! {
            () = token.cancelled() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    let releasing = async {
        for lease in leases {
            lease.release().await;
        }
    };
    if tokio::time::timeout(RELEASE, releasing).await.is_err() {
        debug!("the gateway did not confirm that mappings are released");
    }
}

/// Renews what is due, and asks for what is not there. A gateway that does not renew a lease may
/// have started anew, elsewhere: it is looked for at once, and the lease is kept while it lives.
async fn refresh(
    leases: &mut Vec<Lease>,
    wanted: &[Wanted],
    place: &Surroundings,
    ask_at: &mut Instant,
) {
    let Some(own) = place.outward_v4.filter(|ip| is_translated(*ip)) else {
        *ask_at = Instant::now() + ASK_AGAIN;
        return;
    };
    let mut missing: Vec<Wanted> = Vec::new();
    if Instant::now() >= *ask_at {
        let is_there = |wanted: &Wanted| leases.iter().any(|l| l.mapped.wanted == *wanted);
        missing.extend(wanted.iter().filter(|wanted| !is_there(wanted)));
        *ask_at = Instant::now() + ASK_AGAIN;
    }
    for lease in leases.iter_mut().filter(|lease| Instant::now() >= lease.terms.next()) {
        if lease.renew(own).await.is_none() {
            missing.push(lease.mapped.wanted);
        }
    }
    if !missing.is_empty() {
        for fresh in ask(&missing, own, place.gateway).await {
            leases.retain(|old| old.mapped.wanted != fresh.mapped.wanted);
            leases.push(fresh);
        }
    }
    let now = Instant::now();
    leases.retain(|lease| !lease.terms.is_over(now));
    leases.sort_unstable_by_key(|lease| lease.mapped.wanted);
}

/// Whether the Internet sees another address than this one.
fn is_translated(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    // 100.64.0.0/10 is between a carrier and its customers (RFC 6598).
    ip.is_private() || (a == 100 && (64..128).contains(&b))
}

async fn ask(wanted: &[Wanted], own: Ipv4Addr, gateway: Option<Ipv4Addr>) -> Vec<Lease> {
    // Both at once: who has no PCP is silent rather than refusing.
    let (by_pcp, igd) = tokio::join!(by_pcp(wanted, own, gateway), find_igd(own));
    if !by_pcp.is_empty() {
        debug!(ports = by_pcp.len(), "mapped by PCP or NAT-PMP");
        return by_pcp;
    }
    let Some((igd, outside)) = igd else { return Vec::new() };
    let mut leases = Vec::new();
    for wanted in wanted {
        if let Some(lease) = by_igd(&igd, outside, *wanted, own).await {
            leases.push(lease);
        }
    }
    debug!(ports = leases.len(), "mapped by UPnP");
    leases
}

async fn by_pcp(wanted: &[Wanted], own: Ipv4Addr, gateway: Option<Ipv4Addr>) -> Vec<Lease> {
    let Some(gateway) = gateway else { return Vec::new() };
    let mut leases = Vec::new();
    for wanted in wanted {
        match pcp_port(*wanted, own, gateway).await {
            Some(lease) => leases.push(lease),
            // The others would be silent too.
            None if leases.is_empty() => break,
            None => {}
        }
    }
    leases
}

async fn pcp_port(wanted: Wanted, own: Ipv4Addr, gateway: Ipv4Addr) -> Option<Lease> {
    let protocol = match wanted.protocol {
        Protocol::Udp => InternetProtocol::Udp,
        Protocol::Tcp => InternetProtocol::Tcp,
    };
    let options = PortMappingOptions {
        external_port: Some(wanted.port),
        lifetime_seconds: u32::try_from(LEASE.as_secs()).ok(),
        timeout_config: Some(patience()),
    };
    let gateway = gateway.into();
    let asking = PortMapping::new(gateway, own.into(), protocol, wanted.port, options);
    let mapping = match asking.await {
        Ok(mapping) => mapping,
        Err(error) => {
            debug!(%error, "no mapping by PCP or NAT-PMP");
            return None;
        }
    };
    let ip = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip,
        PortMappingType::NatPmp => {
            natpmp::external_address(gateway, Some(patience())).await.ok()?.into()
        }
    };
    let outside = SocketAddr::new(ip.to_canonical(), mapping.external_port().get());
    let lifetime = Duration::from_secs(mapping.lifetime().into());
    let terms = Terms::given(Instant::now(), lifetime);
    Some(Lease { mapped: MappedPort { wanted, outside }, terms, by: By::Pcp(Box::new(mapping)) })
}

const fn patience() -> TimeoutConfig {
    TimeoutConfig {
        initial_timeout: Duration::from_millis(250),
        max_retries: 3,
        max_retry_timeout: Some(Duration::from_secs(1)),
    }
}

async fn find_igd(own: Ipv4Addr) -> Option<(Arc<Gateway<Tokio>>, IpAddr)> {
    let mut options = SearchOptions::default();
    options.bind_addr = (own, 0).into();
    options.timeout = Some(SEARCH);
    options.single_search_timeout = Some(SEARCH);
    let searching = async {
        let gateway = search_gateway(options).await.ok()?;
        let outside = gateway.get_external_ip().await.ok()?;
        Some((Arc::new(gateway), outside))
    };
    tokio::time::timeout(SEARCH + REQUEST, searching).await.ok()?
}

async fn by_igd(
    gateway: &Arc<Gateway<Tokio>>,
    outside: IpAddr,
    wanted: Wanted,
    own: Ipv4Addr,
) -> Option<Lease> {
    let mut lease = Lease {
        mapped: MappedPort { wanted, outside: SocketAddr::new(outside, wanted.port.get()) },
        terms: Terms::given(Instant::now(), LEASE),
        by: By::Igd { gateway: Arc::clone(gateway), lease: LEASE },
    };
    lease.renew(own).await?;
    Some(lease)
}

struct Lease {
    mapped: MappedPort,
    terms: Terms,
    by: By,
}

enum By {
    Pcp(Box<PortMapping>),
    Igd { gateway: Arc<Gateway<Tokio>>, lease: Duration },
}

impl Lease {
    fn lifetime(&self) -> Duration {
        match &self.by {
            By::Pcp(mapping) => Duration::from_secs(mapping.lifetime().into()),
            By::Igd { lease, .. } => *lease,
        }
    }

    /// `None` when the gateway does not renew it.
    async fn renew(&mut self, own: Ipv4Addr) -> Option<()> {
        let renewed = self.try_renew(own).await;
        match renewed {
            Some(()) => self.terms = Terms::given(Instant::now(), self.lifetime()),
            None => self.terms.failed(Instant::now()),
        }
        renewed
    }

    async fn try_renew(&mut self, own: Ipv4Addr) -> Option<()> {
        match &mut self.by {
            By::Pcp(mapping) => {
                mapping.renew().await.ok()?;
                self.mapped.outside.set_port(mapping.external_port().get());
                Some(())
            }
            By::Igd { gateway, lease } => {
                let port = igd_port(gateway, self.mapped, own, lease).await?;
                self.mapped.outside.set_port(port);
                Some(())
            }
        }
    }

    async fn release(self) {
        match self.by {
            By::Pcp(mapping) => {
                if let Err((error, _)) = mapping.try_drop().await {
                    debug!(%error, "a mapping was not released");
                }
            }
            By::Igd { gateway, .. } => {
                let protocol = igd_protocol(self.mapped.wanted.protocol);
                let port = self.mapped.outside.port();
                if let Err(error) = gateway.remove_port(protocol, port).await {
                    debug!(%error, "a mapping was not released");
                }
            }
        }
    }
}

const fn igd_protocol(protocol: Protocol) -> PortMappingProtocol {
    match protocol {
        Protocol::Udp => PortMappingProtocol::UDP,
        Protocol::Tcp => PortMappingProtocol::TCP,
    }
}

/// The port outside: the same as before, or as inside, if it is free; any other, if not.
async fn igd_port(
    gateway: &Gateway<Tokio>,
    mapped: MappedPort,
    own: Ipv4Addr,
    lease: &mut Duration,
) -> Option<u16> {
    let protocol = igd_protocol(mapped.wanted.protocol);
    let inside: SocketAddr = (own, mapped.wanted.port.get()).into();
    let seconds = |lease: &Duration| u32::try_from(lease.as_secs()).unwrap_or(0);
    let asking = async {
        let port = mapped.outside.port();
        let first = gateway.add_port(protocol, port, inside, seconds(lease), DESCRIPTION).await;
        match first {
            Ok(()) => Some(port),
            Err(AddPortError::OnlyPermanentLeasesSupported) => {
                // Released at the end, like the others; renewed all the same, for a router that
                // was started anew.
                gateway.add_port(protocol, port, inside, 0, DESCRIPTION).await.ok()?;
                Some(port)
            }
            Err(error) => {
                debug!(%error, "the gateway does not map this port");
                gateway.add_any_port(protocol, inside, seconds(lease), DESCRIPTION).await.ok()
            }
        }
    };
    tokio::time::timeout(REQUEST, asking).await.ok()?
}
