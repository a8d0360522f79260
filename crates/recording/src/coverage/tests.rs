use proptest::prelude::*;
use sightline_model::{ChannelId, PuId, PublicKey, RecordedDays};

use super::*;
use crate::statement::{Authority, BootId, ClockStep, Digest, Gap, RunId, Segment, Sequence};

const S: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

fn pu(byte: u8) -> PuId {
    PuId::from_public_key(&PublicKey::from_bytes([byte; 32]))
}

fn camera() -> CameraId {
    CameraId { pu: pu(1), channel: ChannelId(0) }
}

fn source(place: RecordingPlace, tier: StreamTier) -> RecordingSource {
    RecordingSource { place, recorder: pu(1), tier }
}

fn causes(event: bool) -> Causes {
    Causes { continuous: !event, event, ..Causes::default() }
}

fn at(seconds: i64) -> UnixMicros {
    UnixMicros(seconds * S)
}

fn piece(from: i64, to: i64) -> Recorded {
    Recorded { from: at(from), to: at(to), causes: causes(false), time_known: true }
}

fn missing(from: i64, to: i64, reason: Absence) -> Missing {
    Missing { from: at(from), to: at(to), reason }
}

fn coverage(seconds: i64, max_spans: usize) -> Coverage {
    Coverage::new(at(0), at(seconds), max_spans).expect("a window")
}

/// Beginning and end in seconds, source, others.
fn spans(timeline: &Timeline) -> Vec<(i64, i64, u16, &[u16])> {
    let span = |s: &TimelineSpan| (s.from.0 / S, s.to.0 / S, s.source);
    timeline.spans.iter().map(|s| (span(s).0, span(s).1, span(s).2, &s.others[..])).collect()
}

fn gaps(timeline: &Timeline) -> Vec<(i64, i64, Absence)> {
    timeline.gaps.iter().map(|g| (g.from.0 / S, g.to.0 / S, g.reason)).collect()
}

#[test]
fn the_best_source_is_chosen_and_the_others_are_named() {
    let mut coverage = coverage(100, 100);
    let cloud = coverage.add_source(source(RecordingPlace::Cs, StreamTier::Main), 30).expect("one");
    let sub = coverage.add_source(source(RecordingPlace::Pu, StreamTier::Sub), 20).expect("two");
    let main =
        coverage.add_source(source(RecordingPlace::Pu, StreamTier::Main), 10).expect("three");
    let nothing = source(RecordingPlace::Nvr, StreamTier::Main);
    let nvr = coverage.add_source(nothing.clone(), 0).expect("four");
    for (source, from, to) in [(main, 10, 20), (main, 20, 30), (sub, 0, 50), (cloud, 25, 60)] {
        coverage.add_recorded(source, piece(from, to));
    }
    coverage.add_missing(main, missing(30, 70, Absence::NotPlanned));
    coverage.add_missing(cloud, missing(60, 65, Absence::StorageFull));
    coverage.add_missing(nvr, missing(65, 80, Absence::RecorderOff));
    let timeline = coverage.finish(camera());
    assert!(!timeline.sources.contains(&nothing), "it has nothing to play");
    let expected: [(i64, i64, u16, &[u16]); 6] = [
        (0, 10, 1, &[]),
        (10, 25, 0, &[1]),
        (25, 30, 0, &[1, 2]),
        (30, 50, 1, &[2]),
        (50, 60, 2, &[]),
        (0, 0, 0, &[]),
    ];
    assert_eq!(spans(&timeline), expected[..5]);
    let reasons = [
        (60, 65, Absence::StorageFull),
        (65, 80, Absence::RecorderOff),
        (80, 100, Absence::Unknown),
    ];
    assert_eq!(gaps(&timeline), reasons);
}

#[test]
fn the_lan_is_best_and_the_cloud_better_than_who_cannot_be_reached() {
    use RecordingPlace::{Cs, Nvr, Pu};
    use StreamTier::{Main, Sub};
    let order = [
        rank(Nvr, Some(Rung::Host), Main),
        rank(Pu, Some(Rung::Host), Sub),
        rank(Pu, Some(Rung::Punched), Main),
        rank(Pu, Some(Rung::RelayTls), Sub),
        rank(Cs, None, Main),
        rank(Cs, Some(Rung::Host), Sub),
        rank(Nvr, None, Main),
        rank(Nvr, None, Sub),
    ];
    assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
}

#[test]
fn a_time_recorded_twice_keeps_both_and_prefers_the_confirmed_then_the_later() {
    let mut coverage = coverage(100, 100);
    let source = coverage.add_source(source(RecordingPlace::Pu, StreamTier::Main), 0).expect("one");
    let event = |piece| Recorded { causes: causes(true), ..piece };
    coverage.add_recorded(source, piece(0, 50));
    coverage.add_recorded(source, event(piece(40, 60)));
    coverage.add_recorded(source, Recorded { time_known: false, ..piece(55, 70) });
    let timeline = coverage.finish(camera());
    let told = |s: &TimelineSpan| (s.from.0 / S, s.to.0 / S, s.causes.event, s.time_known, s.twice);
    let expected = [
        (0, 40, false, true, false),
        (40, 50, true, true, true),
        (50, 55, true, true, false),
        (55, 60, true, true, true),
        (60, 70, false, false, false),
    ];
    assert_eq!(timeline.spans.iter().map(told).collect::<Vec<_>>(), expected);
}

#[test]
fn a_month_of_segments_stays_small_and_true() {
    let month = 30 * DAY_S;
    for max_spans in [8, 100, 1_000] {
        let mut coverage = coverage(month, max_spans);
        let source = source(RecordingPlace::Pu, StreamTier::Main);
        let source = coverage.add_source(source, 0).expect("one");
        // Four seconds each; one in seven is away for a second, event clips every minute, and on the
        // tenth day nothing for two hours.
        let mut from = 0;
        for n in 0..month / 4 {
            let to = (n + 1) * 4 - i64::from(n % 7 == 0);
            if !(10 * DAY_S..10 * DAY_S + 7_200).contains(&from) {
                let held = Recorded { causes: causes(n % 15 == 0), ..piece(from, to) };
                coverage.add_recorded(source, held);
                coverage.add_missing(source, missing(to, (n + 1) * 4, Absence::CameraAway));
            }
            if n % 15 == 0 {
                let kind = EventKind::Motion;
                coverage.add_event(EventMark { from: at(from), to: at(to), kind, count: 1 });
            }
            from = (n + 1) * 4;
        }
        let timeline = coverage.finish(camera());
        let bounds = (timeline.spans.len() <= max_spans, timeline.gaps.len() <= max_spans * 2);
        assert_eq!(bounds, (true, true), "{max_spans}: {} spans", timeline.spans.len());
        assert!(timeline.events.len() <= max_spans);
        assert_eq!(
            timeline.events.iter().map(|mark| i64::from(mark.count)).sum::<i64>(),
            month / 60
        );
        let hole = (10 * DAY_S, 10 * DAY_S + 7_200, Absence::Unknown);
        assert!(gaps(&timeline).contains(&hole), "{max_spans}: {:?}", timeline.gaps);
        assert!(timeline.resolution_us < 7_200_000_000, "{}", timeline.resolution_us);
    }
}

#[test]
fn what_cannot_be_a_timeline_is_refused() {
    let new = |from, to, spans| Coverage::new(UnixMicros(from), UnixMicros(to), spans).map(|_| ());
    assert_eq!(new(5, 5, 100), Err(CoverageError::Window));
    assert_eq!(new(5, 4, 100), Err(CoverageError::Window));
    assert_eq!(new(i64::MIN, i64::MAX, 100), Err(CoverageError::Window));
    assert_eq!(new(0, 401 * DAY_S * S, 100), Err(CoverageError::Window));
    assert_eq!(new(0, 1, 7), Err(CoverageError::Spans(7)));
    assert_eq!(new(0, 1, 1_001), Err(CoverageError::Spans(1_001)));
    let mut coverage = coverage(1, 8);
    let of = source(RecordingPlace::Pu, StreamTier::Main);
    for _ in 0..MAX_SOURCES {
        coverage.add_source(of.clone(), 0).expect("within the limit");
    }
    assert_eq!(coverage.add_source(of, 0), Err(CoverageError::TooManySources));
}

fn days(zone: &str, year: i16, month: u8, pieces: &[(&str, &str)]) -> RecordedDays {
    let time =
        |text: &str| UnixMicros(text.parse::<jiff::Timestamp>().expect("a time").as_microsecond());
    let mut calendar = Calendar::new(&zone.parse().expect("a zone"), year, month).expect("a month");
    for (from, to) in pieces {
        calendar.add(time(from), time(to));
    }
    calendar.finish(camera())
}

#[test]
fn days_are_those_of_the_camera() {
    let told = |d: RecordedDays| d.days.into_iter().collect::<Vec<_>>();
    // Midnight in Berlin is 22:00 or 23:00 UTC; the end does not belong to it.
    let march = [("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")];
    assert_eq!(told(days("Europe/Berlin", 2026, 3, &march)), [29]);
    let night = [("2026-03-28T22:59:59Z", "2026-03-28T23:00:01Z")];
    assert_eq!(told(days("Europe/Berlin", 2026, 3, &night)), [28, 29]);
    assert_eq!(told(days("Asia/Kolkata", 2026, 3, &night)), [29]);
    let around = [("2026-10-31T04:00:00Z", "2026-12-02T04:00:00Z")];
    assert_eq!(told(days("America/New_York", 2026, 11, &around)), (1..=30).collect::<Vec<_>>());
    // A day that the calendar skipped has no recordings.
    let samoa = [("2011-12-25T00:00:00Z", "2012-01-05T00:00:00Z")];
    assert!(!told(days("Pacific/Apia", 2011, 12, &samoa)).contains(&30));
    let calendar = Calendar::new(&"Europe/Berlin".parse().expect("zone"), 2026, 3).expect("month");
    let hours = calendar.days().map(|(_, from, to)| (to.0 - from.0) / 3_600 / S);
    assert_eq!(hours.filter(|hours| *hours != 24).collect::<Vec<_>>(), [23]);
    assert_eq!(calendar.days().count(), 31);
    let refused = |zone: &str, year, month| {
        Calendar::new(&zone.parse().expect("a name"), year, month).expect_err("no such month")
    };
    assert_eq!(refused("UTC", 2026, 13), CoverageError::Month { year: 2026, month: 13 });
    assert_eq!(refused("UTC", 9_999, 1), CoverageError::Month { year: 9_999, month: 1 });
    assert!(matches!(refused("Moon/Base", 2026, 1), CoverageError::NoSuchZone(_)));
}

fn segment(boot: u64, start_s: i64, authority: Authority) -> Segment {
    Segment {
        run: RunId(0),
        start: at(start_s),
        duration_us: 4_000_000,
        position_90k: 0,
        boot: BootId(boot),
        // Says nothing of the order.
        monotonic_us: 1,
        authority,
        len: 1,
        head_len: 1,
        content: Digest([0; 32]),
        pictures: 1,
        key: None,
        causes: Causes::default(),
        recovered: false,
    }
}

#[test]
fn steps_set_right_what_an_unconfirmed_clock_said_before_them() {
    use Authority::{Centre, System, Unconfirmed};
    let step = |from_s, to_s, from_authority, to_authority| ClockStep {
        boot: BootId(1),
        monotonic_us: 1,
        from: at(from_s),
        to: at(to_s),
        from_authority,
        to_authority,
    };
    let by_hand = step(100, 1_000, Unconfirmed, Unconfirmed);
    let mut corrections = Corrections::new();
    corrections.note(Sequence(10), &by_hand);
    corrections.note(Sequence(20), &step(1_100, 51_100, Unconfirmed, Centre));
    corrections.note(Sequence(30), &step(51_200, 40_000, Centre, System));
    let of = |boot, sequence, start_s, authority| {
        let corrected = corrections.of(Sequence(sequence), &segment(boot, start_s, authority));
        assert_eq!(corrected.to.0 - corrected.from.0, 4 * S);
        (corrected.from.0 / S, corrected.added_us / S, corrected.time_known)
    };
    assert_eq!(of(1, 9, 50, Unconfirmed), (50_950, 50_900, true), "both steps");
    assert_eq!(of(1, 11, 1_050, Unconfirmed), (51_050, 50_000, true), "the second");
    assert_eq!(of(1, 21, 51_150, Centre), (51_150, 0, true), "it was right already");
    assert_eq!(of(1, 31, 40_050, System), (40_050, 0, true));
    assert_eq!(of(2, 9, 50, Unconfirmed), (50, 0, false), "another boot");
    let reason = GapReason::CameraAway;
    let gap = Gap { from: at(50), boot: BootId(1), authority: Unconfirmed, reason };
    assert_eq!(corrections.of_gap(Sequence(9), &gap), at(50_950));
    let mut only_by_hand = Corrections::new();
    only_by_hand.note(Sequence(10), &by_hand);
    let corrected = only_by_hand.of(Sequence(9), &segment(1, 50, Unconfirmed));
    assert_eq!((corrected.added_us / S, corrected.time_known), (900, false));
}

prop_compose! {
    fn any_piece()(
        source in 0_usize..4, from in -10_i64..210, len in 1_i64..40,
        event in any::<bool>(), time_known in any::<bool>(),
    ) -> (usize, Recorded) {
        (source, Recorded { causes: causes(event), time_known, ..piece(from, from + len) })
    }
}

const RANKS: [u32; 4] = [7, 3, 3, 9];

fn timeline(pieces: &[(usize, Recorded)], seconds: i64, max_spans: usize) -> Timeline {
    let mut coverage = coverage(seconds, max_spans);
    let add = |(n, rank): (usize, &u32)| {
        let recorder = pu(n as u8);
        let (place, tier) = (RecordingPlace::Nvr, StreamTier::Main);
        coverage.add_source(RecordingSource { place, recorder, tier }, *rank).expect("a source")
    };
    let numbers: Vec<_> = RANKS.iter().enumerate().map(add).collect();
    for (source, piece) in pieces {
        coverage.add_recorded(numbers[*source], *piece);
    }
    coverage.finish(camera())
}

fn recorder(timeline: &Timeline, number: u16) -> PuId {
    timeline.sources[usize::from(number)].recorder.clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// With room for every span, each second is told exactly as looking at all pieces tells it.
    #[test]
    fn every_second_is_told_as_it_is(pieces in prop::collection::vec(any_piece(), 0..40)) {
        let timeline = timeline(&pieces, 200, 1_000);
        for second in 0..200 {
            let within = |from: UnixMicros, to: UnixMicros| from <= at(second) && at(second) < to;
            let here = || pieces.iter().enumerate().filter(|(_, (_, p))| within(p.from, p.to));
            let best = here().max_by_key(|(n, (source, piece))| {
                (Reverse((RANKS[*source], *source)), piece.time_known, *n)
            });
            let mut told = timeline.spans.iter().filter(|span| within(span.from, span.to));
            let gaps = timeline.gaps.iter().filter(|gap| within(gap.from, gap.to)).count();
            let Some((_, (source, piece))) = best else {
                prop_assert_eq!((told.count(), gaps), (0, 1), "second {}", second);
                continue;
            };
            let span = told.next().expect("a span where something is recorded");
            prop_assert_eq!((told.count(), gaps), (0, 0));
            prop_assert_eq!(recorder(&timeline, span.source), pu(*source as u8));
            prop_assert_eq!((span.causes, span.time_known), (piece.causes, piece.time_known));
            let twice = here().filter(|(_, (other, _))| other == source).count() > 1;
            prop_assert_eq!(span.twice, twice);
            let others: std::collections::BTreeSet<_> =
                here().map(|(_, (n, _))| *n).filter(|n| n != source).map(|n| pu(n as u8)).collect();
            let named = span.others.iter().map(|n| recorder(&timeline, *n)).collect();
            prop_assert_eq!(others, named);
        }
    }

    /// However small the picture: it is bounded and in order, what is recorded lies in a span, and every
    /// interruption of at least the resolution is told.
    #[test]
    fn a_small_picture_hides_nothing_long(
        pieces in prop::collection::vec(any_piece(), 0..600),
        max_spans in 8_usize..40,
    ) {
        let timeline = timeline(&pieces, 200, max_spans);
        prop_assert!(timeline.spans.len() <= max_spans);
        prop_assert!(timeline.gaps.len() <= max_spans * 2);
        let mut parts: Vec<_> = timeline.spans.iter().map(|s| (s.from, s.to, true)).collect();
        parts.extend(timeline.gaps.iter().map(|gap| (gap.from, gap.to, false)));
        parts.sort();
        let joins = parts.windows(2).all(|pair| pair[0].1 == pair[1].0);
        prop_assert!(joins && parts[0].0 == at(0) && parts[parts.len() - 1].1 == at(200));
        let mut quiet = 0_u64;
        for second in 0..200 {
            let within = |from: UnixMicros, to: UnixMicros| from <= at(second) && at(second) < to;
            let is = pieces.iter().any(|(_, piece)| within(piece.from, piece.to));
            let told = timeline.spans.iter().any(|span| within(span.from, span.to));
            prop_assert!(told || !is, "second {} is hidden", second);
            quiet = if is { 0 } else { quiet + 1 };
            let is_long = quiet * 1_000_000 >= timeline.resolution_us;
            prop_assert!(!is_long || !told, "the gap before {} is hidden", second);
        }
    }
}
