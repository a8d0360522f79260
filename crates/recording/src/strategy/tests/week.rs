use jiff::civil::DateTime;
use proptest::prelude::*;

use super::*;

const MINUTE_US: i64 = 60_000_000;

/// Whether the clock on the wall shows one of the schedule's times, said once more and simply.
fn shows(schedule: &WeeklySchedule, local: DateTime) -> bool {
    let minute = local.hour() as u16 * 60 + local.minute() as u16;
    let today = Weekday::ALL[local.weekday().to_monday_zero_offset() as usize];
    let yesterday = Weekday::ALL[(local.weekday().to_monday_zero_offset() as usize + 6) % 7];
    schedule.spans.iter().any(|span| {
        let (from, to) = (span.from.minutes(), span.to.minutes());
        let begun = span.days.contains(&today) && minute >= from && (minute < to || to < from);
        begun || (span.days.contains(&yesterday) && to < from && minute < to)
    })
}

fn local(zone: &str, at: UnixMicros) -> DateTime {
    let at = jiff::Timestamp::from_microsecond(at.0).expect("in range");
    at.in_tz(zone).expect("a zone").datetime()
}

/// When the week changes between two times, as `next_change` tells; the states are checked beside.
fn changes(schedule: &WeeklySchedule, from: UnixMicros, to: UnixMicros) -> Vec<UnixMicros> {
    let week = Week::new(schedule).expect("a zone");
    let mut at = from;
    let mut found = Vec::new();
    while let Some(next) = week.next_change(at)
        && next < to
    {
        assert!(next > at, "{next:?} does not follow {at:?}");
        assert_ne!(week.holds(next), week.holds(at), "no change at {next:?}");
        assert_eq!(week.holds(UnixMicros(next.0 - 1)), week.holds(at), "before {next:?}");
        found.push(next);
        at = next;
    }
    found
}

/// Seconds in which it holds between two times.
fn held_s(schedule: &WeeklySchedule, from: &str, to: &str) -> i64 {
    let week = Week::new(schedule).expect("a zone");
    let (from, to) = (utc(from), utc(to));
    let mut edges = changes(schedule, from, to);
    edges.insert(0, from);
    edges.push(to);
    let held = edges.windows(2).filter(|pair| week.holds(pair[0]));
    held.map(|pair| (pair[1].0 - pair[0].0) / 1_000_000).sum()
}

#[test]
fn a_time_that_exists_twice_counts_twice_and_one_that_does_not_never() {
    let days = &Weekday::ALL[..];
    let berlin = |from, to| week("Europe/Berlin", &[(days, from, to)]);
    let forward = ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    let back = ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    let plain = ("2026-06-30T22:00:00Z", "2026-07-01T22:00:00Z");
    for (from, to, [f, b, p]) in [
        ("02:00", "03:00", [0, 7_200, 3_600]),
        ("02:30", "04:00", [3_600, 9_000 - 1_800, 5_400]),
        ("01:00", "02:30", [3_600, 7_200, 5_400]),
        ("00:00", "24:00", [82_800, 90_000, 86_400]),
        ("03:00", "02:00", [82_800, 82_800, 82_800]),
    ] {
        let schedule = berlin(from, to);
        assert_eq!(held_s(&schedule, forward.0, forward.1), f, "{from} to {to}, forwards");
        assert_eq!(held_s(&schedule, back.0, back.1), b, "{from} to {to}, back");
        assert_eq!(held_s(&schedule, plain.0, plain.1), p, "{from} to {to}, any day");
    }
    // Lord Howe changes by half an hour: 02:00 becomes 01:30 on 5 April 2026.
    let howe = week("Australia/Lord_Howe", &[(days, "01:30", "02:00")]);
    assert_eq!(held_s(&howe, "2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z"), 3_600);
    assert_eq!(held_s(&howe, "2026-04-05T13:30:00Z", "2026-04-06T13:30:00Z"), 1_800);
    // A night that the calendar of Samoa skipped: Friday 30 December 2011.
    let samoa = week("Pacific/Apia", &[(&[Weekday::Friday], "00:00", "24:00")]);
    assert_eq!(held_s(&samoa, "2011-12-29T10:00:00Z", "2011-12-31T10:00:00Z"), 0);
}

#[test]
fn a_week_without_an_end_never_changes() {
    let always = week("Asia/Kolkata", &[(&Weekday::ALL, "00:00", "24:00")]);
    let week_ = Week::new(&always).expect("a zone");
    assert_eq!(week_.next_change(utc("2026-01-01T00:00:00Z")), None);
    assert!(week_.holds(UnixMicros(i64::MAX)), "a time that no calendar has");
    assert_eq!(week_.next_change(UnixMicros(i64::MAX)), None);
    let night = week("Asia/Kolkata", &[(&Weekday::ALL, "18:00", "06:00")]);
    assert!(Week::new(&night).expect("a zone").holds(utc("2026-01-01T00:00:00Z")), "05:30 there");
}

#[test]
fn zones_that_do_not_exist_are_refused_by_name() {
    let nowhere = week("Europe/Atlantis", &[(&Weekday::ALL, "00:00", "24:00")]);
    let error = Week::new(&nowhere).expect_err("no such zone");
    assert!(error.to_string().contains("Europe/Atlantis"), "{error}");
}

prop_compose! {
    fn any_span()(days in 1_u8..128, from in 0_u16..1_440, len in 1_u16..1_440) -> WeeklySpan {
        let days = Weekday::ALL.into_iter().filter(|day| days >> day.days_since_monday() & 1 == 1);
        let time = |minutes| MinuteOfDay::from_minutes(minutes).expect("of a day");
        let to = if from + len > 1_440 { from + len - 1_440 } else { from + len };
        WeeklySpan { days: days.collect(), from: time(from), to: time(to) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Over a year, at each change and at every minute of the days around a change of the zone's
    /// offset, the week holds exactly when the clock on the wall shows one of its times.
    #[test]
    fn it_holds_when_the_wall_clock_shows_it(
        spans in prop::collection::vec(any_span(), 1..6),
        zone in prop::sample::select(&ZONES[..]),
        year in 2024_i16..2034,
    ) {
        let schedule = WeeklySchedule { zone: zone.parse().expect("a zone"), spans };
        let from = utc(&format!("{year}-01-01T00:00:00Z"));
        let to = utc(&format!("{}-01-01T00:00:00Z", year + 1));
        let week = Week::new(&schedule).expect("a zone");
        let found = changes(&schedule, from, to);
        for change in &found {
            for near in [-MINUTE_US, -1, 0, 1, MINUTE_US].map(|d| UnixMicros(change.0 + d)) {
                prop_assert_eq!(week.holds(near), shows(&schedule, local(zone, near)), "{:?}", near);
            }
        }
        let tz = jiff::tz::TimeZone::get(zone).expect("a zone");
        let begin = jiff::Timestamp::from_microsecond(from.0).expect("in range");
        let transitions = tz.following(begin).map(|t| t.timestamp().as_microsecond());
        for transition in transitions.take_while(|at| *at < to.0).take(2) {
            let mut held = week.holds(UnixMicros(transition - 1_440 * MINUTE_US));
            for minute in -1_439..1_440 {
                let at = UnixMicros(transition + minute * MINUTE_US);
                prop_assert_eq!(week.holds(at), shows(&schedule, local(zone, at)), "{:?}", at);
                let told = found.binary_search(&at).is_ok();
                prop_assert_eq!(told, week.holds(at) != held, "change at {:?}", at);
                held = week.holds(at);
            }
        }
    }
}
