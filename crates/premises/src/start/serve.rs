//! What of a device others meet: its servers, and the look-out for what changes around it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use sightline_archive::StoreArchive;
use sightline_media_io::{
    archive::Archive,
    camera::Cameras,
    gate::Gate,
    rtsp_server::{self, RtspServer, quic::Carrier},
    webrtc::{self, LocalCandidates, QualitySource, Sources, WebrtcConfig},
};
use sightline_model::DeviceKind;
use sightline_p2p_net::{Lifetimes, Mux, RelayOptions, gateway::Protocol};
use sightline_protocol::ps::FIRST_RELATED;
use sightline_service_kit::{
    health::{self, Health},
    http,
    lifecycle::Lifecycle,
};

use super::{
    StartError,
    parts::{Parts, Told},
    ports::Ports,
};
use crate::{
    gate::PuGate,
    ladders::{LadderSettings, Ladders},
    lan, listen,
    outside::{Finder, Outside},
    quality::Quality,
    reach::{Look, Reach},
    recorder::Recorders,
    uplink::{Driver, Uplink},
    viewers::Viewers,
};

/// What was learned of networks.
const LIFETIMES_FILE: &str = "networks.json";

/// Cameras, and what was recorded of them.
pub(super) type Served<'a> = (&'a Cameras, Option<Arc<StoreArchive>>);

/// Where the device stands.
pub(super) struct Site {
    pub reach: Reach,
    /// Addresses of the machine.
    pub machine: Vec<IpAddr>,
    pub told: Told,
    pub finder: Finder,
}

/// How it speaks to the centre, and whom that lets in.
pub(super) struct Links<'a> {
    pub gate: PuGate,
    pub driver: Driver,
    pub uplink: &'a Uplink,
    pub tls: &'a Arc<rustls::ClientConfig>,
}

impl Parts<'_> {
    /// Serves everything, and registers; where WebRTC was bound.
    pub fn serve(
        &self,
        ports: Ports,
        (served, recorders): (Served<'_>, &Recorders),
        site: Site,
        links: Links<'_>,
    ) -> Result<Vec<SocketAddr>, StartError> {
        let Site { reach, machine, told, finder } = site;
        let Links { gate, driver, uplink, tls } = links;
        let Ports { rtsp, rtsp_addr, mux, quic, quic_addr, health, .. } = ports;
        let lifecycle = self.lifecycle;
        let candidates = reach.candidates(&machine, Vec::new());
        let engine = self.webrtc(&served, candidates, Arc::clone(tls))?;
        let ladders = self.ladders((mux, quic_addr), &reach.outside, uplink, Arc::clone(tls));
        self.serve_rtsp(served, &gate, rtsp, (quic, &ladders));
        let handler = Viewers::new(
            Arc::clone(self.identity),
            gate,
            uplink.clone(),
            Arc::new(engine.clone()),
            Some(ladders),
            recorders.clone(),
            lifecycle,
        );
        self.report(recorders, uplink)?;
        let webrtc_addr = engine.bound().iter().find(|a| a.is_ipv4()).copied();
        finder.start(&self.mapped(quic_addr, webrtc_addr, rtsp_addr), uplink, lifecycle);
        if self.config.announce_lan {
            lan::announce(self.identity.pu_id(), quic_addr, lifecycle);
        }
        let reach = reach.with_webrtc(webrtc_addr.unwrap_or(self.config.webrtc.listen));
        let look = Look { reach, identity: Arc::clone(self.identity), engine: engine.clone() };
        let (servers, status) = (handler.servers(), uplink.status());
        lifecycle.spawn(look.run(told.addresses, told.unlocked, status, servers, machine));
        lifecycle.spawn(driver.run(Arc::new(handler)));
        serve_health(uplink, health, lifecycle)?;
        Ok(engine.bound().to_vec())
    }

    fn webrtc(
        &self,
        (cameras, recordings): &Served<'_>,
        candidates: LocalCandidates,
        relay_tls: Arc<rustls::ClientConfig>,
    ) -> Result<webrtc::Engine, StartError> {
        let is_nvr = self.device.kind == DeviceKind::Nvr;
        let webrtc = WebrtcConfig {
            bind: listen::by_family(self.config.webrtc.listen),
            max_sessions: self.config.max_sessions,
            relay_tls: Some(relay_tls),
            live_on_demand_from: is_nvr.then_some(FIRST_RELATED),
            ..WebrtcConfig::default()
        };
        let cameras = Cameras::clone(cameras);
        let quality = Quality::new(cameras.clone(), self.config.max_transcodes, self.lifecycle);
        let quality: Arc<dyn QualitySource> = Arc::new(quality);
        let archive = recordings.clone().map(|archive| archive as Arc<dyn Archive>);
        let (token, tasks) = (self.lifecycle.token.child_token(), &self.lifecycle.tasks);
        let sources = Sources { cameras, quality, archive };
        Ok(webrtc::start(webrtc, candidates, sources, token, tasks)?)
    }

    /// Ways for QUIC through routers, from the socket that is bound there.
    fn ladders(
        &self,
        (mux, bound): (Arc<Mux>, SocketAddr),
        outside: &Outside,
        uplink: &Uplink,
        relay_tls: Arc<rustls::ClientConfig>,
    ) -> Ladders {
        let settings = LadderSettings {
            mux,
            key: self.identity.public_key(),
            relay: RelayOptions { tls: Some(relay_tls), ..RelayOptions::default() },
            loopback: self.config.announce_loopback,
            lifetimes: Lifetimes::open(&self.config.data_dir.join(LIFETIMES_FILE)),
            outside: outside.clone(),
            bound,
        };
        Ladders::new(settings, uplink.clone(), self.lifecycle)
    }

    fn serve_rtsp(
        &self,
        (cameras, recordings): Served<'_>,
        gate: &PuGate,
        listener: tokio::net::TcpListener,
        (quic, ladders): (quinn::Endpoint, &Ladders),
    ) {
        let carrier: Arc<dyn Carrier> = Arc::new(ladders.clone());
        let gate: Arc<dyn Gate> = Arc::new(gate.clone());
        let options = rtsp_server::Options {
            max_connections: self.config.max_sessions.saturating_mul(2),
            device: self.device.kind,
            ..rtsp_server::Options::default()
        };
        let archive = recordings.clone().map(|archive| archive as Arc<dyn Archive>);
        let mut server = RtspServer::with_recordings(cameras.clone(), gate, archive, options);
        if let Some(files) = recordings {
            server = server.with_files(files);
        }
        let (over_quic, tasks) = (server.clone(), self.lifecycle.tasks.clone());
        self.lifecycle.spawn_graceful(|token| async move {
            over_quic.serve_quic_carried(quic, carrier, token, tasks).await;
        });
        let tasks = self.lifecycle.tasks.clone();
        self.lifecycle.spawn_graceful(|token| async move {
            if let Err(error) = server.serve_tcp(listener, token, tasks).await {
                tracing::error!(%error, "RTSP has ended");
            }
        });
    }

    /// Ports that gateways are asked for.
    fn mapped(
        &self,
        quic: SocketAddr,
        webrtc: Option<SocketAddr>,
        rtsp: SocketAddr,
    ) -> Vec<(Protocol, SocketAddr)> {
        if !self.config.map_ports {
            return Vec::new();
        }
        let webrtc = webrtc.map(|at| (Protocol::Udp, at));
        let quic = (Protocol::Udp, quic);
        [Some(quic), webrtc, Some((Protocol::Tcp, rtsp))].into_iter().flatten().collect()
    }
}

/// Serves health and metrics: ready is who is registered.
fn serve_health(
    uplink: &Uplink,
    listener: std::net::TcpListener,
    lifecycle: &Lifecycle,
) -> Result<(), StartError> {
    let health = Health::default();
    let router = health::router(health.clone());
    let mut status = uplink.status();
    lifecycle.spawn(async move {
        loop {
            let now = status.borrow_and_update().clone();
            match (now.up, now.fault) {
                (Some(_), _) => health.ready(),
                (None, Some(fault)) => health.not_ready(format!("not registered: {fault}")),
                (None, None) => health.not_ready("not registered yet"),
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    });
    Ok(http::serve(listener, None, router, lifecycle)?)
}
