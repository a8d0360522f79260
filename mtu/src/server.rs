//! The relay, put together: workers, streams, DTLS, certificates, settings.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use dimpl::DtlsCertificate;
use mtu_turn::{Limits, Listening, Settings, Usage, peers::PeerRules};
use parking_lot::RwLock;
use sightline_service_kit::{config::ConfigError, lifecycle::Lifecycle, tls::Identity};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, StartError,
    capacity::Capacity,
    dtls, own,
    streams::{Streams, TlsConfig},
    tcp_relays::TcpRelays,
    udp::{DtlsOptions, Options, RelayAddress, Workers},
};

/// The workers, as long as they run.
pub(crate) type SharedWorkers = Arc<RwLock<Workers>>;

/// How many hellos of strangers one DTLS table answers per second: each costs about as much as an
/// authenticated request.
const HELLOS_PER_S: u32 = 1_000;
/// Of those, for strangers of one network.
const HELLOS_PER_NETWORK_S: u32 = 100;

/// A STUN and TURN server (RFC 8489, RFC 8656) over UDP, TCP, TLS and DTLS.
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) workers: SharedWorkers,
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    pub(crate) streams: Arc<Streams>,
    shown: Shown,
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) tcp: Vec<SocketAddr>,
    /// Allocations that there can be at a time.
    pub(crate) places: u32,
    stopping: AtomicBool,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("udp", &self.udp).field("tcp", &self.tcp).finish()
    }
}

impl Relay {
    /// Starts it. The receiver tells what each allocation has carried when it has ended.
    pub(crate) async fn start(
        config: Config,
        lifecycle: &Lifecycle,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Usage>), StartError> {
        let identity = config.identity()?;
        let shown = Shown::default();
        shown.show(&config, identity.as_ref())?;
        let workers = config.workers.map(usize::from).and_then(NonZeroUsize::new);
        let workers = workers.or(std::thread::available_parallelism().ok());
        let workers = workers.unwrap_or(NonZeroUsize::MIN);
        let settings = Arc::new(ArcSwap::from_pointee(settings(&config, &[])?));
        let tcp_relays = config
            .tcp_relays
            .then(|| TcpRelays::new(&config, settings.clone(), lifecycle))
            .transpose()?;
        let listen = free(&config, listen(&config))?;
        let options = Options {
            listen: listen.clone(),
            relays: config.relays()?.into_iter().map(relay_address).collect(),
            ports: config.ports()?.unwrap_or(Options::default().ports),
            workers,
            tcp_relays: tcp_relays.clone().map(|relays| relays as _),
            ..Options::default()
        };
        let veiled = dtls_options(&config, workers, &shown)?;
        let (running, usage) = Workers::start_with(options, settings.clone(), Some(veiled))?;
        let addresses = running.addresses().to_vec();
        settings.store(Arc::new(self::settings(&config, &addresses)?));
        let configured = configured(&config, &listening(&config, &addresses)?)?;
        lifecycle.spawn(own::watch(settings.clone(), configured, own::interfaces));
        end_with(running.died(), lifecycle);
        let running: SharedWorkers = Arc::new(RwLock::new(running));
        let capacity = Capacity::of(&config)?;
        let streams = Streams::new(
            capacity.connections(),
            config.connections_per_subscriber,
            shown.tls.clone(),
            running.clone(),
        );
        if let Some(relays) = &tcp_relays {
            relays.attach(&streams);
        }
        let tcp = listen_tcp(&config, &streams, lifecycle).await?;
        let udp = addresses.iter().copied().take(config.udp_listen.len()).collect();
        let workers = running;
        let places = capacity.allocations();
        let stopping = AtomicBool::new(false);
        let relay = Self { config, workers, settings, streams, shown, udp, tcp, places, stopping };
        Ok((Arc::new(relay), usage))
    }

    /// Where units find it over UDP.
    pub(crate) fn first_udp(&self) -> SocketAddr {
        // A configuration without one was refused.
        self.udp.first().copied().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// RFC 7064, RFC 7065.
    pub(crate) fn urls(&self) -> Result<Vec<String>, ConfigError> {
        let mut urls = vec![];
        let at = |addr: &SocketAddr| {
            Ok(format!("{}:{}", self.config.public_host(addr.ip())?, addr.port()))
        };
        for udp in &self.udp {
            let at = at(udp)?;
            urls.extend([format!("stun:{at}"), format!("turn:{at}?transport=udp")]);
        }
        for tcp in &self.tcp {
            urls.push(format!("turn:{}?transport=tcp", at(tcp)?));
        }
        if self.shown.tls.load().is_some() {
            let shared = self.config.shared_tls_ports.iter().zip(self.udp.iter().cycle());
            let shared = shared.map(|(port, udp)| SocketAddr::new(udp.ip(), *port));
            for tls in self.tcp.iter().copied().chain(shared) {
                urls.push(format!("turns:{}?transport=tcp", at(&tls)?));
            }
        }
        Ok(urls)
    }

    /// Takes over certificates and secrets from their files. What runs goes on.
    pub(crate) fn reload(&self) -> Result<(), ConfigError> {
        let credentials = self.config.credentials()?;
        // One that was given is changed by whoever gave it.
        let from_files = self.config.identity.is_none();
        let identity = if from_files { self.config.identity()? } else { None };
        self.shown.show(&self.config, identity.as_ref())?;
        self.settings
            .rcu(|settings| Settings { credentials: credentials.clone(), ..(**settings).clone() });
        Ok(())
    }

    /// Shows another certificate, where that comes from whoever started this.
    pub(crate) fn show(&self, identity: &Identity) -> Result<(), ConfigError> {
        self.shown.show(&self.config, Some(identity))
    }

    /// Takes no new allocations, or takes them again, which one that is about to stop refuses:
    /// `false`.
    pub(crate) fn set_draining(&self, draining: bool) -> bool {
        self.settings.rcu(|settings| {
            // Looked at again with every try, so that none of both is lost to the other.
            let draining = draining || self.stopping.load(Ordering::SeqCst);
            Settings { draining, ..(**settings).clone() }
        });
        self.is_draining() == draining
    }

    /// Drains for good: whoever asked the process to end decides, not an SCU.
    pub(crate) fn drain_for_good(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.set_draining(true);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.settings.load().draining
    }

    /// Allocations now.
    pub(crate) fn allocations(&self) -> u32 {
        self.workers.read().shared().allocations()
    }

    /// Of [`places`](Self::places), those that are taken.
    pub(crate) fn taken(&self) -> u32 {
        self.workers.read().shared().taken()
    }

    /// Payload relayed since the start, as of a second ago.
    pub(crate) fn relayed_bytes(&self) -> u64 {
        self.workers.read().relayed_bytes()
    }

    /// What every allocation has carried until now.
    pub(crate) async fn usage(&self) -> Vec<Usage> {
        let handles = self.workers.read().handles().to_vec();
        let mut all = vec![];
        for handle in handles {
            // A worker that has ended has told what its allocations carried.
            all.extend(handle.usage().await.unwrap_or_default());
        }
        all
    }

    /// Ends every allocation, and the threads.
    pub(crate) async fn stop(&self) {
        let workers = self.workers.clone();
        if tokio::task::spawn_blocking(move || workers.write().stop()).await.is_err() {
            tracing::error!("the relay did not end well");
        }
    }
}

/// A relay that has lost a worker is of no use to that one's clients.
fn end_with(died: CancellationToken, lifecycle: &Lifecycle) {
    let ending = lifecycle.token.clone();
    lifecycle.spawn(async move {
        died.cancelled().await;
        tracing::error!(
            "a relay worker has ended by itself: the process ends, to be started again"
        );
        ending.cancel();
    });
}

fn dtls_options(
    config: &Config,
    workers: NonZeroUsize,
    shown: &Shown,
) -> Result<DtlsOptions, StartError> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| StartError::Random)?;
    let bounds = dtls::Bounds {
        clients: (config.max_connections / workers).max(1),
        per_subscriber: config.connections_per_subscriber,
        hellos_per_s: HELLOS_PER_S,
        hellos_per_network_s: HELLOS_PER_NETWORK_S,
    };
    Ok(DtlsOptions { certificate: shown.dtls.clone(), bounds, key })
}

async fn listen_tcp(
    config: &Config,
    streams: &Arc<Streams>,
    lifecycle: &Lifecycle,
) -> Result<Vec<SocketAddr>, StartError> {
    let mut bound = vec![];
    for &address in &config.tcp_listen {
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        bound.push(listener.local_addr().map_err(failed)?);
        streams.listen(listener, lifecycle);
    }
    Ok(bound)
}

/// What clients of TLS and DTLS are shown from now on.
#[derive(Default)]
struct Shown {
    tls: TlsConfig,
    dtls: Arc<ArcSwapOption<DtlsCertificate>>,
}

impl Shown {
    /// From now on this is shown; after an error, what was shown before.
    fn show(&self, config: &Config, identity: Option<&Identity>) -> Result<(), ConfigError> {
        let Some(identity) = identity else { return Ok(()) };
        let tls = identity.server_config(&[]);
        let tls = tls.map_err(|error| ConfigError::Unusable(error.to_string()))?;
        // Both, or none: otherwise clients of DTLS would be shown the old one until it ends.
        let dtls = config.dtls_certificate(identity)?;
        self.tls.store(Some(Arc::new(tls)));
        self.dtls.store(dtls.map(Arc::new));
        Ok(())
    }
}

fn relay_address(relay: crate::config::RelayAddress) -> RelayAddress {
    RelayAddress { bind: relay.bind(), announced: relay.public() }
}

/// All UDP addresses: those that units are told, and others for RFC 5780.
fn listen(config: &Config) -> Vec<SocketAddr> {
    let mut listen = config.udp_listen.to_vec();
    let Some(&first) = listen.first() else { return listen };
    let other_port = match config.alternate_port {
        Some(0) => None,
        None if first.port() == 0 => Some(0),
        port => port.or(first.port().checked_add(1)),
    };
    listen.extend(other_port.map(|port| SocketAddr::new(first.ip(), port)));
    if let Some(ip) = config.alternate_ip {
        let ports = [Some(first.port()), other_port];
        listen.extend(ports.into_iter().flatten().map(|port| SocketAddr::new(ip, port)));
    }
    listen
}

/// Refuses addresses that another process has: the workers share theirs, so the system would share
/// them with that process, too. The port after the first is done without, unless it was asked for.
fn free(config: &Config, listen: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, StartError> {
    let mut free = vec![];
    for (at, address) in listen.into_iter().enumerate() {
        if address.port() != 0 && free.contains(&address) {
            continue;
        }
        let taken = std::net::UdpSocket::bind(address);
        let optional = at >= config.udp_listen.len() && config.alternate_port.is_none();
        match taken {
            Ok(_) => free.push(address),
            Err(error) if optional => {
                tracing::warn!(%error, %address, "not served: units cannot learn all of their NATs");
            }
            Err(source) => return Err(StartError::Listen { address, source }),
        }
    }
    Ok(free)
}

/// Where clients come in.
fn listening(config: &Config, addresses: &[SocketAddr]) -> Result<Vec<Listening>, ConfigError> {
    let listening = addresses.iter().map(|address| {
        let local = SocketAddr::new(config.concrete(address.ip())?, address.port());
        let alternate = config.alternate_ip == Some(address.ip());
        let ip = if alternate { address.ip() } else { config.announced(address.ip())? };
        Ok(Listening { local, announced: SocketAddr::new(ip, address.port()) })
    });
    listening.collect()
}

/// Addresses that are ours by configuration, whether or not an interface has them.
fn configured(config: &Config, listening: &[Listening]) -> Result<Vec<IpAddr>, ConfigError> {
    let relays = config.relays()?;
    let listening = listening.iter().flat_map(|at| [at.local.ip(), at.announced.ip()]);
    let relays = relays.iter().flat_map(|relay| [relay.bind(), relay.public()]);
    Ok(listening.chain(relays).collect())
}

fn settings(config: &Config, addresses: &[SocketAddr]) -> Result<Settings, ConfigError> {
    let listening = listening(config, addresses)?;
    let interfaces = own::interfaces().unwrap_or_default();
    let own = own::all(&configured(config, &listening)?, &interfaces);
    let bytes = |bps: Option<u64>| bps.map(|bps| bps / 8);
    let limits = Limits {
        allocations: Capacity::of(config)?.allocations(),
        allocations_per_user: config.allocations_per_user,
        allocation_bytes_per_s: bytes(config.allocation_bps),
        user_bytes_per_s: bytes(config.user_bps),
        server_bytes_per_s: bytes(config.server_bps),
        refusals_per_s: config.newcomers_per_s,
        ..Limits::default()
    };
    Ok(Settings {
        credentials: config.credentials()?,
        peers: PeerRules {
            allowed: config.allow_peers.clone(),
            denied: config.deny_peers.clone(),
            own,
        },
        limits,
        listening,
        draining: false,
        alternates: config.alternates.clone(),
        tcp_relays: config.tcp_relays,
    })
}

#[cfg(test)]
mod tests;
