//! What the types of the configuration cannot say.

use std::net::SocketAddr;

use sightline_model::Secret;
use sightline_service_kit::config::ConfigError;

use super::Config;

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

    /// The URL of the database.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn database_url(&self) -> Result<Secret<String>, ConfigError> {
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
        Ok(Secret::new(url))
    }
}

/// Whether a secret is one that came with somebody's product.
pub(super) fn is_default_secret(text: &str) -> bool {
    DEFAULT_SECRETS.iter().any(|d| text.eq_ignore_ascii_case(d))
}
