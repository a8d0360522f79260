//! `[sms]`: how one-time codes are sent.

use std::path::PathBuf;

use serde::Deserialize;
use sightline_model::Secret;
use sightline_service_kit::config::ConfigError;

use super::{Config, check::is_default_secret};

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

impl Config {
    pub(super) fn check_gateway(&self) -> Result<(), ConfigError> {
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
    pub fn smpp_password(&self) -> Result<Secret<String>, ConfigError> {
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
        Ok(Secret::new(password.to_owned()))
    }
}
