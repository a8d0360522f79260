//! Media transmission unit (MTU, H.626.4 clause 7.3): STUN and TURN for media that finds no
//! direct way (Mp, Pd, Mc, Cd), announced to the SCUs over the bus (Sd, Dm).
//!
//! It relays what it cannot read: media is encrypted between PU and CU. It trusts nobody without
//! a time-limited credential of an SCU, and sends to nobody inside the operator's network.
//!
//! This is the server of the demo and of tests, made of the `turn` crate behind
//! [`RelayServer`]. What it leaves to the production server of the issue "Path": state per
//! unauthenticated request (bounded here only in rate), nonces bound to the client, quotas per
//! user, the check that every request of an allocation comes from the same user (441), several
//! XOR-PEER-ADDRESS in one request, deletion of a TCP client's allocation with its connection,
//! TLS, IPv6 beside IPv4, and speed.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use sightline_service_kit::lifecycle::Lifecycle;
//! let config = mtu::Config {
//!     udp_listen: "127.0.0.1:0".parse()?,
//!     secret: Some(sightline_model::Secret::new("0123456789abcdef".to_owned())),
//!     ..Default::default()
//! };
//! let mtu = mtu::start(config, sightline_bus::Bus::in_process(), &Lifecycle::new()).await?;
//! println!("{:?}", mtu.urls);
//! # Ok(()) }
//! ```

mod auth;
mod config;
mod dtls;
mod framing;
mod front;
mod named_peers;
mod peers;
mod relay;
mod server;
mod tcp;
pub mod udp;
mod user_name;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use sightline_bus::Bus;
use sightline_model::{DomainName, MtuId};
use sightline_protocol::{encode, sd::MtuStatus, subject};
use sightline_service_kit::{config::ConfigError, lifecycle::Lifecycle};

pub use config::Config;
pub use server::RelayServer;

/// How often an MTU announces itself.
pub const STATUS_EVERY: Duration = Duration::from_secs(2);

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The relay server cannot be made.
    #[error("cannot start the relay server: {0}")]
    Server(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A running MTU. It ends with its lifecycle.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its name.
    pub mtu: MtuId,
    /// STUN and TURN over UDP.
    pub udp_addr: SocketAddr,
    /// STUN and TURN over TCP.
    pub tcp_addr: Option<SocketAddr>,
    /// What units are told.
    pub urls: Vec<String>,
}

/// Starts an MTU.
///
/// # Errors
/// [`StartError`], before anything is announced.
pub async fn start(config: Config, bus: Bus, lifecycle: &Lifecycle) -> Result<Running, StartError> {
    config.check()?;
    let mtu = match &config.id {
        Some(mtu) => mtu.clone(),
        None => random_id()?,
    };
    let server: Arc<dyn RelayServer> =
        Arc::new(server::TurnCrate::start(&config, lifecycle).await?);
    let (udp_addr, tcp_addr) = (server.udp_addr(), server.tcp_addr());
    let urls = urls(config.public_ip()?, udp_addr, tcp_addr);
    let announcement = Announcement {
        mtu: mtu.clone(),
        urls: urls.clone(),
        domain: config.domain.clone(),
        server: server.clone(),
        bus,
    };
    announcement.publish().await;
    lifecycle.spawn_graceful(|token| async move {
        tokio::select! {
            () = announcement.run() => {}
            () = token.cancelled() => {}
        }
        server.stop().await;
    });
    tracing::info!(%mtu, %udp_addr, ?tcp_addr, "MTU started");
    Ok(Running { mtu, udp_addr, tcp_addr, urls })
}

/// RFC 7064, RFC 7065.
fn urls(public: IpAddr, udp: SocketAddr, tcp: Option<SocketAddr>) -> Vec<String> {
    let at = |addr: SocketAddr| SocketAddr::new(public, addr.port());
    let mut urls = vec![format!("stun:{}", at(udp)), format!("turn:{}?transport=udp", at(udp))];
    urls.extend(tcp.map(|tcp| format!("turn:{}?transport=tcp", at(tcp))));
    urls
}

fn random_id() -> Result<MtuId, StartError> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_| StartError::Random)?;
    Ok(MtuId::from_random(bits))
}

struct Announcement {
    mtu: MtuId,
    urls: Vec<String>,
    domain: DomainName,
    server: Arc<dyn RelayServer>,
    bus: Bus,
}

impl Announcement {
    async fn run(&self) {
        loop {
            tokio::time::sleep(STATUS_EVERY).await;
            self.publish().await;
        }
    }

    async fn publish(&self) {
        let status = MtuStatus::new(
            self.mtu.clone(),
            self.urls.clone(),
            self.server.load(),
            self.server.accepting(),
            SystemTime::now().into(),
        );
        metrics::gauge!("sightline_mtu_load_ratio").set(f64::from(status.load));
        let subject = subject::mtu_status(&self.domain);
        if let Err(error) = self.bus.publish(&subject, encode(&status, None).into()).await {
            tracing::warn!(%error, "cannot announce this MTU");
        }
    }
}
