//! `sightline demo`: centre and camera in one process, nothing to configure.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Context;
use pu_agent::{
    cloud::config::CloudConfig,
    config::{CameraConfig, Listen, ScuConfig, SyntheticForm},
    recorder::config::RecordingConfig,
};
use sightline_protocol::cm::Approval;
use sightline_service_kit::{
    lifecycle::{Lifecycle, run_until_signal},
    telemetry,
    tls::Authority,
};

use tokio::runtime::Runtime;

use crate::{
    banner::{Agents, Banner},
    centre::{Centre, Config},
};

/// A number that no operator gives out; the demo's SMS go to a file anyhow.
const PHONE: &str = "+8613800138000";

/// Most bytes of the demo's recordings: a day of the test pattern.
const MOST_RECORDED: u64 = 20 << 30;

#[derive(clap::Args)]
pub struct Args {
    /// A camera of yours in place of the test pattern (repeatable)
    #[arg(long, value_name = "RTSP_URL")]
    camera: Vec<String>,
    /// The small encoding of each --camera, in the same order
    #[arg(long, value_name = "RTSP_URL")]
    sub: Vec<String>,
    /// Fetch --camera's RTP over UDP
    #[arg(long)]
    camera_udp: bool,
    /// Print one JSON line in place of words
    #[arg(long)]
    json: bool,
    /// Where the demo keeps its data; remove it to begin anew
    #[arg(long, value_name = "DIR", default_value = "data/demo")]
    data: PathBuf,
    /// Where phones on the LAN reach the portal (HTTPS)
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    https: SocketAddr,
    /// Where this machine reaches the portal (HTTP)
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Let agents on other machines register, at this address of this machine
    #[arg(long, value_name = "IP")]
    public: Option<IpAddr>,
    /// Take any free port for everything, so that several demos run beside each other
    #[arg(long)]
    free_ports: bool,
    /// Run the centre only; start `pu-agent` yourself
    #[arg(long)]
    no_camera: bool,
    /// Record the cameras all the time, into the data folder
    #[arg(long)]
    record: bool,
    /// Test pattern: seconds from keyframe to keyframe
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    gop: f32,
    /// What to log, as `tracing` filters
    #[arg(long, default_value = "warn")]
    log: String,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut config = centre_config(&args);
    config.telemetry.filter.clone_from(&args.log);
    let _telemetry = telemetry::init("sightline", &config.telemetry)?;
    let camera = Lifecycle::new();
    let centre = Centre::start(config.clone()).await.map_err(with_advice)?;
    let Some(http) = centre.http else { anyhow::bail!("the demo has no HTTP listener") };
    let portal = format!("http://localhost:{}", http.port());

    let pu = pu_config(&args, &config, &centre, &portal)?;
    let threads = AgentThreads::new()?;
    let (pu_id, claim_code, rtsp) = if args.no_camera {
        (String::new(), String::new(), String::new())
    } else {
        let pu = threads.start(pu, camera.clone()).await;
        let pu = pu.context("the camera's agent").map_err(with_advice)?;
        let rtsp = format!("rtsp://127.0.0.1:{}/0", pu.rtsp_addr.port());
        wait_registered(pu.uplink.clone()).await;
        (pu.pu_id.to_string(), pu.claim_code.to_string(), rtsp)
    };
    let lan = |address: &IpAddr| match (address, centre.https) {
        (IpAddr::V4(v4), Some(https)) if !v4.is_loopback() => {
            Some(format!("https://{v4}:{}", https.port()))
        }
        _ => None,
    };
    let banner = Banner {
        portal,
        phone: PHONE.into(),
        claim_code,
        pu_id,
        sms_log: absolute(&config.data_dir.join("sms.log")),
        portal_lan: config.tls.addresses.iter().filter_map(lan).collect(),
        ca: absolute(&config.authority_dir().join(Authority::CERTIFICATE_FILE)),
        rtsp,
        agents: args.public.and_then(|public| Agents::new(public, &centre)),
    };
    println!("{}", if args.json { banner.json()? } else { banner.words() });
    run_until_signal(&[&camera, &centre.edge, &centre.core]).await;
    if !args.json {
        println!("Ended. The demo's data is in {}.", config.data_dir.display());
    }
    Ok(())
}

/// Threads of the agent's own, as it has beside a camera: nothing that the centre does in this
/// process holds up a picture.
struct AgentThreads(Option<Runtime>);

impl AgentThreads {
    fn new() -> anyhow::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).thread_name("pu-agent").enable_all().build();
        Ok(Self(Some(runtime.context("threads for the camera's agent")?)))
    }

    async fn start(
        &self,
        config: pu_agent::Config,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<pu_agent::Running> {
        let runtime = self.0.as_ref().context("the agent's threads have ended")?;
        Ok(runtime.spawn(async move { pu_agent::start(config, &lifecycle).await }).await??)
    }
}

impl Drop for AgentThreads {
    fn drop(&mut self) {
        // Its tasks have ended with their lifecycle; waiting is not allowed on this thread.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A port that is taken is what stops a demo most often.
fn with_advice(error: anyhow::Error) -> anyhow::Error {
    let taken = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::AddrInUse)
    };
    if !error.chain().any(taken) {
        return error;
    }
    error.context(
        "another program has a port that the demo needs (perhaps another demo): end that one, or \
         take other ports with --free-ports (cargo xtask demo -- --free-ports)",
    )
}

/// The claim code works once the camera has registered; a camera that never does is no reason to
/// say nothing.
async fn wait_registered(mut uplink: tokio::sync::watch::Receiver<pu_agent::uplink::Status>) {
    let registered = uplink.wait_for(|status| status.up.is_some());
    if tokio::time::timeout(std::time::Duration::from_secs(5), registered).await.is_err() {
        eprintln!("note: the camera has not registered yet; binding works once it has");
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn any_port(address: SocketAddr, free: bool) -> SocketAddr {
    SocketAddr::new(address.ip(), if free { 0 } else { address.port() })
}

/// This machine's addresses, so that certificates and the banner can name them.
fn own_addresses() -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    addresses.extend(interfaces.into_iter().filter(|i| !i.is_loopback()).map(|i| i.ip()));
    addresses
}

fn centre_config(args: &Args) -> Config {
    let mut config = Config { data_dir: args.data.clone(), ..Config::default() };
    config.http_listen = Some(any_port(args.http, args.free_ports));
    config.https_listen = Some(any_port(args.https, args.free_ports));
    config.tls.addresses = own_addresses();
    if let Some(public) = args.public.filter(|public| !config.tls.addresses.contains(public)) {
        config.tls.addresses.push(public);
    }
    config.cmu.approval = Approval::Automatic;
    config.cmu.operator_name = "Sightline demo".into();
    config.cmu.public_url = format!("http://localhost:{}", args.http.port());
    // Nobody else can register unless the person asked for it.
    let register_at = args.public.unwrap_or(Ipv4Addr::LOCALHOST.into());
    config.scu.quic_listen = any_port(SocketAddr::new(register_at, 7443), args.free_ports);
    let outside = config.tls.addresses.iter().find(|a| a.is_ipv4() && !a.is_loopback());
    let relay = args.public.filter(IpAddr::is_ipv4).or(outside.copied());
    config.mtu.public_ip = relay.unwrap_or(Ipv4Addr::LOCALHOST.into()).into();
    config.mtu.udp_listen =
        any_port(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 3478), args.free_ports).into();
    config.mtu.tcp_listen = mtu::Many::default();
    config
}

fn pu_config(
    args: &Args,
    config: &Config,
    centre: &Centre,
    portal: &str,
) -> anyhow::Result<pu_agent::Config> {
    let listen = |listen: Listen| Listen { listen: any_port(listen.listen, args.free_ports) };
    let base = pu_agent::Config::default();
    Ok(pu_agent::Config {
        data_dir: config.data_dir.join("pu"),
        portal: Some(portal.parse().context("the portal's URL")?),
        centre_ca: Some(config.authority_dir().join(Authority::CERTIFICATE_FILE)),
        scu: vec![ScuConfig {
            quic: Some(if args.public.is_some() {
                centre.ps.to_string()
            } else {
                format!("localhost:{}", centre.ps.port())
            }),
            websocket: Some(format!("{portal}/ps/v1").replacen("http", "ws", 1).parse()?),
        }],
        camera: cameras(args)?,
        recording: recording(args, config)?,
        cloud: cloud(config)?,
        announce_loopback: true,
        rtsp: listen(base.rtsp),
        quic: listen(base.quic),
        webrtc: listen(base.webrtc),
        http: listen(base.http),
        ..base
    })
}

fn recording(args: &Args, config: &Config) -> anyhow::Result<RecordingConfig> {
    if !args.record {
        return Ok(RecordingConfig::default());
    }
    let dir = config.data_dir.join("recordings");
    // The agent makes no such folder: it cannot know whether a card should be there.
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    let max_bytes = Some(MOST_RECORDED);
    Ok(RecordingConfig { dir: Some(dir), max_bytes, ..RecordingConfig::default() })
}

/// Nothing is recorded to the cloud until a plan says so.
fn cloud(config: &Config) -> anyhow::Result<CloudConfig> {
    let dir = config.data_dir.join("spool");
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    Ok(CloudConfig { spool_dir: Some(dir), ..CloudConfig::default() })
}

fn cameras(args: &Args) -> anyhow::Result<Vec<CameraConfig>> {
    if args.camera.is_empty() {
        return Ok(vec![CameraConfig {
            name: "Demo camera".into(),
            source: "synthetic".into(),
            synthetic: SyntheticForm { gop_s: args.gop, ..SyntheticForm::default() },
            ..CameraConfig::default()
        }]);
    }
    let transport = if args.camera_udp {
        pu_agent::config::CameraTransport::Udp
    } else {
        pu_agent::config::CameraTransport::Tcp
    };
    let with_number = args.camera.iter().enumerate();
    with_number
        .map(|(index, source)| {
            let sub = args.sub.get(index).map(|url| url.parse().context("--sub")).transpose()?;
            Ok(CameraConfig {
                name: format!("Camera {}", index + 1),
                source: source.clone(),
                sub,
                transport,
                ..CameraConfig::default()
            })
        })
        .collect()
}
