//! Command line of the NVR.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use nvr::{Config, identity::Identity};
use qrcode::render::unicode::Dense1x2;
use sightline_service_kit::{
    alone::ServiceArgs,
    config,
    exit::{EXIT_CODES, exit_code},
    health,
    lifecycle::Lifecycle,
    telemetry,
};

/// Records the cameras of this place, and gives the recordings to whoever may see them.
#[derive(Parser)]
#[command(
    name = "nvr",
    version,
    after_help = format!(
        "Examples:\n  \
            nvr --config /etc/sightline/nvr.toml\n  \
            nvr --config nvr.toml claim-code           for the portal's \"Add camera\"\n  \
            nvr --config nvr.toml --check-config\n\n\
         {EXIT_CODES}"
    )
)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the recorder (also without a command).
    Run,
    /// Print this NVR's claim code, as text and as a QR code.
    ClaimCode,
    /// Hold the button: the claim code works again although the NVR is bound, until its owner
    /// changes.
    UnlockClaim,
}

fn main() -> ExitCode {
    exit_code(execute())
}

fn execute() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config: Config = config::load(arguments.service.config())?;
    if arguments.service.check_config {
        config.check()?;
    }
    if arguments.service.only_checked() {
        return Ok(());
    }
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run(config),
        Command::ClaimCode => claim_code(&config),
        Command::UnlockClaim => unlock_claim(&config),
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let _guard = telemetry::init("nvr", &config.telemetry)?;
    if !health::name_figures("sightline_pu_", "sightline_nvr_") {
        tracing::warn!("figures that an NVR shares with premises units bear their name");
    }
    let lifecycle = Lifecycle::new();
    let running = nvr::start(config, &lifecycle).await?;
    println!("{} listens: RTSP {}, QUIC {}", running.pu_id, running.rtsp_addr, running.quic_addr);
    println!("Its claim code is shown by: nvr claim-code");
    lifecycle.run_until_signal().await;
    Ok(())
}

fn claim_code(config: &Config) -> anyhow::Result<()> {
    let identity = Identity::load_or_create(&config.data_dir)?;
    let code = identity.claim_code().to_string();
    if let Some(portal) = &config.portal {
        let mut link = portal.join("/").context("portal")?;
        link.set_fragment(Some(&format!("/bind?code={code}")));
        let qr = qrcode::QrCode::new(link.as_str()).context("the QR code cannot be made")?;
        // Light on dark, as most terminals are: the full block is the paper.
        let picture =
            qr.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        println!("{picture}\n{link}");
    }
    println!("{code}");
    Ok(())
}

fn unlock_claim(config: &Config) -> anyhow::Result<()> {
    let identity = Identity::load_or_create(&config.data_dir)?;
    identity.unlock_claim()?;
    println!("The claim code of {} works again, until it has a new owner.", identity.pu_id());
    Ok(())
}
