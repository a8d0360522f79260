//! Configuration of the CMU. `cmu.sample.toml` explains every key to whoever writes the file.

mod check;
mod cloud;
mod limits;
mod sms;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use cmu_domain::registration::Policy;
use ipnet::IpNet;
use serde::Deserialize;
use sightline_model::{DomainName, PuId};
use sightline_protocol::cm::Approval;
use sightline_service_kit::{
    telemetry::TelemetryConfig,
    tls::{Identity, TlsError},
};

pub use cloud::{CloudConfig, CloudKind};
pub use limits::LimitConfig;
pub use sms::{Gateway, HttpGatewayConfig, SmppGatewayConfig, SmsConfig};

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the portal and the API are served.
    pub listen: SocketAddr,
    /// Where health and metrics are served; keep it off public addresses. Empty: nowhere.
    pub admin_listen: String,
    /// What browsers call this server, such as `https://cameras.example`. With `https` the refresh
    /// cookie is sent over TLS only.
    pub public_url: String,
    /// What viewers' signalling connects to, any SCU being behind it. Empty: the camera's SCU.
    pub signal_url: String,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where signing keys and the SQLite file live.
    pub data_dir: PathBuf,
    /// The home domain of users and devices.
    pub domain: DomainName,
    /// The operator's name, for people.
    pub operator_name: String,
    /// How new subscriptions are approved.
    pub approval: Approval,
    /// A folder with the built portal, in place of the one inside the program.
    pub portal_dir: Option<PathBuf>,
    /// `[tls]`.
    pub tls: TlsConfig,
    /// `[database]`.
    pub database: DatabaseConfig,
    /// `[bus]`.
    pub bus: BusConfig,
    /// `[sms]`.
    pub sms: SmsConfig,
    /// `[tokens]`.
    pub tokens: TokenConfig,
    /// `[devices]`.
    pub devices: DeviceConfig,
    /// `[limits]`.
    pub limits: LimitConfig,
    /// `[audit]`.
    pub audit: AuditConfig,
    /// `[usage]`.
    pub usage: UsageConfig,
    /// `[cloud]`.
    pub cloud: CloudConfig,
    /// `[telemetry]`.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: "127.0.0.1:9181".into(),
            public_url: "http://localhost:8080".into(),
            signal_url: String::new(),
            trusted_proxies: Vec::new(),
            data_dir: "data/cmu".into(),
            domain: DomainName::default(),
            operator_name: "Sightline".into(),
            approval: Approval::Operator,
            portal_dir: None,
            tls: TlsConfig::default(),
            database: DatabaseConfig::default(),
            bus: BusConfig::default(),
            sms: SmsConfig::default(),
            tokens: TokenConfig::default(),
            devices: DeviceConfig::default(),
            limits: LimitConfig::default(),
            audit: AuditConfig::default(),
            usage: UsageConfig::default(),
            cloud: CloudConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// TLS for a CMU without a proxy in front. Neither: plain HTTP.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its key.
    pub key_file: Option<PathBuf>,
}

impl TlsConfig {
    /// What the server shows, if it serves TLS.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn identity(&self) -> Result<Option<Identity>, TlsError> {
        let files = self.certificate_file.as_ref().zip(self.key_file.as_ref());
        files.map(|(chain, key)| Identity::from_pem_files(chain, key)).transpose()
    }
}

/// Where accounts, devices and tokens are kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` or `postgres://user@host/name`. Empty: `cmu.sqlite` in the data folder.
    pub url: String,
    /// A file with the whole URL, for URLs that hold a password.
    pub url_file: Option<PathBuf>,
}

/// What connects the services.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// `nats://host:4222`.
    pub url: String,
    /// How long an SCU may take to answer.
    pub timeout_ms: u64,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self { url: "nats://127.0.0.1:4222".into(), timeout_ms: 3_000 }
    }
}

/// Lives of tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// Access tokens, 60 to 600.
    pub access_s: u32,
    /// Play tokens, 30 to 900.
    pub play_s: u32,
    /// Tickets of NVRs, 3600 to 2592000: so long one takes a stream up again without the centre.
    pub ticket_s: u32,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self { access_s: 600, play_s: 300, ticket_s: 7 * 86_400 }
    }
}

/// Devices and their leases.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// Who may register.
    pub registration: Registration,
    /// With `provisioned`: the ids that may.
    pub allowed: Vec<PuId>,
    /// How long a lease lasts without renewal.
    pub lease_ttl_ms: u32,
    /// A device can be bound only from behind the same public address (A8.2 step 2).
    pub bind_from_same_address: bool,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Every device that holds its key.
    Open,
    /// Only those listed.
    Provisioned,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            registration: Registration::Open,
            allowed: Vec::new(),
            lease_ttl_ms: 15_000,
            bind_from_same_address: false,
        }
    }
}

impl DeviceConfig {
    /// The rule for registrations.
    #[must_use]
    pub fn policy(&self) -> Policy {
        match self.registration {
            Registration::Open => Policy::Open,
            Registration::Provisioned => {
                Policy::Provisioned(self.allowed.iter().cloned().collect())
            }
        }
    }
}

/// The audit log.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// How long entries are kept.
    pub keep_days: u32,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { keep_days: 180 }
    }
}

/// Accounting of relays, and figures by network.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageConfig {
    /// How long the accounting of a session is kept.
    pub keep_days: u32,
    /// How long figures by network are kept.
    pub network_days: u32,
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self { keep_days: 400, network_days: 90 }
    }
}

impl Config {
    /// How long an SCU may take to answer.
    #[must_use]
    pub const fn scu_timeout(&self) -> Duration {
        Duration::from_millis(self.bus.timeout_ms)
    }

    /// How long a lease lasts without renewal.
    #[must_use]
    pub const fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.devices.lease_ttl_ms as u64)
    }
}
