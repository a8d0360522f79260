//! Configuration, documented key by key in `scu.sample.toml`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use sightline_model::{DomainName, ScuId, Secret};
use sightline_service_kit::{
    config::{ConfigError, read_secret},
    telemetry::TelemetryConfig,
    tls::{Authority, Identity},
};

use crate::StartError;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The domain that is served.
    pub domain: DomainName,
    /// Name of this SCU, unique in the domain; a random one when absent.
    pub id: Option<ScuId>,
    /// What CUs connect to, such as `wss://scu1.example.net`; `/` when the portal's own address
    /// leads here too; derived from the HTTP address when empty.
    pub public_url: String,
    /// Where the bus is; empty for none but this process (then there must be a CMU in it).
    pub bus_url: String,
    /// Where PUs connect over QUIC.
    pub quic_listen: SocketAddr,
    /// Where CUs, and PUs behind a firewall that blocks UDP, connect; absent when another service
    /// mounts [`crate::router`].
    pub http_listen: Option<SocketAddr>,
    /// Where `/healthz`, `/readyz` and `/metrics` are served, if anywhere.
    pub admin_listen: Option<SocketAddr>,
    /// Certificates.
    pub tls: Tls,
    /// Credentials for relays.
    pub turn: Turn,
    /// Bounds.
    pub limits: Limits,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domain: DomainName::default(),
            id: None,
            public_url: String::new(),
            bus_url: String::new(),
            quic_listen: SocketAddr::from(([0, 0, 0, 0], 7443)),
            http_listen: Some(SocketAddr::from(([0, 0, 0, 0], 7444))),
            admin_listen: None,
            tls: Tls::default(),
            turn: Turn::default(),
            limits: Limits::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// Certificates: from files, or from an authority of one's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Whether HTTP is served over TLS. QUIC always is.
    pub http: bool,
    /// PEM file with the certificate chain.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its key.
    pub key_file: Option<PathBuf>,
    /// Folder of the own authority, used when there are no files; made on the first start.
    pub authority_dir: PathBuf,
    /// Host names for which the own authority vouches.
    pub names: Vec<String>,
    /// Addresses for which it vouches.
    pub addresses: Vec<std::net::IpAddr>,
    /// Given by a program that starts the SCU as a library; comes before all of the above.
    #[serde(skip)]
    pub identity: Option<Identity>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            http: true,
            certificate_file: None,
            key_file: None,
            authority_dir: PathBuf::from("scu-data/tls"),
            names: vec!["localhost".to_owned()],
            addresses: vec![[127, 0, 0, 1].into()],
            identity: None,
        }
    }
}

impl Tls {
    pub(crate) fn identity(&self) -> Result<Identity, StartError> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        match (&self.certificate_file, &self.key_file) {
            (Some(chain), Some(key)) => Ok(Identity::from_pem_files(chain, key)?),
            (None, None) => {
                let authority = Authority::load_or_create(&self.authority_dir, "Sightline SCU")?;
                let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
                Ok(authority.issue(&names, &self.addresses)?)
            }
            (Some(_), None) | (None, Some(_)) => Err(half_an_identity()),
        }
    }
}

/// Credentials for relays, as in the draft "A REST API For Access To TURN Services".
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// File with the secret that SCUs and MTUs share; without it no relay is offered.
    pub secret_file: Option<PathBuf>,
    /// How long a credential works.
    pub credential_ttl_s: u32,
    /// Given by a program that starts the SCU as a library; comes before the file.
    #[serde(skip)]
    pub secret: Option<Secret<String>>,
}

impl Default for Turn {
    fn default() -> Self {
        Self { secret_file: None, credential_ttl_s: 6 * 3_600, secret: None }
    }
}

impl Turn {
    pub(crate) fn secret(&self) -> Result<Option<Secret<String>>, ConfigError> {
        if self.secret.is_some() {
            return Ok(self.secret.clone());
        }
        let read = |path: &PathBuf| read_secret(path).map(|s| Secret::new(s.to_string()));
        self.secret_file.as_ref().map(read).transpose()
    }
}

/// Bounds.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections in all.
    pub connections: u32,
    /// Connections of one IPv4 address or one IPv6 /64; many homes share one address.
    pub connections_per_ip: u32,
    /// How long a PU may take to register.
    pub sign_in_timeout_ms: u32,
    /// How often a PU must speak.
    pub keep_alive_ms: u32,
    /// Messages that may wait for one peer before it is cut off.
    pub queue: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 200_000,
            connections_per_ip: 256,
            sign_in_timeout_ms: 5_000,
            keep_alive_ms: 10_000,
            queue: 128,
        }
    }
}

impl Limits {
    pub(crate) fn sign_in_timeout(&self) -> Duration {
        Duration::from_millis(self.sign_in_timeout_ms.into())
    }

    pub(crate) fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms.into())
    }
}

fn unusable(what: &str) -> StartError {
    StartError::Config(ConfigError::Unusable(what.to_owned()))
}

fn half_an_identity() -> StartError {
    unusable("tls.certificate_file and tls.key_file belong together; set both or none")
}

impl Config {
    /// Reads the file and the environment, and checks what can be checked without starting.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        sightline_service_kit::config::load(path)
    }

    /// Whether a service could start with it; nothing is bound.
    ///
    /// # Errors
    /// [`StartError`], in words.
    pub fn check(&self) -> Result<(), StartError> {
        let limits = &self.limits;
        if limits.keep_alive_ms < 100 || limits.sign_in_timeout_ms < 100 {
            return Err(unusable("limits: times below 100 ms would cut everybody off"));
        }
        if limits.queue == 0 || limits.connections == 0 || limits.connections_per_ip == 0 {
            return Err(unusable("limits: none of them may be 0"));
        }
        let url = &self.public_url;
        let absolute = url.starts_with("wss://") || url.starts_with("ws://");
        if !(absolute || url.is_empty() || url == "/") {
            return Err(unusable("public_url must begin with wss:// or ws://, or be just \"/\""));
        }
        if self.http_listen.is_none() && url.is_empty() {
            return Err(unusable("without http_listen, public_url must say where CUs connect"));
        }
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            return Err(half_an_identity());
        }
        self.turn.secret()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_without_its_key_is_refused_before_the_start() {
        let mut config = Config::default();
        config.check().expect("the defaults are good");
        config.tls.certificate_file = Some("chain.pem".into());
        let refused = config.check().expect_err("half an identity").to_string();
        assert!(refused.contains("tls.key_file"), "{refused}");
    }
}
