//! `cargo xtask bench live`: everything in turn, A B C A B C, on one stream.

use std::{collections::BTreeMap, fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{
    LiveArgs,
    bed::{self, Bed, PHONE, Unit, Way},
    churn::{self, Churn},
    cost::{self, Transport},
    process::Process,
    report,
};
use crate::{
    run::{cargo, command, execute, root, target_dir},
    setup, web,
};

/// Until everybody has the camera's stream and is at rest.
const WARM_UP: Duration = Duration::from_secs(5);

/// What was measured of one unit.
#[derive(Default)]
pub struct Measured {
    pub version: String,
    /// Milliseconds from click to first frame.
    pub clicks: Vec<f64>,
    /// The same by stage.
    pub stages: BTreeMap<String, Vec<f64>>,
    /// Milliseconds that RTSP viewers see a picture later than the camera's own.
    pub latency: Vec<f64>,
    /// Share of a core and resident bytes, without viewers.
    pub idle: (f64, u64),
    /// Share of a core, each time, with so many viewers.
    pub cpu: BTreeMap<(Transport, usize), Vec<f64>>,
    /// Resident bytes, each time, with so many viewers.
    pub resident: BTreeMap<(Transport, usize), Vec<f64>>,
    /// Packets that viewers missed, all in all.
    pub lost: u64,
}

/// All that the report shows.
pub struct Results {
    pub units: Vec<(&'static str, Measured)>,
    /// Packets that 20 viewers of the agent missed while another had stopped reading.
    pub lost_beside_stalled: u64,
    pub churn: Option<Churn>,
}

pub fn run(args: &LiveArgs) -> anyhow::Result<()> {
    bed::check()?;
    let binaries = binaries(args)?;
    let bed = Bed::start(&binaries, &args.peers)?;
    let mut all: Vec<Measured> = bed.units.iter().map(|_| Measured::default()).collect();
    for (unit, measured) in bed.units.iter().zip(&mut all) {
        measured.version.clone_from(&unit.version);
    }
    thread::sleep(WARM_UP);
    let time = Duration::from_secs(args.seconds);
    for (unit, measured) in bed.units.iter().zip(&mut all) {
        measured.idle = cost::watch(unit, time)?;
    }
    if args.clicks > 0 {
        clicks(&bed, args, &mut all)?;
    } else {
        bed.bind()?;
    }
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        latencies(&bed, args, &mut all)?;
        for transport in [Transport::RtspTcp, Transport::WebRtc] {
            for count in &args.viewers {
                for (unit, measured) in bed.units.iter().zip(&mut all) {
                    costs(&bed, unit, measured, (transport, *count), time)?;
                }
            }
        }
    }
    let most = args.viewers.iter().copied().max().unwrap_or(1);
    let stalled = cost::measure(&bed, &bed.units[0], Transport::RtspTcp, most, 1, time)?;
    let churn =
        (args.churn > 0).then(|| churn::run(&bed, &bed.units[0], args.churn)).transpose()?;
    let units = bed.units.iter().map(|unit| unit.name).zip(all).collect();
    let results = Results { units, lost_beside_stalled: stalled.lost, churn };
    report::write(args, &results)
}

fn binaries(args: &LiveArgs) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &args.binaries {
        return fs::canonicalize(folder).with_context(|| folder.display().to_string());
    }
    setup::ensure(setup::Need::Test)?;
    web::build()?;
    let mut build = cargo();
    build.args(["build", "--release"]);
    for package in ["pu-agent", "cmu", "scu", "mtu", "cu-cli", "load"] {
        build.args(["--package", package]);
    }
    execute(&mut build)?;
    Ok(target_dir().join("release"))
}

/// In Chromium; this also binds the camera, as a new user does.
fn clicks(bed: &Bed, args: &LiveArgs, all: &mut [Measured]) -> anyhow::Result<()> {
    let mut script = command("node");
    script.current_dir(root().join("web")).arg("e2e/clicks.mjs");
    script.args(["--portal", &bed.portal, "--phone", PHONE, "--claim-code", &bed.claim_code]);
    script.args(["--clicks", &args.clicks.to_string(), "--sms-log"]).arg(bed.sms_log());
    for unit in &bed.units {
        if let Way::Open { whep, .. } = &unit.way {
            script.arg("--whep").arg(format!("{}={whep}", unit.name));
        }
    }
    let mut script = Process::start(&mut script)?;
    let limit = Duration::from_secs(120 + 10 * u64::from(args.clicks));
    let result = script.line(limit, |line| serde_json::from_str::<Value>(line).ok())?;
    script.wait(Duration::from_secs(20))?;
    for (unit, measured) in bed.units.iter().zip(all) {
        for click in result[unit.name].as_array().context("clicks of a unit")? {
            for (stage, value) in click.as_object().context("a click")? {
                let value = value.as_f64().context("milliseconds")?;
                match stage.as_str() {
                    "total" => measured.clicks.push(value),
                    _ => measured.stages.entry(stage.clone()).or_default().push(value),
                }
            }
        }
    }
    Ok(())
}

fn latencies(bed: &Bed, args: &LiveArgs, all: &mut [Measured]) -> anyhow::Result<()> {
    for (unit, measured) in bed.units.iter().zip(all) {
        let through = bed.rtsp_url(unit)?;
        let mut load = bed.ours("load-viewers");
        load.args(["latency", &bed.camera, &through, "--seconds"]);
        let mut load = Process::start(load.arg((args.seconds + 2).to_string()))?;
        let limit = Duration::from_secs(args.seconds + 30);
        let result = load.line(limit, |line| serde_json::from_str::<Value>(line).ok());
        let result = result.with_context(|| format!("the latency of {}", unit.name))?;
        if !load.wait(limit)?.success() {
            bail!("the latency of {} could not be measured", unit.name);
        }
        let samples = result["samples_ms"].as_array().context("samples")?;
        measured.latency.extend(samples.iter().filter_map(Value::as_f64));
    }
    Ok(())
}

fn costs(
    bed: &Bed,
    unit: &Unit,
    measured: &mut Measured,
    case: (Transport, usize),
    time: Duration,
) -> anyhow::Result<()> {
    let cost = cost::measure(bed, unit, case.0, case.1, 0, time)?;
    let megabytes = cost.resident_bytes as f64 / 1e6;
    eprintln!(
        "{:>10} {:>13} {:>3} viewers: {:5.1} % of a core, {megabytes:5.1} MB, {} lost",
        unit.name,
        case.0.name(),
        case.1,
        100.0 * cost.cpu_share,
        cost.lost,
    );
    measured.cpu.entry(case).or_default().push(cost.cpu_share);
    measured.resident.entry(case).or_default().push(cost.resident_bytes as f64);
    measured.lost += cost.lost;
    Ok(())
}
