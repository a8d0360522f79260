//! How fast one looks back: seeks to random moments of what was recorded, while everything goes on being
//! recorded.

use std::{ops::Range, process::Command, thread, time::Duration};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    super::process::Process,
    Measured, Plan,
    bed::{Bed, camera_path},
    recorder::{Kind, Recorder, Running},
};

/// How long one seek may take at most.
const SEEK: Duration = Duration::from_secs(15);
/// Moments stay away from the beginning and the end of what was recorded, in microseconds.
const MARGIN_US: i64 = 1_000_000;

/// Measures the recorder, if it can be asked at all; what it finds is added to `measured`.
pub fn measure(
    bed: &Bed,
    recorder: &Recorder,
    plan: &Plan,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    if matches!(recorder.kind, Kind::Ffmpeg) {
        // Its files are all there is: nobody can be asked for a moment.
        return Ok(());
    }
    let moments = moments(&measured.windows, plan.seeks);
    ensure!(!moments.is_empty(), "nothing was recorded");
    let running = recorder.start(bed, false)?;
    bed.wait_for_viewers()?;
    thread::sleep(plan.settle);
    let urls = urls(bed, &running)?;
    if matches!(recorder.kind, Kind::Ours) {
        measured.in_session = seek(bed, &urls, &moments, false)?;
    }
    measured.anew = seek(bed, &urls, &moments, true)?;
    Ok(())
}

/// Where each camera's recordings are asked for.
fn urls(bed: &Bed, running: &Running) -> anyhow::Result<Vec<String>> {
    let url = |number| -> anyhow::Result<String> {
        if let Some(port) = running.playback {
            return Ok(format!("http://127.0.0.1:{port}/get?path={}", camera_path(number)));
        }
        let said = bed.cu_in_time(&["play", &Bed::camera_name(number), "--print-url"])?;
        Ok(said.lines().next().context("cu printed no URL")?.to_owned())
    };
    bed.numbers().map(url).collect()
}

fn seek(bed: &Bed, urls: &[String], moments: &[i64], anew: bool) -> anyhow::Result<Vec<f64>> {
    let at: Vec<String> = moments.iter().map(ToString::to_string).collect();
    let mut load: Command = bed.ours("load-viewers");
    load.arg("seek").args(urls).args(["--at", &at.join(",")]);
    if anew {
        load.arg("--anew");
    }
    let load = Process::start(&mut load)?;
    let limit = SEEK * u32::try_from(moments.len())?;
    let found = load.line(limit, |line| serde_json::from_str::<Value>(line).ok())?;
    let failed = found["failed"].as_u64().context("failed")?;
    ensure!(failed == 0, "{failed} of {} seeks found nothing", moments.len());
    let samples = found["samples_ms"].as_array().context("samples_ms")?;
    Ok(samples.iter().filter_map(Value::as_f64).collect())
}

/// Random moments within the windows, the same ones in every run: window by window in turn.
fn moments(windows: &[Range<i64>], count: u32) -> Vec<i64> {
    let inner = |window: &Range<i64>| window.start + MARGIN_US..window.end - MARGIN_US;
    let inner: Vec<_> = windows.iter().map(inner).filter(|window| !window.is_empty()).collect();
    let mut random = Random(1);
    let moment = |window: &Range<i64>| {
        let length = window.end.abs_diff(window.start);
        window.start.saturating_add_unsigned(random.next() % length)
    };
    inner.iter().cycle().take(count as usize).map(moment).collect()
}

/// SplitMix64: random enough to jump about, and it needs no crate.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_lie_well_within_what_was_recorded() {
        let windows = [0..60_000_000, 100_000_000..101_000_000, 200_000_000..260_000_000];
        let found = moments(&windows, 50);
        assert_eq!(found.len(), 50);
        let is_inside = |at: &i64| {
            (1_000_000..59_000_000).contains(at) || (201_000_000..259_000_000).contains(at)
        };
        assert!(found.iter().all(is_inside), "{found:?}");
        let (early, late): (Vec<i64>, Vec<i64>) = found.iter().partition(|at| **at < 100_000_000);
        assert_eq!((early.len(), late.len()), (25, 25));
        let spread = early.iter().max().zip(early.iter().min()).map(|(max, min)| max - min);
        assert!(spread.is_some_and(|spread| spread > 30_000_000), "{early:?}");
        assert!(moments(&[], 5).is_empty());
        assert!(moments(std::slice::from_ref(&(0..1_000_000)), 5).is_empty());
    }
}
