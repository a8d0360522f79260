//! Whom to ask for what, by timelines as the centre tells them.

use sightline_model::{Causes, ChannelId, PuId, PublicKey, TimelineSpan};

use super::*;

const MAIN: StreamTier = StreamTier::Main;

fn device(n: u8) -> PuId {
    PuId::from_public_key(&PublicKey::from_bytes([n; 32]))
}

fn nvr() -> Held {
    Held::ByNvr(device(2))
}

fn source(place: RecordingPlace, tier: StreamTier) -> RecordingSource {
    let recorder = device(if place == RecordingPlace::Nvr { 2 } else { 1 });
    RecordingSource { place, recorder, tier }
}

fn at(seconds: i64) -> UnixMicros {
    UnixMicros(seconds * 1_000_000)
}

fn of(from: i64, to: i64) -> Range<UnixMicros> {
    at(from)..at(to)
}

/// Sources: the unit, the NVR, the cloud, and the unit's small picture. Spans: from, to, the best, others.
fn timeline(spans: &[(i64, i64, u16, &[u16])]) -> Timeline {
    use RecordingPlace::{Cs, Nvr, Pu};
    let span = |(from, to, source, others): &(i64, i64, u16, &[u16])| TimelineSpan {
        from: at(*from),
        to: at(*to),
        source: *source,
        others: others.to_vec(),
        causes: Causes::default(),
        time_known: true,
        twice: false,
    };
    Timeline {
        camera: CameraId { pu: device(1), channel: ChannelId(0) },
        from: at(0),
        to: at(1_000_000),
        resolution_us: 20_000,
        sources: vec![
            source(Pu, MAIN),
            source(Nvr, MAIN),
            source(Cs, MAIN),
            source(Pu, StreamTier::Sub),
        ],
        spans: spans.iter().map(span).collect(),
        gaps: Vec::new(),
        events: Vec::new(),
    }
}

fn survey(spans: &[(i64, i64, u16, &[u16])]) -> Survey {
    let pieces = pieces(&timeline(spans), MAIN);
    Survey { pieces, silent: Vec::new(), until: at(1_000_000) }
}

fn leg(held: Held, from: i64, to: i64) -> Leg {
    Leg { held, span: of(from, to) }
}

#[test]
fn who_plays_goes_on_until_somebody_else_alone_has_it() {
    use Way::{Backwards, Forwards};
    // The unit until its card was pulled out; the NVR all the time; a clip in the cloud alone.
    let found =
        survey(&[(0, 10, 0, &[1, 2]), (10, 30, 1, &[]), (40, 50, 0, &[1]), (60, 70, 2, &[])]);
    let forwards = [leg(Held::ByUnit, 0, 10), leg(nvr(), 10, 50), leg(Held::InCloud, 60, 70)];
    assert_eq!(found.legs(Forwards, None), forwards);
    let backwards = [leg(Held::InCloud, 60, 70), leg(Held::ByUnit, 40, 50), leg(nvr(), 0, 30)];
    assert_eq!(found.legs(Backwards, None), backwards);
    // Who played before goes on too.
    let on = [leg(nvr(), 0, 50), leg(Held::InCloud, 60, 70)];
    assert_eq!(found.legs(Forwards, Some(&nvr())), on);
}

#[test]
fn the_cloud_and_the_small_picture_are_left_when_there_is_something_better() {
    let found = survey(&[(0, 10, 2, &[]), (10, 20, 0, &[2]), (20, 30, 3, &[]), (30, 40, 1, &[3])]);
    let legs = [
        leg(Held::InCloud, 0, 10),
        // Its small picture, where it has no other one.
        leg(Held::ByUnit, 10, 30),
        leg(nvr(), 30, 40),
    ];
    assert_eq!(found.legs(Way::Forwards, None), legs);
}

#[test]
fn whoever_wants_the_small_picture_is_sent_to_who_has_it() {
    let told = timeline(&[(0, 10, 1, &[3])]);
    let of = |tier| pieces(&told, tier)[0].has[0].held.clone();
    assert_eq!((of(MAIN), of(StreamTier::Sub)), (nvr(), Held::ByUnit));
}

#[test]
fn what_somebody_does_not_give_is_asked_of_others_or_told_as_lost() {
    let mut found = survey(&[(0, 10, 0, &[1]), (10, 20, 0, &[]), (20, 30, 0, &[2])]);
    // One stretch of it has expired meanwhile.
    assert_eq!(found.clone().lose(&Held::ByUnit, &of(2, 4)), []);
    let lost = found.lose(&Held::ByUnit, &of(0, 30));
    assert_eq!(lost, [of(10, 20)]);
    let legs = [leg(nvr(), 0, 10), leg(Held::InCloud, 20, 30)];
    assert_eq!(found.legs(Way::Forwards, None), legs);
    assert_eq!(found.lose(&nvr(), &of(0, 30)), [of(0, 10)]);
    assert_eq!(found.lose(&Held::ByUnit, &of(0, 30)), [], "it is not told twice");
}

#[test]
fn what_was_played_is_not_looked_at_again() {
    let mut found = survey(&[(0, 10, 0, &[]), (10, 30, 1, &[])]);
    found.keep(&of(5, 20));
    let legs = [leg(Held::ByUnit, 5, 10), leg(nvr(), 10, 20)];
    assert_eq!(found.legs(Way::Forwards, None), legs);
}

#[test]
fn an_export_is_made_of_whoever_has_the_most_and_says_what_others_have_beside() {
    let found = survey(&[(0, 10, 0, &[1]), (10, 30, 1, &[]), (30, 40, 0, &[]), (50, 60, 2, &[])]);
    assert_eq!(found.most(), Some(nvr()));
    let beyond = [leg(Held::ByUnit, 30, 40), leg(Held::InCloud, 50, 60)];
    assert_eq!(found.beyond(&nvr()), beyond);
    // Of equals, the best where it begins.
    let equal = survey(&[(0, 10, 0, &[2]), (20, 30, 0, &[1])]);
    assert_eq!(equal.most(), Some(Held::ByUnit));
    assert_eq!(survey(&[]).most(), None);
}

#[test]
fn a_long_time_is_looked_at_where_something_is_recorded() {
    let hours = |from: i64, to: i64| of(from * 3_600, to * 3_600);
    let far = timeline(&[(3_600, 5 * 3_600, 0, &[]), (20 * 3_600, 21 * 3_600, 1, &[])]);
    let day = hours(0, 24);
    let (found, until) = windows(&far, &day, Way::Forwards);
    assert_eq!(found, [hours(1, 3), hours(3, 5), hours(20, 22)]);
    assert_eq!(until, day.end);
    let (found, until) = windows(&far, &day, Way::Backwards);
    assert_eq!(found, [hours(19, 21), hours(3, 5), hours(1, 3)]);
    assert_eq!(until, day.start);
    // A week without an end is played by and by.
    let week = timeline(&[(0, 7 * 86_400, 0, &[])]);
    let (found, until) = windows(&week, &of(0, 7 * 86_400), Way::Forwards);
    assert_eq!((found.len(), until), (MOST_WINDOWS, at(24 * 3_600)));
    assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start));
}
