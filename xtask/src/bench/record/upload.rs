//! How fast recordings get into a store: a full spool through our uploader, as the centre gives it leave for
//! each segment, and the same bytes put there with nothing between.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    super::process::Process,
    Plan,
    bed::{Bed, walk},
    recorder::Recorder,
};
use crate::run::command;

/// Objects at a time in the runs for the store's limit; the best of them counts.
const AT_ONCE: [u32; 3] = [4, 8, 16];
/// How long the whole spool may take, and one run for the limit.
const LONGEST: Duration = Duration::from_secs(300);
/// When nothing is sent for so long, that was all.
const STANDSTILL: Duration = Duration::from_secs(20);
/// Between two looks at what was sent: each costs the NVR a little.
const LOOK: Duration = Duration::from_millis(50);
const SENT: &str = "sightline_pu_cloud_sent_bytes_total";

/// What was found.
pub struct Upload {
    /// That were uploaded.
    pub bytes: u64,
    /// By our NVR, in bytes per second.
    pub rate: f64,
    /// By the store itself.
    pub limit: f64,
    /// With so many objects at a time.
    pub limit_at_once: u32,
}

/// Nothing, where no upload is wanted.
pub fn measure(bed: &mut Bed, plan: &Plan) -> anyhow::Result<Option<Upload>> {
    if plan.spool.is_zero() {
        return Ok(None);
    }
    let mut store = bed.store.take().context("weed is missing: `cargo xtask setup` installs it")?;
    let spooled = fill(bed, plan)?;
    // From here on nothing is recorded: whatever is sent comes from the spool.
    bed.end_cameras();
    store.start(&bed.data, &bed.binary("load-recording"))?;
    bed.store = Some(store);
    let mut limits = limits(bed, spooled)?;
    let (bytes, rate) = drain(bed, spooled)?;
    limits.extend(self::limits(bed, spooled)?);
    let best = limits.into_iter().max_by(|one, other| one.0.total_cmp(&other.0));
    let (limit, limit_at_once) = best.context("the limit was not measured")?;
    eprintln!("{:>10}: {:.1} MB/s, the store {:.1} MB/s", "uploads", rate / 1e6, limit / 1e6);
    Ok(Some(Upload { bytes, rate, limit, limit_at_once }))
}

/// Has everything recorded for the cloud storage while there is none yet. Returns the spool's bytes.
fn fill(bed: &Bed, plan: &Plan) -> anyhow::Result<u64> {
    bed.configure_nvr(true)?;
    let running = Recorder::ours().start(bed, false)?;
    bed.wait_for_viewers()?;
    bed.wait_registered()?;
    for number in bed.numbers() {
        let name = Bed::camera_name(number);
        bed.cu_in_time(&["record", "plan", &name, "--on", "cloud", "--set", "main"])?;
    }
    thread::sleep(plan.spool);
    drop(running);
    let mut bytes = 0;
    walk(&bed.spool(), &mut |path, length| {
        if path.extension().is_some_and(|extension| extension == "mp4") {
            bytes += length;
        }
    })?;
    ensure!(bytes > 0, "nothing was recorded for the cloud storage");
    Ok(bytes)
}

/// Starts the NVR anew, with a full spool and a store; bytes that were sent, and how many in a second.
fn drain(bed: &Bed, spooled: u64) -> anyhow::Result<(u64, f64)> {
    let _running = Recorder::ours().start(bed, false)?;
    let until = Instant::now() + LONGEST;
    // What is sent before the first look that shows something is not counted, nor is its time.
    let (mut first, mut last) = (None, (Instant::now(), 0));
    while last.1 < spooled && Instant::now() < until {
        let sent = sent(&bed.nvr_says("/metrics")?);
        let now = Instant::now();
        if sent > last.1 {
            last = (now, sent);
            first = first.or(Some(last));
        }
        if first.is_some() && now.duration_since(last.0) > STANDSTILL {
            break;
        }
        thread::sleep(LOOK);
    }
    let first = first.context("nothing was uploaded")?;
    ensure!(10 * last.1 >= 9 * spooled, "{} of {spooled} bytes were uploaded", last.1);
    let seconds = last.0.duration_since(first.0).as_secs_f64();
    ensure!(seconds > 0.0, "the spool was too small to be timed: --upload-seconds makes it larger");
    Ok((last.1, (last.1 - first.1) as f64 / seconds))
}

/// The counter in a page of metrics; nothing is there before the first segment was sent.
fn sent(metrics: &str) -> u64 {
    let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(SENT));
    let value = lines.find_map(|rest| rest.split_whitespace().last()?.parse::<f64>().ok());
    value.unwrap_or(0.0) as u64
}

/// Bytes per second by the store itself, from the same core, each with its number of objects at a time.
fn limits(bed: &Bed, bytes: u64) -> anyhow::Result<Vec<(f64, u32)>> {
    let store = bed.store.as_ref().context("the store was taken away")?;
    let mut limits = Vec::new();
    for at_once in AT_ONCE {
        let mut put = command("taskset");
        put.args(["-c", &bed.core.to_string()]).arg(bed.binary("load-recording"));
        put.arg("put").arg(bed.nvr_folder().join("segments"));
        put.args(["--at-once", &at_once.to_string(), "--most-bytes", &bytes.to_string()]);
        let put = Process::start(store.named(&mut put))?;
        let done = put.line(LONGEST, |line| serde_json::from_str::<Value>(line).ok())?;
        let number = |name: &str| done[name].as_f64().with_context(|| name.to_owned());
        limits.push((number("bytes")? / number("seconds")?, at_once));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_read_from_the_metrics() {
        let page = "# TYPE sightline_pu_cloud_sent_bytes_total counter\n\
                    sightline_pu_cloud_sent_bytes_total 4200\n\
                    sightline_pu_cloud_stored_total 2\n";
        assert_eq!(sent(page), 4_200);
        assert_eq!(sent("# nothing yet\n"), 0);
    }
}
