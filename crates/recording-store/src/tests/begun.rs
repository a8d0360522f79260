//! What was recorded in which boot, whatever the clock said.

use std::ops::Range;

use sightline_model::UnixMicros;
use sightline_recording::statement::{Authority, ClockStep};

use super::*;

const SECOND: i64 = 1_000_000;
const LONG_AGO: UnixMicros = UnixMicros(i64::MIN);

const fn at(seconds: i64) -> UnixMicros {
    UnixMicros(film::START_US + seconds * SECOND)
}

/// Seconds of a boot's monotonic clock, as microseconds.
fn seconds(from: u64, to: u64) -> Range<u64> {
    from * 1_000_000..to.saturating_mul(1_000_000)
}

#[tokio::test]
async fn what_was_begun_in_a_part_of_a_boot_is_found_whatever_its_dates_are() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = reopen(dir.path()).await;
    let subject = film::subject(0);
    assert!(store.boots(&subject).await.expect("read").is_empty());
    let mut writer = store.writer(&subject).await.expect("lent");
    // Five seconds, a pause of ten, and five more.
    let mut film = Film::new(BootId(1), film::START_US).vouched_for_by(Authority::Unconfirmed);
    for _ in 0..5 {
        write(&mut writer, &film.shoot()).await.expect("acknowledged");
    }
    film.pause(10);
    for _ in 0..5 {
        write(&mut writer, &film.shoot()).await.expect("acknowledged");
    }
    let rows = store.segments(&subject, UnixMicros(0)..UnixMicros(i64::MAX), None, 100).await;
    let rows = rows.expect("read").rows;
    let mut other = Film::new(BootId(u64::MAX), film::START_US);
    write(&mut writer, &other.shoot()).await.expect("acknowledged");
    let mut boots = store.boots(&subject).await.expect("read");
    boots.sort_unstable_by_key(|boot| boot.0);
    assert_eq!(boots, [BootId(1), BootId(u64::MAX)]);

    let begun = async |stretch: Range<u64>, after| {
        store.begun_in(&subject, (BootId(1), stretch), after).await.expect("read")
    };
    // Every bound, at a segment's beginning and just beside it, in either run and between them.
    let starts = rows.iter().map(|row| row.segment.monotonic_us);
    let bounds: Vec<_> = starts.flat_map(|us| [us.saturating_sub(1), us, us + 1]).collect();
    for bound in bounds {
        for stretch in [0..bound, bound..u64::MAX, bound..bound.saturating_add(3_500_000)] {
            let inside = rows.iter().filter(|row| stretch.contains(&row.segment.monotonic_us));
            let mut expected: Vec<(_, Range<UnixMicros>)> = Vec::new();
            for row in inside {
                match expected.last_mut() {
                    Some((run, span)) if *run == row.segment.run => span.end = row.end(),
                    Some(_) | None => expected.push((row.segment.run, row.start()..row.end())),
                }
            }
            let expected: Vec<_> = expected.into_iter().map(|(_, span)| span).collect();
            assert_eq!(begun(stretch.clone(), LONG_AGO).await, expected, "{stretch:?}");
        }
    }
    let whole = begun(seconds(0, u64::MAX), LONG_AGO).await;
    assert_eq!(whole.len(), 2, "{whole:?}");
    assert_eq!(begun(seconds(0, u64::MAX), whole[0].end).await, whole[1..]);

    // The clock was an hour behind.
    let step = ClockStep {
        boot: BootId(1),
        monotonic_us: 100 * 1_000_000,
        from: at(100),
        to: at(3_700),
        from_authority: Authority::Unconfirmed,
        to_authority: Authority::Centre,
    };
    writer.clock_step(step).expect("queued").wait().await.expect("acknowledged");
    let later = |time: UnixMicros| UnixMicros(time.0 + 3_600 * SECOND);
    let moved: Vec<_> = whole.iter().map(|span| later(span.start)..later(span.end)).collect();
    assert_eq!(begun(seconds(0, u64::MAX), LONG_AGO).await, moved);
    writer.end().await;
    store.close().await;
}
