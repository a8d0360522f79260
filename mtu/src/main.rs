//! `mtu`: a media transmission unit by itself.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use sightline_bus::Bus;
use sightline_service_kit::{
    alone::{ServiceArgs, needs_bus},
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
    #[command(flatten)]
    service: ServiceArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run().await)
}

async fn run() -> anyhow::Result<()> {
    let Args { service } = Args::parse();
    let config = mtu::Config::load(service.config())?;
    config.check()?;
    if service.only_checked() {
        return Ok(());
    }
    let _guard = telemetry::init("mtu", &config.telemetry)?;
    needs_bus(&config.bus_url)?;
    let bus = Bus::nats(&config.bus_url).await.context("cannot reach the bus")?;
    let lifecycle = Lifecycle::new();
    let health = health::serve(config.admin_listen, &lifecycle)?;
    mtu::start(config, bus, &lifecycle).await?;
    health.ready();
    lifecycle.run_until_signal().await;
    Ok(())
}
