//! How the unit looks from outside (A8.3 steps 1 and 2): ports that home gateways map, NATs that
//! stand in front of it, and NAT64 where it has IPv6 alone.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use sightline_model::NatReport;
use sightline_p2p_net::{
    Nat64, Surroundings,
    gateway::{self, MappedPort, Protocol, Wanted},
    nat,
    server::Servers,
};
use sightline_protocol::{cm::IceServer, ps::PuToScu};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::sync::watch;

use crate::uplink::{Status, Uplink};

/// How often the network is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A NAT that was not asked about for so long may be another.
const MEASURE_EVERY: Duration = Duration::from_secs(1_800);

/// What is known now, and its changes.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Ports that gateways map.
    pub mapped: watch::Receiver<Vec<MappedPort>>,
    /// What was measured of NATs.
    pub nat: watch::Receiver<NatReport>,
    /// The network's NAT64.
    pub nat64: watch::Receiver<Option<Nat64>>,
}

/// Where the findings go.
pub struct Finder {
    mapped: watch::Sender<Vec<MappedPort>>,
    nat: watch::Sender<NatReport>,
    nat64: watch::Sender<Option<Nat64>>,
}

impl Outside {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> (Finder, Self) {
        let (mapped_tx, mapped) = watch::channel(Vec::new());
        let (nat_tx, nat) = watch::channel(NatReport::default());
        let (nat64_tx, nat64) = watch::channel(None);
        let finder = Finder { mapped: mapped_tx, nat: nat_tx, nat64: nat64_tx };
        (finder, Self { mapped, nat, nat64 })
    }

    /// Where a socket of ours is reached through gateways.
    #[must_use]
    pub fn of_socket(&self, protocol: Protocol, bound: SocketAddr) -> Vec<SocketAddr> {
        let mapped = self.mapped.borrow();
        let ours = mapped
            .iter()
            .filter(|m| m.wanted.protocol == protocol && m.wanted.port.get() == bound.port());
        ours.map(|m| m.outside).collect()
    }

    /// Resolves when something has changed.
    pub async fn changed(&mut self) {
        let gone = tokio::select! {
            changed = self.mapped.changed() => changed.is_err(),
            changed = self.nat.changed() => changed.is_err(),
            changed = self.nat64.changed() => changed.is_err(),
        };
        // A sender that is gone says nothing more, and is no reason to look again and again.
        if gone {
            std::future::pending::<()>().await;
        }
    }
}

impl Finder {
    /// Looks until the agent ends. `sockets` are to be reached from outside; none where gateways
    /// are not to be asked.
    pub fn start(self, sockets: &[(Protocol, SocketAddr)], uplink: &Uplink, lifecycle: &Lifecycle) {
        let Self { mapped, nat, nat64 } = self;
        let wanted = wanted(sockets);
        lifecycle.spawn_graceful(|token| async move {
            if wanted.is_empty() {
                token.cancelled().await;
                drop(mapped);
            } else {
                // The same ones in every network.
                let (_, wanted) = watch::channel(wanted);
                gateway::keep(wanted, mapped, token).await;
            }
        });
        let looking = look(uplink.status(), uplink.clone(), nat, nat64);
        lifecycle.spawn(looking);
    }
}

/// What can be reached from outside at all.
fn wanted(sockets: &[(Protocol, SocketAddr)]) -> Vec<Wanted> {
    let reachable = |ip: IpAddr| !ip.is_loopback();
    let wanted = sockets.iter().filter(|(_, address)| reachable(address.ip()));
    let mut wanted: Vec<Wanted> = wanted
        .filter_map(|(protocol, address)| {
            Some(Wanted { protocol: *protocol, port: NonZeroU16::new(address.port())? })
        })
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

async fn look(
    mut status: watch::Receiver<Status>,
    uplink: Uplink,
    nat: watch::Sender<NatReport>,
    nat64: watch::Sender<Option<Nat64>>,
) {
    let mut place = None;
    let mut servers: Vec<IceServer> = Vec::new();
    let mut measured = tokio::time::Instant::now();
    loop {
        let told = status.borrow_and_update().lease.as_ref().map(|l| l.ice_servers.clone());
        let told = told.unwrap_or_default();
        let here = Surroundings::look(false);
        let here = (here.outward_v4, here.outward_v6, here.gateway);
        let moved = place != Some(here);
        let asked = urls(&told) != urls(&servers);
        if moved {
            let needs = here.0.is_none() && here.1.is_some();
            let found = if needs { Nat64::discover().await } else { None };
            nat64.send_if_modified(|known| std::mem::replace(known, found) != found);
        }
        if (moved || asked || measured.elapsed() >= MEASURE_EVERY) && !told.is_empty() {
            let through = *nat64.borrow();
            match nat::measure(&Servers::read(&told), through).await {
                Ok(now) => {
                    uplink.send(PuToScu::Nat { nat: now.clone() });
                    nat.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
                }
                Err(error) => tracing::debug!(%error, "the NATs cannot be measured"),
            }
            measured = tokio::time::Instant::now();
        }
        place = Some(here);
        servers = told;
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Without the credentials, which change with every registration.
fn urls(servers: &[IceServer]) -> Vec<&String> {
    servers.iter().flat_map(|server| &server.urls).collect()
}
