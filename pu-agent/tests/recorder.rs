//! The unit's recorder on a real disk, with a synthetic camera and short segments in real time.

mod recording;

use std::time::SystemTime;

use recording::{Unit, until};
use sightline_model::{
    ChannelId, RecordingPlace, RecordingPlan, Strategy, StreamTier, Trigger, UnixMicros,
};
use sightline_protocol::{
    ProblemKind,
    ps::{RecordingQuery, RecordingRequest},
};
use sightline_recording::{statement::GapReason, strategy::Input};
use sightline_recording_store::{Level, Limits, State};

#[tokio::test]
async fn a_camera_is_recorded_until_the_unit_ends_and_the_chain_is_sound() {
    let unit = Unit::new();
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    run.segments(3).await;
    let given = run.camera.newest();
    run.end().await;
    let store = unit.open().await;
    let segments = unit.segments(&store).await;
    assert!(segments.len() >= 3);
    // What was open was closed and acknowledged, not found and repaired.
    let last = segments.last().expect("there are some");
    assert!(segments.iter().all(|row| !row.segment.recovered), "the end was not a clean one");
    let missing_us = given.0 - last.end().0;
    assert!(missing_us < 1_000_000, "the last {missing_us} us are missing");
    let runs: Vec<_> = segments.iter().map(|row| row.segment.run).collect();
    assert!(runs.iter().all(|run| *run == runs[0]), "one stretch is one run: {runs:?}");
    for pair in segments.windows(2) {
        assert!((pair[1].start().0 - pair[0].end().0).abs() < 10_000, "a seam: {pair:?}");
    }
    let found = unit.verify(&store, Level::Hash).await;
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(found.files_hashed, segments.len() as u64);
    store.close().await;
}

#[tokio::test]
async fn a_camera_that_goes_leaves_a_gap_and_is_recorded_when_it_is_back() {
    let unit = Unit::new();
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    run.segments(2).await;
    run.camera.unplug("unplugged").await;
    run.gap(GapReason::CameraAway).await;
    let before = run.segments(2).await.len();
    run.camera.play();
    let segments = run.segments(before + 1).await;
    let gap = run.gap(GapReason::CameraAway).await;
    assert_eq!(gap.from(), segments[before - 1].end(), "it begins where the recording ends");
    assert_eq!(gap.to, Some(segments[before].start()), "and ends where it goes on");
    assert_ne!(segments[before].segment.run, segments[before - 1].segment.run);
    let store = run.store().await;
    let found = unit.verify(&store, Level::Hash).await;
    assert!(found.is_sound(), "{found:?}");
    run.end().await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_chain_behind_a_gap() {
    let unit = Unit::new();
    let mut known = 0;
    let mut chain = None;
    for restarts in 0..3 {
        let run = unit.start(Limits::default()).await;
        run.camera.play();
        let segments = run.segments(known + 2).await;
        known = segments.len();
        let store = run.store().await;
        let gaps = unit.gaps(&store).await;
        let off = gaps.iter().filter(|gap| gap.gap.reason == GapReason::RecorderOff);
        assert_eq!(off.count(), restarts, "{gaps:?}");
        let found = unit.verify(&store, Level::Size).await;
        assert!(found.is_sound(), "{found:?}");
        assert_eq!(*chain.get_or_insert(found.chain), found.chain, "another chain was begun");
        run.end().await;
    }
}

#[tokio::test]
async fn when_the_limit_is_reached_the_oldest_go_for_the_newest() {
    let unit = Unit::new();
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    let segments = run.segments(3).await;
    let largest = segments.iter().map(|row| row.segment.len).max().expect("there are some");
    run.end().await;

    let most = 8 * largest;
    let run = unit.start(Limits { max_bytes: Some(most), ..Limits::default() }).await;
    run.camera.play();
    let store = run.store().await;
    until("something has expired", async || {
        let found = unit.verify(&store, Level::Hash).await;
        assert!(found.is_sound(), "{found:?}");
        (!found.absences.is_empty()).then_some(())
    })
    .await;
    let oldest = unit.segments(&store).await[0].sequence;
    until("more has expired", async || {
        let segments = unit.segments(&store).await;
        (segments.first().is_some_and(|row| row.sequence > oldest)).then_some(())
    })
    .await;
    let used = store.used_bytes();
    assert!(used <= most + largest, "{used} bytes are used, of {most}");
    let gaps = unit.gaps(&store).await;
    let stopped = gaps.iter().any(|gap| gap.gap.reason != GapReason::RecorderOff);
    assert!(!stopped, "recording stopped for it: {gaps:?}");
    run.end().await;
}

fn manual() -> (RecordingPlan, Input) {
    let strategy = Strategy {
        id: "button".parse().expect("a name"),
        tier: StreamTier::Main,
        trigger: Trigger::Manual { limit_s: None },
    };
    let start = Input::ManualStart { strategy: strategy.id.clone() };
    let plan = RecordingPlan {
        revision: 7,
        strategies: vec![strategy],
        ..RecordingPlan::nothing(Unit::camera_of_nobody(), RecordingPlace::Pu)
    };
    (plan, start)
}

#[tokio::test]
async fn a_plan_that_was_set_is_obeyed_now_and_after_a_restart() {
    let unit = Unit::new();
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    run.segments(1).await;
    let (plan, start) = manual();
    let plan = RecordingPlan { camera: unit.camera(), ..plan };
    let set = |plan: RecordingPlan| run.recorder.tell(ChannelId(0), Input::Plan(plan));
    set(plan.clone()).await.expect("a good plan");
    run.gap(GapReason::NotPlanned).await;
    // Refused: older, for another camera, for a channel that is not there.
    set(RecordingPlan { revision: 6, ..plan.clone() }).await.expect_err("older");
    set(RecordingPlan { camera: Unit::camera_of_nobody(), revision: 8, ..plan.clone() })
        .await
        .expect_err("for another camera");
    run.recorder.tell(ChannelId(9), start.clone()).await.expect_err("no such camera");
    let before = run.segments(1).await.len();
    run.recorder.tell(ChannelId(0), start).await.expect("it has the strategy");
    let segments = run.segments(before + 2).await;
    assert!(segments[before].segment.causes.manual, "{segments:?}");
    run.end().await;

    let run = unit.start(Limits::default()).await;
    run.camera.play();
    let before = run.segments(1).await.len();
    let segments = run.segments(before + 1).await;
    let causes = segments.last().expect("there are some").segment.causes;
    assert!(causes.manual && !causes.continuous, "the plan was forgotten: {causes:?}");
    let kept = run.recorder.plan(ChannelId(0)).expect("the camera");
    assert_eq!(kept.borrow().plan, plan);
    run.end().await;
}

#[tokio::test]
async fn a_card_that_is_put_in_later_is_recorded_on() {
    let unit = Unit::new();
    let away = unit.dir().with_extension("away");
    std::fs::rename(unit.dir(), &away).expect("own folder");
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    let mut storage = run.recorder.storage();
    // What it was before anybody had looked says nothing.
    let looked = tokio::time::timeout(recording::PATIENCE, storage.changed());
    looked.await.expect("in time").expect("runs");
    assert_eq!(storage.borrow_and_update().state, State::Away);
    assert!(run.recorder.store().borrow().is_none());
    let query = RecordingQuery {
        camera: unit.camera(),
        from: UnixMicros(0),
        to: UnixMicros(1),
        max_spans: 8,
        tier: None,
    };
    let asked = run.recorder.answer(RecordingRequest::List(query)).await;
    let problem = asked.expect_err("nothing can be read");
    assert_eq!(problem.kind, ProblemKind::StorageAway, "{problem:?}");
    std::fs::rename(&away, unit.dir()).expect("own folder");
    run.segments(1).await;
    let well = storage.wait_for(|health| health.state == State::Ok);
    tokio::time::timeout(recording::PATIENCE, well).await.expect("in time").expect("runs");
    run.end().await;
}

/// The centre says what time it is while the camera is recorded. What comes is recorded under that
/// time, and so is found what was recorded before by a clock that nobody had vouched for.
#[tokio::test]
async fn a_clock_that_is_set_right_sets_right_what_was_recorded_before() {
    const DAY_US: i64 = 86_400_000_000;
    let unit = Unit::new();
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    let before = run.segments(2).await;
    let first = before[0].segment.clone();
    run.centre.set_measured(DAY_US);
    let store = run.store().await;
    let segments = until("recorded by the centre's clock", async || {
        let segments = unit.segments(&store).await;
        let moved = segments.last()?.segment.start.0 - first.start.0;
        (moved >= DAY_US).then_some(segments)
    })
    .await;
    // A clock that the kernel vouches for was right; only what follows is by the centre's.
    let corrected = if first.authority.is_confirmed() { 0 } else { DAY_US };
    let oldest = &segments[0];
    let moved = oldest.start().0 - first.start.0;
    assert!((moved - corrected).abs() < 1_000_000, "{moved} us, not {corrected}: {oldest:?}");
    assert!(segments.iter().all(|row| row.time_known), "{segments:?}");
    let found = unit.verify(&store, Level::Hash).await;
    assert!(found.is_sound(), "{found:?}");
    run.end().await;
}

/// Else what was recorded last would count as still being recorded.
#[tokio::test]
async fn a_chain_that_is_not_to_go_on_after_a_restart_says_so() {
    let unit = Unit::new();
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    run.segments(1).await;
    run.end().await;
    let store = unit.open().await;
    let last = unit.segments(&store).await.pop().expect("there is one");
    assert!(unit.gaps(&store).await.is_empty(), "the end was not a clean one");
    store.close().await;

    // Until the last picture has been on the screen for its time.
    until("the segment's end", async || {
        (UnixMicros::from(SystemTime::now()) >= last.end()).then_some(())
    })
    .await;
    let run = unit.start_idle().await;
    let gap = run.gap(GapReason::NotPlanned).await;
    assert!(gap.from() >= last.end() && gap.to.is_none(), "{gap:?}");
    let gaps = unit.gaps(&run.store().await).await;
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert_eq!((gaps[0].gap.reason, gaps[0].from()), (GapReason::RecorderOff, last.end()));
    run.end().await;
}

#[tokio::test]
async fn the_chain_of_a_camera_that_was_taken_out_says_once_that_it_has_ended() {
    let unit = Unit::new();
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    run.segments(1).await;
    run.end().await;
    for _ in 0..2 {
        let run = unit.start_without_cameras().await;
        // By then it is stated.
        let mut storage = run.recorder.storage();
        let well = storage.wait_for(|health| health.state == State::Ok);
        tokio::time::timeout(recording::PATIENCE, well).await.expect("in time").expect("runs");
        let store = run.store().await;
        let reasons: Vec<_> = unit.gaps(&store).await.iter().map(|gap| gap.gap.reason).collect();
        assert_eq!(reasons, [GapReason::RecorderOff, GapReason::NotPlanned]);
        let found = unit.verify(&store, Level::Hash).await;
        assert!(found.is_sound(), "{found:?}");
        run.end().await;
    }
}
