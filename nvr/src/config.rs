//! The configuration file; `nvr.sample.toml` explains every key.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use serde::Deserialize;
use sightline_model::DeviceKind;
use sightline_premises::{
    cloud::config::CloudConfig,
    config::{self as premises, CameraConfig, Listen, OnvifConfig, ScuConfig},
    recorder::config::RecordingConfig,
};
use sightline_service_kit::{config::ConfigError, telemetry::TelemetryConfig};
use url::Url;

/// All of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the NVR keeps its identity, its relations and its plans.
    pub data_dir: PathBuf,
    /// The portal: `https://…`; for the QR code, and where the centre names its signalling by a path alone.
    pub portal: Option<Url>,
    /// The authority that the centre's certificates must come from; the public ones when absent.
    pub centre_ca: Option<PathBuf>,
    /// SCUs, tried in turn.
    pub scu: Vec<ScuConfig>,
    /// Cameras of its own, without a premises unit.
    pub camera: Vec<CameraConfig>,
    /// Look for ONVIF cameras on the LAN when none is configured.
    pub discover: bool,
    /// How to get into discovered cameras.
    pub onvif: OnvifConfig,
    /// Pictures that are re-encoded at a time, for viewers who ask for a size of their own.
    pub max_transcodes: usize,
    /// Tell the centre loopback addresses too: for a demo on one machine.
    pub announce_loopback: bool,
    /// Ask the home gateway to map the NVR's ports (UPnP IGD, NAT-PMP, PCP; A8.3).
    pub map_ports: bool,
    /// Most viewers at once.
    pub max_sessions: usize,
    /// Where recordings lie.
    pub recording: RecordingConfig,
    /// Recording its own cameras to the cloud storage.
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
            data_dir: "nvr-data".into(),
            portal: None,
            centre_ca: None,
            scu: Vec::new(),
            camera: Vec::new(),
            discover: false,
            onvif: OnvifConfig::default(),
            max_transcodes: 2,
            announce_loopback: false,
            map_ports: true,
            max_sessions: 64,
            recording: RecordingConfig::default(),
            cloud: CloudConfig::default(),
            rtsp: any(8654),
            quic: any(8655),
            webrtc: any(8656),
            http: Listen { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8657)) },
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Config {
    /// Says whether the configuration can work, without starting anything.
    ///
    /// # Errors
    /// [`ConfigError`], in words for whoever wrote it.
    pub fn check(&self) -> Result<(), ConfigError> {
        premises::Config::from(self.clone()).check_as(DeviceKind::Nvr)
    }
}

impl From<Config> for premises::Config {
    fn from(config: Config) -> Self {
        Self {
            data_dir: config.data_dir,
            portal: config.portal,
            centre_ca: config.centre_ca,
            scu: config.scu,
            camera: config.camera,
            discover: config.discover,
            onvif: config.onvif,
            max_transcodes: config.max_transcodes,
            announce_loopback: config.announce_loopback,
            map_ports: config.map_ports,
            // It looks for others; nobody looks for it.
            announce_lan: false,
            max_sessions: config.max_sessions,
            recording: config.recording,
            cloud: config.cloud,
            rtsp: config.rtsp,
            quic: config.quic,
            webrtc: config.webrtc,
            http: config.http,
            telemetry: config.telemetry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        let scu = ScuConfig { quic: Some("scu.example:8600".into()), websocket: None };
        let recording = RecordingConfig { dir: Some("disk".into()), ..RecordingConfig::default() };
        Config { scu: vec![scu], recording, ..Config::default() }
    }

    #[test]
    fn the_sample_file_is_good() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("nvr.sample.toml");
        let config: Config =
            sightline_service_kit::config::load(Some(&path)).expect("the sample parses");
        config.check().expect("the sample is usable");
    }

    #[test]
    fn what_cannot_work_is_refused_in_words() {
        good().check().expect("good: it needs no camera of its own");
        let refused = |change: fn(&mut Config)| {
            let mut config = good();
            change(&mut config);
            config.check().expect_err("refused").to_string()
        };
        assert!(refused(|c| c.recording.dir = None).contains("recording.dir"));
        assert!(refused(|c| c.cloud.spool_dir = Some("spool".into())).contains("portal"));
        assert!(refused(|c| c.scu.clear()).contains("[[scu]]"));
        assert!(refused(|c| c.http.listen = ([0, 0, 0, 0], 1).into()).contains("loopback"));
        assert!(refused(|c| c.max_sessions = 0).contains("max_sessions"));
    }
}
