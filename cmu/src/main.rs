//! `cmu`: the central management unit as a process of its own.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use sightline_bus::Bus;
use sightline_model::PhoneNumber;
use sightline_service_kit::{
    alone::ServiceArgs,
    exit::{EXIT_CODES, exit_code},
    lifecycle::Lifecycle,
    telemetry,
};

/// Central management unit: accounts, devices, rights, and the portal.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = format!(
        "Examples:\n  \
            cmu --config /etc/sightline/cmu.toml\n  \
            cmu --config cmu.toml --check-config\n  \
            cmu --config cmu.toml operator add +8613800138000     the first operator\n  \
            SIGHTLINE_DATABASE__URL=postgres://sightline@db/sightline cmu --config cmu.toml\n\n\
         Without a command it serves the portal and the API (TCP 8080; put TLS in front). It needs\n\
         NATS, and PostgreSQL as soon as there is more than one CMU.\n\n\
         {EXIT_CODES}"
    )
)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the OpenAPI document, or write it to a file.
    Openapi {
        /// Where to.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// The cloud storage.
    Cloud {
        #[command(subcommand)]
        command: CloudCommand,
    },
    /// The operator's staff.
    Operator {
        #[command(subcommand)]
        command: Operator,
    },
}

#[derive(Debug, Subcommand)]
enum CloudCommand {
    /// Make the list of recordings again from the store, after the database was lost, with locks and age
    /// limits. Best before the CMU starts on an old backup: what is locked from then on is written over
    /// what the store knew.
    Rebuild,
}

#[derive(Debug, Subcommand)]
enum Operator {
    /// Make the owner of a mobile number one of the operator's staff.
    Add {
        /// In international form, such as +8613800138000.
        phone: PhoneNumber,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run().await)
}

async fn run() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(Command::Openapi { out }) = &args.command {
        return write_openapi(out.as_deref());
    }
    let Some(config) = args.service.checked(cmu::Config::check)? else { return Ok(()) };
    if let Some(Command::Operator { command: Operator::Add { phone } }) = &args.command {
        let user = cmu::operator_add(&config, phone).await?;
        println!("{} ({user}) now works for the operator.", phone.masked());
        return Ok(());
    }
    if let Some(Command::Cloud { command: CloudCommand::Rebuild }) = &args.command {
        let cmu::Rebuilt { segments, known, entries, locked, strange } =
            cmu::rebuild_cloud(&config).await?;
        println!(
            "{segments} segments are in the list again, {known} were there already; {locked} are \
             locked; {entries} other entries; {strange} objects are left as they are."
        );
        return Ok(());
    }
    let _telemetry = telemetry::init("cmu", &config.telemetry)?;
    let lifecycle = Lifecycle::new();
    let bus = Bus::nats(&config.bus.url).await.context("bus.url")?;
    cmu::start(config, bus, &lifecycle).await?;
    lifecycle.run_until_signal().await;
    Ok(())
}

fn write_openapi(out: Option<&Path>) -> anyhow::Result<()> {
    let text = cmu::openapi_json();
    match out {
        Some(path) => std::fs::write(path, text).with_context(|| path.display().to_string()),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}
