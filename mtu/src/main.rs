//! `mtu`: a media transmission unit by itself.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use sightline_bus::Bus;
use sightline_service_kit::{health, lifecycle::Lifecycle, telemetry};

/// Media transmission unit: STUN and TURN for media that finds no direct way.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Configuration file; see mtu.sample.toml. Every key can be overridden by SIGHTLINE_… .
    #[arg(long, env = "SIGHTLINE_CONFIG")]
    config: Option<PathBuf>,
    /// Only check the configuration.
    #[arg(long)]
    check_config: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let config = mtu::Config::load(args.config.as_deref())?;
    config.check()?;
    if args.check_config {
        println!("the configuration is good");
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
