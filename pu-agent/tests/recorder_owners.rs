//! A unit that changes hands while it records: the recorder answers its owner about their own time only.

mod recording;

use recording::{Run, Unit, until};
use sightline_model::{RecordingPlace, Timeline, UnixMicros, UserId};
use sightline_protocol::ps::{LockSpan, RecordingQuery, RecordingReply, RecordingRequest};
use sightline_recording_store::Limits;

const HALF_HOUR_US: i64 = 1_800_000_000;

/// The half hours before and behind a time: all that the test records.
fn around(at: UnixMicros) -> (UnixMicros, UnixMicros) {
    (UnixMicros(at.0 - HALF_HOUR_US), UnixMicros(at.0 + HALF_HOUR_US))
}

/// The unit becomes somebody's, and something is recorded in their time; since when it is theirs.
async fn becomes(unit: &Unit, run: &Run<'_>, owner: &UserId) -> UnixMicros {
    run.recorder.owner_is(Some(owner));
    let visible = run.recorder.visible().borrow().clone();
    let since = visible.last().expect("somebody's").start;
    let store = run.store().await;
    until("recorded in their time", async || {
        let rows = unit.segments(&store).await;
        rows.iter().any(|row| row.start() >= since).then_some(())
    })
    .await;
    since
}

async fn timeline(unit: &Unit, run: &Run<'_>, at: UnixMicros) -> Timeline {
    let (from, to) = around(at);
    let query = RecordingQuery { camera: unit.camera(), from, to, max_spans: 100, tier: None };
    match run.recorder.answer(RecordingRequest::List(query)).await.expect("answered") {
        RecordingReply::Timeline(timeline) => *timeline,
        other => panic!("{other:?}"),
    }
}

/// Locks everything that may be; how many segments that were.
async fn lock(unit: &Unit, run: &Run<'_>, at: UnixMicros) -> u64 {
    let (from, to) = around(at);
    let place = RecordingPlace::Pu;
    let lock = LockSpan { camera: unit.camera(), place, tier: None, from, to, locked: true };
    match run.recorder.answer(RecordingRequest::Lock(lock)).await.expect("answered") {
        RecordingReply::Locked(locked) => locked.segments,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_owner_is_answered_about_their_own_time_only() {
    let unit = Unit::new();
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    let user = |name: &str| name.parse::<UserId>().expect("valid");
    let (anna, bert) = (user("anna"), user("bert"));
    becomes(&unit, &run, &anna).await;
    run.segments(2).await;

    let sold = becomes(&unit, &run, &bert).await;
    let of_bert = timeline(&unit, &run, sold).await;
    assert!(!of_bert.spans.is_empty(), "{of_bert:?}");
    assert!(of_bert.spans.iter().all(|span| span.from >= sold), "since {sold:?}: {of_bert:?}");
    assert!(lock(&unit, &run, sold).await > 0);
    let rows = unit.segments(&run.store().await).await;
    assert!(rows.iter().any(|row| row.locked), "{rows:?}");
    let of_anna: Vec<_> = rows.iter().filter(|row| row.end() <= sold).collect();
    assert!(!of_anna.is_empty() && of_anna.iter().all(|row| !row.locked), "{of_anna:?}");

    let returned = becomes(&unit, &run, &anna).await;
    let spans = timeline(&unit, &run, sold).await.spans;
    assert!(spans.iter().all(|span| span.to <= sold || span.from >= returned), "{spans:?}");
    assert!(spans.iter().any(|span| span.from < sold), "{spans:?}");
    assert!(spans.iter().any(|span| span.from >= returned), "{spans:?}");

    run.recorder.owner_is(None);
    assert!(timeline(&unit, &run, sold).await.spans.is_empty(), "nobody may see anything");
    assert_eq!(lock(&unit, &run, sold).await, 0);
    run.end().await;
}
