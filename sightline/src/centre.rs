//! CMU, SCU and MTU in this process, on one port for portal, API and signalling.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use serde::Deserialize;
use sightline_bus::Bus;
use sightline_model::{DomainName, Secret};
use sightline_service_kit::{
    config::{ConfigError, write_private},
    health, http,
    lifecycle::Lifecycle,
    telemetry::TelemetryConfig,
    tls::{Authority, Identity, TlsError},
};

/// Everything that can be set for `sightline serve`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The home domain of users and devices.
    pub domain: DomainName,
    /// Portal, API and signalling without TLS: for a reverse proxy or this machine only. Empty:
    /// nowhere.
    pub http_listen: Option<SocketAddr>,
    /// Portal, API and signalling over TLS.
    pub https_listen: Option<SocketAddr>,
    /// Health and metrics; keep it off public addresses.
    pub admin_listen: Option<SocketAddr>,
    /// Certificates of the TLS listener and of the PUs' QUIC listener.
    pub tls: Tls,
    /// The CMU. What it has in common with the others (domain, data folder, listeners, bus) is set
    /// above.
    pub cmu: cmu::Config,
    /// The SCU, likewise.
    pub scu: scu::Config,
    /// The MTU, likewise.
    pub mtu: mtu::Config,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// Certificates: from files, or from an authority of one's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its key.
    pub key_file: Option<PathBuf>,
    /// Names for which the own authority vouches.
    pub names: Vec<String>,
    /// Addresses for which it vouches.
    pub addresses: Vec<IpAddr>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate_file: None,
            key_file: None,
            names: vec!["localhost".into()],
            addresses: vec![[127, 0, 0, 1].into()],
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            domain: DomainName::default(),
            http_listen: None,
            https_listen: Some(SocketAddr::from(([0, 0, 0, 0], 8443))),
            admin_listen: None,
            tls: Tls::default(),
            cmu: cmu::Config::default(),
            scu: scu::Config::default(),
            mtu: mtu::Config::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Config {
    /// Checks what can be checked without starting.
    ///
    /// # Errors
    /// In words for whoever wrote it.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.http_listen.is_none() && self.https_listen.is_none() {
            let reason = "neither http_listen nor https_listen is set: nobody could sign in";
            return Err(ConfigError::Unusable(reason.into()).into());
        }
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            let reason = "tls.certificate_file and tls.key_file belong together";
            return Err(ConfigError::Unusable(reason.into()).into());
        }
        self.cmu.check().context("[cmu]")?;
        // The relay's secret is made on the first start.
        let secret = Some(Secret::new("made on the first start".to_owned()));
        let identity = self.tls.in_files()?;
        let mtu = mtu::Config { secret, identity, ..self.mtu.clone() };
        mtu.check().context("[mtu]")?;
        let scu = scu::Config { http_listen: None, ..self.scu.clone() };
        with_public_url(scu).check().context("[scu]")?;
        Ok(())
    }

    /// Folder of the own authority.
    pub fn authority_dir(&self) -> PathBuf {
        self.data_dir.join("tls")
    }

    fn identity(&self) -> Result<Identity, TlsError> {
        if let Some(identity) = self.tls.in_files()? {
            return Ok(identity);
        }
        let name = format!("Sightline, {}", self.domain);
        let authority = Authority::load_or_create(&self.authority_dir(), &name)?;
        let names: Vec<_> = self.tls.names.iter().map(String::as_str).collect();
        authority.issue(&names, &self.tls.addresses)
    }
}

impl Tls {
    fn in_files(&self) -> Result<Option<Identity>, TlsError> {
        let files = self.certificate_file.as_ref().zip(self.key_file.as_ref());
        files.map(|(chain, key)| Identity::from_pem_files(chain, key)).transpose()
    }
}

/// What the portal and the MTU show over TLS and DTLS.
pub struct Certificates {
    config: Config,
    turn: mtu::Control,
    portal: Option<http::ShownIdentity>,
}

impl Certificates {
    /// Reads the files again, or lets the own authority issue anew. What runs goes on; the QUIC
    /// listener of the PUs shows the old one until the next start.
    ///
    /// # Errors
    /// In words for whoever runs it; then everything stays as it was.
    pub fn reload(&self) -> anyhow::Result<()> {
        let identity = self.config.identity()?;
        // The MTU is the more particular one of the two about keys.
        self.turn.show(&identity).context("[mtu]")?;
        if let Some(portal) = &self.portal {
            portal.show(&identity)?;
        }
        Ok(())
    }
}

/// A running centre.
pub struct Centre {
    /// Portal without TLS.
    pub http: Option<SocketAddr>,
    /// Portal over TLS.
    pub https: Option<SocketAddr>,
    /// Where PUs register (QUIC).
    pub ps: SocketAddr,
    /// What is shown.
    pub certificates: Certificates,
    /// SCU, MTU and the listeners; must end before the CMU, to which they report.
    pub edge: Lifecycle,
    /// The CMU.
    pub core: Lifecycle,
}

impl Centre {
    /// Starts all units.
    ///
    /// # Errors
    /// In words for whoever runs it.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let (edge, core) = (Lifecycle::new(), Lifecycle::new());
        let bus = Bus::in_process();
        private_folder(&config.data_dir)?;
        let identity = config.identity()?;
        let secret = turn_secret(&config.data_dir)?;

        let cmu = cmu::Cmu::open(cmu_config(&config), bus.clone(), &core).await?;
        let https = config.https_listen.map(http::bind).transpose()?;
        // TURN over TLS comes in at the portal's port, which passes the most firewalls.
        let mtu = mtu::Config {
            domain: config.domain.clone(),
            secret: Some(secret.clone()),
            identity: Some(identity.clone()),
            shared_tls_ports: https.iter().map(|(_, bound)| bound.port()).collect(),
            ..config.mtu.clone()
        };
        let mtu = mtu::start(mtu, bus.clone(), &edge).await.context("MTU")?;
        let scu = scu_config(&config, identity.clone(), secret);
        let scu = scu::start(scu, bus, &edge).await.context("SCU")?;

        let router = cmu.router()?.merge(scu::router(&scu));
        let http = config.http_listen.map(http::bind).transpose()?;
        let http = http.map(|(listener, bound)| {
            http::serve(listener, None, router.clone(), &edge)?;
            anyhow::Ok(bound)
        });
        let https = https.map(|(listener, bound)| {
            let turn = Arc::new(mtu.control.clone());
            let shown = http::serve_shared(listener, &identity, router, turn, &edge)?;
            anyhow::Ok((bound, shown))
        });
        let (http, (https, portal)) = (http.transpose()?, https.transpose()?.unzip());
        if let Some(admin) = config.admin_listen {
            let (listener, _) = http::bind(admin)?;
            http::serve(listener, None, health::router(cmu.health()), &edge)?;
        }
        let certificates = Certificates { config, turn: mtu.control, portal };
        Ok(Self { http, https, ps: scu.quic_addr, certificates, edge, core })
    }
}

/// The CMU's configuration, with what it has in common with the others.
pub fn cmu_config(config: &Config) -> cmu::Config {
    cmu::Config {
        domain: config.domain.clone(),
        data_dir: config.data_dir.clone(),
        admin_listen: String::new(),
        ..config.cmu.clone()
    }
}

fn scu_config(config: &Config, identity: Identity, secret: Secret<String>) -> scu::Config {
    let mut scu = config.scu.clone();
    scu.domain = config.domain.clone();
    scu.http_listen = None;
    scu.tls.identity = Some(identity);
    scu.turn.secret = Some(secret);
    with_public_url(scu)
}

/// Signalling is wherever the portal is, under whatever name the person reached it.
fn with_public_url(mut scu: scu::Config) -> scu::Config {
    if scu.public_url.is_empty() {
        scu.public_url = "/".into();
    }
    scu
}

/// It will hold keys and claim codes: nobody else of this machine may look into it.
fn private_folder(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))
}

/// What SCU and MTU share; made on the first start.
fn turn_secret(data_dir: &Path) -> anyhow::Result<Secret<String>> {
    let path = data_dir.join("turn.secret");
    if !path.exists() {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).context("no random numbers")?;
        let text = data_encoding::BASE64URL_NOPAD.encode(&bits);
        write_private(&path, text.as_bytes()).with_context(|| path.display().to_string())?;
    }
    let secret = sightline_service_kit::config::read_secret(&path)?;
    Ok(Secret::new(secret.to_string()))
}
