//! The relay server as the rest of the MTU sees it, and the one made of the `turn` crate.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::net::{TcpListener, UdpSocket};
use turn::server::{
    Server,
    config::{ConnConfig, ServerConfig},
};

use crate::{
    Config, StartError,
    auth::Credentials,
    front::{Bucket, Front},
    peers::PeerFilter,
    relay::{Relays, Shared},
    tcp::TcpFront,
};

/// Share of the capacity above which new sessions should go elsewhere.
const FULL: f32 = 0.9;

/// A STUN and TURN server (RFC 8489, RFC 8656).
#[async_trait]
pub trait RelayServer: Send + Sync {
    /// Where it is reached over UDP.
    fn udp_addr(&self) -> SocketAddr;
    /// Where it is reached over TCP, if at all.
    fn tcp_addr(&self) -> Option<SocketAddr>;
    /// Share of its capacity in use, 0 to 1.
    fn load(&self) -> f32;
    /// Whether it takes new sessions.
    fn accepting(&self) -> bool {
        self.load() < FULL
    }
    /// Ends every allocation and the server.
    async fn stop(&self);
}

/// The `turn` crate's server, with what it lacks put around it: see `docs/decisions/0051`.
pub(crate) struct TurnCrate {
    server: Server,
    shared: Arc<Shared>,
    udp: SocketAddr,
    tcp: Option<SocketAddr>,
}

impl TurnCrate {
    pub(crate) async fn start(config: &Config, lifecycle: &Lifecycle) -> Result<Self, StartError> {
        let announce = config.public_ip()?;
        let bind = config.relay_bind.unwrap_or(config.udp_listen.ip());
        let mut own = vec![announce, bind];
        own.extend(interfaces());
        let shared = Arc::new(Shared {
            bind,
            announce,
            ports: config.ports()?,
            max: config.max_allocations,
            open: 0.into(),
            filter: PeerFilter::new(config.allow_peers.clone(), own),
        });
        let credentials = Credentials::new(config.secret()?, config.realm.clone());
        let newcomers = Bucket::new(config.newcomers_per_s);
        let front = Around { credentials: credentials.clone(), shared: shared.clone(), newcomers };
        let failed = |address| move |source| StartError::Listen { address, source };

        let socket = UdpSocket::bind(config.udp_listen).await.map_err(failed(config.udp_listen))?;
        let udp = socket.local_addr().map_err(failed(config.udp_listen))?;
        let mut conn_configs = vec![front.put(socket)];
        let mut tcp = None;
        if let Some(listen) = config.tcp_listen {
            let listener = TcpListener::bind(listen).await.map_err(failed(listen))?;
            tcp = Some(listener.local_addr().map_err(failed(listen))?);
            let streams = TcpFront::start(listener, lifecycle).map_err(failed(listen))?;
            conn_configs.push(front.put(streams));
        }
        let server = Server::new(ServerConfig {
            conn_configs,
            realm: config.realm.clone(),
            auth_handler: credentials,
            // RFC 8656 section 12: ten minutes.
            channel_bind_timeout: Duration::from_secs(600),
            alloc_close_notify: None,
        });
        let server = server.await.map_err(|e| StartError::Server(e.to_string()))?;
        Ok(Self { server, shared, udp, tcp })
    }
}

struct Around {
    credentials: Arc<Credentials>,
    shared: Arc<Shared>,
    newcomers: Arc<Bucket>,
}

impl Around {
    fn put<C: webrtc_util::Conn + Send + Sync + 'static>(&self, inner: C) -> ConnConfig {
        ConnConfig {
            conn: Arc::new(Front {
                inner,
                credentials: self.credentials.clone(),
                shared: self.shared.clone(),
                newcomers: self.newcomers.clone(),
            }),
            relay_addr_generator: Box::new(Relays { shared: self.shared.clone() }),
        }
    }
}

/// Every address of this machine: none of them is a peer.
fn interfaces() -> Vec<std::net::IpAddr> {
    match webrtc_util::ifaces::ifaces() {
        Ok(interfaces) => {
            interfaces.into_iter().filter_map(|i| i.addr).map(|addr| addr.ip()).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses");
            vec![]
        }
    }
}

#[async_trait]
impl RelayServer for TurnCrate {
    fn udp_addr(&self) -> SocketAddr {
        self.udp
    }

    fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp
    }

    fn load(&self) -> f32 {
        self.shared.load()
    }

    async fn stop(&self) {
        if let Err(error) = self.server.close().await {
            tracing::warn!(%error, "the relay server did not end well");
        }
    }
}
