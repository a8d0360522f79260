//! `load-viewers`: viewers in numbers, for `cargo xtask bench`. They read and count; they decode
//! nothing, and share no code with the servers that they watch.
//!
//! Each command prints `{"ready":N}` once all viewers receive a picture, goes on until its standard
//! input ends, and then prints one JSON line of figures.

mod latency;
mod rtsp;
mod viewers;
mod whep;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use url::Url;

#[derive(Parser)]
#[command(name = "load-viewers", about = "Viewers in numbers, for benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Viewers over RTSP, with RTP inside the connection (RFC 2326 section 10.12)
    Rtsp {
        /// What to watch; several are taken in turn
        #[arg(required = true)]
        urls: Vec<Url>,
        /// How many viewers
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// So many of them stop reading after the first picture, and never close
        #[arg(long, default_value_t = 0)]
        stalled: usize,
    },
    /// Viewers over WebRTC, by WHEP (draft-ietf-wish-whep)
    Whep {
        /// Where offers are posted
        url: Url,
        /// How many viewers
        #[arg(long, default_value_t = 1)]
        count: usize,
    },
    /// How much later pictures come through a server than straight from the camera
    Latency {
        /// The camera
        direct: Url,
        /// The same stream at a server
        through: Url,
        /// How long to compare
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Rtsp { urls, count, stalled } => viewers::run(&urls, count, stalled),
        Command::Whep { url, count } => whep::run(&url, count),
        Command::Latency { direct, through, seconds } => {
            latency::run(&direct, &through, Duration::from_secs(seconds))
        }
    };
    match result {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
