//! `cargo xtask bench`: ratios to named peers, measured in one run.

mod bed;
mod churn;
mod cost;
mod figures;
mod live;
mod process;
mod record;
mod relay;
mod report;

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;

use crate::run::command;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Live viewing: time to the first picture, latency added, processor time and memory
    Live(LiveArgs),
    /// Relaying: processor time per packet and memory per allocation, next to coturn
    Relay(relay::RelayArgs),
    /// Recording: processor time, memory, fsync, bytes written, seeks and uploads, next to ffmpeg and MediaMTX
    Record(record::RecordArgs),
}

/// How much is measured. The whole takes about a quarter of an hour.
#[derive(clap::Args)]
pub struct LiveArgs {
    /// Somebody else's program for the same job: mediamtx=PATH or go2rtc=PATH (repeatable)
    #[arg(long = "peer", value_name = "NAME=PATH", value_parser = peer)]
    peers: Vec<Peer>,
    /// Clicks on each page
    #[arg(long, default_value_t = 50)]
    clicks: u32,
    /// How often everything else is measured, in turn
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Length of one measurement in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Numbers of viewers
    #[arg(long, value_delimiter = ',', default_value = "1,10,20")]
    viewers: Vec<usize>,
    /// WebRTC sessions that come and go, 20 at a time
    #[arg(long, default_value_t = 500)]
    churn: u32,
    /// Folder with our binaries; without it they are built with `--release`
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Where the table goes, between its markers
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    output: PathBuf,
}

/// A program to compare with.
#[derive(Clone)]
pub struct Peer {
    kind: PeerKind,
    path: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    MediaMtx,
    Go2Rtc,
}

fn peer(text: &str) -> anyhow::Result<Peer> {
    let (name, path) = text.split_once('=').context("write NAME=PATH")?;
    let kind = match name {
        "mediamtx" => PeerKind::MediaMtx,
        "go2rtc" => PeerKind::Go2Rtc,
        _ => anyhow::bail!("peers are mediamtx and go2rtc"),
    };
    let path = std::fs::canonicalize(path).with_context(|| path.to_owned())?;
    Ok(Peer { kind, path })
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Live(live) => live::run(live),
        What::Relay(relay) => relay::run(relay),
        What::Record(record) => record::run(record),
    }
}

/// Whether a program can be started at all.
fn is_there(program: &str) -> bool {
    command(program).arg("--version").output().is_ok()
}
