//! Puts a device together.

mod parts;
mod ports;
mod serve;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use parking_lot::RwLock;
use sightline_media_io::{camera::Cameras, rtsp_server, webrtc};
use sightline_model::{CameraId, ChannelId, ClaimCode, DeviceKind, PuId};
use sightline_protocol::ps::ChannelStatus;
use sightline_service_kit::{config::ConfigError, http, lifecycle::Lifecycle, tls::TlsError};
use tokio::sync::watch;

use self::{
    parts::Parts,
    ports::Ports,
    serve::{Links, Site},
};
use crate::{
    camera,
    config::Config,
    identity::{Identity, IdentityError},
    outside::Outside,
    recorder::Recorder,
    relations::RelationBook,
    uplink::{Status, Uplink, clock::Clock, dial::Dialer},
};

/// The agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The unit's identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another agent runs as this unit.
    #[error("another agent is running with the data folder {}", .0.display())]
    Twice(PathBuf),
    /// The trusted authority cannot be used.
    #[error("centre_ca: {0}")]
    Tls(#[from] TlsError),
    /// An address is taken or not ours.
    #[error("cannot listen for {what} on {address}: {source}")]
    Listen {
        /// For what.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Health and metrics cannot be served.
    #[error("health and metrics: {0}")]
    Http(#[from] http::ListenError),
    /// The unit's key cannot be used for QUIC.
    #[error("QUIC: {0}")]
    Quic(#[from] rtsp_server::quic::QuicError),
    /// The WebRTC engine does not start.
    #[error("WebRTC: {0}")]
    Webrtc(#[from] webrtc::StartError),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// What is started.
#[derive(Debug, Clone, Copy)]
pub struct Device {
    /// Its kind.
    pub kind: DeviceKind,
    /// Maker, model and version, as it tells the centre.
    pub agent: &'static str,
}

/// Which other device's camera each of an NVR's numbers stands for, from [`FIRST_RELATED`] on.
pub type Numbers = Arc<RwLock<BTreeMap<ChannelId, CameraId>>>;

/// A started device, and what those of its parts need that only one kind has.
pub struct Started {
    /// As whoever runs it sees it.
    pub running: Running,
    /// Its key.
    pub identity: Arc<Identity>,
    /// Its link to the centre.
    pub uplink: Uplink,
    /// Its cameras; others may be put beside them.
    pub cameras: Cameras,
    /// Which cameras those others are.
    pub numbers: Numbers,
    /// What the centre has told of relations.
    pub relations: RelationBook,
    /// How it looks from outside.
    pub outside: Outside,
    /// Whom it trusts over TLS.
    pub tls: Arc<rustls::ClientConfig>,
}

/// A running device.
#[derive(Debug)]
pub struct Running {
    /// The unit.
    pub pu_id: PuId,
    /// What its owner types or scans.
    pub claim_code: ClaimCode,
    /// Where RTSP listens.
    pub rtsp_addr: SocketAddr,
    /// Where RTSP inside QUIC listens.
    pub quic_addr: SocketAddr,
    /// Where WebRTC listens, one address a family.
    pub webrtc_addrs: Vec<SocketAddr>,
    /// Where health and metrics are.
    pub http_addr: SocketAddr,
    /// State of the registration.
    pub uplink: watch::Receiver<Status>,
    /// State of the cameras.
    pub channels: watch::Receiver<Vec<ChannelStatus>>,
    /// What records, where that is configured.
    pub recorder: Option<Recorder>,
    /// What records for the cloud storage, where that is configured.
    pub cloud: Option<Recorder>,
}

/// Starts a device; its tasks belong to `lifecycle`. Returns once it listens, registered or not.
///
/// # Errors
/// [`StartError`], in words for whoever runs the device.
pub async fn start(
    config: Config,
    device: Device,
    lifecycle: &Lifecycle,
) -> Result<Started, StartError> {
    config.check_as(device.kind)?;
    let identity = Arc::new(Identity::load_or_create(&config.data_dir)?);
    let parts = Parts { config: &config, device, identity: &identity, lifecycle };
    parts.hold_lock()?;
    let dialer = Dialer::new(config.centre_ca.as_deref(), lifecycle.tasks.clone())?;
    let tls = dialer.tls();
    let ports = Ports::open(&config, &identity).await?;
    let (rtsp_addr, quic_addr, http_addr) = (ports.rtsp_addr, ports.quic_addr, ports.http_addr);

    let cameras = camera::start(parts.find_cameras().await?, lifecycle);
    let clock = Clock::default();
    let recorders = parts.recorders(&clock, &cameras)?;
    let (finder, outside) = Outside::new();
    let reach = ports.reach(&config, outside.clone());
    let machine = reach.interfaces.list();
    let (told, watched) = parts.watched(&cameras, reach.addresses(&machine));
    let channels = watched.channels.clone();
    let (driver, uplink) = parts.link(dialer, &clock, watched)?;
    let relations = RelationBook::open(&config.data_dir);
    let numbers = Numbers::default();
    let gate = parts.gate(&relations, &uplink, clock);
    let recordings = recorders.unit.as_ref().map(|recorder| parts.recordings(recorder, &numbers));
    let site = Site { reach, machine, told, finder };
    let links = Links { gate, driver, uplink: &uplink, tls: &tls };
    let served = (&cameras, recordings);
    let webrtc_addrs = parts.serve(ports, (served, &recorders), site, links)?;
    let running = Running {
        pu_id: identity.pu_id().clone(),
        claim_code: identity.claim_code().clone(),
        rtsp_addr,
        quic_addr,
        webrtc_addrs,
        http_addr,
        uplink: uplink.status(),
        channels,
        recorder: recorders.unit,
        cloud: recorders.cloud,
    };
    Ok(Started { running, identity, uplink, cameras, numbers, relations, outside, tls })
}
