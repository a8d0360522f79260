//! Somebody meddles with a unit's card: what was altered or deleted is named with its time. What the recorder
//! itself has overwritten is not.

mod recording;

use std::{os::fd::AsRawFd, path::PathBuf};

use recording::{Unit, until};
use sightline_recording::chain::{Problem, time_text};
use sightline_recording_store::{Level, Limits, SegmentRow, Store};

/// Segments that there is room for.
const ROOM: u64 = 10;

/// Where a segment lies.
async fn path(unit: &Unit, store: &Store, row: &SegmentRow) -> PathBuf {
    let opened = store.open_file(&unit.subject(), row.sequence).await.expect("read");
    let file = opened.file().expect("it is there").file;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("an open file")
}

/// Records until something was overwritten.
async fn overwritten(unit: &Unit) {
    let run = unit.start(Limits::default()).await;
    run.camera.play();
    let segments = run.segments(2).await;
    let largest = segments.iter().map(|row| row.segment.len).max().expect("there are some");
    run.end().await;
    let limits = Limits { max_bytes: Some(ROOM * largest), ..Limits::default() };
    let run = unit.start(limits).await;
    run.camera.play();
    let store = run.store().await;
    until("something has expired", async || {
        let report = unit.verify(&store, Level::Present).await;
        (!report.absences.is_empty() && report.segments >= ROOM / 2).then_some(())
    })
    .await;
    run.end().await;
}

#[tokio::test]
async fn what_was_altered_or_deleted_is_named_with_its_time_and_what_was_overwritten_is_not() {
    let unit = Unit::new();
    overwritten(&unit).await;
    let store = unit.open().await;
    let rows = unit.segments(&store).await;
    let report = unit.verify(&store, Level::Hash).await;
    assert!(report.is_sound() && !report.absences.is_empty(), "{report:?}");

    let (altered, deleted) = (&rows[1], &rows[3]);
    let file = path(&unit, &store, altered).await;
    let mut bytes = std::fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    std::fs::remove_file(path(&unit, &store, deleted).await).expect("removed");
    store.close().await;

    let store = unit.open().await;
    let found = unit.verify(&store, Level::Hash).await;
    let problems: Vec<_> = found.findings.iter().map(|f| (f.first, f.problem.clone())).collect();
    let expected =
        [(altered.sequence, Problem::FileAltered), (deleted.sequence, Problem::FileMissing)];
    assert_eq!(problems, expected, "{found:?}");
    for (finding, row) in found.findings.iter().zip([altered, deleted]) {
        let times = (finding.span.from.map(|t| t.at), finding.span.to.map(|t| t.at));
        assert_eq!(times, (Some(row.start()), Some(row.end())), "{finding}");
        let words = finding.to_string();
        for time in [row.start(), row.end()] {
            assert!(words.contains(&time_text(time)), "{words}");
        }
    }
    assert_eq!(found.absences, report.absences, "what was overwritten is something else");
    // Whoever looks at the timeline sees the one, too, as far as a glance at the files tells.
    let damaged: Vec<_> =
        unit.segments(&store).await.iter().filter(|row| row.damaged).map(|r| r.sequence).collect();
    assert_eq!(damaged, [deleted.sequence]);
    store.close().await;
}
