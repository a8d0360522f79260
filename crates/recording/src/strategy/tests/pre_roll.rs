use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use sightline_media::AccessUnit;
use sightline_model::VideoCodec;

use super::*;

/// A unit that is known by its number.
fn unit(number: i64, keyframe: bool, len: usize) -> Arc<AccessUnit> {
    Arc::new(AccessUnit::Video {
        timestamp: number,
        captured_at: UnixMicros(0),
        keyframe,
        disposable: false,
        codec: VideoCodec::H264,
        data: Bytes::from(vec![0; len]),
    })
}

fn number(unit: &AccessUnit) -> i64 {
    match unit {
        AccessUnit::Video { timestamp, .. } | AccessUnit::Audio { timestamp, .. } => *timestamp,
    }
}

fn limits(length_s: u64) -> PreRollLimits {
    PreRollLimits { bytes: 10_000, units: 1_000, length: Duration::from_secs(length_s) }
}

/// One picture a second, a keyframe every four.
fn filled(buffer: &mut PreRoll, seconds: std::ops::Range<u64>) -> Vec<i64> {
    let push = |s: u64| buffer.push(unit(s as i64, s.is_multiple_of(4), 10), s * SECOND_US);
    let record =
        |pushed| if let Pushed::Record(unit) = pushed { Some(number(&unit)) } else { None };
    seconds.map(push).filter_map(record).collect()
}

fn numbers(units: &[Arc<AccessUnit>]) -> Vec<i64> {
    units.iter().map(|unit| number(unit)).collect()
}

#[test]
fn a_recording_begins_at_the_keyframe_before_and_joins_what_follows() {
    let mut buffer = PreRoll::new(limits(10), true);
    assert!(matches!(buffer.push(unit(-1, false, 10), 0), Pushed::Skipped));
    filled(&mut buffer, 0..30);
    // Held is enough for ten seconds, and no whole group more.
    assert_eq!(buffer.len(), 14);
    let mut recorded = numbers(&buffer.begin(22 * SECOND_US));
    assert_eq!(recorded, (20..30).collect::<Vec<_>>());
    assert_eq!(buffer.bytes(), 0);
    recorded.extend(filled(&mut buffer, 30..34));
    buffer.end();
    assert!(buffer.begin(0).is_empty(), "it had not ended yet: it goes on");
    recorded.extend(filled(&mut buffer, 34..38));
    buffer.end();
    recorded.extend(filled(&mut buffer, 38..42));
    assert_eq!(recorded, (20..40).collect::<Vec<_>>(), "to the end of the group");
    assert_eq!(numbers(&buffer.begin(0)), [40, 41], "the next begins where it ended");
}

#[test]
fn without_pre_roll_it_begins_at_the_newest_keyframe() {
    let mut buffer = PreRoll::new(limits(0), true);
    filled(&mut buffer, 0..31);
    assert_eq!(numbers(&buffer.begin(30 * SECOND_US)), [28, 29, 30]);
}

#[test]
fn an_interruption_forgets_what_does_not_join() {
    let mut buffer = PreRoll::new(limits(10), true);
    filled(&mut buffer, 0..6);
    buffer.interrupt();
    assert!(buffer.is_empty());
    filled(&mut buffer, 6..10);
    assert_eq!(numbers(&buffer.begin(0)), [8, 9]);
    buffer.interrupt();
    assert_eq!(filled(&mut buffer, 10..14), [12, 13], "the recording goes on");
    buffer.end();
    buffer.interrupt();
    assert_eq!(filled(&mut buffer, 14..17), [0_i64; 0], "it has ended");
}

#[test]
fn units_are_shared_and_sound_alone_starts_anywhere() {
    let mut buffer = PreRoll::new(limits(2), false);
    let sound = Arc::new(AccessUnit::Audio {
        timestamp: 1,
        captured_at: UnixMicros(0),
        data: Bytes::from_static(b"x"),
    });
    assert!(matches!(buffer.push(Arc::clone(&sound), 0), Pushed::Held));
    assert_eq!(Arc::strong_count(&sound), 2);
    assert!(Arc::ptr_eq(&buffer.begin(0)[0], &sound));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens: bounds hold, each recording begins with a keyframe, no unit is recorded
    /// twice or out of order, none is missing within a recording, and between the reach of the
    /// pre-roll and the end none is lost unless the bounds demand it.
    #[test]
    fn nothing_is_lost_or_repeated(
        steps in prop::collection::vec((0_u8..12, 1_usize..400, 1_u64..3_000_000), 1..400),
        bytes in 500_usize..20_000,
        units in 5_usize..200,
        length_s in 0_u64..20,
    ) {
        let limits = PreRollLimits { bytes, units, length: Duration::from_secs(length_s) };
        let mut buffer = PreRoll::new(limits, true);
        let (mut at_us, mut next) = (0, 0_i64);
        let mut keyframes = std::collections::BTreeMap::new();
        let mut recorded: Vec<i64> = Vec::new();
        // The first unit of each recording.
        let mut begins = Vec::new();
        let (mut running, mut awaiting) = (false, false);
        for (step, len, passed_us) in steps {
            at_us += passed_us;
            match step {
                0 => {
                    let units = buffer.begin(at_us);
                    prop_assert!(units.first().is_none_or(|unit| unit.is_keyframe()));
                    if let Some(first) = units.first() {
                        prop_assert!(!running);
                        begins.push(number(first));
                        let newest = keyframes.range(..=next).next_back().map(|(n, _)| *n);
                        prop_assert_eq!(Some(number(first)), newest);
                    }
                    awaiting = !running && units.is_empty();
                    running |= !units.is_empty();
                    recorded.extend(numbers(&units));
                }
                1 => {
                    awaiting = false;
                    buffer.end();
                }
                _ => {
                    let keyframe = step < 5;
                    if keyframe { keyframes.insert(next, at_us); }
                    match buffer.push(unit(next, keyframe, len), at_us) {
                        Pushed::Record(unit) => {
                            prop_assert!(running || (awaiting && keyframe));
                            if !running { begins.push(number(&unit)); }
                            (running, awaiting) = (true, false);
                            recorded.push(number(&unit));
                        }
                        Pushed::Ended => {
                            prop_assert!(keyframe && running);
                            running = false;
                        }
                        Pushed::Held | Pushed::Skipped => prop_assert!(!running),
                    }
                    next += 1;
                }
            }
            prop_assert!(buffer.bytes() <= bytes && buffer.len() <= units);
        }
        prop_assert!(recorded.windows(2).all(|pair| pair[0] < pair[1]));
        for pair in recorded.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
            prop_assert!(begins.contains(&pair[1]), "{:?} are not neighbours", pair);
        }
    }
}
