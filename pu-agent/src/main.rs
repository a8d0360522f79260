//! Command line of the PU agent.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};
use pu_agent::{Config, identity::Identity};
use qrcode::render::unicode::Dense1x2;
use sightline_media_io::onvif;
use sightline_service_kit::{
    alone::ServiceArgs,
    config,
    exit::{EXIT_CODES, exit_code},
    lifecycle::Lifecycle,
    telemetry,
};
use url::Url;

/// Gives the cameras of this place to whoever may watch them.
#[derive(Parser)]
#[command(
    name = "pu-agent",
    version,
    after_help = format!(
        "Examples:\n  \
            pu-agent discover                                    cameras of this network\n  \
            pu-agent --config /etc/sightline/pu-agent.toml\n  \
            pu-agent --config pu-agent.toml claim-code           for the portal's \"Add camera\"\n  \
            pu-agent --config pu-agent.toml --check-config\n\n\
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
    /// Run the agent (also without a command).
    Run,
    /// Print this unit's claim code, as text and as a QR code.
    ClaimCode,
    /// Hold the button: the claim code works again although the unit is bound, until its owner
    /// changes.
    UnlockClaim,
    /// List the ONVIF cameras of this network, and where their streams are.
    Discover,
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
        Command::Discover => discover(&config),
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let _guard = telemetry::init("pu-agent", &config.telemetry)?;
    let lifecycle = Lifecycle::new();
    let running = pu_agent::start(config, &lifecycle).await?;
    println!("{} listens: RTSP {}, QUIC {}", running.pu_id, running.rtsp_addr, running.quic_addr);
    println!("Its claim code is shown by: pu-agent claim-code");
    lifecycle.run_until_signal().await;
    Ok(())
}

fn claim_code(config: &Config) -> anyhow::Result<()> {
    let identity = Identity::load_or_create(&config.data_dir)?;
    let code = identity.claim_code().to_string();
    if let Some(portal) = &config.portal {
        let link = bind_link(portal, &code)?;
        let qr = qrcode::QrCode::new(link.as_str()).context("the QR code cannot be made")?;
        // Light on dark, as most terminals are: the full block is the paper.
        let picture =
            qr.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        println!("{picture}\n{link}");
    }
    println!("{code}");
    Ok(())
}

fn bind_link(portal: &Url, code: &str) -> anyhow::Result<Url> {
    let mut link = portal.join("/").context("portal")?;
    link.set_fragment(Some(&format!("/bind?code={code}")));
    Ok(link)
}

fn unlock_claim(config: &Config) -> anyhow::Result<()> {
    let identity = Identity::load_or_create(&config.data_dir)?;
    identity.unlock_claim()?;
    println!("The claim code of {} works again, until the unit has a new owner.", identity.pu_id());
    Ok(())
}

#[tokio::main]
async fn discover(config: &Config) -> anyhow::Result<()> {
    let credentials = config.onvif.credentials()?;
    let found = onvif::discover(Duration::from_secs(3)).await;
    for camera in &found {
        println!("{}  {}", camera.name, camera.device_url);
        match onvif::streams(camera, &credentials.username, &credentials.password).await {
            Ok(urls) => {
                println!("  source = \"{}\"", urls.main);
                if let Some(sub) = urls.sub {
                    println!("  sub = \"{sub}\"");
                }
            }
            Err(problem) => println!("  {problem}"),
        }
    }
    if found.is_empty() {
        println!("No camera answered.");
    }
    Ok(())
}
