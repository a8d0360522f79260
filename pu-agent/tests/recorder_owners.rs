//! A unit that changes hands while it records: the recorder answers its owner about their own time only.

mod recording;

use std::ops::Range;

use recording::{Run, Unit, until};
use sightline_archive::StoreArchive;
use sightline_media_io::archive::{Archive, Look, Recording};
use sightline_model::{ChannelId, RecordingPlace, StreamTier, Timeline, UnixMicros, UserId};
use sightline_protocol::ps::{LockSpan, RecordingQuery, RecordingReply, RecordingRequest};
use sightline_recording::replay::Way;
use sightline_recording_store::{Limits, SegmentRow};

const HALF_HOUR_US: i64 = 1_800_000_000;

/// The half hours before and behind a time: all that the test records.
fn around(at: UnixMicros) -> (UnixMicros, UnixMicros) {
    (UnixMicros(at.0 - HALF_HOUR_US), UnixMicros(at.0 + HALF_HOUR_US))
}

/// The unit becomes somebody's, and something is recorded in their time; since when it is theirs.
async fn becomes(unit: &Unit, run: &Run<'_>, owner: &UserId) -> UnixMicros {
    run.recorder.owner_is(Some(owner));
    let since = visible(run).await.last().expect("somebody's").start;
    let store = run.store().await;
    until("recorded in their time", async || {
        let rows = unit.segments(&store).await;
        rows.iter().any(|row| row.start() >= since).then_some(())
    })
    .await;
    since
}

/// What may be shown, once that is known.
async fn visible(run: &Run<'_>) -> Vec<Range<UnixMicros>> {
    let visible = run.recorder.visible();
    until("something may be shown", async || {
        let spans = visible.borrow().to_vec();
        (!spans.is_empty()).then_some(spans)
    })
    .await
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

/// What is played there, if anything is.
async fn played(unit: &Unit, run: &Run<'_>, at: UnixMicros, way: Way) -> Option<UnixMicros> {
    let (store, visible) = (run.recorder.store(), run.recorder.visible());
    let archive = StoreArchive::of_unit(store, unit.camera().pu, visible);
    let of = Recording { channel: ChannelId(0), tier: StreamTier::Main };
    match archive.find(of, at, way).await.expect("read") {
        Look::Found(found) => Some(found.start),
        Look::Later | Look::End => None,
        Look::Unreadable(window) => panic!("unreadable: {window:?}"),
    }
}

/// The clock ran a day ahead, and the machine was started anew before anybody set it right: nothing ever
/// corrects the dates of what was recorded so.
#[tokio::test]
async fn what_bears_a_date_in_a_later_owners_time_is_not_shown_to_them() {
    const DAY_US: i64 = 86_400_000_000;
    let unit = Unit::new();
    let user = |name: &str| name.parse::<UserId>().expect("valid");
    let (anna, bert) = (user("anna"), user("bert"));
    let run = unit.start(Limits::default()).await;
    run.recorder.owner_is(Some(&anna));
    run.centre.set_measured(DAY_US);
    run.camera.play();
    let hers = run.segments(3).await[1].clone();
    assert_eq!(played(&unit, &run, hers.start(), Way::Forwards).await, Some(hers.start()));
    run.end().await;

    unit.reboot();
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    run.recorder.owner_is(Some(&bert));
    let sold = visible(&run).await[0].start;
    assert!(hers.start().0 - sold.0 > DAY_US / 2, "{hers:?} was not recorded ahead");
    let store = run.store().await;
    let his = until("recorded in his time", async || {
        let rows = unit.segments(&store).await;
        let his = |row: &SegmentRow| row.start() >= sold && row.end() < hers.start();
        // The first one may overlap by a little what was begun before.
        rows.into_iter().filter(his).nth(1)
    })
    .await;
    let tomorrow = hers.start();
    assert_eq!(lock(&unit, &run, tomorrow).await, 0, "it is not his to be locked");
    assert!(lock(&unit, &run, sold).await > 0);
    let (ahead, behind) = (UnixMicros(tomorrow.0 - 1_000_000), UnixMicros(hers.end().0 - 1));
    for at in [ahead, tomorrow] {
        assert_eq!(played(&unit, &run, at, Way::Forwards).await, None);
    }
    let before = played(&unit, &run, behind, Way::Backwards).await.expect("his own");
    assert!(before < ahead && before >= his.start(), "{before:?}");

    // It stays hidden after a restart, and is hers when it is hers again.
    run.end().await;
    let run = unit.start(Limits::default()).await;
    let spans = visible(&run).await;
    assert!(spans.iter().all(|span| !span.contains(&tomorrow)), "{spans:?}");
    assert!(spans[0].contains(&his.start()), "{spans:?}");
    run.recorder.owner_is(Some(&anna));
    visible(&run).await;
    assert!(lock(&unit, &run, tomorrow).await > 0);
    assert_eq!(played(&unit, &run, tomorrow, Way::Forwards).await, Some(tomorrow));
    let rows = unit.segments(&run.store().await).await;
    let of_his = rows.iter().filter(|row| (sold..ahead).contains(&row.start()));
    for row in of_his {
        assert_ne!(played(&unit, &run, row.start(), Way::Forwards).await, Some(row.start()));
    }
    run.end().await;
}
