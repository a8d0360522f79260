//! Configuration of the CMU. `cmu.sample.toml` explains every key to whoever writes the file.

mod cloud;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use cmu_domain::{limit::Limit, registration::Policy};
use ipnet::IpNet;
use serde::Deserialize;
use sightline_model::{DomainName, PuId};
use sightline_protocol::cm::Approval;
use sightline_service_kit::{
    config::ConfigError,
    telemetry::TelemetryConfig,
    tls::{Identity, TlsError},
};

pub use cloud::{CloudConfig, CloudKind};

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

/// How one-time codes are sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmsConfig {
    /// Which gateway.
    pub gateway: Gateway,
    /// ISO 3166 codes of the countries that are served. Empty: every country.
    pub countries: Vec<String>,
    /// File gateway: where the lines go. Empty: `sms.log` in the data folder.
    pub file: Option<PathBuf>,
    /// `[sms.http]`.
    pub http: HttpGatewayConfig,
    /// `[sms.smpp]`.
    pub smpp: SmppGatewayConfig,
}

impl Default for SmsConfig {
    fn default() -> Self {
        Self {
            gateway: Gateway::File,
            countries: Vec::new(),
            file: None,
            http: HttpGatewayConfig::default(),
            smpp: SmppGatewayConfig::default(),
        }
    }
}

/// Which SMS gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gateway {
    /// A file on this machine, for trying things out.
    File,
    /// A provider's HTTP API.
    Http,
    /// An SMSC, by SMPP 3.4.
    Smpp,
}

/// A provider's HTTP API.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpGatewayConfig {
    /// Where to post to.
    pub url: String,
    /// JSON body; `{phone}` and `{text}` inside its strings are replaced.
    pub body: String,
    /// A file with the bearer token. Empty: none is sent.
    pub token_file: Option<PathBuf>,
    /// How long the provider may take.
    pub timeout_ms: u64,
}

impl Default for HttpGatewayConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            body: r#"{"to":"{phone}","text":"{text}"}"#.into(),
            token_file: None,
            timeout_ms: 10_000,
        }
    }
}

/// An SMSC.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmppGatewayConfig {
    /// `host:port`.
    pub address: String,
    /// Name of the account, at most 15 characters.
    pub system_id: String,
    /// A file with its password. SMPP 3.4 allows 8 characters at most; 6 at least are asked for.
    pub password_file: Option<PathBuf>,
    /// What recipients see as the sender.
    pub source: String,
    /// How often the connection is checked.
    pub enquire_link_s: u64,
    /// How long the SMSC may take.
    pub timeout_ms: u64,
}

impl Default for SmppGatewayConfig {
    fn default() -> Self {
        Self {
            address: String::new(),
            system_id: String::new(),
            password_file: None,
            source: "Sightline".into(),
            enquire_link_s: 30,
            timeout_ms: 10_000,
        }
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

/// Rate limits: so many (`count`) in so many seconds (`per_s`).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitConfig {
    /// SMS to one number.
    pub sms_per_number: Limit,
    /// SMS asked for by one address.
    pub sms_per_address: Limit,
    /// SMS asked for by one network (/24, /64).
    pub sms_per_network: Limit,
    /// SMS in all.
    pub sms_total: Limit,
    /// Tries to sign in with one number, from wherever.
    pub sign_in_per_number: Limit,
    /// Tries to sign in from one address.
    pub sign_in_per_address: Limit,
    /// Tries to bind by one user.
    pub bind_per_user: Limit,
    /// Tries to bind from one address.
    pub bind_per_address: Limit,
    /// Requests of one user for cameras that are not theirs.
    pub not_found_per_user: Limit,
    /// Play requests of one user.
    pub play_per_user: Limit,
    /// Questions about recordings and changes of plans, for each user.
    pub recordings_per_user: Limit,
}

impl Default for LimitConfig {
    fn default() -> Self {
        let limit = |count, per_s| Limit { count, per_s };
        Self {
            sms_per_number: limit(5, 3_600),
            sms_per_address: limit(10, 3_600),
            sms_per_network: limit(50, 3_600),
            sms_total: limit(1_000, 3_600),
            sign_in_per_number: limit(15, 900),
            sign_in_per_address: limit(60, 900),
            bind_per_user: limit(10, 600),
            bind_per_address: limit(30, 600),
            not_found_per_user: limit(30, 60),
            play_per_user: limit(120, 60),
            recordings_per_user: limit(600, 60),
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

/// Passwords and names that came with somebody's product.
const DEFAULT_SECRETS: [&str; 8] =
    ["password", "changeme", "secret", "admin", "smppclient1", "smppclient", "12345678", "default"];

impl Config {
    /// Checks what the types cannot, without touching the network.
    ///
    /// # Errors
    /// [`ConfigError::Unusable`] and the errors of the secrets' files.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |text: &str| Err(ConfigError::Unusable(text.to_owned()));
        if !(60..=600).contains(&self.tokens.access_s) {
            return wrong("tokens.access_s must be 60 to 600");
        }
        if !(30..=900).contains(&self.tokens.play_s) {
            return wrong("tokens.play_s must be 30 to 900");
        }
        if !(3_600..=2_592_000).contains(&self.tokens.ticket_s) {
            return wrong("tokens.ticket_s must be 3600 to 2592000");
        }
        if !(1_000..=600_000).contains(&self.devices.lease_ttl_ms) {
            return wrong("devices.lease_ttl_ms must be 1000 to 600000");
        }
        if !self.public_url.starts_with("https://") && !self.public_url.starts_with("http://") {
            return wrong("public_url must begin with https:// or http://");
        }
        let signal = &self.signal_url;
        if !(signal.is_empty() || signal.starts_with("wss://") || signal.starts_with("ws://")) {
            return wrong("signal_url must begin with wss:// or ws://, or be empty");
        }
        self.admin_address()?;
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            return wrong(
                "tls.certificate_file and tls.key_file belong together; set both or none",
            );
        }
        self.tls.identity().map_err(|e| ConfigError::Unusable(format!("tls: {e}")))?;
        if self.sms.countries.iter().any(|c| c.len() != 2) {
            return wrong("sms.countries must hold two-letter codes such as \"CN\"");
        }
        self.database_url()?;
        self.cloud.check()?;
        self.check_gateway()
    }

    /// Where health and metrics are served, if anywhere.
    ///
    /// # Errors
    /// [`ConfigError::Unusable`].
    pub fn admin_address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.admin_listen.is_empty() {
            return Ok(None);
        }
        let wrong = |_| ConfigError::Unusable("admin_listen must be ADDRESS:PORT or empty".into());
        self.admin_listen.parse().map(Some).map_err(wrong)
    }

    fn check_gateway(&self) -> Result<(), ConfigError> {
        match self.sms.gateway {
            Gateway::File => Ok(()),
            Gateway::Http => crate::sms::http::HttpGateway::new(&self.sms.http)
                .map(|_| ())
                .map_err(|e| ConfigError::Unusable(format!("sms.http: {e}"))),
            Gateway::Smpp => self.smpp_password().map(|_| ()),
        }
    }

    /// The SMPP password from its file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn smpp_password(&self) -> Result<sightline_model::Secret<String>, ConfigError> {
        let smpp = &self.sms.smpp;
        let wrong = |text: &str| Err(ConfigError::Unusable(text.to_owned()));
        if smpp.address.is_empty() || smpp.system_id.is_empty() || smpp.system_id.len() > 15 {
            return wrong(
                "sms.smpp.address and sms.smpp.system_id (at most 15 characters) are needed",
            );
        }
        let Some(path) = &smpp.password_file else {
            return wrong("sms.smpp.password_file is needed");
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
        let password = text.trim();
        if !(6..=8).contains(&password.len()) || is_default_secret(password) {
            return wrong("the SMPP password must have 6 to 8 characters and be no default");
        }
        Ok(sightline_model::Secret::new(password.to_owned()))
    }

    /// The URL of the database.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn database_url(&self) -> Result<sightline_model::Secret<String>, ConfigError> {
        let url = match &self.database.url_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?
                .trim()
                .to_owned(),
            None if self.database.url.is_empty() => {
                format!("sqlite:{}", self.data_dir.join("cmu.sqlite").display())
            }
            None => self.database.url.clone(),
        };
        let password = url.split_once("://").and_then(|(_, rest)| {
            let (login, _) = rest.rsplit_once('@')?;
            login.split_once(':').map(|(_, password)| password.to_owned())
        });
        if password.is_some_and(|p| p.len() < 8 || is_default_secret(&p)) {
            return Err(ConfigError::Unusable(
                "the database password must have at least 8 characters and be no default".into(),
            ));
        }
        Ok(sightline_model::Secret::new(url))
    }

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

fn is_default_secret(text: &str) -> bool {
    DEFAULT_SECRETS.iter().any(|d| text.eq_ignore_ascii_case(d))
}
