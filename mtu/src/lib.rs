//! Media transmission unit (MTU, H.626.4 clause 7.3): STUN and TURN for media that finds no
//! direct way (Mp, Pd, Mc, Cd), announced to the SCUs over the bus and commanded by them (Sd), and
//! accounted for at the CMU (Dm).
//!
//! It relays what it cannot read: media is encrypted between PU and CU. It trusts nobody without
//! a time-limited credential of an SCU, and sends to nobody inside the operator's network.
//!
//! `mtu-turn` is the server itself, without sockets; [`udp`] has the threads that own it and the
//! datagrams, `streams` the connections (TCP, TLS), `dtls` the datagrams under DTLS. All of them
//! are one relay: a client over TLS and one over UDP may be each other's peer.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use std::net::SocketAddr;
//! use sightline_service_kit::lifecycle::Lifecycle;
//! let config = mtu::Config {
//!     udp_listen: "127.0.0.1:0".parse::<SocketAddr>()?.into(),
//!     secret: Some(sightline_model::Secret::new("0123456789abcdef".to_owned())),
//!     ..Default::default()
//! };
//! let mtu = mtu::start(config, sightline_bus::Bus::in_process(), &Lifecycle::new()).await?;
//! println!("{:?}", mtu.urls);
//! # Ok(()) }
//! ```

mod announcement;
mod capacity;
mod config;
mod control;
mod dtls;
mod load;
mod own;
mod server;
mod streams;
mod tcp_relays;
pub mod udp;
mod usage;

use std::net::SocketAddr;

use announcement::{Announcement, Measured};
use parking_lot::Mutex;
use server::Relay;
use sightline_bus::Bus;
use sightline_model::MtuId;
use sightline_service_kit::{config::ConfigError, lifecycle::Lifecycle};
use usage::Reporter;

pub use announcement::STATUS_EVERY;
pub use config::{Config, Many, RelayAddress};
pub use control::Control;

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
    /// The threads of the relay cannot start.
    #[error(transparent)]
    Workers(#[from] udp::StartError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A running MTU. It ends with its lifecycle.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its name.
    pub mtu: MtuId,
    /// STUN and TURN over UDP, and over DTLS where there is a certificate: the first address.
    pub udp_addr: SocketAddr,
    /// STUN and TURN over TCP, and over TLS where there is a certificate: the first address.
    pub tcp_addr: Option<SocketAddr>,
    /// What units are told.
    pub urls: Vec<String>,
    /// For whoever operates it.
    pub control: Control,
}

/// Starts an MTU.
///
/// # Errors
/// [`StartError`], before anything is announced.
pub async fn start(config: Config, bus: Bus, lifecycle: &Lifecycle) -> Result<Running, StartError> {
    config.check()?;
    // What there is room for depends on it.
    udp::raise_file_limit();
    for warning in config.warnings()? {
        tracing::warn!("{warning}");
    }
    let mtu = match &config.id {
        Some(mtu) => mtu.clone(),
        None => MtuId::from_random(random()?),
    };
    let run = MtuId::from_random(random()?).to_string();
    let domain = config.domain.clone();
    let (relay, ended) = Relay::start(config, lifecycle).await?;
    let urls = relay.urls()?;
    let (udp_addr, tcp_addr) = (relay.first_udp(), relay.tcp.first().copied());
    let announcement = Announcement {
        mtu: mtu.clone(),
        urls: urls.clone(),
        domain: domain.clone(),
        relay: relay.clone(),
        bus: bus.clone(),
        measured: Mutex::new(Measured::new()),
    };
    announcement.publish(true).await;
    let reporter = Reporter { relay: relay.clone(), bus, domain, mtu: mtu.clone(), run };
    lifecycle.spawn_graceful(|token| reporter.run(ended, token));
    let stopping = relay.clone();
    lifecycle.spawn_graceful(|token| async move {
        announcement.run(token).await;
        stopping.stop().await;
    });
    let control = Control::new(relay, lifecycle);
    tracing::info!(%mtu, %udp_addr, ?tcp_addr, "MTU started");
    Ok(Running { mtu, udp_addr, tcp_addr, urls, control })
}

fn random() -> Result<[u8; 16], StartError> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_| StartError::Random)?;
    Ok(bits)
}
