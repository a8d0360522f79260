//! `mtu`: a media transmission unit by itself.

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

/// Media transmission unit: STUN and TURN for media that finds no direct way.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = format!(
        "Examples:\n  \
            mtu --config /etc/sightline/mtu.toml\n  \
            mtu --config mtu.toml --check-config\n  \
            SIGHTLINE_PUBLIC_IP=198.51.100.7 mtu --config mtu.toml\n\n\
         It serves STUN and TURN (UDP 3478) under credentials that SCUs give out, signed with the\n\
         secret that both read from `secret_file`. It needs NATS and a public address.\n\n\
         {EXIT_CODES}"
    )
)]
struct Args {
    /// Configuration file (TOML); mtu.sample.toml explains every key. Each key can be overridden by
    /// the environment: `public_ip` by SIGHTLINE_PUBLIC_IP.
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
    let config = mtu::Config::load(args.config.as_deref())?;
    config.check()?;
    if args.check_config {
        println!("The configuration is good.");
        return Ok(());
    }
    let _guard = telemetry::init("mtu", &config.telemetry)?;
    anyhow::ensure!(
        !config.bus_url.is_empty(),
        "bus_url is empty: an MTU that runs alone needs a NATS server; \
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
    mtu::start(config, bus, &lifecycle).await?;
    state.ready();
    lifecycle.run_until_signal().await;
    Ok(())
}
