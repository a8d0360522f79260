//! `sightline serve`: the all-in-one as a service.

use std::path::PathBuf;

use anyhow::Context;
use sightline_service_kit::{config, lifecycle::run_until_signal, telemetry};
use tokio::signal::unix::{SignalKind, signal};

use crate::centre::{Centre, Certificates, Config};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  sightline serve --config sightline.toml
  sightline serve --config sightline.toml --check-config

SIGHUP reads the certificate again.

Open to the outside: 8443/tcp (portal, API, signalling), 7443/udp (premises units), 3478/udp (relay)")]
pub struct Args {
    /// Configuration file (TOML); `sightline.sample.toml` explains every key
    #[arg(long, value_name = "FILE", env = "SIGHTLINE_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and end
    #[arg(long)]
    check_config: bool,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let config: Config = config::load(args.config.as_deref())?;
    config.check()?;
    if args.check_config {
        println!("The configuration is good.");
        return Ok(());
    }
    let _telemetry = telemetry::init("sightline", &config.telemetry)?;
    let centre = Centre::start(config).await.context("the centre cannot start")?;
    tracing::info!(http = ?centre.http, https = ?centre.https, ps = %centre.ps, "centre started");
    centre.edge.spawn(reload_on_hangup(centre.certificates));
    run_until_signal(&[&centre.edge, &centre.core]).await;
    Ok(())
}

async fn reload_on_hangup(certificates: Certificates) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::warn!(%error, "cannot listen for SIGHUP"),
    };
    while hangup.recv().await.is_some() {
        match certificates.reload() {
            Ok(()) => tracing::info!("certificates have been read again"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the certificate stays as it was");
            }
        }
    }
}
