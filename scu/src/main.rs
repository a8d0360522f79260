//! `scu`: a service control unit by itself.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use sightline_bus::Bus;
use sightline_service_kit::{
    exit::{EXIT_CODES, exit_code},
    health,
    lifecycle::Lifecycle,
    telemetry,
};

/// Service control unit: registration and presence of premises units, call control.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = format!(
        "Examples:\n  \
            scu --config /etc/sightline/scu.toml\n  \
            scu --config scu.toml --check-config\n  \
            SIGHTLINE_BUS_URL=nats://bus:4222 scu --config scu.toml\n\n\
         Premises units register over QUIC (UDP 7443); viewers and units behind firewalls use\n\
         WebSockets (TCP 7444). It needs NATS, over which it finds CMUs, other SCUs and MTUs.\n\n\
         {EXIT_CODES}"
    )
)]
struct Args {
    /// Configuration file (TOML); scu.sample.toml explains every key. Each key can be overridden by
    /// the environment: `limits.queue` by SIGHTLINE_LIMITS__QUEUE.
    #[arg(long, value_name = "FILE", env = "SIGHTLINE_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and end
    #[arg(long)]
    check_config: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run().await)
}

async fn run() -> anyhow::Result<()> {
    let args = Args::parse();
    let config = scu::Config::load(args.config.as_deref())?;
    config.check()?;
    if args.check_config {
        println!("The configuration is good.");
        return Ok(());
    }
    let _guard = telemetry::init("scu", &config.telemetry)?;
    anyhow::ensure!(
        !config.bus_url.is_empty(),
        "bus_url is empty: an SCU that runs alone needs a NATS server; \
         the all-in-one `sightline` needs none"
    );
    let bus = Bus::nats(&config.bus_url).await.context("cannot reach the bus")?;
    let lifecycle = Lifecycle::new();
    let state = health::Health::default();
    if let Some(listen) = config.admin_listen {
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let router = health::router(state.clone());
        lifecycle.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the admin listener failed");
            }
        });
    }
    scu::start(config, bus, &lifecycle).await?;
    state.ready();
    lifecycle.run_until_signal().await;
    Ok(())
}
