//! Sessions that come and go leave nothing behind. Long: run with `--ignored`.

mod webrtc_support;

use std::time::Instant;

use sightline_media_io::webrtc::Stats;
use webrtc_support::{Tell, Unit, Viewer};

/// Resident memory of this process, viewers included, in kilobytes.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a figure");
    line.split_ascii_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

async fn until(unit: &Unit, seconds: u64, done: impl Fn(&Stats) -> bool) -> Stats {
    let start = Instant::now();
    loop {
        let stats = unit.engine.stats().await.expect("runs");
        if done(&stats) {
            return stats;
        }
        assert!(start.elapsed().as_secs() < seconds, "waited in vain: {stats:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn round(unit: &Unit, number: usize, end: bool) {
    let mut viewers = Vec::new();
    for i in 0..20 {
        let name = format!("s{number}-{i}");
        viewers.push(Viewer::connect(&unit.engine, &name, &unit.tasks).await);
    }
    for viewer in &mut viewers {
        viewer.video_packet().await;
    }
    for viewer in viewers {
        viewer.say(Tell::Stop);
        if end {
            unit.engine.end(viewer.session.clone(), None).await;
        } else {
            // Nobody tells the unit: the right to watch outlives the viewer.
            std::mem::forget(viewer.right);
        }
    }
}

#[tokio::test]
#[ignore = "takes half a minute and looks at the memory of the process"]
async fn five_hundred_sessions_twenty_at_a_time() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    let mut after_50 = 0;
    for number in 0..25 {
        round(&unit, number, true).await;
        until(&unit, 10, |stats| stats.sessions == 0).await;
        if number == 2 {
            after_50 = resident_kb();
        }
    }
    let after_500 = resident_kb();
    let stats = unit.engine.stats().await.expect("runs");
    eprintln!("resident: {after_50} kB after 60 sessions, {after_500} kB after 500; {stats:?}");
    assert!(after_500 < after_50 + 10_000, "{after_50} kB has become {after_500} kB");
    unit.stop().await;
}

#[tokio::test]
#[ignore = "waits for ICE to give up"]
async fn viewers_that_vanish_are_forgotten() {
    let unit = Unit::start();
    unit.wait_for_picture().await;
    round(&unit, 0, false).await;
    let start = Instant::now();
    let stats = until(&unit, 120, |stats| stats.sessions == 0).await;
    eprintln!("forgotten after {:?}: {stats:?}", start.elapsed());
    unit.stop().await;
}
