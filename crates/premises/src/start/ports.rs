//! Where the device listens.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use sightline_media_io::rtsp_server;
use sightline_p2p_net::Mux;
use sightline_service_kit::http;

use super::StartError;
use crate::{
    addresses::Interfaces, config::Config, identity::Identity, listen, outside::Outside,
    reach::Reach,
};

/// What was bound; nothing is served yet, but for WebRTC, which binds its own.
pub(super) struct Ports {
    pub rtsp: tokio::net::TcpListener,
    pub rtsp_addr: SocketAddr,
    /// The socket below QUIC, which the ladders share.
    pub mux: Arc<Mux>,
    pub quic: quinn::Endpoint,
    pub quic_addr: SocketAddr,
    pub health: TcpListener,
    pub http_addr: SocketAddr,
}

impl Ports {
    pub async fn open(config: &Config, identity: &Identity) -> Result<Self, StartError> {
        let rtsp_at = |source| listen_error("RTSP", config.rtsp.listen, source);
        let rtsp = listen::tcp(config.rtsp.listen).await.map_err(rtsp_at)?;
        let rtsp_addr = rtsp.local_addr().map_err(rtsp_at)?;
        let quic_at = |source| listen_error("QUIC", config.quic.listen, source);
        let mux = Mux::new(listen::udp(config.quic.listen).map_err(quic_at)?).map_err(quic_at)?;
        let quic_addr = mux.main_addr().map_err(quic_at)?;
        let quic_config = rtsp_server::quic::server_config(&identity.pkcs8())?;
        let quic = mux.endpoint(Some(quic_config)).map_err(quic_at)?;
        let (health, http_addr) = http::bind(config.http.listen)?;
        Ok(Self { rtsp, rtsp_addr, mux, quic, quic_addr, health, http_addr })
    }

    /// Where viewers find the device by these ports.
    pub fn reach(&self, config: &Config, outside: Outside) -> Reach {
        Reach {
            interfaces: Interfaces { loopback: config.announce_loopback },
            rtsp: self.rtsp_addr,
            quic: self.quic_addr,
            webrtc: config.webrtc.listen,
            outside,
        }
    }
}

fn listen_error(what: &'static str, address: SocketAddr, source: std::io::Error) -> StartError {
    StartError::Listen { what, address, source }
}
