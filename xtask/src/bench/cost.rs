//! What viewers cost: processor time and memory of a unit while so many of them watch.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::Value;

use super::{
    bed::{Bed, Unit, Way},
    process::Process,
};

/// How long viewers may take to get their first pictures.
const START: Duration = Duration::from_secs(60);
/// Between the last viewer's first picture and the measurement.
const SETTLE: Duration = Duration::from_secs(2);

/// The agent lets no token be used for more than 8 streams; this stays below.
const STREAMS_PER_TOKEN: usize = 5;

/// How media travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Transport {
    RtspTcp,
    WebRtc,
}

impl Transport {
    pub const fn name(self) -> &'static str {
        match self {
            Self::RtspTcp => "RTSP over TCP",
            Self::WebRtc => "WebRTC",
        }
    }
}

/// One measurement.
pub struct Cost {
    /// Processor seconds of the unit for each second that passed.
    pub cpu_share: f64,
    pub resident_bytes: u64,
    /// Packets that viewers missed.
    pub lost: u64,
}

/// Measures with `count` viewers; `stalled` further ones stop reading (RTSP only).
pub fn measure(
    bed: &Bed,
    unit: &Unit,
    transport: Transport,
    count: usize,
    stalled: usize,
    time: Duration,
) -> anyhow::Result<Cost> {
    let mut viewers = Viewers::start(bed, unit, transport, count, stalled)
        .with_context(|| format!("{count} viewers of {}", unit.name))?;
    thread::sleep(SETTLE);
    let (cpu_share, resident_bytes) = watch(unit, time)?;
    let lost = viewers.end()?;
    Ok(Cost { cpu_share, resident_bytes, lost })
}

/// Share of a core, and resident memory at the end.
pub fn watch(unit: &Unit, time: Duration) -> anyhow::Result<(f64, u64)> {
    let (begin, cpu) = (Instant::now(), unit.process.cpu()?);
    thread::sleep(time);
    let used = unit.process.cpu()?.saturating_sub(cpu);
    Ok((used.as_secs_f64() / begin.elapsed().as_secs_f64(), unit.process.resident()?))
}

enum Viewers {
    /// One process with all of them.
    Load(Process),
    /// A process each.
    Cu(Vec<Process>),
}

impl Viewers {
    fn start(
        bed: &Bed,
        unit: &Unit,
        transport: Transport,
        count: usize,
        stalled: usize,
    ) -> anyhow::Result<Self> {
        let (kind, urls) = match (transport, &unit.way) {
            (Transport::RtspTcp, Way::Open { rtsp, .. }) => ("rtsp", vec![rtsp.clone()]),
            (Transport::RtspTcp, Way::Portal) => {
                let tokens = (count + stalled).div_ceil(STREAMS_PER_TOKEN);
                ("rtsp", (0..tokens).map(|_| bed.rtsp_url(unit)).collect::<Result<_, _>>()?)
            }
            (Transport::WebRtc, Way::Open { whep, .. }) => ("whep", vec![whep.clone()]),
            (Transport::WebRtc, Way::Portal) => return Self::with_cu(bed, count),
        };
        let mut load = bed.ours("load-viewers");
        load.arg(kind).args(urls).args(["--count", &count.to_string()]);
        if stalled > 0 {
            load.args(["--stalled", &stalled.to_string()]);
        }
        let load = Process::start(&mut load)?;
        load.line(START, |line| line.contains("\"ready\"").then_some(()))?;
        Ok(Self::Load(load))
    }

    fn with_cu(bed: &Bed, count: usize) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for _ in 0..count {
            let mut cu = bed.ours("cu");
            all.push(Process::start(
                cu.args(["--json", "play", "1", "--via", "webrtc", "--stats"]),
            )?);
        }
        for cu in &all {
            cu.line(START, |line| (fps(line)? > 20.0).then_some(()))?;
        }
        Ok(Self::Cu(all))
    }

    fn end(&mut self) -> anyhow::Result<u64> {
        match self {
            Self::Load(load) => {
                load.close_input();
                load.line(START, |line| {
                    serde_json::from_str::<Value>(line).ok()?.get("lost")?.as_u64()
                })
            }
            Self::Cu(all) => {
                all.iter().for_each(|cu| cu.signal("INT"));
                let mut lost = 0;
                for cu in all {
                    cu.wait(START)?;
                    // All lines that are there; the first error is their end.
                    while let Ok(more) = cu.line(Duration::ZERO, stat("lost")) {
                        lost += more as u64;
                    }
                }
                Ok(lost)
            }
        }
    }
}

fn stat(name: &'static str) -> impl Fn(&str) -> Option<f64> {
    move |line| serde_json::from_str::<Value>(line).ok()?.get("stats")?.get(name)?.as_f64()
}

fn fps(line: &str) -> Option<f64> {
    stat("fps")(line)
}
