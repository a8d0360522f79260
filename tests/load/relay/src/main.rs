//! `load-relay`: see the library.

use std::{io::Read as _, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::ensure;
use clap::{Args, Parser, Subcommand};
use load_relay::{
    flows::{Direction, Flow, Server},
    frames::SMALLEST,
    idle,
    traffic::{Shape, Traffic},
};
use serde_json::json;

#[derive(Parser)]
#[command(
    name = "load-relay",
    about = "Load for a TURN server, for benchmarks",
    long_about = "Load for a TURN server: allocations with time-limited credentials, bursts through \
                  them at a fixed rate or as fast as it goes, and one JSON line of what arrived. \
                  Everything runs on 127.0.0.1, so the server must allow loopback peers.",
    after_help = "Examples:\n  \
        load-relay flows --server 127.0.0.1:3478 --secret S --direction channel-to-peer\n  \
        load-relay flows --server 127.0.0.1:3478 --secret S --direction relayed --watch $(pidof mtu)\n  \
        load-relay idle --server 127.0.0.1:3478 --secret S --count 1000\n\n\
        For coturn the secret is its --static-auth-secret, with --use-auth-secret.\n\
        `cargo xtask bench relay` runs all of this against several servers and writes the table."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send bursts through flows and count what arrives
    Flows(FlowArgs),
    /// Make allocations that do nothing, print a line, and wait for the end of standard input
    Idle(IdleArgs),
}

#[derive(Args)]
struct To {
    /// The server, over UDP
    #[arg(long, value_name = "IP:PORT")]
    server: SocketAddr,
    /// The secret that signs credentials
    #[arg(long, default_value = "")]
    secret: String,
}

#[derive(Args)]
struct FlowArgs {
    #[command(flatten)]
    to: To,
    /// The server is `load-forwarder`: no TURN, bare payloads
    #[arg(long)]
    forwarder: bool,
    /// Which way packets go
    #[arg(long, value_enum)]
    direction: Direction,
    /// How many flows, each with an allocation (two with `relayed`)
    #[arg(long, default_value_t = 50)]
    flows: usize,
    /// Packets in a burst; a train is at most 64 KB
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=48))]
    burst: u16,
    /// From one burst of a flow to its next, in milliseconds; 0: as fast as it goes
    #[arg(long, default_value_t = 20)]
    interval_ms: u64,
    /// Payload of a packet in bytes
    #[arg(long, default_value_t = 1_200)]
    size: usize,
    /// Let a burst's packets arrive one by one instead of as one train
    #[arg(long)]
    one_by_one: bool,
    /// Before anything is counted, in milliseconds
    #[arg(long, default_value_t = 1_000)]
    warm_up_ms: u64,
    /// How long to count
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Process whose processor time is read: the server's
    #[arg(long, value_name = "PID")]
    watch: Option<u32>,
}

#[derive(Args)]
struct IdleArgs {
    #[command(flatten)]
    to: To,
    /// How many
    #[arg(long)]
    count: u32,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Flows(args) => flows(&args),
        Command::Idle(args) => idle(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn flows(args: &FlowArgs) -> anyhow::Result<()> {
    ensure!((SMALLEST..=1_300).contains(&args.size), "a payload has {SMALLEST} to 1300 bytes");
    ensure!(args.flows > 0, "there must be flows");
    let server = match args.forwarder {
        true => Server::Forwarder(args.to.server),
        false => Server::Turn(args.to.server, args.to.secret.clone()),
    };
    let flows = (0..args.flows).map(|number| Flow::new(&server, args.direction, number));
    let flows = flows.collect::<anyhow::Result<_>>()?;
    let shape = Shape {
        burst: args.burst.into(),
        interval: Duration::from_millis(args.interval_ms),
        size: args.size,
        one_by_one: args.one_by_one,
    };
    let warm_up = Duration::from_millis(args.warm_up_ms);
    let time = Duration::from_secs(args.seconds);
    println!("{}", Traffic::new(flows, shape).run(warm_up, time, args.watch)?);
    Ok(())
}

fn idle(args: &IdleArgs) -> anyhow::Result<()> {
    idle::allocate(args.to.server, &args.to.secret, args.count)?;
    println!("{}", json!({ "allocated": args.count }));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
