//! One measurement: a direction through a server, paced bursts, and what the server paid.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::{
    super::process::Process,
    Plan,
    server::{Bed, Running, SECRET, Server},
};

/// Beyond this loss nothing is proved.
const LOSS: f64 = 0.01;
/// How often a measurement that lost too much is tried.
const TRIES: u32 = 3;
/// How long idle allocations may take to be made.
const ALLOCATING: Duration = Duration::from_secs(120);

/// Ways through a relay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ChannelToPeer,
    PeerToChannel,
    SendToPeer,
    PeerToData,
    Relayed,
}

impl Direction {
    pub const ALL: [Self; 5] = [
        Self::ChannelToPeer,
        Self::PeerToChannel,
        Self::SendToPeer,
        Self::PeerToData,
        Self::Relayed,
    ];

    pub fn named(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|direction| direction.word() == name);
        found.with_context(|| format!("there is no direction {name}"))
    }

    /// What `load-relay` calls it.
    const fn word(self) -> &'static str {
        match self {
            Self::ChannelToPeer => "channel-to-peer",
            Self::PeerToChannel => "peer-to-channel",
            Self::SendToPeer => "send-to-peer",
            Self::PeerToData => "peer-to-data",
            Self::Relayed => "relayed",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::ChannelToPeer => "channel → peer",
            Self::PeerToChannel => "peer → channel",
            Self::SendToPeer => "Send indication → peer",
            Self::PeerToData => "peer → Data indication",
            Self::Relayed => "channel → channel, both relayed",
        }
    }

    pub const fn is_by_channel(self) -> bool {
        matches!(self, Self::ChannelToPeer | Self::PeerToChannel | Self::Relayed)
    }
}

/// How a burst arrives at the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Trains,
    OneByOne,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub arrival: Arrival,
    pub direction: Direction,
    /// Idle allocations beside the busy ones.
    pub beside: u32,
}

/// All rounds of a cell with one server.
#[derive(Default)]
pub struct Measured {
    /// Processor seconds per million packets that arrived.
    pub cost: Vec<f64>,
    /// Microseconds through the server: 50th and 99th of a hundred.
    pub delay_p50: Vec<f64>,
    pub delay_p99: Vec<f64>,
    /// Share of packets lost in each round that counts.
    pub lost: Vec<f64>,
    /// Why rounds do not count.
    pub failed: Vec<String>,
}

impl Measured {
    pub fn add(&mut self, result: anyhow::Result<Value>) {
        match result.and_then(|figures| self.take(&figures)) {
            Ok(()) => {}
            Err(error) => self.failed.push(format!("{error:#}")),
        }
    }

    fn take(&mut self, figures: &Value) -> anyhow::Result<()> {
        let read = |name: &str| figures[name].as_f64().with_context(|| name.to_owned());
        let (cost, lost) = (read("server_cpu_s_per_million")?, read("lost_share")?);
        let (p50, p99) = (read("delay_p50_us")?, read("delay_p99_us")?);
        self.cost.push(cost);
        self.lost.push(lost);
        self.delay_p50.push(p50);
        self.delay_p99.push(p99);
        Ok(())
    }
}

impl Cell {
    /// The bare forwarder knows no idle allocations.
    pub const fn is_for(&self, server: &Server) -> bool {
        self.beside == 0 || !server.is_limit()
    }

    pub fn measure(&self, bed: &Bed, server: &Server, plan: &Plan) -> anyhow::Result<Value> {
        let mut result = self.once(bed, server, plan);
        for _ in 1..TRIES {
            if result.is_ok() {
                break;
            }
            result = self.once(bed, server, plan);
        }
        let words = match &result {
            Ok(figures) => format!(
                "{:5.2} CPU-s per million, {:4} µs ({} µs), {:.2} % lost",
                figures["server_cpu_s_per_million"].as_f64().unwrap_or(f64::NAN),
                figures["delay_p50_us"],
                figures["delay_p99_us"],
                100.0 * figures["lost_share"].as_f64().unwrap_or(f64::NAN),
            ),
            Err(error) => format!("does not count: {error:#}"),
        };
        let arrival = if self.arrival == Arrival::Trains { "train" } else { "single" };
        let title = self.direction.title();
        eprintln!("{:>10} {title:<31} {arrival:>6} {:>6} idle: {words}", server.name, self.beside);
        result
    }

    fn once(&self, bed: &Bed, server: &Server, plan: &Plan) -> anyhow::Result<Value> {
        let figures = self.load(bed, server, plan, (plan.interval_ms, plan.seconds))?;
        let lost = figures["lost_share"].as_f64().context("lost_share")?;
        if lost > LOSS || figures["wrong"] != 0 {
            bail!("{:.1} % lost, {} wrong", 100.0 * lost, figures["wrong"]);
        }
        Ok(figures)
    }

    /// More than the server can carry, for a time.
    pub fn flood(&self, bed: &Bed, server: &Server, plan: &Plan) -> anyhow::Result<Value> {
        self.load(bed, server, plan, (0, plan.flood_seconds))
    }

    /// Bursts so many milliseconds apart, counted for so many seconds.
    fn load(
        &self,
        bed: &Bed,
        server: &Server,
        plan: &Plan,
        (interval_ms, seconds): (u32, u32),
    ) -> anyhow::Result<Value> {
        let running = server.start(bed, 1, self.direction != Direction::Relayed)?;
        let _idle = (self.beside > 0).then(|| idle(bed, &running, self.beside)).transpose()?;
        let mut load = bed.load();
        load.args(["flows", "--server", &running.address.to_string(), "--secret", SECRET]);
        load.args(["--direction", self.direction.word()]);
        load.args(["--watch", &running.process.pid().to_string()]);
        load.args(["--flows", &plan.flows.to_string(), "--burst", &plan.burst.to_string()]);
        load.args(["--interval-ms", &interval_ms.to_string()]);
        load.args(["--seconds", &seconds.to_string(), "--warm-up-ms", "500"]);
        if self.arrival == Arrival::OneByOne {
            load.arg("--one-by-one");
        }
        if server.is_limit() {
            load.arg("--forwarder");
        }
        let load = Process::start(&mut load)?;
        let limit = Duration::from_secs(60 + u64::from(seconds));
        load.line(limit, |line| serde_json::from_str::<Value>(line).ok())
    }
}

/// Makes allocations that do nothing.
pub fn idle(bed: &Bed, running: &Running, count: u32) -> anyhow::Result<Process> {
    let mut load = bed.load();
    load.args(["idle", "--server", &running.address.to_string(), "--secret", SECRET]);
    let load = Process::start(load.args(["--count", &count.to_string()]))?;
    let made = |line: &str| line.contains("\"allocated\"").then_some(());
    load.line(ALLOCATING, made).with_context(|| format!("{count} idle allocations"))?;
    Ok(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_direction_is_found_by_its_name() {
        for direction in Direction::ALL {
            assert!(Direction::named(direction.word()).is_ok_and(|found| found == direction));
        }
        assert!(Direction::named("sideways").is_err());
    }

    #[test]
    fn a_run_counts_with_all_its_figures_or_not_at_all() {
        let mut measured = Measured::default();
        let figures = serde_json::json!({
            "server_cpu_s_per_million": 2.0, "lost_share": 0.0, "delay_p50_us": 30,
            "delay_p99_us": 100,
        });
        measured.add(Ok(figures));
        measured.add(Ok(serde_json::json!({ "server_cpu_s_per_million": 2.0 })));
        measured.add(Err(anyhow::anyhow!("lost")));
        assert_eq!((measured.cost.len(), measured.delay_p99.len()), (1, 1));
        assert_eq!(measured.failed, ["lost_share", "lost"]);
    }
}
