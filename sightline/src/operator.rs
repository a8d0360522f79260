//! `sightline operator`: who works for the operator.

use std::path::PathBuf;

use sightline_model::PhoneNumber;
use sightline_service_kit::config;

use crate::centre::{Config, cmu_config};

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  sightline operator add --config sightline.toml +8613800138000

That person signs in to the portal with this number and finds the operator's page there.")]
pub struct Args {
    /// Configuration file of `sightline serve`
    #[arg(long, global = true, value_name = "FILE", env = "SIGHTLINE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make the owner of a mobile number one of the operator's staff
    Add {
        /// In international form, such as +8613800138000
        phone: PhoneNumber,
    },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let config: Config = config::load(args.config.as_deref())?;
    config.check()?;
    let Command::Add { phone } = args.command;
    let user = cmu::operator_add(&cmu_config(&config), &phone).await?;
    println!("{} ({user}) now works for the operator.", phone.masked());
    Ok(())
}
