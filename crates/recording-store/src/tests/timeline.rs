//! What was recorded when.

use sightline_model::UnixMicros;
use sightline_recording::statement::{Authority, ClockStep, Gap, GapReason, Sequence};

use super::*;

const SECOND: i64 = 1_000_000;

const fn all() -> std::ops::Range<UnixMicros> {
    UnixMicros(0)..UnixMicros(i64::MAX)
}

const fn at(seconds: i64) -> UnixMicros {
    UnixMicros(film::START_US + seconds * SECOND)
}

#[tokio::test]
async fn a_span_gives_what_overlaps_it_page_by_page() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, mut writer, mut film) = filmed(dir.path(), 5).await;
    let subject = film::subject(0);
    film.pause(60);
    for _ in 0..5 {
        write(&mut writer, &film.shoot()).await.expect("acknowledged");
    }
    let everything = store.segments(&subject, all(), None, 100).await.expect("read");
    assert_eq!((everything.rows.len(), everything.next), (10, None));
    let of = |from: i64, to: i64| {
        let rows = everything.rows.iter().filter(move |r| r.end().0 > from && r.start().0 < to);
        rows.map(|r| r.sequence).collect::<Vec<_>>()
    };
    // Every span whose ends lie at, just before or just behind a segment's.
    let ends = everything.rows.iter().flat_map(|r| [r.start().0, r.end().0]);
    let bounds: Vec<i64> = ends.flat_map(|at| [at - 1, at, at + 1]).collect();
    for from in &bounds {
        for to in bounds.iter().filter(|to| *to > from).step_by(5) {
            let span = UnixMicros(*from)..UnixMicros(*to);
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = store.segments(&subject, span.clone(), after, 3).await.expect("read");
                assert!(page.rows.len() <= 3);
                found.extend(page.rows.iter().map(|r| r.sequence));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, of(*from, *to), "{span:?}");
            let any = store.has_any(&subject, span.clone()).await.expect("read");
            assert_eq!(any, !found.is_empty(), "{span:?}");
        }
    }
    let days = [at(-10), at(0), at(5), at(10), at(30), at(100)];
    let recorded = store.recorded(&subject, &days).await.expect("read");
    assert_eq!(recorded, [false, true, false, false, true]);
    assert!(store.recorded(&subject, &[at(0); 402]).await.is_err());
    assert!(store.outline(&subject, at(0)..at(4_002), SECOND).await.is_err());
    let usage = store.usage(&subject).await.expect("read");
    assert_eq!(usage.oldest, Some(at(0)));
    assert_eq!(usage.newest, everything.rows.last().map(|r| r.end()));
    assert_eq!(usage.bytes, store.used_bytes());
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn an_outline_has_all_that_is_recorded_and_no_interruption_of_two_steps() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, mut writer, mut film) = filmed(dir.path(), 20).await;
    let subject = film::subject(0);
    for pause in [3, 60, 7] {
        film.pause(pause);
        for _ in 0..20 {
            write(&mut writer, &film.shoot()).await.expect("acknowledged");
        }
    }
    let rows = store.segments(&subject, all(), None, 200).await.expect("read").rows;
    for step_us in [SECOND / 2, SECOND, 5 * SECOND, 13 * SECOND, 90 * SECOND] {
        for span in [at(-50)..at(500), at(7)..at(23), at(30)..at(31), at(22)..at(300)] {
            let pieces = store.outline(&subject, span.clone(), step_us).await.expect("read");
            let inside = rows.iter().filter(|r| r.end() > span.start && r.start() < span.end);
            for row in inside {
                let whole = pieces.iter().any(|p| p.from <= row.start() && p.to >= row.end());
                assert!(whole, "{row:?} is missing of {span:?} in steps of {step_us}: {pieces:?}");
            }
            for pair in rows.windows(2) {
                let (end, next) = (pair[0].end().0, pair[1].start().0);
                let hidden = pieces.iter().any(|p| p.from.0 < end && p.to.0 > next);
                assert!(!hidden || next - end < 2 * step_us, "{pair:?} at {step_us}: {pieces:?}");
            }
        }
    }
    writer.end().await;
    store.close().await;
}

#[tokio::test]
async fn a_step_from_an_unconfirmed_clock_corrects_what_this_boot_recorded_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = reopen(dir.path()).await;
    let subject = film::subject(0);
    let mut writer = store.writer(&subject).await.expect("lent");
    // An earlier boot, an unconfirmed clock in the year 1970, and the right time.
    let mut before = Film::new(BootId(1), film::START_US).vouched_for_by(Authority::Unconfirmed);
    write(&mut writer, &before.shoot()).await.expect("acknowledged");
    let mut wrong = Film::new(BootId(2), 5 * SECOND).vouched_for_by(Authority::Unconfirmed);
    let shot = wrong.shoot();
    write(&mut writer, &shot).await.expect("acknowledged");
    let gap = Gap {
        from: shot.draft.end(),
        boot: BootId(2),
        authority: Authority::Unconfirmed,
        reason: GapReason::CameraAway,
    };
    writer.gap(gap).expect("queued").wait().await.expect("acknowledged");
    let step = ClockStep {
        boot: BootId(2),
        monotonic_us: 100 * 1_000_000,
        from: UnixMicros(105 * SECOND),
        to: at(1_000),
        from_authority: Authority::Unconfirmed,
        to_authority: Authority::Centre,
    };
    writer.clock_step(step).expect("queued").wait().await.expect("acknowledged");
    let mut right = Film::new(BootId(2), at(1_010).0).vouched_for_by(Authority::Centre);
    write(&mut writer, &right.shoot()).await.expect("acknowledged");
    // A later step concerns nothing that was right already.
    let step = ClockStep { from_authority: Authority::Centre, to: at(9_000), ..step };
    writer.clock_step(step).expect("queued").wait().await.expect("acknowledged");

    let rows = store.segments(&subject, all(), None, 10).await.expect("read").rows;
    let starts: Vec<_> = rows.iter().map(super::super::SegmentRow::start).collect();
    // The clock said 5 s when the first picture came and 105 s at the step: 100 s before it.
    assert_eq!(starts, [at(0), at(900), at(1_010)]);
    let known: Vec<_> = rows.iter().map(|row| row.time_known).collect();
    assert_eq!(known, [false, true, true]);
    assert_eq!(rows[1].segment.start, UnixMicros(5 * SECOND), "a statement was changed");
    let found = store.segments(&subject, at(890)..at(910), None, 10).await.expect("read").rows;
    assert_eq!(found.len(), 1);
    let gaps = store.gaps(&subject, all(), None, 10).await.expect("read").rows;
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].from(), gaps[0].to), (at(901), Some(at(1_010))));
    writer.end().await;
    check_sound(&store, dir.path()).await;
    store.close().await;
}

#[tokio::test]
async fn entries_are_given_in_order_up_to_the_head() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, mut writer, mut film) = filmed(dir.path(), 7).await;
    let subject = film::subject(0);
    let (mut numbers, mut after) = (Vec::new(), None);
    loop {
        let page = store.entries(&subject, after, 3).await.expect("read");
        numbers.extend(page.rows.iter().map(|(number, _)| number.0));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(numbers, (0..=7).collect::<Vec<_>>());
    let head = store.head(&subject, at(0)).await.expect("read").expect("begun");
    assert_eq!(head.sequence, Sequence(7));
    let done = write(&mut writer, &film.shoot()).await.expect("acknowledged");
    let newer = store.head(&subject, at(0)).await.expect("read").expect("begun");
    assert_eq!((newer.sequence, newer.hash), (done.sequence, done.hash));
    // Both heads stand; one that was never reached does not.
    for head in [head, newer.clone()] {
        let verified = store.verify(&subject, Level::Size, Some(head)).await.expect("verified");
        assert!(verified.expect("a chain").report.is_sound());
    }
    let beyond = sightline_recording::statement::Head { sequence: Sequence(99), ..newer };
    let verified = store.verify(&subject, Level::Size, Some(beyond)).await.expect("verified");
    assert!(!verified.expect("a chain").report.is_sound());
    let nobody = film::subject(9);
    assert!(store.verify(&nobody, Level::Size, None).await.expect("looked").is_none());
    assert!(store.entries(&nobody, None, 3).await.expect("read").rows.is_empty());
    writer.end().await;
    store.close().await;
}
