//! `mtu`: a media transmission unit by itself.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use sightline_bus::Bus;
use sightline_service_kit::{
    alone::{ServiceArgs, needs_bus},
    config::ConfigError,
    exit::{EXIT_CODES, exit_code},
    health::{self, Health},
    lifecycle::Lifecycle,
    telemetry,
};
use tokio::signal::unix::{SignalKind, signal};

/// Media transmission unit: STUN and TURN for media that finds no direct way.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = format!(
        "Examples:\n  \
            mtu --config /etc/sightline/mtu.toml\n  \
            mtu --config mtu.toml --check-config\n  \
            SIGHTLINE_PUBLIC_IP=198.51.100.7 mtu --config mtu.toml\n\n\
         It serves STUN and TURN (UDP 3478, TCP and TLS where the configuration says so) under\n\
         credentials that SCUs give out, signed with the secret that both read from\n\
         `secret_file`. It needs NATS and a public address. SIGHUP reads certificates and secrets\n\
         again; SIGTERM drains first where `drain_s` says so.\n\n\
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
    let only_checked = service.check_config;
    let checked = service.checked(|config: &mtu::Config| check(config, only_checked))?;
    let Some(config) = checked else { return Ok(()) };
    let _guard = telemetry::init("mtu", &config.telemetry)?;
    needs_bus(&config.bus_url)?;
    let bus = Bus::nats(&config.bus_url).await.context("cannot reach the bus")?;
    let lifecycle = Lifecycle::new();
    let health = health::serve(config.admin_listen, &lifecycle)?;
    let drain = config.drain();
    let mtu = mtu::start(config, bus, &lifecycle).await?;
    health.ready();
    lifecycle.spawn(reload_on_hangup(mtu.control.clone()));
    if !drain.is_zero() {
        lifecycle.spawn(drain_first(mtu.control, drain, health, lifecycle.clone()));
        lifecycle.token.cancelled().await;
        lifecycle.shutdown().await;
        return Ok(());
    }
    lifecycle.run_until_signal().await;
    Ok(())
}

/// Where a file is only checked there is no log for the warnings: they are said `aloud`.
fn check(config: &mtu::Config, aloud: bool) -> Result<(), ConfigError> {
    config.check()?;
    let warnings = config.warnings()?;
    for warning in warnings.iter().filter(|_| aloud) {
        eprintln!("Warning: {warning}");
    }
    Ok(())
}

/// Lets what runs come to its end before the end; a second signal does not wait for it.
async fn drain_first(control: mtu::Control, limit: Duration, health: Health, lifecycle: Lifecycle) {
    asked_to_stop().await;
    tracing::info!(allocations = control.allocations(), "draining; ask again to stop at once");
    health.not_ready("draining");
    tokio::select! {
        () = control.drained(limit) => {}
        () = asked_to_stop() => {}
    }
    lifecycle.token.cancel();
}

async fn asked_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

async fn reload_on_hangup(control: mtu::Control) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        if let Err(error) = control.reload() {
            tracing::error!(%error, "nothing was taken over");
        }
    }
}
