//! Cameras that come and go while the recorder runs, as an NVR's do (decision 0099): dozens side by side on a
//! real disk. All of them show the same synthetic picture, so that the recorder has the work and no encoder.

mod recording;

use pu_agent::recorder::{RecorderError, config::FirstPlan};
use recording::{Run, Unit, always, until};
use sightline_media_io::camera::Camera;
use sightline_model::{CameraId, ChannelId, PuId, PublicKey, RecordingPlace, StreamTier};
use sightline_recording::statement::{GapReason, Subject};
use sightline_recording_store::{GapRow, Level, SegmentRow, Store};

const CAMERAS: u16 = 48;
/// As an NVR counts cameras of others.
const FIRST: u16 = 1_000;

/// The camera of another unit.
fn related(n: u16) -> CameraId {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&n.to_le_bytes());
    CameraId { pu: PuId::from_public_key(&PublicKey::from_bytes(key)), channel: ChannelId(0) }
}

fn subject(unit: &Unit, n: u16) -> Subject {
    Subject { recorder: unit.camera().pu, camera: related(n), tier: StreamTier::Main }
}

/// Has it recorded all the time.
fn take(run: &Run<'_>, n: u16) -> Result<(), RecorderError> {
    let channel = ChannelId(FIRST + n);
    let camera = Camera { channel, name: "Yard".into(), main: run.camera.hub(), sub: None };
    let first = FirstPlan { continuous: [StreamTier::Main].into(), max_age: None };
    run.recorder.take(related(n), &camera, &first)
}

async fn segments(store: &Store, subject: &Subject) -> Vec<SegmentRow> {
    store.segments(subject, always(), None, 1_000).await.expect("listed").rows
}

async fn newest_gap(store: &Store, subject: &Subject) -> Option<GapRow> {
    store.gaps(subject, always(), None, 1_000).await.expect("listed").rows.pop()
}

/// Waits for each of them to have so many more segments than before.
async fn grows(store: &Store, subjects: &[Subject], by: usize) {
    for subject in subjects {
        let least = segments(store, subject).await.len() + by;
        until("more of every camera", async || {
            (segments(store, subject).await.len() >= least).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn dozens_of_cameras_are_recorded_side_by_side_and_may_go_one_by_one() {
    let unit = Unit::new();
    let run = unit.start_without_cameras().await;
    run.camera.play();
    let store = run.store().await;
    for n in 0..CAMERAS {
        take(&run, n).expect("nobody has it");
    }
    let subjects: Vec<_> = (0..CAMERAS).map(|n| subject(&unit, n)).collect();
    grows(&store, &subjects, 2).await;

    // Every other one goes: its chain ends with words, and the others notice nothing.
    let (mut gone, mut stayed) = (Vec::new(), Vec::new());
    for (n, subject) in (0..CAMERAS).zip(subjects) {
        if n % 2 == 0 {
            run.recorder.let_go(ChannelId(FIRST + n));
            gone.push(subject);
        } else {
            stayed.push(subject);
        }
    }
    for subject in &gone {
        until("the end of a camera that was let go", async || {
            let gap = newest_gap(&store, subject).await?;
            (gap.gap.reason == GapReason::NotPlanned && gap.to.is_none()).then_some(())
        })
        .await;
    }
    grows(&store, &stayed, 1).await;
    for subject in &stayed {
        let gap = newest_gap(&store, subject).await;
        assert!(gap.is_none_or(|gap| gap.to.is_some()), "a camera that stayed is not recorded");
    }

    // One comes back: its chain goes on.
    let before = segments(&store, &gone[0]).await.len();
    take(&run, 0).expect("it was let go");
    grows(&store, &gone[..1], 1).await;
    assert!(segments(&store, &gone[0]).await.len() > before);
    run.end().await;

    let store = unit.open().await;
    for subject in gone.iter().chain(&stayed) {
        let found = store.verify(subject, Level::Hash, None).await.expect("verified");
        let found = found.expect("something was recorded").report;
        assert!(found.is_sound(), "{found:?}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_camera_is_recorded_once_and_each_number_is_one_cameras() {
    let unit = Unit::new();
    let run = unit.start_without_cameras().await;
    take(&run, 1).expect("nobody has it");
    let refused = take(&run, 1).expect_err("it is recorded already");
    assert!(matches!(refused, RecorderError::Taken(camera) if camera == related(1)));
    let plan = run.recorder.plan(ChannelId(FIRST + 1)).expect("it is recorded");
    until("its plan", async || {
        let plan = plan.borrow().plan.clone();
        (!plan.strategies.is_empty() && plan.place == RecordingPlace::Nvr).then_some(())
    })
    .await;
    let channel = ChannelId(FIRST + 1);
    let camera = Camera { channel, name: "Door".into(), main: run.camera.hub(), sub: None };
    let refused = run.recorder.take(related(2), &camera, &FirstPlan::default());
    assert!(matches!(refused, Err(RecorderError::Taken(_))), "two cameras have one number");
    run.recorder.let_go(channel);
    run.recorder.take(related(2), &camera, &FirstPlan::default()).expect("the number is free");
    run.end().await;
}
