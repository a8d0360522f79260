//! Configuration, documented key by key in `mtu.sample.toml`.

mod many;

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use dimpl::DtlsCertificate;
use ipnet::IpNet;
use serde::Deserialize;
use sightline_model::{DomainName, MtuId, Secret};
use sightline_service_kit::{
    config::{ConfigError, read_secret},
    telemetry::TelemetryConfig,
    tls::Identity,
};

use crate::capacity::Capacity;

pub use many::Many;

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
    /// STUN and TURN over UDP, and over DTLS where there is a certificate.
    pub udp_listen: Many<SocketAddr>,
    /// STUN and TURN over TCP, and over TLS where there is a certificate.
    pub tcp_listen: Many<SocketAddr>,
    /// PEM file with the certificate chain for TLS and DTLS.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its key.
    pub key_file: Option<PathBuf>,
    /// Given by a program that starts the MTU as a library; comes before the files.
    #[serde(skip)]
    pub identity: Option<Identity>,
    /// Whether the UDP port serves DTLS, too.
    pub dtls: bool,
    /// Ports of other listeners that hand over TURN over TLS (see [`crate::Control`]).
    #[serde(skip)]
    pub shared_tls_ports: Vec<u16>,
    /// Addresses under which units reach this MTU, one of each family; needed when it listens on
    /// every address or stands behind a one-to-one NAT.
    pub public_ip: Many<IpAddr>,
    /// Name of that address in the DNS. Units are told it in its place: TLS needs a name that the
    /// certificate has, and hosts without IPv4 find the way through their NAT64 by it.
    pub public_name: Option<String>,
    /// A second port, for the tests of RFC 5780: the one after the first of `udp_listen` when
    /// absent, and none when 0.
    pub alternate_port: Option<u16>,
    /// A second address of this machine, for the tests of RFC 5780.
    pub alternate_ip: Option<IpAddr>,
    /// Where relays are bound; the addresses of `udp_listen` when absent.
    #[serde(alias = "relay_bind")]
    pub relay_addresses: Many<RelayAddress>,
    /// First and last port of relays; the system chooses when absent.
    pub relay_ports: Option<(u16, u16)>,
    /// Realm of the credentials (RFC 8489).
    pub realm: String,
    /// File with the secret that SCUs and MTUs share.
    pub secret_file: Option<PathBuf>,
    /// Files with secrets that were good before, or will be soon.
    pub more_secret_files: Vec<PathBuf>,
    /// Given by a program that starts the MTU as a library; comes before the files.
    #[serde(skip)]
    pub secret: Option<Secret<String>>,
    /// Relays at a time; fewer where ports or open files do not suffice (see
    /// [`warnings`](Self::warnings)).
    pub max_allocations: u32,
    /// Relays at a time of one media session.
    pub allocations_per_user: u32,
    /// What one relay may carry, both directions together, in bits per second.
    pub allocation_bps: Option<u64>,
    /// What one media session may.
    pub user_bps: Option<u64>,
    /// What all may.
    pub server_bps: Option<u64>,
    /// What this machine's line can carry, both directions together: the figure by which SCUs
    /// choose among MTUs. `server_bps` when absent.
    pub capacity_bps: Option<u64>,
    /// Requests without good credentials that each worker answers per second and subscriber, and a
    /// twentieth of what it answers per network (/24, of IPv6 /48). The ports of one subscriber may
    /// be with several workers.
    pub newcomers_per_s: u32,
    /// TCP and TLS clients at a time, fewer where open files do not suffice (see
    /// [`warnings`](Self::warnings)); and as many of DTLS, shared out among the workers.
    pub max_connections: usize,
    /// TCP and TLS clients of one subscriber, and as many of DTLS at each worker.
    pub connections_per_subscriber: usize,
    /// Threads that relay; as many as there are cores when absent.
    pub workers: Option<u16>,
    /// Networks to which relays may send although they would be denied.
    pub allow_peers: Vec<IpNet>,
    /// Networks to which relays may not send although they would be allowed.
    pub deny_peers: Vec<IpNet>,
    /// Whether TCP is relayed, too (RFC 6062).
    pub tcp_relays: bool,
    /// Other MTUs to which clients are sent while this one drains.
    pub alternates: Vec<SocketAddr>,
    /// How long a program that was asked to stop waits for its allocations to end.
    pub drain_s: u32,
    /// Where `/healthz`, `/readyz` and `/metrics` are served, if anywhere.
    pub admin_listen: Option<SocketAddr>,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// Where relays are bound, and what peers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RelayAddress {
    /// The same.
    Plain(IpAddr),
    /// Another one, behind a one-to-one NAT.
    Mapped {
        /// Of this machine.
        bind: IpAddr,
        /// As peers see it.
        public: IpAddr,
    },
}

impl RelayAddress {
    /// Of this machine.
    #[must_use]
    pub const fn bind(self) -> IpAddr {
        match self {
            Self::Plain(bind) | Self::Mapped { bind, .. } => bind,
        }
    }

    /// As peers see it.
    #[must_use]
    pub const fn public(self) -> IpAddr {
        match self {
            Self::Plain(public) | Self::Mapped { public, .. } => public,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domain: DomainName::default(),
            id: None,
            bus_url: String::new(),
            udp_listen: SocketAddr::from(([0, 0, 0, 0], 3478)).into(),
            tcp_listen: Many::default(),
            certificate_file: None,
            key_file: None,
            identity: None,
            dtls: true,
            shared_tls_ports: vec![],
            public_ip: Many::default(),
            public_name: None,
            alternate_port: None,
            alternate_ip: None,
            relay_addresses: Many::default(),
            relay_ports: None,
            realm: "sightline".to_owned(),
            secret_file: None,
            more_secret_files: vec![],
            secret: None,
            max_allocations: 1_000,
            allocations_per_user: 32,
            allocation_bps: None,
            user_bps: None,
            server_bps: None,
            capacity_bps: None,
            newcomers_per_s: 50,
            max_connections: 10_000,
            connections_per_subscriber: 64,
            workers: None,
            allow_peers: vec![],
            deny_peers: vec![],
            tcp_relays: false,
            alternates: vec![],
            drain_s: 0,
            admin_listen: None,
            telemetry: TelemetryConfig::default(),
        }
    }
}

fn unusable(what: impl Into<String>) -> ConfigError {
    ConfigError::Unusable(what.into())
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
        self.check_limits()?;
        self.ports()?;
        self.relays()?;
        for listen in self.udp_listen.iter().chain(&self.tcp_listen) {
            self.public_host(listen.ip())?;
        }
        if let Some(identity) = self.identity()? {
            self.dtls_certificate(&identity)?;
        }
        self.credentials()?;
        Ok(())
    }

    /// What a service can start with, but cannot keep: in words, for whoever wrote the file.
    ///
    /// # Errors
    /// [`ConfigError`], as of [`check`](Self::check).
    pub fn warnings(&self) -> Result<Vec<String>, ConfigError> {
        Ok(Capacity::of(self)?.warnings())
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let zero = [
            ("max_allocations", self.max_allocations == 0),
            ("allocations_per_user", self.allocations_per_user == 0),
            ("newcomers_per_s", self.newcomers_per_s == 0),
            ("max_connections", self.max_connections == 0),
            ("connections_per_subscriber", self.connections_per_subscriber == 0),
            ("workers", self.workers == Some(0)),
            ("udp_listen", self.udp_listen.is_empty()),
        ];
        if let Some((key, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(unusable(format!("{key} may not be 0 or empty")));
        }
        let twice = |all: &[SocketAddr]| {
            let fixed: Vec<_> = all.iter().filter(|address| address.port() != 0).collect();
            fixed.iter().collect::<std::collections::HashSet<_>>().len() < fixed.len()
        };
        if twice(&self.udp_listen) || twice(&self.tcp_listen) {
            return Err(unusable("udp_listen and tcp_listen may name an address only once"));
        }
        let rates = [self.allocation_bps, self.user_bps, self.server_bps, self.capacity_bps];
        if rates.into_iter().flatten().any(|bps| bps < 8_000) {
            return Err(unusable("limits in bits per second must be at least 8000"));
        }
        if let Some(alternate) = self.alternate_ip {
            let same = self.udp_listen.iter().any(|listen| listen.ip() == alternate);
            if alternate.is_unspecified() || same {
                return Err(unusable("alternate_ip must be another address than udp_listen's"));
            }
            if self.udp_listen.iter().any(|listen| listen.ip().is_unspecified()) {
                return Err(unusable(
                    "with alternate_ip, udp_listen must name an address, not all of them",
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn ports(&self) -> Result<Option<RangeInclusive<u16>>, ConfigError> {
        match self.relay_ports {
            None => Ok(None),
            Some((first, last)) if first >= 1_024 && first <= last => Ok(Some(first..=last)),
            Some(_) => Err(unusable("relay_ports must be [first, last], from 1024 upwards")),
        }
    }

    /// What clients are told of an address where this MTU listens.
    pub(crate) fn announced(&self, listen: IpAddr) -> Result<IpAddr, ConfigError> {
        let same_family = |ip: &&IpAddr| ip.is_ipv4() == listen.is_ipv4();
        let ip = self.public_ip.iter().find(same_family).copied().unwrap_or(listen);
        if ip.is_unspecified() {
            return Err(unusable(
                "public_ip must say under which address units reach this MTU, \
                 because udp_listen names no single one",
            ));
        }
        Ok(ip)
    }

    /// The address of this machine at which packets for a listening address arrive.
    pub(crate) fn concrete(&self, listen: IpAddr) -> Result<IpAddr, ConfigError> {
        if !listen.is_unspecified() {
            return Ok(listen);
        }
        let public = self.announced(listen)?;
        let is_own = std::net::UdpSocket::bind((public, 0)).is_ok();
        if is_own {
            return Ok(public);
        }
        // Behind a one-to-one NAT: where the way out begins. Nothing is sent.
        let way_out = std::net::UdpSocket::bind((listen, 0)).and_then(|socket| {
            socket.connect((public, 9))?;
            socket.local_addr()
        });
        Ok(way_out.map_or(listen, |local| local.ip()))
    }

    /// What stands in URLs: the name, or the address.
    pub(crate) fn public_host(&self, listen: IpAddr) -> Result<String, ConfigError> {
        let Some(name) = &self.public_name else {
            return Ok(match self.announced(listen)? {
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

    /// Where relays are bound and what peers are told of it.
    pub(crate) fn relays(&self) -> Result<Vec<RelayAddress>, ConfigError> {
        if !self.relay_addresses.is_empty() {
            let relays: Vec<_> =
                self.relay_addresses.iter().map(|relay| self.as_announced(*relay)).collect();
            if relays.iter().any(|relay| relay.public().is_unspecified()) {
                return Err(unusable("relay_addresses must name single addresses to peers"));
            }
            return Ok(relays);
        }
        let mut relays: Vec<RelayAddress> = vec![];
        for listen in &self.udp_listen {
            let (bind, public) = (listen.ip(), self.announced(listen.ip())?);
            let relay = RelayAddress::Mapped { bind, public };
            if !relays.contains(&relay) {
                relays.push(relay);
            }
        }
        Ok(relays)
    }

    /// The only relay address of a family is announced as the MTU itself is.
    fn as_announced(&self, relay: RelayAddress) -> RelayAddress {
        let RelayAddress::Plain(bind) = relay else { return relay };
        let is_v4 = bind.is_ipv4();
        let alone =
            self.relay_addresses.iter().filter(|r| r.bind().is_ipv4() == is_v4).count() == 1;
        let public = self.public_ip.iter().find(|ip| ip.is_ipv4() == is_v4);
        match public.filter(|_| alone) {
            Some(&public) => RelayAddress::Mapped { bind, public },
            None => relay,
        }
    }

    /// What TLS and DTLS show, if they are served.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, ConfigError> {
        if let Some(identity) = &self.identity {
            return Ok(Some(identity.clone()));
        }
        match (&self.certificate_file, &self.key_file) {
            (Some(chain), Some(key)) => {
                let identity = Identity::from_pem_files(chain, key);
                identity.map(Some).map_err(|error| unusable(error.to_string()))
            }
            (None, None) => Ok(None),
            _ => Err(unusable("certificate_file and key_file belong together")),
        }
    }

    /// What DTLS shows, if it is served.
    pub(crate) fn dtls_certificate(
        &self,
        identity: &Identity,
    ) -> Result<Option<DtlsCertificate>, ConfigError> {
        if !self.dtls {
            return Ok(None);
        }
        let certificate = crate::dtls::certificate(&identity.chain, &identity.key);
        certificate.map(Some).map_err(|error| {
            unusable(format!("{error}: give the MTU a certificate of such a key, or dtls = false"))
        })
    }

    /// Realm and all secrets that are good now.
    pub(crate) fn credentials(&self) -> Result<mtu_turn::Credentials, ConfigError> {
        let mut secrets = Vec::from_iter(self.secret.clone());
        if secrets.is_empty() {
            let path = self.secret_file.as_ref().ok_or_else(|| {
                unusable(
                    "secret_file is missing: it holds the secret that all SCUs and MTUs share; \
                     make one with: openssl rand -base64 32",
                )
            })?;
            secrets.push(Secret::new(read_secret(path)?.to_string()));
        }
        for path in &self.more_secret_files {
            secrets.push(Secret::new(read_secret(path)?.to_string()));
        }
        mtu_turn::Credentials::new(&self.realm, secrets)
            .map_err(|error| unusable(error.to_string()))
    }

    /// Files whose change is taken over while the MTU runs.
    pub(crate) fn watched_files(&self) -> Vec<PathBuf> {
        let tls = [&self.certificate_file, &self.key_file, &self.secret_file];
        tls.into_iter().flatten().chain(&self.more_secret_files).cloned().collect()
    }

    /// How long a program that was asked to stop waits for its allocations to end.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s.into())
    }
}
