//! How often a recorder asks for something to be made durable: counted by strace, in a round of its own.

use std::{fs, thread};

use anyhow::Context;

use super::{Plan, bed::Bed, cost::wall_us, recorder::Recorder};

/// Calls that make something durable.
pub const CALLS: [&str; 6] = ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"];

/// Calls for a minute of one camera.
pub fn syncs(bed: &Bed, recorder: &Recorder, plan: &Plan) -> anyhow::Result<f64> {
    let mut running = recorder.start(bed, true)?;
    bed.wait_for_viewers()?;
    thread::sleep(plan.settle);
    let from = wall_us()?;
    thread::sleep(plan.traced);
    let to = wall_us()?;
    running.check()?;
    let traces: Vec<_> = running.traces.iter().map(|(trace, _)| trace.clone()).collect();
    // What strace still holds it writes at its end.
    running.end();
    let mut calls = 0;
    for trace in traces {
        let text = fs::read_to_string(&trace).with_context(|| trace.display().to_string())?;
        calls += between(&text, from, to);
    }
    let minutes = (to - from) as f64 / 60e6;
    Ok(calls as f64 / minutes / f64::from(bed.count))
}

/// Calls that began within the time: lines such as `4711  1795280400.123456 fsync(7) = 0`.
fn between(trace: &str, from: i64, to: i64) -> usize {
    let is_within = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let at = words.next().and_then(micros);
        let call = words.next().and_then(|call| call.split('(').next());
        at.is_some_and(|at| (from..to).contains(&at)) && call.is_some_and(|c| CALLS.contains(&c))
    };
    trace.lines().filter(is_within).count()
}

/// `1795280400.123456`, exactly.
fn micros(seconds: &str) -> Option<i64> {
    let (whole, fraction) = seconds.split_once('.')?;
    let fraction: i64 = (fraction.len() == 6).then(|| fraction.parse().ok())??;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_count_once_and_only_within_the_time() {
        let trace = "\
            10 100.000000 fsync(3) = 0\n\
            10 101.000000 fdatasync(3 <unfinished ...>\n\
            11 101.500000 fsync(4)                   = 0\n\
            10 101.700000 <... fdatasync resumed>)   = 0\n\
            10 101.800000 +++ exited with 0 +++\n\
            12 102.500000 msync(0x7f, 4096, MS_SYNC) = 0\n\
            12 103.000000 fsync(5) = 0\n";
        assert_eq!(between(trace, 101_000_000, 103_000_000), 3);
        assert_eq!(between(trace, 0, i64::MAX), 5);
        assert_eq!(between("no trace at all", 0, i64::MAX), 0);
    }
}
