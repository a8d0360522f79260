//! `cargo xtask bench relay`: what relaying costs, beside other people's relays and the least that
//! is possible, everything in turn, A B C A B C.

mod cell;
mod flood;
mod memory;
mod report;
mod server;

use std::{fs, path::PathBuf};

use anyhow::{Context, bail};

use cell::{Arrival, Cell, Direction, Measured};
use flood::Carried;
use memory::Memory;
use server::{Bed, Server};

use crate::run::{cargo, command, execute, target_dir};

/// How much is measured. The whole takes about half an hour; two cores are enough, as long as
/// nothing else wants them for long.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask bench relay --quick               # two minutes: does it all run, roughly how\n  \
    cargo xtask bench relay --peer ../coturn/build/bin/turnserver\n  \
    cargo xtask bench relay --only sightline,limit --directions relayed --idle '' --beside 0\n\n\
    What is compared: our MTU, Debian's coturn (`turnserver` in the PATH), each --peer, the `turn`\n\
    crate's server, and a bare forwarder that looks at no packet. A newer coturn, outside this tree:\n  \
    git clone https://github.com/coturn/coturn && cd coturn\n  \
    cmake -S . -B build -DCMAKE_BUILD_TYPE=Release && make -C build turnserver\n\n\
    The load is paced, so that no server is saturated; processor time is what counts, not speed, and\n\
    a busy machine changes it little. A run that loses more than 1 % is repeated, then not counted.\n\
    Only the floods at the end ask how much a server can carry.\n\
    An allocation is an open file: where a process may not open 100,000, several share them.")]
pub struct RelayArgs {
    /// A further coturn, with its own batching switched on (repeatable)
    #[arg(long = "peer", value_name = "PATH")]
    peers: Vec<PathBuf>,
    /// Two minutes instead of thirty: one short round of trains, few idle allocations
    #[arg(long)]
    quick: bool,
    /// How often everything is measured, in turn; the table has the medians
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Length of one measurement in seconds
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Flows at a time
    #[arg(long, default_value_t = 50)]
    flows: u32,
    /// Packets in a burst
    #[arg(long, default_value_t = 8)]
    burst: u32,
    /// From one burst of a flow to its next, in milliseconds: 40 is a picture of a camera
    #[arg(long, default_value_t = 40)]
    interval_ms: u32,
    /// Only these servers: sightline, coturn, turn-crate, limit, limit-threads, and peers by their number: peer1
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Only these directions: channel-to-peer, peer-to-channel, send-to-peer, peer-to-data, relayed
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    directions: Vec<String>,
    /// Only packets that arrive in trains, or only one by one
    #[arg(long, value_name = "trains|one-by-one")]
    arrival: Option<String>,
    /// Numbers of idle allocations for which memory is read; '' for none
    #[arg(long, value_delimiter = ',', default_value = "1000,100000")]
    idle: Vec<String>,
    /// Idle allocations beside the busy ones; 0 for none
    #[arg(long, default_value_t = 10_000)]
    beside: u32,
    /// Length of a flood, in which more is sent than a server can carry, in seconds; 0 for none
    #[arg(long, default_value_t = 2)]
    flood_seconds: u32,
    /// Folder with our binaries; without it they are built with `--release`
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Where the table goes, between its markers; - to print it only
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    output: PathBuf,
}

/// All that the report shows.
pub struct Results {
    pub servers: Vec<Server>,
    pub cells: Vec<(Cell, Vec<Measured>)>,
    pub floods: Vec<(Cell, Vec<Carried>)>,
    pub memory: Vec<(u32, Vec<Option<Memory>>)>,
}

/// The same once it is clear what is wanted.
pub struct Plan {
    pub rounds: u32,
    pub seconds: u32,
    pub flows: u32,
    pub burst: u32,
    pub interval_ms: u32,
    pub flood_seconds: u32,
    cells: Vec<Cell>,
    floods: Vec<Cell>,
    idle: Vec<u32>,
}

pub fn run(args: &RelayArgs) -> anyhow::Result<()> {
    let plan = plan(args)?;
    let bed = Bed::start(&binaries(args)?)?;
    let servers = servers(args, &bed)?;
    let mut cells: Vec<(Cell, Vec<Measured>)> = vec![];
    for cell in &plan.cells {
        cells.push((*cell, servers.iter().map(|_| Measured::default()).collect()));
    }
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        for (cell, measured) in &mut cells {
            for (server, measured) in servers.iter().zip(measured) {
                if cell.is_for(server) {
                    measured.add(cell.measure(&bed, server, &plan));
                }
            }
        }
    }
    let floods = floods(&plan, &bed, &servers);
    let mut memory = vec![];
    for count in &plan.idle {
        let of = |server: &Server| memory::measure(&bed, server, *count);
        memory.push((*count, servers.iter().map(of).collect()));
    }
    report::write(args, &plan, &Results { servers, cells, floods, memory })
}

fn floods(plan: &Plan, bed: &Bed, servers: &[Server]) -> Vec<(Cell, Vec<Carried>)> {
    let none = || servers.iter().map(|_| Carried::default()).collect();
    let mut floods: Vec<(Cell, Vec<Carried>)> =
        plan.floods.iter().map(|cell| (*cell, none())).collect();
    for _ in 0..plan.rounds {
        for (cell, carried) in &mut floods {
            for (server, carried) in servers.iter().zip(carried) {
                if cell.is_for(server) {
                    carried.measure(cell, bed, server, plan);
                }
            }
        }
    }
    floods
}

fn plan(args: &RelayArgs) -> anyhow::Result<Plan> {
    let directions: Vec<Direction> = match args.directions.as_slice() {
        [] => Direction::ALL.to_vec(),
        names => names.iter().map(|name| Direction::named(name)).collect::<Result<_, _>>()?,
    };
    let arrivals: &[Arrival] = match args.arrival.as_deref() {
        None if args.quick => &[Arrival::Trains],
        None => &[Arrival::Trains, Arrival::OneByOne],
        Some("trains") => &[Arrival::Trains],
        Some("one-by-one") => &[Arrival::OneByOne],
        Some(other) => bail!("arrival is trains or one-by-one, not {other}"),
    };
    let beside = if args.quick { args.beside.min(1_000) } else { args.beside };
    let mut cells = vec![];
    for arrival in arrivals {
        for direction in &directions {
            cells.push(Cell { arrival: *arrival, direction: *direction, beside: 0 });
        }
    }
    if beside > 0 {
        for direction in directions.iter().filter(|d| d.is_by_channel()) {
            cells.push(Cell { arrival: arrivals[0], direction: *direction, beside });
        }
    }
    let flood_seconds = if args.quick { args.flood_seconds.min(1) } else { args.flood_seconds };
    let floods = if flood_seconds > 0 { floods_of(&directions, beside) } else { vec![] };
    let idle = args.idle.iter().filter(|text| !text.is_empty());
    let idle = idle.map(|n| n.parse().with_context(|| n.clone())).collect::<Result<Vec<_>, _>>()?;
    Ok(Plan {
        rounds: if args.quick { 1 } else { args.rounds },
        seconds: if args.quick { 1 } else { args.seconds },
        flows: args.flows,
        burst: args.burst,
        interval_ms: args.interval_ms,
        flood_seconds,
        cells,
        floods,
        idle: idle.into_iter().filter(|count| !args.quick || *count <= 1_000).collect(),
    })
}

/// There and back by channel, alone and beside idle allocations.
fn floods_of(directions: &[Direction], beside: u32) -> Vec<Cell> {
    let both = [Direction::ChannelToPeer, Direction::PeerToChannel];
    let wanted = both.into_iter().filter(|direction| directions.contains(direction));
    let cell = |direction, beside| Cell { arrival: Arrival::Trains, direction, beside };
    wanted
        .flat_map(|direction| {
            let idle = (beside > 0).then(|| cell(direction, beside));
            std::iter::once(cell(direction, 0)).chain(idle)
        })
        .collect()
}

fn servers(args: &RelayArgs, bed: &Bed) -> anyhow::Result<Vec<Server>> {
    let mut servers = vec![Server::ours(bed)];
    let installed = command("turnserver").arg("--version").output();
    match installed {
        Ok(_) => servers.push(Server::coturn("coturn".into(), "turnserver".into())?),
        Err(_) => eprintln!("turnserver is missing: `apt-get install coturn` brings it"),
    }
    for (number, path) in args.peers.iter().enumerate() {
        let path = fs::canonicalize(path).with_context(|| path.display().to_string())?;
        servers.push(Server::coturn(format!("peer{}", number + 1), path)?);
    }
    servers.push(Server::turn_crate(bed));
    servers.extend(Server::limits(bed));
    if !args.only.is_empty() {
        servers.retain(|server| args.only.contains(&server.name));
    }
    if servers.is_empty() {
        bail!("--only leaves no server");
    }
    Ok(servers)
}

fn binaries(args: &RelayArgs) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &args.binaries {
        return fs::canonicalize(folder).with_context(|| folder.display().to_string());
    }
    let mut build = cargo();
    build.args(["build", "--release", "--package", "mtu", "--package", "load-relay"]);
    execute(&mut build)?;
    Ok(target_dir().join("release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_go_both_ways_with_and_without_idle_allocations() {
        let words = |floods: Vec<Cell>| -> Vec<(&'static str, u32)> {
            floods.iter().map(|cell| (cell.direction.title(), cell.beside)).collect()
        };
        let both = words(floods_of(&Direction::ALL, 10));
        assert_eq!(
            both,
            [
                ("channel → peer", 0),
                ("channel → peer", 10),
                ("peer → channel", 0),
                ("peer → channel", 10)
            ]
        );
        assert_eq!(words(floods_of(&[Direction::PeerToChannel], 0)), [("peer → channel", 0)]);
        assert!(floods_of(&[Direction::Relayed], 10).is_empty());
    }
}
