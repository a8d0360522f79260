//! `cargo xtask bench record`: what recording costs, beside other people's recorders, everything in turn,
//! A B C A B C; then how fast one looks back, and how fast recordings get into a store.

mod bed;
mod cost;
mod count;
mod recorder;
mod report;
mod seek;
mod store;
mod upload;

use std::{fs, ops::Range, path::PathBuf, time::Duration};

use anyhow::{Context, bail};

use bed::Bed;
use recorder::Recorder;
use upload::Upload;

use super::is_there;
use crate::{
    run::{cargo, execute, target_dir},
    setup,
};

/// How much is measured. The whole takes about twenty minutes on two cores.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask bench record --quick              # two minutes: does it all run, roughly how\n  \
    cargo xtask bench record --peer-mediamtx ../mediamtx/mediamtx\n  \
    cargo xtask bench record --disk /srv/card --seconds 300 --rounds 1 --upload-seconds 0\n\n\
    What is compared: our NVR, ffmpeg segmenting (`-c copy -f segment`, a process for each camera) and\n\
    MediaMTX (`record: yes`). MediaMTX is built outside this tree, with Go:\n  \
    git clone https://github.com/bluenviron/mediamtx && cd mediamtx && go generate ./... && go build .\n\n\
    All three get the same streams from one process that encodes nothing, and run on one core, which\n\
    nothing else here uses (taskset); each alone, in turn. Segments are as long for all of them.\n\
    fsync is counted in rounds of their own, under strace: a recorder that is traced is slower, but asks\n\
    for as many. Without strace that row stays empty. Uploads need `weed`, which `cargo xtask setup`\n\
    installs; without it they are left out.\n\n\
    Each round needs half a gigabyte per recorder and minute at 16 cameras: --disk says where.")]
pub struct RecordArgs {
    /// MediaMTX's program, to compare with
    #[arg(long, value_name = "PATH")]
    peer_mediamtx: Option<PathBuf>,
    /// Two minutes instead of twenty: one short round, few seeks, a small spool
    #[arg(long)]
    quick: bool,
    /// Cameras of 4 Mbit/s
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    cameras: u16,
    /// How often everything is measured, in turn; the table has the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of one measurement in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..))]
    seconds: u64,
    /// Seeks to random moments of what was recorded, of each kind; 0 for none
    #[arg(long, default_value_t = 50)]
    seeks: u32,
    /// Seconds of all cameras that are uploaded; 0 for no uploads
    #[arg(long, default_value_t = 30)]
    upload_seconds: u64,
    /// Folder on the disk that is recorded to; a temporary one when left out
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
    /// The core on which recorders run, by its number; the last one when left out
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Folder with our binaries; without it they are built with `--release`
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Where the table goes, between its markers; - to print it only
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    output: PathBuf,
}

/// The same once it is clear what is wanted.
pub struct Plan {
    pub cameras: u16,
    pub rounds: u32,
    /// Until a recorder is at rest, once it has all cameras.
    pub settle: Duration,
    /// Length of one measurement.
    pub window: Duration,
    /// Length of a round under strace.
    pub traced: Duration,
    pub seeks: u32,
    /// What is uploaded, in time of all cameras.
    pub spool: Duration,
}

/// All rounds of one recorder. An entry for each round that counts.
#[derive(Default)]
pub struct Measured {
    /// Processor seconds for a minute of one camera.
    pub cpu_s: Vec<f64>,
    /// Bytes of memory for all cameras.
    pub resident: Vec<f64>,
    /// Bytes written to storage, by bytes that the cameras sent.
    pub written: Vec<f64>,
    /// Bytes by which its files grew, by bytes that the cameras sent.
    pub kept: Vec<f64>,
    /// Pictures that it did not take in time.
    pub left_out: u64,
    /// Calls for making something durable, for a minute of one camera.
    pub syncs: Option<f64>,
    /// When it was measured, in microseconds since 1970: what can be looked back at.
    pub windows: Vec<Range<i64>>,
    /// Milliseconds from a seek to its first picture, in one session.
    pub in_session: Vec<f64>,
    /// The same with a new connection for each.
    pub anew: Vec<f64>,
    /// Why rounds do not count.
    pub failed: Vec<String>,
}

/// What the index of the recordings takes.
pub struct Index {
    /// Bytes for a day of one camera.
    pub per_day: f64,
    /// From how many segments that was reckoned.
    pub segments: u64,
}

/// All that the report shows.
pub struct Results {
    pub recorders: Vec<(Recorder, Measured)>,
    pub index: Option<Index>,
    pub upload: Option<Upload>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
    /// Bits per second of a camera, and seconds from a keyframe to the next.
    pub stream: (f64, f64),
    /// File system of the disk.
    pub file_system: String,
}

pub fn run(args: &RecordArgs) -> anyhow::Result<()> {
    let plan = plan(args);
    let binaries = binaries(args)?;
    let mut recorders = recorders(args)?;
    let mut bed = Bed::start(&binaries, args.disk.as_deref(), args.core, &plan)?;
    let mut missing = Vec::new();
    let before = bed.index()?;
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        for (recorder, measured) in &mut recorders {
            measured.add(recorder, cost::measure(&bed, recorder, &plan));
        }
    }
    count_syncs(&bed, &plan, &mut recorders, &mut missing);
    let index = index(before, bed.index()?);
    if plan.seeks > 0 {
        for (recorder, measured) in &mut recorders {
            if let Err(error) = seek::measure(&bed, recorder, &plan, measured) {
                missing.push(format!("seeks at {}: {error:#}", recorder.name));
            }
        }
    }
    let upload = match upload::measure(&mut bed, &plan) {
        Ok(upload) => upload,
        Err(error) => {
            missing.push(format!("uploads: {error:#}"));
            None
        }
    };
    let stream = (bed.bitrate_bps, bed.keyframe_s);
    let file_system = bed.file_system.clone();
    let results = Results { recorders, index, upload, missing, stream, file_system };
    report::write(args, &plan, &results)
}

fn count_syncs(
    bed: &Bed,
    plan: &Plan,
    recorders: &mut [(Recorder, Measured)],
    missing: &mut Vec<String>,
) {
    if !is_there("strace") {
        missing.push("fsync: strace is missing, `apt-get install strace` brings it".into());
        return;
    }
    for (recorder, measured) in recorders {
        match count::syncs(bed, recorder, plan) {
            Ok(syncs) => {
                eprintln!("{:>10}: {syncs:.1} calls per camera-minute", recorder.name);
                measured.syncs = Some(syncs);
            }
            Err(error) => missing.push(format!("fsync of {}: {error:#}", recorder.name)),
        }
    }
}

impl Measured {
    fn add(&mut self, recorder: &Recorder, cost: anyhow::Result<cost::Cost>) {
        match cost {
            Ok(cost) => {
                eprintln!("{:>10}: {}", recorder.name, cost.words());
                self.cpu_s.push(cost.cpu_s);
                self.resident.push(cost.resident as f64);
                self.written.push(cost.written);
                self.kept.push(cost.kept);
                self.left_out += cost.left_out;
                self.windows.push(cost.window);
            }
            Err(error) => {
                eprintln!("{:>10}: does not count: {error:#}", recorder.name);
                self.failed.push(format!("{error:#}"));
            }
        }
    }
}

fn plan(args: &RecordArgs) -> Plan {
    let least = |wanted: u64, quick: u64| if args.quick { wanted.min(quick) } else { wanted };
    let window = Duration::from_secs(least(args.seconds, 10));
    Plan {
        cameras: args.cameras,
        rounds: if args.quick { 1 } else { args.rounds },
        settle: Duration::from_secs(least(10, 5)),
        window,
        traced: window.min(Duration::from_secs(least(20, 8))),
        seeks: if args.quick { args.seeks.min(10) } else { args.seeks },
        spool: Duration::from_secs(least(args.upload_seconds, 10)),
    }
}

/// What is compared; ours first.
fn recorders(args: &RecordArgs) -> anyhow::Result<Vec<(Recorder, Measured)>> {
    for program in ["ffmpeg", "nats-server", "taskset"] {
        if !is_there(program) {
            bail!("{program} is missing: `cargo xtask setup` installs it (taskset: util-linux)");
        }
    }
    let mut recorders = vec![Recorder::ours(), Recorder::ffmpeg()?];
    if let Some(path) = &args.peer_mediamtx {
        let path = fs::canonicalize(path).with_context(|| path.display().to_string())?;
        recorders.push(Recorder::mediamtx(path));
    }
    Ok(recorders.into_iter().map(|recorder| (recorder, Measured::default())).collect())
}

fn binaries(args: &RecordArgs) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &args.binaries {
        return fs::canonicalize(folder).with_context(|| folder.display().to_string());
    }
    setup::ensure(setup::Need::Test)?;
    let mut build = cargo();
    build.args(["build", "--release"]);
    for package in ["nvr", "cmu", "scu", "mtu", "cu-cli", "load", "load-recording"] {
        build.args(["--package", package]);
    }
    execute(&mut build)?;
    Ok(target_dir().join("release"))
}

/// From the index's growth, in bytes, with the segments that came meanwhile.
fn index(before: (u64, u64), after: (u64, u64)) -> Option<Index> {
    let (bytes, segments) = (after.0.checked_sub(before.0)?, after.1.checked_sub(before.1)?);
    let a_day = 86_400.0 / recorder::SEGMENT.as_secs_f64();
    (segments > 0).then(|| Index { per_day: bytes as f64 / segments as f64 * a_day, segments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_day_is_reckoned_from_what_it_grew_by() {
        let of = |before, after| index(before, after).map(|index| (index.per_day, index.segments));
        assert_eq!(of((50_000, 0), (79_100, 100)), Some((21_600.0 * 291.0, 100)));
        assert_eq!(of((50_000, 100), (50_000, 100)), None, "nothing was recorded");
        assert_eq!(of((50_000, 100), (40_000, 200)), None);
    }
}
