//! One port that a gateway maps: how it is asked for, renewed and released.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
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
use tracing::debug;

use super::{MappedPort, Protocol, Wanted, terms::Terms};

/// How long a lease is asked for; a gateway may give another.
pub(super) const LEASE: Duration = Duration::from_secs(3_600);
/// How long UPnP may take to find a gateway.
const SEARCH: Duration = Duration::from_secs(3);
/// How long one request to it may take.
const REQUEST: Duration = Duration::from_secs(4);
/// Mappings of a gateway among which one is looked for.
const ENTRIES: u32 = 256;
/// What a gateway's user interface shows.
const DESCRIPTION: &str = "Sightline camera";

/// By PCP, or by NAT-PMP where the gateway knows that alone.
pub(super) async fn pcp_port(wanted: Wanted, own: Ipv4Addr, gateway: Ipv4Addr) -> Option<Lease> {
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
    let Some(ip) = address_outside(&mapping).await else {
        debug!("a mapping at nobody knows which address");
        let _ = mapping.try_drop().await;
        return None;
    };
    let outside = SocketAddr::new(ip, mapping.external_port().get());
    let lifetime = Duration::from_secs(mapping.lifetime().into());
    let terms = Terms::given(Instant::now(), lifetime);
    Some(Lease { mapped: MappedPort { wanted, outside }, terms, by: By::Pcp(Box::new(mapping)) })
}

/// At which address a port is mapped: PCP says so with every answer, by NAT-PMP it is asked for.
async fn address_outside(mapping: &PortMapping) -> Option<IpAddr> {
    let ip = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip,
        PortMappingType::NatPmp => {
            match natpmp::external_address(mapping.gateway(), Some(patience())).await {
                Ok(ip) => ip.into(),
                Err(error) => {
                    debug!(%error, "the gateway does not tell its address");
                    return None;
                }
            }
        }
    };
    known(ip)
}

/// A gateway whose line is down has no address.
fn known(ip: IpAddr) -> Option<IpAddr> {
    Some(ip.to_canonical()).filter(|ip| !ip.is_unspecified())
}

const fn patience() -> TimeoutConfig {
    TimeoutConfig {
        initial_timeout: Duration::from_millis(250),
        max_retries: 3,
        max_retry_timeout: Some(Duration::from_secs(1)),
    }
}

/// A gateway that speaks UPnP, with its address outside. Maps nothing.
pub(super) async fn find_igd(own: Ipv4Addr) -> Option<(Arc<Gateway<Tokio>>, IpAddr)> {
    let mut options = SearchOptions::default();
    options.bind_addr = (own, 0).into();
    options.timeout = Some(SEARCH);
    options.single_search_timeout = Some(SEARCH);
    let searching = async {
        let gateway = search_gateway(options).await.ok()?;
        let outside = known(gateway.get_external_ip().await.ok()?)?;
        Some((Arc::new(gateway), outside))
    };
    tokio::time::timeout(SEARCH + REQUEST, searching).await.ok()?
}

/// A port that is mapped.
pub(super) struct Lease {
    pub(super) mapped: MappedPort,
    pub(super) terms: Terms,
    by: By,
}

enum By {
    Pcp(Box<PortMapping>),
    Igd(Igd),
}

impl Lease {
    /// One by UPnP that is still to be [asked](Self::ask) for.
    pub(super) fn by_igd(
        gateway: &Arc<Gateway<Tokio>>,
        outside: IpAddr,
        wanted: Wanted,
        own: Ipv4Addr,
    ) -> Self {
        let gateway = Arc::clone(gateway);
        Self {
            mapped: MappedPort { wanted, outside: SocketAddr::new(outside, wanted.port.get()) },
            terms: Terms::given(Instant::now(), LEASE),
            by: By::Igd(Igd { gateway, own, lease: LEASE, unsure: false }),
        }
    }

    fn lifetime(&self) -> Duration {
        match &self.by {
            By::Pcp(mapping) => Duration::from_secs(mapping.lifetime().into()),
            By::Igd(igd) => igd.lease,
        }
    }

    /// For the first time; `None` when the gateway does not give it.
    pub(super) async fn ask(&mut self) -> Option<()> {
        match &mut self.by {
            // It was given before it was a lease.
            By::Pcp(_) => {}
            By::Igd(igd) => {
                let port = igd.map(self.mapped).await?;
                self.mapped.outside.set_port(port);
                self.terms = Terms::given(Instant::now(), igd.lease);
            }
        }
        Some(())
    }

    /// `None` when the gateway does not renew it. Its address outside may be another by now, and so
    /// may the port.
    pub(super) async fn renew(&mut self) -> Option<()> {
        let renewed = self.try_renew().await;
        match renewed {
            Some(()) => self.terms = Terms::given(Instant::now(), self.lifetime()),
            None => self.terms.failed(Instant::now()),
        }
        renewed
    }

    async fn try_renew(&mut self) -> Option<()> {
        let before = self.mapped;
        let (ip, port) = match &mut self.by {
            By::Pcp(mapping) => {
                mapping.renew().await.ok()?;
                (address_outside(mapping).await, mapping.external_port().get())
            }
            By::Igd(igd) => {
                let port = igd.map(before).await?;
                if port != before.outside.port() {
                    igd.withdraw(before).await;
                }
                (igd.outside().await, port)
            }
        };
        // A gateway that does not tell is most probably where it was.
        self.mapped.outside = SocketAddr::new(ip.unwrap_or(before.outside.ip()), port);
        Some(())
    }

    /// Whether the gateway keeps this one, perhaps for ever, though it has given `fresh` in its
    /// place. What was given by PCP or NAT-PMP ends by itself, and is released by its port inside:
    /// that could be the fresh one.
    pub(super) fn outlives(&self, fresh: &Self) -> bool {
        let is_elsewhere = self.mapped.outside.port() != fresh.mapped.outside.port();
        match (&self.by, &fresh.by) {
            (By::Pcp(_), By::Pcp(_) | By::Igd(_)) => false,
            (By::Igd(_), By::Pcp(_)) => is_elsewhere,
            (By::Igd(old), By::Igd(new)) => is_elsewhere || old.gateway != new.gateway,
        }
    }

    pub(super) async fn release(&self) {
        match &self.by {
            By::Pcp(mapping) => {
                if let Err((error, _)) = PortMapping::clone(mapping).try_drop().await {
                    debug!(%error, "a mapping was not released");
                }
            }
            By::Igd(igd) => igd.remove(self.mapped).await,
        }
    }

    /// Releases one that has not been renewed: what a gateway that was started anew has at that port
    /// by now may be another machine's.
    pub(super) async fn give_back(&self) {
        match &self.by {
            By::Pcp(_) => self.release().await,
            By::Igd(igd) => igd.withdraw(self.mapped).await,
        }
    }

    /// Takes back what was asked for and not answered.
    pub(super) async fn withdraw(&self) {
        match &self.by {
            By::Igd(igd) if igd.unsure => igd.withdraw(self.mapped).await,
            By::Igd(_) | By::Pcp(_) => {}
        }
    }
}

/// A mapping by UPnP.
struct Igd {
    gateway: Arc<Gateway<Tokio>>,
    /// Where it leads to.
    own: Ipv4Addr,
    lease: Duration,
    /// The gateway has been asked and has not answered: it may do as it was told all the same.
    unsure: bool,
}

impl Igd {
    /// The port outside: the same as before, or as inside, if it is free; any other, if not.
    async fn map(&mut self, mapped: MappedPort) -> Option<u16> {
        let protocol = igd_protocol(mapped.wanted.protocol);
        let inside: SocketAddr = (self.own, mapped.wanted.port.get()).into();
        let port = mapped.outside.port();
        let seconds = u32::try_from(self.lease.as_secs()).unwrap_or(0);
        // Until there is an answer, and for ever where nobody waits for it any more.
        self.unsure = true;
        let first = self.gateway.add_port(protocol, port, inside, seconds, DESCRIPTION);
        let given = match answered(first).await? {
            Ok(()) => Some(port),
            Err(AddPortError::OnlyPermanentLeasesSupported) => {
                // Released at the end, like the others; renewed all the same, for a router that
                // was started anew.
                let permanent = self.gateway.add_port(protocol, port, inside, 0, DESCRIPTION);
                answered(permanent).await?.ok().map(|()| port)
            }
            Err(error) => {
                debug!(%error, "the gateway does not map this port");
                // One that is given unheard is at a port that nobody knows, and ends with its time.
                self.unsure = false;
                let any = self.gateway.add_any_port(protocol, inside, seconds, DESCRIPTION);
                answered(any).await?.ok()
            }
        };
        self.unsure = false;
        given
    }

    /// The gateway's address outside, if it tells.
    async fn outside(&self) -> Option<IpAddr> {
        known(answered(self.gateway.get_external_ip()).await?.ok()?)
    }

    async fn remove(&self, mapped: MappedPort) {
        let protocol = igd_protocol(mapped.wanted.protocol);
        let removing = self.gateway.remove_port(protocol, mapped.outside.port());
        if let Some(Err(error)) = answered(removing).await {
            debug!(%error, "a mapping was not released");
        }
    }

    /// Removes a mapping that leads here. There may be another machine's at that port: many
    /// gateways let anybody remove anybody's.
    async fn withdraw(&self, mapped: MappedPort) {
        if answered(self.leads_here(mapped)).await == Some(true) {
            self.remove(mapped).await;
        }
    }

    async fn leads_here(&self, mapped: MappedPort) -> bool {
        let protocol = igd_protocol(mapped.wanted.protocol);
        for index in 0..ENTRIES {
            let Ok(entry) = self.gateway.get_generic_port_mapping_entry(index).await else {
                // There is no further one.
                return false;
            };
            if entry.protocol == protocol && entry.external_port == mapped.outside.port() {
                return entry.internal_client == self.own.to_string()
                    && entry.internal_port == mapped.wanted.port.get();
            }
        }
        false
    }
}

/// `None` when the gateway does not answer in time.
async fn answered<T>(request: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(REQUEST, request).await.ok()
}

const fn igd_protocol(protocol: Protocol) -> PortMappingProtocol {
    match protocol {
        Protocol::Udp => PortMappingProtocol::UDP,
        Protocol::Tcp => PortMappingProtocol::TCP,
    }
}
