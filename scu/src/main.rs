//! `scu`: a service control unit by itself.

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
    #[command(flatten)]
    service: ServiceArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run().await)
}

async fn run() -> anyhow::Result<()> {
    let Args { service } = Args::parse();
    let Some(config) = service.checked(scu::Config::check)? else { return Ok(()) };
    let _guard = telemetry::init("scu", &config.telemetry)?;
    needs_bus(&config.bus_url)?;
    let bus = Bus::nats(&config.bus_url).await.context("cannot reach the bus")?;
    let lifecycle = Lifecycle::new();
    let health = health::serve(config.admin_listen, &lifecycle)?;
    scu::start(config, bus, &lifecycle).await?;
    health.ready();
    lifecycle.run_until_signal().await;
    Ok(())
}
