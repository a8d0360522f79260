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
    let ip = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip,
        PortMappingType::NatPmp => {
            match natpmp::external_address(gateway, Some(patience())).await {
                Ok(ip) => ip.into(),
                Err(error) => {
                    debug!(%error, "a mapping at nobody knows which address");
                    let _ = mapping.try_drop().await;
                    return None;
                }
            }
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

/// A gateway that speaks UPnP, with its address outside. Maps nothing.
pub(super) async fn find_igd(own: Ipv4Addr) -> Option<(Arc<Gateway<Tokio>>, IpAddr)> {
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

/// By UPnP.
pub(super) async fn by_igd(
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

/// A port that is mapped.
pub(super) struct Lease {
    pub(super) mapped: MappedPort,
    pub(super) terms: Terms,
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
    pub(super) async fn renew(&mut self, own: Ipv4Addr) -> Option<()> {
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

    pub(super) async fn release(self) {
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
