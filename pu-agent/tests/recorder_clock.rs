//! Somebody sets the clock of a unit's machine a day forth and back while the real agent records, and no centre
//! is there to ask: no second is lost, and once the clock is right, so is the time of what was recorded meanwhile.

mod recording;

use std::time::SystemTime;

use recording::{Unit, agent::Agent, until};
use sightline_model::UnixMicros;
use sightline_recording_store::Level;
use sightline_testkit::clock::JumpingClock;

const DAY_S: i64 = 86_400;

fn now() -> UnixMicros {
    UnixMicros::from(SystemTime::now())
}

/// Waits for so many more segments to be acknowledged.
async fn more(agent: &Agent, by: u64) {
    let least = agent.acknowledged().unwrap_or(0) + by;
    until("more is recorded", async || agent.acknowledged().filter(|count| *count >= least)).await;
}

#[tokio::test]
async fn a_clock_that_is_set_a_day_forth_and_back_costs_no_second() {
    let unit = Unit::new();
    let Some(clock) = JumpingClock::new(unit.root()) else { return };
    let (begun, agent) = (now(), Agent::up(&unit, &clock.environment()).await);
    more(&agent, 1).await;
    for ahead_s in [DAY_S, -DAY_S, 0] {
        clock.set(ahead_s);
        // What was open ends at the next keyframe; the one after it is dated by the new clock alone.
        more(&agent, 2).await;
    }
    agent.end().await;
    let ended = now();

    let store = unit.open().await;
    let report = unit.verify(&store, Level::Hash).await;
    assert!(report.is_sound(), "{report:?}");
    let rows = unit.segments(&store).await;
    let (first, last) = (&rows[0].segment, &rows[rows.len() - 1].segment);
    let passed_us = last.monotonic_us + last.duration_us - first.monotonic_us;
    let lost_us = passed_us.abs_diff(report.recorded_us);
    assert!(lost_us < 500_000, "{lost_us} us of {passed_us} are not recorded once: {rows:?}");
    let gaps = unit.gaps(&store).await;
    assert!(gaps.is_empty(), "{gaps:?}");
    let is_off = |days: i64| {
        let off_us = days * DAY_S * 1_000_000;
        let near = |at: UnixMicros| (at.0 - first.start.0 - off_us).abs() < DAY_S * 500_000;
        rows.iter().any(|row| near(row.segment.start))
    };
    assert!(is_off(1) && is_off(-1), "the clock has not jumped: {rows:?}");
    // What a clock said that somebody vouched for stands, be it right or wrong (decision 0090).
    if rows.iter().all(|row| !row.segment.authority.is_confirmed()) {
        for row in &rows {
            let is_right = begun <= row.start() && row.end() <= ended;
            assert!(is_right, "between {begun:?} and {ended:?}: {row:?}");
        }
    }
    store.close().await;
}
