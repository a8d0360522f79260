//! `cu`: the customer unit (H.626.4 clause 6.3) for the command line.
//!
//! It signs in at a portal, binds cameras by their claim codes, and fetches live media straight
//! from the premises unit, over QUIC or WebRTC. It shows no picture itself: `--rtsp-listen` feeds
//! any player, `--out` writes a file.
//!
//! What it trusts: a camera is its key. The device id, from the label or from the list, is the
//! hash of that key; a unit that cannot prove the key gets no token and shows no media (exit
//! code 6).
//!
//! ```
//! use clap::CommandFactory;
//! cu_cli::cli::Cli::command().debug_assert();
//! ```

pub mod api;
pub mod cli;
mod cmd;
pub mod error;
pub mod home;
mod output;
pub mod play;
mod quality;
mod silent;
pub mod tls;
mod trace;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::{cli::Cli, error::Exit};

/// Runs one command line, and gives the exit code that [`Exit`] lists.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            if wrong && args.iter().any(|a| a == "--json") {
                let message = error.to_string();
                output::json(&error::CuError::usage(message.trim()).to_json());
            } else {
                // Nothing can be done when even the terminal is gone.
                let _ = error.print();
            }
            return if wrong { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    init_log(cli.verbose, cli.json);
    // An error means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let json = cli.json;
    match cmd::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if json {
                output::json(&error.to_json());
            } else {
                output::complain(&error.message);
            }
            error.exit.into()
        }
    }
}

/// `SIGHTLINE_LOG` says what is logged, as in the services; otherwise `-v` does.
fn init_log(verbose: u8, json: bool) {
    let level = match verbose {
        0 => "off",
        1 => "cu_cli=info",
        2 => "cu_cli=debug,sightline_media_io=debug,sightline_rtsp=debug,sightline::flow=debug",
        _ => "debug",
    };
    let wanted = std::env::var("SIGHTLINE_LOG").ok();
    let filter = wanted.as_deref().and_then(|filter| EnvFilter::try_new(filter).ok());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(level)))
        .with_writer(std::io::stderr);
    // An error means that a test has set one before.
    let _ = if json { log.json().try_init() } else { log.try_init() };
}
