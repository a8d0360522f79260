//! Puts a device together.

use std::{
    collections::BTreeMap, fs::File, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration,
};

use parking_lot::RwLock;
use sightline_archive::StoreArchive;
use sightline_media_io::{
    archive::Archive,
    camera::Cameras,
    gate::Gate,
    rtsp_server::{self, RtspServer, quic::Carrier},
    webrtc::{self, LocalCandidates, QualitySource, Sources, WebrtcConfig},
};
use sightline_model::{CameraId, ChannelId, ClaimCode, DeviceKind, PuId};
use sightline_p2p_net::{Lifetimes, Mux, RelayOptions, gateway::Protocol};
use sightline_protocol::ps::{Addresses, ChannelStatus, FIRST_RELATED};
use sightline_recording::segmenter;
use sightline_recording_store::Limits;
use sightline_service_kit::{
    config::ConfigError,
    health::{self, Health},
    http,
    lifecycle::Lifecycle,
    tls::TlsError,
};
use tokio::sync::watch;

use crate::{
    addresses::Interfaces,
    camera,
    cloud::{self, Uploads},
    config::{CheckedCamera, Config},
    discovery,
    gate::{self, GateSettings, PuGate},
    identity::{Identity, IdentityError},
    ladders::{LadderSettings, Ladders},
    lan, listen,
    outside::Outside,
    quality::Quality,
    reach::{Look, Reach},
    recorder::{self, Recorder, Recorders, Purpose, config::FirstPlan},
    relations::RelationBook,
    uplink::{
        Driver, DriverSettings, Status, Uplink, Watched,
        clock::Clock,
        dial::Dialer,
        machine::{Profile, Settings},
    },
    viewers::Viewers,
};

/// What was learned of networks.
const LIFETIMES_FILE: &str = "networks.json";
/// How often a unit that is on WebSocket tries QUIC.
const RETRY_QUIC: Duration = Duration::from_secs(30);

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
    hold_lock(&config, lifecycle)?;
    let servers = config.servers()?;
    let dialer = Dialer::new(config.centre_ca.as_deref(), lifecycle.tasks.clone())?;
    let relay_tls = dialer.tls();

    let rtsp_at = |source| listen_error("RTSP", config.rtsp.listen, source);
    let rtsp = listen::tcp(config.rtsp.listen).await.map_err(rtsp_at)?;
    let rtsp_addr = rtsp.local_addr().map_err(rtsp_at)?;
    let quic_at = |source| listen_error("QUIC", config.quic.listen, source);
    let mux = Mux::new(listen::udp(config.quic.listen).map_err(quic_at)?).map_err(quic_at)?;
    let quic_addr = mux.main_addr().map_err(quic_at)?;
    let quic_config = rtsp_server::quic::server_config(&identity.pkcs8())?;
    let quic = mux.endpoint(Some(quic_config)).map_err(quic_at)?;
    let (health_listener, http_addr) = http::bind(config.http.listen)?;

    let cameras = camera::start(find_cameras(&config, device.kind).await?, lifecycle);
    let channels = camera::watch(&cameras, lifecycle);
    let (finder, outside) = Outside::new();
    let reach = Reach {
        interfaces: Interfaces { loopback: config.announce_loopback },
        rtsp: rtsp_addr,
        quic: quic_addr,
        webrtc: config.webrtc.listen,
        outside,
    };
    let machine = reach.interfaces.list();
    let (addresses_tx, addresses) = watch::channel(reach.addresses(&machine));
    let (unlocked_tx, claim_unlocked) = watch::channel(identity.claim_unlocked());

    let clock = Clock::default();
    let recorder = start_recorder(&config, &identity, &clock, &cameras, lifecycle)?;
    let spool = start_spool(&config, &identity, &clock, &cameras, lifecycle)?;
    let mut profile = profile(&identity, device);
    profile.claim_unlocked = *claim_unlocked.borrow();
    profile.addresses = addresses.borrow().clone();
    profile.channels = channels.borrow().clone();
    let settings = DriverSettings {
        machine: Settings::new(servers.len(), seed()?),
        servers,
        dialer,
        retry_quic: RETRY_QUIC,
        clock: clock.clone(),
    };
    let watched = Watched { addresses, channels: channels.clone(), claim_unlocked };
    let (driver, uplink) = Driver::new(settings, profile, watched);

    let relations = RelationBook::open(&config.data_dir);
    let gate_settings = GateSettings {
        memory: Some(config.data_dir.join(gate::MEMORY_FILE)),
        relations: Some(relations.clone()),
        ..GateSettings::new(identity.pu_id().clone(), config.max_sessions)
    };
    let gate = PuGate::new(gate_settings, uplink.clone(), clock, lifecycle);
    let candidates = reach.candidates(&machine, Vec::new());
    let numbers = Numbers::default();
    let recordings =
        recorder.as_ref().map(|recorder| recordings(recorder, &identity, (device.kind, &numbers)));
    let archive = recordings.clone().map(|archive| archive as Arc<dyn Archive>);
    let served = (&cameras, archive);
    let engine = start_webrtc(&config, served, candidates, Arc::clone(&relay_tls), lifecycle)?;
    let ladders = Ladders::new(
        LadderSettings {
            mux,
            key: identity.public_key(),
            relay: RelayOptions { tls: Some(Arc::clone(&relay_tls)), ..RelayOptions::default() },
            loopback: config.announce_loopback,
            lifetimes: Lifetimes::open(&config.data_dir.join(LIFETIMES_FILE)),
            outside: reach.outside.clone(),
            bound: quic_addr,
        },
        uplink.clone(),
        lifecycle,
    );
    let carried: Arc<dyn Carrier> = Arc::new(ladders.clone());
    serve_rtsp(&config, (&cameras, recordings), &gate, rtsp, (quic, carried), lifecycle);

    let handler = Viewers::new(
        Arc::clone(&identity),
        gate,
        uplink.clone(),
        Arc::new(engine.clone()),
        Some(ladders),
        Recorders { unit: recorder.clone(), cloud: spool.clone() },
        lifecycle,
    );
    if let Some(recorder) = recorder.clone() {
        lifecycle.spawn(recorder.report_changes(uplink.clone()));
    }
    start_uploads(&config, spool.as_ref(), &uplink, lifecycle)?;
    let webrtc_addr = engine.bound().iter().find(|a| a.is_ipv4()).copied();
    let mapped = [
        (Protocol::Udp, Some(quic_addr)),
        (Protocol::Udp, webrtc_addr),
        (Protocol::Tcp, Some(rtsp_addr)),
    ];
    let mapped: Vec<_> = if config.map_ports {
        mapped.into_iter().filter_map(|(protocol, at)| Some((protocol, at?))).collect()
    } else {
        Vec::new()
    };
    finder.start(&mapped, &uplink, lifecycle);
    if config.announce_lan {
        lan::announce(identity.pu_id(), quic_addr, lifecycle);
    }
    let outside = reach.outside.clone();
    let reach = Reach { webrtc: webrtc_addr.unwrap_or(config.webrtc.listen), ..reach };
    let look = Look { reach, identity: Arc::clone(&identity), engine: engine.clone() };
    let servers = handler.servers();
    lifecycle.spawn(look.run(addresses_tx, unlocked_tx, uplink.status(), servers, machine));
    lifecycle.spawn(driver.run(Arc::new(handler)));
    serve_health(&uplink, health_listener, lifecycle)?;
    let running = Running {
        pu_id: identity.pu_id().clone(),
        claim_code: identity.claim_code().clone(),
        rtsp_addr,
        quic_addr,
        webrtc_addrs: engine.bound().to_vec(),
        http_addr,
        uplink: uplink.status(),
        channels,
        recorder,
        cloud: spool,
    };
    let tls = relay_tls;
    Ok(Started { running, identity, uplink, cameras, numbers, relations, outside, tls })
}

fn start_recorder(
    config: &Config,
    identity: &Arc<Identity>,
    centre: &Clock,
    cameras: &Cameras,
    lifecycle: &Lifecycle,
) -> Result<Option<Recorder>, StartError> {
    let Some(recording) = config.recording.check()? else { return Ok(None) };
    let settings = recorder::Settings {
        identity: Arc::clone(identity),
        data_dir: config.data_dir.clone(),
        dir: recording.dir,
        limits: Limits { max_bytes: recording.max_bytes, ..Limits::default() },
        first: recording.first,
        purpose: Purpose::Device,
        boot: recorder::clock::boot_id(&config.data_dir).map_err(StartError::Random)?,
        centre: centre.clone(),
        segments: segmenter::Config::default(),
    };
    Ok(Some(recorder::start(settings, cameras, lifecycle)))
}

/// What is planned for the cloud storage is recorded into a spool of its own (decision 0096).
fn start_spool(
    config: &Config,
    identity: &Arc<Identity>,
    centre: &Clock,
    cameras: &Cameras,
    lifecycle: &Lifecycle,
) -> Result<Option<Recorder>, StartError> {
    let Some(cloud) = config.cloud.check(config.portal.as_ref())? else { return Ok(None) };
    let settings = recorder::Settings {
        identity: Arc::clone(identity),
        data_dir: config.data_dir.clone(),
        dir: cloud.spool_dir,
        limits: Limits { max_bytes: Some(cloud.spool_max_bytes), ..Limits::default() },
        first: FirstPlan::default(),
        purpose: Purpose::Cloud,
        boot: recorder::clock::boot_id(&config.data_dir).map_err(StartError::Random)?,
        centre: centre.clone(),
        segments: segmenter::Config::default(),
    };
    Ok(Some(recorder::start(settings, cameras, lifecycle)))
}

fn start_uploads(
    config: &Config,
    spool: Option<&Recorder>,
    uplink: &Uplink,
    lifecycle: &Lifecycle,
) -> Result<(), StartError> {
    let checked = config.cloud.check(config.portal.as_ref())?;
    let Some((spool, checked)) = spool.zip(checked) else { return Ok(()) };
    let way = cloud::Way::new(&checked, config.centre_ca.as_deref())?;
    let uploads = Uploads::new(checked, &config.data_dir, spool.clone(), uplink.clone(), way);
    lifecycle.spawn(uploads.run());
    Ok(())
}

async fn find_cameras(
    config: &Config,
    kind: DeviceKind,
) -> Result<Vec<CheckedCamera>, ConfigError> {
    let configured = config.cameras_of(kind)?;
    if !configured.is_empty() || !config.discover {
        return Ok(configured);
    }
    let found = discovery::look(config.onvif.credentials()?).await;
    Ok(found.into_iter().map(CheckedCamera::from).collect())
}

fn listen_error(what: &'static str, address: SocketAddr, source: std::io::Error) -> StartError {
    StartError::Listen { what, address, source }
}

/// Two agents with one identity would throw each other out of the centre for ever.
fn hold_lock(config: &Config, lifecycle: &Lifecycle) -> Result<(), StartError> {
    let path = config.data_dir.join("agent.lock");
    let file = File::create(&path).map_err(|source| IdentityError::File { path, source })?;
    file.try_lock().map_err(|_| StartError::Twice(config.data_dir.clone()))?;
    lifecycle.spawn_graceful(|token| async move {
        token.cancelled().await;
        drop(file);
    });
    Ok(())
}

fn seed() -> Result<u64, StartError> {
    getrandom::u64().map_err(StartError::Random)
}

fn profile(identity: &Arc<Identity>, device: Device) -> Profile {
    let signer = Arc::clone(identity);
    Profile {
        pu: identity.pu_id().clone(),
        public_key: identity.public_key(),
        claim: identity.claim_code().hash(),
        claim_unlocked: false,
        agent: device.agent.to_owned(),
        kind: device.kind,
        addresses: Addresses::default(),
        channels: Vec::new(),
        sign: Box::new(move |bytes| signer.sign(bytes)),
    }
}

fn start_webrtc(
    config: &Config,
    (cameras, archive): (&Cameras, Option<Arc<dyn Archive>>),
    candidates: LocalCandidates,
    relay_tls: Arc<rustls::ClientConfig>,
    lifecycle: &Lifecycle,
) -> Result<webrtc::Engine, StartError> {
    let webrtc = WebrtcConfig {
        bind: listen::by_family(config.webrtc.listen),
        max_sessions: config.max_sessions,
        relay_tls: Some(relay_tls),
        ..WebrtcConfig::default()
    };
    let quality = Quality::new(cameras.clone(), config.max_transcodes, lifecycle);
    let quality: Arc<dyn QualitySource> = Arc::new(quality);
    let (token, tasks) = (lifecycle.token.child_token(), &lifecycle.tasks);
    let sources = Sources { cameras: cameras.clone(), quality, archive };
    Ok(webrtc::start(webrtc, candidates, sources, token, tasks)?)
}

/// What was recorded, for whoever looks back.
fn recordings(
    recorder: &Recorder,
    identity: &Identity,
    (kind, numbers): (DeviceKind, &Numbers),
) -> Arc<StoreArchive> {
    let (store, own, visible) = (recorder.store(), identity.pu_id().clone(), recorder.visible());
    if kind == DeviceKind::Pu {
        return StoreArchive::of_unit(store, own, visible);
    }
    let (numbers, recorder) = (Arc::clone(numbers), own.clone());
    let camera_of = move |channel: ChannelId| match numbers.read().get(&channel) {
        Some(related) => Some(related.clone()),
        // What is not related any more is shown to nobody.
        None => (channel < FIRST_RELATED).then(|| CameraId { pu: own.clone(), channel }),
    };
    StoreArchive::of_recorder(store, recorder, camera_of, visible)
}

fn serve_rtsp(
    config: &Config,
    (cameras, recordings): (&Cameras, Option<Arc<StoreArchive>>),
    gate: &PuGate,
    listener: tokio::net::TcpListener,
    (quic, carrier): (quinn::Endpoint, Arc<dyn Carrier>),
    lifecycle: &Lifecycle,
) {
    let gate: Arc<dyn Gate> = Arc::new(gate.clone());
    let options = rtsp_server::Options {
        max_connections: config.max_sessions.saturating_mul(2),
        ..rtsp_server::Options::default()
    };
    let archive = recordings.clone().map(|archive| archive as Arc<dyn Archive>);
    let mut server = RtspServer::with_recordings(cameras.clone(), gate, archive, options);
    if let Some(files) = recordings {
        server = server.with_files(files);
    }
    let (over_quic, tasks) = (server.clone(), lifecycle.tasks.clone());
    lifecycle.spawn_graceful(|token| async move {
        over_quic.serve_quic_carried(quic, carrier, token, tasks).await;
    });
    let tasks = lifecycle.tasks.clone();
    lifecycle.spawn_graceful(|token| async move {
        if let Err(error) = server.serve_tcp(listener, token, tasks).await {
            tracing::error!(%error, "RTSP has ended");
        }
    });
}

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
