//! What the command lines of services that run alone have in common.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::config;

/// `--config` and `--check-config`, for `#[command(flatten)]`.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    /// Configuration file (TOML); the sample file beside the service explains every key. Each key
    /// can be overridden by the environment: `telemetry.format` by SIGHTLINE_TELEMETRY__FORMAT
    #[arg(long, global = true, value_name = "FILE", env = "SIGHTLINE_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and end
    #[arg(long)]
    pub check_config: bool,
}

impl ServiceArgs {
    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The configuration, read and checked; `None` when nothing more was asked for.
    ///
    /// # Errors
    /// It cannot be read, or `check` finds that no service could start with it.
    pub fn checked<C, E>(
        &self,
        check: impl FnOnce(&C) -> Result<(), E>,
    ) -> anyhow::Result<Option<C>>
    where
        C: DeserializeOwned,
        E: Into<anyhow::Error>,
    {
        let config = config::load(self.config())?;
        check(&config).map_err(Into::into)?;
        Ok((!self.only_checked()).then_some(config))
    }

    /// Whether all that was asked for is done, now that the configuration has been found good.
    #[must_use]
    pub fn only_checked(&self) -> bool {
        if self.check_config {
            println!("The configuration is good.");
        }
        self.check_config
    }
}

/// A service that runs alone finds the others over NATS.
///
/// # Errors
/// When `url` is empty.
pub fn needs_bus(url: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        !url.is_empty(),
        "bus_url is empty: a service that runs alone needs a NATS server; \
         the all-in-one `sightline` needs none"
    );
    Ok(())
}
