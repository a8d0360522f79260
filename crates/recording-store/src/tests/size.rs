//! How large the index gets.

use sightline_recording::statement::{Causes, RunId};

use super::*;
use crate::committer::Draft;

/// A day of segments of four seconds.
const SEGMENTS: u64 = 21_600;

/// States so many segments of four seconds, whose files nobody has written.
pub(super) async fn state(store: &Store, segments: u64) {
    let inner = store.inner.clone();
    let chain = inner.begin(&film::subject(0)).await.expect("begun");
    let shot = Film::new(BootId(0x1234_5678_9abc_def0), film::START_US).shoot();
    let draft = |n: u64, run: Option<RunId>| {
        let mut draft = shot.draft;
        draft.opening.start.0 += n as i64 * 4_000_000;
        draft.opening.monotonic_us += n * 4_000_000;
        draft.opening.position_90k += n * 360_000;
        draft.duration_us = 4_000_000;
        draft.len = 2_000_000;
        let segment = draft.into_segment(run.unwrap_or(RunId(0)), Causes::default(), false);
        Draft::Segment { segment, file: n, run }
    };
    let first = inner.commits.append(&chain, vec![draft(0, None)]).await.expect("acknowledged");
    let run = first[0].run;
    let rest: Vec<_> = (1..segments).map(|n| draft(n, run)).collect();
    for some in rest.chunks(200) {
        inner.commits.append(&chain, some.to_vec()).await.expect("acknowledged");
    }
}

/// What the index takes of a camera's day: 43 GB of files at 4 Mbit/s stand beside it.
#[tokio::test]
async fn a_camera_day_of_index_is_a_few_megabytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = reopen(dir.path()).await;
    state(&store, SEGMENTS).await;
    store.close().await;
    let bytes = std::fs::metadata(dir.path().join("index.sqlite3")).expect("there").len();
    println!("{bytes} bytes of index, {} for each segment", bytes / SEGMENTS);
    assert!(bytes < 12 << 20, "{bytes} bytes");
}
