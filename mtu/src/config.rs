//! Configuration, documented key by key in `mtu.sample.toml`.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;
use sightline_model::{DomainName, MtuId, Secret};
use sightline_service_kit::{
    config::{ConfigError, read_secret},
    telemetry::TelemetryConfig,
};

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The domain that is served.
    pub domain: DomainName,
    /// Name of this MTU, unique in the domain; a random one when absent.
    pub id: Option<MtuId>,
    /// Where the bus is; empty for a program that hands in its own.
    pub bus_url: String,
    /// STUN and TURN over UDP.
    pub udp_listen: SocketAddr,
    /// STUN and TURN over TCP, if wanted.
    pub tcp_listen: Option<SocketAddr>,
    /// Address under which units reach this MTU; needed when it listens on every address or
    /// stands behind a one-to-one NAT.
    pub public_ip: Option<IpAddr>,
    /// Name of that address in the DNS. Units are told it in its place: TLS needs a name that the
    /// certificate has, and hosts without IPv4 find the way through their NAT64 by it.
    pub public_name: Option<String>,
    /// Address where relays are bound; that of `udp_listen` when absent.
    pub relay_bind: Option<IpAddr>,
    /// First and last port of relays; the system chooses when absent.
    pub relay_ports: Option<(u16, u16)>,
    /// Realm of the credentials (RFC 8489).
    pub realm: String,
    /// File with the secret that SCUs and MTUs share.
    pub secret_file: Option<PathBuf>,
    /// Given by a program that starts the MTU as a library; comes before the file.
    #[serde(skip)]
    pub secret: Option<Secret<String>>,
    /// Relays at a time.
    pub max_allocations: u32,
    /// Requests without credentials that are answered per second.
    pub newcomers_per_s: u32,
    /// Networks to which relays may send although they would be denied.
    pub allow_peers: Vec<IpNet>,
    /// Where `/healthz`, `/readyz` and `/metrics` are served, if anywhere.
    pub admin_listen: Option<SocketAddr>,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domain: DomainName::default(),
            id: None,
            bus_url: String::new(),
            udp_listen: SocketAddr::from(([0, 0, 0, 0], 3478)),
            tcp_listen: None,
            public_ip: None,
            public_name: None,
            relay_bind: None,
            relay_ports: None,
            realm: "sightline".to_owned(),
            secret_file: None,
            secret: None,
            max_allocations: 1_000,
            newcomers_per_s: 200,
            allow_peers: vec![],
            admin_listen: None,
            telemetry: TelemetryConfig::default(),
        }
    }
}

fn unusable(what: &str) -> ConfigError {
    ConfigError::Unusable(what.to_owned())
}

impl Config {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        sightline_service_kit::config::load(path)
    }

    /// Whether a service could start with it; nothing is bound.
    ///
    /// # Errors
    /// [`ConfigError`], in words.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.realm.is_empty() || self.realm.contains(['"', ':']) || self.realm.len() > 127 {
            return Err(unusable("realm must have 1 to 127 characters, no quote and no colon"));
        }
        if self.max_allocations == 0 || self.newcomers_per_s == 0 {
            return Err(unusable("max_allocations and newcomers_per_s may not be 0"));
        }
        self.ports()?;
        self.public_ip()?;
        self.public_host()?;
        self.secret()?;
        Ok(())
    }

    pub(crate) fn ports(&self) -> Result<Option<RangeInclusive<u16>>, ConfigError> {
        match self.relay_ports {
            None => Ok(None),
            Some((first, last)) if first >= 1_024 && first <= last => Ok(Some(first..=last)),
            Some(_) => Err(unusable("relay_ports must be [first, last], from 1024 upwards")),
        }
    }

    pub(crate) fn public_ip(&self) -> Result<IpAddr, ConfigError> {
        let ip = self.public_ip.unwrap_or(self.udp_listen.ip());
        if ip.is_unspecified() {
            return Err(unusable(
                "public_ip must say under which address units reach this MTU, \
                 because udp_listen names no single one",
            ));
        }
        Ok(ip)
    }

    /// What stands in URLs: the name, or the address.
    pub(crate) fn public_host(&self) -> Result<String, ConfigError> {
        let Some(name) = &self.public_name else {
            return Ok(match self.public_ip()? {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            });
        };
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if name.is_empty() || name.len() > 253 || !name.chars().all(usable) {
            return Err(unusable("public_name must be a name of the DNS, without scheme and port"));
        }
        Ok(name.clone())
    }

    pub(crate) fn secret(&self) -> Result<Secret<String>, ConfigError> {
        if let Some(secret) = &self.secret {
            return Ok(secret.clone());
        }
        let path = self.secret_file.as_ref().ok_or_else(|| {
            unusable(
                "secret_file is missing: it holds the secret that all SCUs and MTUs share; \
                 make one with: openssl rand -base64 32",
            )
        })?;
        Ok(Secret::new(read_secret(path)?.to_string()))
    }
}
