//! The SMS gateway interface (A6.2.3): a file, a provider's HTTP API, or an SMSC by SMPP 3.4.

pub mod file;
pub mod http;
pub mod smpp;

use std::{fmt, path::Path, sync::Arc};

use sightline_model::PhoneNumber;
use sightline_service_kit::{config::ConfigError, lifecycle::Lifecycle};

use crate::config::{Config, Gateway};

/// Why an SMS was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SmsError {
    /// The settings cannot work.
    #[error("{0}")]
    Settings(&'static str),
    /// The gateway cannot be reached, or went away.
    #[error("the SMS gateway cannot be reached: {0}")]
    Unreachable(String),
    /// The gateway refused the message or us.
    #[error("the SMS gateway refused: {0}")]
    Refused(String),
    /// The gateway did not answer in time.
    #[error("the SMS gateway did not answer in time")]
    Timeout,
    /// This very process keeps too many messages waiting.
    #[error("too many messages wait for the SMS gateway")]
    Full,
}

/// Sends text to telephones.
#[async_trait::async_trait]
pub trait SmsGateway: Send + Sync + fmt::Debug {
    /// Sends `text` to `phone`; `Ok` when the gateway has taken it over.
    async fn send(&self, phone: &PhoneNumber, text: &str) -> Result<(), SmsError>;
}

/// The gateway that the configuration names.
///
/// # Errors
/// [`ConfigError`].
pub fn from_config(
    config: &Config,
    lifecycle: &Lifecycle,
) -> Result<Arc<dyn SmsGateway>, ConfigError> {
    let unusable = |e: SmsError| ConfigError::Unusable(format!("sms: {e}"));
    Ok(match config.sms.gateway {
        Gateway::File => Arc::new(file::FileGateway::new(&log_path(config))),
        Gateway::Http => Arc::new(http::HttpGateway::new(&config.sms.http).map_err(unusable)?),
        Gateway::Smpp => {
            let password = config.smpp_password()?;
            let gateway = smpp::SmppGateway::start(&config.sms.smpp, password, lifecycle);
            Arc::new(gateway.map_err(unusable)?)
        }
    })
}

fn log_path(config: &Config) -> std::path::PathBuf {
    let given: Option<&Path> = config.sms.file.as_deref();
    given.map_or_else(|| config.data_dir.join("sms.log"), Path::to_owned)
}
