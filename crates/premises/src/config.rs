//! The configuration of a device at the premises; `pu-agent.sample.toml` explains every key.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use serde::Deserialize;
use sightline_media_io::source::{rtsp, synthetic::SyntheticConfig};
use sightline_model::{DeviceKind, Secret, StreamTier};
use sightline_protocol::ps::FIRST_RELATED;
use sightline_service_kit::{config::ConfigError, telemetry::TelemetryConfig};
use url::Url;

use crate::{
    cloud::config::CloudConfig,
    discovery::{Credentials, Finder},
    recorder::config::RecordingConfig,
    uplink::dial::Server,
};

/// All of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the unit keeps its identity.
    pub data_dir: PathBuf,
    /// The portal, for the QR code: `https://…`.
    pub portal: Option<Url>,
    /// The authority that the centre's certificates must come from; the public ones when absent.
    pub centre_ca: Option<PathBuf>,
    /// SCUs, tried in turn.
    pub scu: Vec<ScuConfig>,
    /// Cameras.
    pub camera: Vec<CameraConfig>,
    /// Look for cameras on the LAN when none is configured.
    pub discover: bool,
    /// How to get into discovered cameras.
    pub onvif: OnvifConfig,
    /// Pictures that are re-encoded at a time, for viewers who ask for a size of their own.
    pub max_transcodes: usize,
    /// Tell the centre loopback addresses too: for a demo on one machine.
    pub announce_loopback: bool,
    /// Ask the home gateway to map the unit's ports (UPnP IGD, NAT-PMP, PCP; A8.3).
    pub map_ports: bool,
    /// Say on the LAN where the unit is (mDNS), so that NVRs find it without the centre.
    pub announce_lan: bool,
    /// Most sessions at once.
    pub max_sessions: usize,
    /// Recording on the unit's own storage.
    pub recording: RecordingConfig,
    /// Recording to the cloud storage.
    pub cloud: CloudConfig,
    /// RTSP to players.
    pub rtsp: Listen,
    /// RTSP inside QUIC.
    pub quic: Listen,
    /// WebRTC.
    pub webrtc: Listen,
    /// Health and metrics.
    pub http: Listen,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        let any = |port| Listen { listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)) };
        Self {
            data_dir: "pu-data".into(),
            portal: None,
            centre_ca: None,
            scu: Vec::new(),
            camera: Vec::new(),
            discover: false,
            onvif: OnvifConfig::default(),
            max_transcodes: 2,
            announce_loopback: false,
            map_ports: true,
            announce_lan: true,
            max_sessions: 64,
            recording: RecordingConfig::default(),
            cloud: CloudConfig::default(),
            rtsp: any(8554),
            quic: any(8555),
            webrtc: any(8556),
            http: Listen { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8557)) },
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// `[[scu]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScuConfig {
    /// `host:port` of Ps over QUIC.
    pub quic: Option<String>,
    /// `wss://host/ps/v1`, for networks that block UDP.
    pub websocket: Option<Url>,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port; `[::]` is every address of both families, port 0 any port.
    pub listen: SocketAddr,
}

/// `[[camera]]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CameraConfig {
    /// What people call it.
    pub name: String,
    /// `synthetic`, or the `rtsp://…` of its best encoding.
    pub source: String,
    /// The `rtsp://…` of its small encoding.
    pub sub: Option<Url>,
    /// User name at the camera.
    pub username: Option<String>,
    /// File with the password at the camera.
    pub password_file: Option<PathBuf>,
    /// How RTP travels from the camera.
    pub transport: CameraTransport,
    /// Most memory, in MiB, for the pictures since the newest keyframe of its best encoding.
    pub buffer_mib: Option<u16>,
    /// Form of the synthetic picture.
    pub synthetic: SyntheticForm,
}

/// `[onvif]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnvifConfig {
    /// User name at the cameras.
    pub username: String,
    /// File with the password at the cameras.
    pub password_file: Option<PathBuf>,
}

/// How RTP travels from a camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraTransport {
    /// Inside the RTSP connection.
    #[default]
    Tcp,
    /// Beside it.
    Udp,
}

/// `[camera.synthetic]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticForm {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pictures per second.
    pub fps: u32,
    /// Seconds from keyframe to keyframe.
    pub gop_s: f32,
    /// Bits per second.
    pub bitrate_bps: u32,
    /// Pitch of the tone.
    pub tone_hz: f32,
}

impl Default for SyntheticForm {
    fn default() -> Self {
        let SyntheticConfig { width, height, fps, gop_s, bitrate_bps, tone_hz, .. } =
            SyntheticConfig::default();
        Self { width, height, fps, gop_s, bitrate_bps, tone_hz }
    }
}

impl SyntheticForm {
    fn with_label(self, label: &str) -> SyntheticConfig {
        let Self { width, height, fps, gop_s, bitrate_bps, tone_hz } = self;
        let rest = SyntheticConfig { camera_label: label.into(), ..SyntheticConfig::default() };
        SyntheticConfig { width, height, fps, gop_s, bitrate_bps, tone_hz, ..rest }
    }
}

/// Where a camera's media comes from, checked.
#[derive(Debug, Clone)]
pub enum CameraSource {
    /// Made by the unit.
    Synthetic(SyntheticConfig),
    /// A camera on the LAN.
    Rtsp {
        /// Its best encoding.
        main: Box<rtsp::RtspSourceConfig>,
        /// Its small encoding.
        sub: Option<Box<rtsp::RtspSourceConfig>>,
    },
    /// A camera that was or will be found on the LAN.
    Discovered(Finder),
}

/// A camera, checked.
#[derive(Debug, Clone)]
pub struct CheckedCamera {
    /// What people call it.
    pub name: String,
    /// Where its media comes from.
    pub source: CameraSource,
    /// Most memory for the pictures of its best encoding.
    pub buffer: BufferMib,
}

/// Most memory for the pictures since the newest keyframe, with which every viewer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferMib(u16);

impl Default for BufferMib {
    /// 16 s of 16 Mbit/s.
    fn default() -> Self {
        Self(32)
    }
}

impl BufferMib {
    /// The most that can be configured.
    const MAX: u16 = 1_024;

    fn check(camera: &str, mib: Option<u16>) -> Result<Self, ConfigError> {
        match mib {
            None => Ok(Self::default()),
            Some(mib @ 1..=Self::MAX) => Ok(Self(mib)),
            Some(_) => {
                let most = Self::MAX;
                Err(unusable(format!("camera {camera:?}: buffer_mib must be 1 to {most}")))
            }
        }
    }

    /// In bytes, for one of the camera's encodings: the small one gets a quarter.
    #[must_use]
    pub fn bytes(self, tier: StreamTier) -> usize {
        let main = usize::from(self.0) << 20;
        match tier {
            StreamTier::Main => main,
            StreamTier::Sub => main / 4,
        }
    }
}

impl From<Finder> for CheckedCamera {
    fn from(finder: Finder) -> Self {
        let (name, buffer) = (finder.name(), BufferMib::default());
        Self { name, source: CameraSource::Discovered(finder), buffer }
    }
}

impl Config {
    /// Says whether the configuration can work, without starting anything.
    ///
    /// # Errors
    /// [`ConfigError`], in words for whoever wrote it.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_as(DeviceKind::Pu)
    }

    /// The same, for a device of this kind.
    ///
    /// # Errors
    /// [`ConfigError`], in words for whoever wrote it.
    pub fn check_as(&self, kind: DeviceKind) -> Result<(), ConfigError> {
        self.servers()?;
        self.cameras_of(kind)?;
        self.onvif.credentials()?;
        let recording = self.recording.check()?;
        if kind == DeviceKind::Nvr && recording.is_none() {
            return Err(unusable("recording.dir must name the folder of the recordings"));
        }
        self.cloud.check(self.portal.as_ref())?;
        if let Some(portal) = &self.portal
            && !matches!(portal.scheme(), "https" | "http")
        {
            return Err(unusable("portal must be an https:// URL"));
        }
        if self.max_sessions == 0 {
            return Err(unusable("max_sessions must be at least 1"));
        }
        if !self.http.listen.ip().is_loopback() {
            return Err(unusable(
                "http.listen must be a loopback address: what it shows is for this machine only",
            ));
        }
        Ok(())
    }

    /// The SCUs, checked.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn servers(&self) -> Result<Vec<Server>, ConfigError> {
        if self.scu.is_empty() {
            return Err(unusable("no [[scu]] is configured: the unit would register nowhere"));
        }
        self.scu.iter().map(ScuConfig::check).collect()
    }

    /// The cameras, checked.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn cameras(&self) -> Result<Vec<CheckedCamera>, ConfigError> {
        self.cameras_of(DeviceKind::Pu)
    }

    /// The same, of a device of this kind: an NVR needs none of its own.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn cameras_of(&self, kind: DeviceKind) -> Result<Vec<CheckedCamera>, ConfigError> {
        let (needs_one, most) = match kind {
            DeviceKind::Pu => (true, u16::MAX),
            DeviceKind::Nvr => (false, FIRST_RELATED.0),
        };
        if needs_one && self.camera.is_empty() && !self.discover {
            return Err(unusable("no [[camera]] is configured; add one, or set discover = true"));
        }
        if self.camera.len() > usize::from(most) {
            return Err(unusable("there are too many cameras"));
        }
        let mut names = HashSet::new();
        if let Some(twice) = self.camera.iter().find(|c| !names.insert(c.name.as_str())) {
            return Err(unusable(format!("two cameras have the name {:?}", twice.name)));
        }
        self.camera.iter().map(CameraConfig::check).collect()
    }
}

impl OnvifConfig {
    /// How to get into discovered cameras.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub fn credentials(&self) -> Result<Credentials, ConfigError> {
        let password = self.password_file.as_ref().map(password).transpose()?.unwrap_or_default();
        Ok(Credentials { username: self.username.clone(), password })
    }
}

impl ScuConfig {
    fn check(&self) -> Result<Server, ConfigError> {
        if self.quic.is_none() && self.websocket.is_none() {
            return Err(unusable("an [[scu]] needs quic = \"host:port\", websocket, or both"));
        }
        if let Some(quic) = &self.quic {
            let port = quic.rsplit_once(':').and_then(|(host, port)| {
                (!host.is_empty() && !host.contains("//")).then(|| port.parse::<u16>().ok())?
            });
            if port.is_none_or(|port| port == 0) {
                return Err(unusable(format!("scu.quic: {quic:?} is not of the form host:port")));
            }
        }
        if let Some(url) = &self.websocket {
            let usable = match url.scheme() {
                "wss" => url.has_host(),
                // Registration proves the unit's key, but only TLS proves the SCU's.
                "ws" => is_this_machine(url),
                _ => false,
            };
            if !usable {
                return Err(unusable(
                    "scu.websocket must be a wss:// URL; ws:// is allowed to localhost only",
                ));
            }
        }
        Ok(Server { quic: self.quic.clone(), websocket: self.websocket.clone() })
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(url::Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

impl CameraConfig {
    fn check(&self) -> Result<CheckedCamera, ConfigError> {
        /// Longer names fit on no screen.
        const MAX_NAME_LEN: usize = 64;
        let name = self.name.trim();
        if name.is_empty() || name.len() > MAX_NAME_LEN || name.chars().any(char::is_control) {
            return Err(unusable("every camera needs a name of 1 to 64 characters"));
        }
        // Nothing here hands them to a shell, but they travel on to systems of others
        // (CVE-2021-36260). A URL may have a `;`.
        let acted_on = |text: &str| ["$(", "${", "`", "../"].iter().any(|t| text.contains(t));
        let urls = [Some(self.source.as_str()), self.sub.as_ref().map(Url::as_str)];
        if acted_on(name) || name.contains([';', '|']) || urls.into_iter().flatten().any(acted_on) {
            return Err(unusable(format!("camera {name:?}: its name or URL holds a command")));
        }
        let source = if self.source == "synthetic" {
            if self.sub.is_some() {
                return Err(unusable("a synthetic camera makes its own sub stream; remove sub"));
            }
            CameraSource::Synthetic(self.synthetic.with_label(name))
        } else {
            let main = Url::parse(&self.source).map_err(|_| {
                unusable(format!("camera {name:?}: source must be \"synthetic\" or rtsp://…"))
            })?;
            let sub = self.sub.clone().map(|url| self.rtsp(name, url).map(Box::new)).transpose()?;
            CameraSource::Rtsp { main: Box::new(self.rtsp(name, main)?), sub }
        };
        let buffer = BufferMib::check(name, self.buffer_mib)?;
        Ok(CheckedCamera { name: name.to_owned(), source, buffer })
    }

    fn rtsp(&self, name: &str, url: Url) -> Result<rtsp::RtspSourceConfig, ConfigError> {
        if url.scheme() != "rtsp" || !url.has_host() {
            return Err(unusable(format!(
                "camera {name:?}: the stream's URL must be rtsp://host…"
            )));
        }
        let mut config = rtsp::RtspSourceConfig::new(url);
        if self.username.is_some() {
            config.username.clone_from(&self.username);
            config.password = None;
        }
        if let Some(path) = &self.password_file {
            config.password = Some(password(path)?);
        }
        config.transport = match self.transport {
            CameraTransport::Tcp => rtsp::Transport::Tcp,
            CameraTransport::Udp => rtsp::Transport::Udp,
        };
        Ok(config)
    }
}

/// Cameras have what passwords they have: no least length here.
fn password(path: &PathBuf) -> Result<Secret<String>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn unusable(why: impl Into<String>) -> ConfigError {
    ConfigError::Unusable(why.into())
}

#[cfg(test)]
mod tests;
