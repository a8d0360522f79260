//! What recording costs for a while: processor time, memory, and what goes to the disk.

use std::{
    ops::Range,
    process::Command,
    thread,
    time::{Instant, SystemTime},
};

use anyhow::{Context, ensure};

use super::{
    super::process::Process,
    Plan,
    bed::{Bed, Sent, walk},
    recorder::{Recorder, Running},
};

/// Files that grew by less than this share of what was sent are no recording of it.
const LEAST_KEPT: f64 = 0.8;

/// One round.
pub struct Cost {
    /// Processor seconds for a minute of one camera.
    pub cpu_s: f64,
    /// Bytes of memory, all together, at the end.
    pub resident: u64,
    /// Bytes written to storage, by bytes that the cameras sent.
    pub written: f64,
    /// Bytes by which its files grew, by bytes that the cameras sent.
    pub kept: f64,
    /// Pictures that it did not take in time.
    pub left_out: u64,
    /// When that was, in microseconds since 1970.
    pub window: Range<i64>,
}

/// What was counted up to a moment.
struct Reading {
    at: Instant,
    wall_us: i64,
    cpu_s: f64,
    written: u64,
    files: u64,
    sent: Sent,
}

/// Starts the recorder, and watches it at work.
pub fn measure(bed: &Bed, recorder: &Recorder, plan: &Plan) -> anyhow::Result<Cost> {
    // What others have left to be written is none of its cost.
    let _ = Command::new("sync").status();
    let mut running = recorder.start(bed, false)?;
    bed.wait_for_viewers()?;
    thread::sleep(plan.settle);
    let before = read(bed, recorder, &running)?;
    thread::sleep(plan.window);
    let after = read(bed, recorder, &running)?;
    let resident = memory(&running)?;
    running.check()?;
    let viewers = after.sent.viewers;
    ensure!(viewers == u64::from(bed.count), "only {viewers} cameras are recorded at the end");
    cost(&before, &after, resident, bed.count)
}

fn read(bed: &Bed, recorder: &Recorder, running: &Running) -> anyhow::Result<Reading> {
    let mut reading = Reading {
        at: Instant::now(),
        wall_us: wall_us()?,
        cpu_s: 0.0,
        written: 0,
        files: 0,
        sent: bed.sent()?,
    };
    for process in &running.processes {
        reading.cpu_s += process.cpu()?.as_secs_f64();
        reading.written += process.written()?;
    }
    walk(&recorder.folder(bed), &mut |_, bytes| reading.files += bytes)?;
    Ok(reading)
}

fn memory(running: &Running) -> anyhow::Result<u64> {
    running.processes.iter().map(Process::share_of_memory).sum()
}

/// Now, in microseconds since 1970.
pub fn wall_us() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    i64::try_from(now.as_micros()).context("the time")
}

fn cost(before: &Reading, after: &Reading, resident: u64, cameras: u16) -> anyhow::Result<Cost> {
    let sent = after.sent.bytes.saturating_sub(before.sent.bytes) as f64;
    ensure!(sent > 0.0, "the cameras sent nothing");
    let minutes = after.at.duration_since(before.at).as_secs_f64() / 60.0;
    let of_sent = |before: u64, after: u64| after.saturating_sub(before) as f64 / sent;
    let kept = of_sent(before.files, after.files);
    ensure!(kept > LEAST_KEPT, "only {:.0} % of what was sent is in files", 100.0 * kept);
    Ok(Cost {
        cpu_s: (after.cpu_s - before.cpu_s) / minutes / f64::from(cameras),
        resident,
        written: of_sent(before.written, after.written),
        kept,
        left_out: after.sent.left_out.saturating_sub(before.sent.left_out),
        window: before.wall_us..after.wall_us,
    })
}

impl Cost {
    pub fn words(&self) -> String {
        format!(
            "{:.3} CPU-s per camera-minute, {:.1} MB, {:.3} bytes written for each sent, {} left out",
            self.cpu_s,
            self.resident as f64 / 1e6,
            self.written,
            self.left_out
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reading(at: Instant, cpu_s: f64, [written, files, bytes]: [u64; 3]) -> Reading {
        let sent = Sent { viewers: 2, bytes, left_out: 0 };
        Reading { at, wall_us: 0, cpu_s, written, files, sent }
    }

    #[test]
    fn cost_is_for_each_minute_of_each_camera_and_each_byte_that_was_sent() {
        let begin = Instant::now();
        let before = reading(begin, 1.0, [100, 50, 1_000]);
        let later = begin + Duration::from_secs(30);
        let found = cost(&before, &reading(later, 2.0, [1_600, 1_150, 2_000]), 7, 2);
        let found = found.expect("a recording");
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
        assert!(near(found.cpu_s, 1.0) && near(found.written, 1.5) && near(found.kept, 1.1));
        assert_eq!(found.resident, 7);
        // What keeps nothing costs nothing: it does not count.
        let idle = cost(&before, &reading(later, 1.0, [100, 50, 2_000]), 7, 2);
        assert!(idle.is_err_and(|error| error.to_string().contains("in files")));
        assert!(cost(&before, &before, 7, 2).is_err());
    }
}
