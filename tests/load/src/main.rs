//! `load-viewers`: viewers in numbers, for `cargo xtask bench`. They read and count; they decode
//! nothing, and share no code with the servers that they watch.
//!
//! Viewers print `{"ready":N}` once all of them receive a picture, go on until their standard input ends,
//! and then print one JSON line of figures. `latency` and `seek` print theirs and end by themselves.

mod latency;
mod rtsp;
mod seek;
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
    /// How long it takes from asking for a moment of a recording to its first picture
    #[command(after_help = "\
Nothing is waited for at the end: one JSON line of milliseconds, in the order of the moments.

Examples:
  load-viewers seek --at 1795280400000000,1795280460000000 rtsp://127.0.0.1:8654/0?token=T
  load-viewers seek --anew --at 1795280400000000 rtsp://127.0.0.1:8654/0?token=T
  load-viewers seek --at 1795280400000000 'http://127.0.0.1:9996/get?path=cam1'

An rtsp:// address is a camera of ours, with a play token (`cu play CAMERA --print-url`). An http:// address
is MediaMTX's playback server; each moment is a request of its own there.")]
    Seek {
        /// Whose recordings; several are taken in turn
        #[arg(required = true)]
        urls: Vec<Url>,
        /// Moments that are asked for, in microseconds since 1970
        #[arg(long, value_name = "TIMES", value_delimiter = ',', required = true)]
        at: Vec<i64>,
        /// With a new connection and session for each moment; else one session jumps from each to the next
        #[arg(long)]
        anew: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Rtsp { urls, count, stalled } => viewers::run(&urls, count, stalled),
        Command::Whep { url, count } => whep::run(&url, count),
        Command::Latency { direct, through, seconds } => {
            latency::run(&direct, &through, Duration::from_secs(seconds))
        }
        Command::Seek { urls, at, anew } => seek::run(&urls, &at, anew),
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
