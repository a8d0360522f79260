//! Service control unit (SCU, H.626.4 clause 7.2): registers PUs, knows who is present, and
//! carries the signalling between PUs, CUs and the CMU. No media passes it.
//!
//! What it decides is in `scu-session`, without I/O; this crate holds the connections and the
//! bus. It trusts no PU and no CU: a PU's registration is checked by the CMU against the nonce
//! that the SCU drew, a CU's offer by the PU against its play token.
//!
//! How messages travel is written in the `wire` module: over QUIC the PU opens one bidirectional
//! stream and sends a `KeepAlive` as hello, which the SCU answers with the challenge.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use sightline_service_kit::lifecycle::Lifecycle;
//! let lifecycle = Lifecycle::new();
//! let bus = sightline_bus::Bus::in_process();
//! let scu = scu::start(scu::Config::default(), bus, &lifecycle).await?;
//! println!("PUs connect to {} (UDP)", scu.quic_addr);
//! # Ok(()) }
//! ```

mod admission;
mod background;
mod config;
mod credentials;
mod cu;
mod frames;
mod http;
mod orders;
mod pu;
mod quic;
mod unit;
mod viewer_reports;
mod wire;

use std::{net::SocketAddr, sync::Arc};

use sightline_bus::{Bus, BusError};
use sightline_model::{Presence, PuId, ScuId};
use sightline_service_kit::{
    config::ConfigError,
    http as listener,
    lifecycle::Lifecycle,
    tls::{Identity, TlsError},
};

pub use config::{Config, Limits, Tls, Turn};

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The WebSockets cannot be served.
    #[error(transparent)]
    Http(#[from] listener::ListenError),
    /// The certificate does not do for QUIC.
    #[error("cannot serve QUIC: {0}")]
    Quic(String),
    /// The bus cannot be used.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A running SCU. It ends with its lifecycle.
#[derive(Debug, Clone)]
pub struct Running {
    /// Where PUs connect (UDP).
    pub quic_addr: SocketAddr,
    /// Where the WebSockets are, unless another service mounts [`router`].
    pub http_addr: Option<SocketAddr>,
    /// Its name.
    pub scu: ScuId,
    unit: Arc<unit::Unit>,
}

impl Running {
    /// Whether the device is here, and how (A7.2).
    #[must_use]
    pub fn presence(&self, pu: &PuId) -> Presence {
        self.unit.with_board(|board| board.presence(pu))
    }
}

/// The WebSockets of Cs and Ps, for another service to mount. It must serve them with
/// `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn router(running: &Running) -> axum::Router {
    http::router(running.unit.clone())
}

/// Starts an SCU.
///
/// # Errors
/// [`StartError`], before anything is served.
pub async fn start(config: Config, bus: Bus, lifecycle: &Lifecycle) -> Result<Running, StartError> {
    config.check()?;
    let scu = match &config.id {
        Some(scu) => scu.clone(),
        None => random_id()?,
    };
    let identity: Identity = config.tls.identity()?;
    let bound = config.http_listen.map(listener::bind).transpose()?;
    let http_addr = bound.as_ref().map(|(_, address)| *address);
    let scu_url = match (config.public_url.trim_end_matches('/'), http_addr) {
        ("", Some(address)) => {
            let scheme = if config.tls.http { "wss" } else { "ws" };
            format!("{scheme}://{address}")
        }
        (url, _) => url.to_owned(),
    };
    let secret = config.turn.secret()?;
    let minter = credentials::Minter::new(secret, config.turn.credential_ttl_s);
    let tls_for_http = config.tls.http.then(|| identity.clone());
    let first_question = u64::from_ne_bytes(random_bytes()?);
    let parts = unit::Parts { config, scu: scu.clone(), scu_url, minter, first_question };
    let unit = unit::Unit::start(parts, bus, lifecycle).await?;
    let quic_addr = quic::start(&unit, &identity)?;
    if let Some((listener, _)) = bound {
        listener::serve(listener, tls_for_http.as_ref(), http::router(unit.clone()), lifecycle)?;
    }
    tracing::info!(%scu, %quic_addr, ?http_addr, "SCU started");
    Ok(Running { quic_addr, http_addr, scu, unit })
}

fn random_id() -> Result<ScuId, StartError> {
    Ok(ScuId::from_random(random_bytes()?))
}

fn random_bytes<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(bytes)
}
