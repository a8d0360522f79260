//! One speed from end to end.

use std::time::Duration;

use proptest::prelude::*;
use sightline_model::UnixMicros;

use super::sim::{BEGIN, Sim, check_order, expected, pieces, recordings};
use crate::replay::{
    Config, Delivery, GroupBound, Input, Piece, Play, Scale, Selection, UnitKind, Way,
};

const LONG: Duration = Duration::from_secs(100_000);

fn scale(thousandths: i32) -> Scale {
    Scale::from_thousandths(thousandths).expect("played")
}

fn start(scale: Scale) -> UnixMicros {
    match scale.way() {
        Way::Forwards => UnixMicros(0),
        Way::Backwards => UnixMicros(i64::MAX),
    }
}

fn played(pieces: Vec<Piece>, config: Config, play: Play, delays_ms: Vec<u64>) -> Sim {
    let mut sim = Sim::new(pieces, config, delays_ms);
    sim.tell(Input::Play(play));
    sim.run_for(LONG);
    assert_eq!(sim.ends, 1, "the end is told once");
    sim.check_decodable();
    check_order(&sim.shown(), play.scale.way());
    sim
}

fn which(sim: &Sim) -> Vec<(i64, crate::replay::SegmentKey, usize)> {
    sim.shown().iter().map(|u| (u.wall.0, u.segment, u.index)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn at_1_and_below_every_picture_is_shown_once(
        segments in recordings(),
        thousandths in prop_oneof![Just(125), Just(500), Just(1_000)],
        delays in prop::collection::vec(0_u64..400, 1..4),
    ) {
        let pieces = pieces(&segments);
        let play = Play::from(start(scale(thousandths)), scale(thousandths));
        let sim = played(pieces.clone(), Config::default(), play, delays);
        prop_assert_eq!(which(&sim), expected(&pieces));
        // Only where two segments claim one second something has to be sent that is not shown.
        let overlaps = segments.iter().any(|s| s.gap_us < 0);
        prop_assert!(overlaps || sim.pictures().all(|u| u.shown), "sent in vain");
        let sound = sim.came.iter().any(|c| c.unit.kind == UnitKind::Sound);
        prop_assert!(!sound || thousandths == 1_000);
    }

    #[test]
    fn in_reverse_every_picture_is_shown_once_whatever_the_receiver_can_hold(
        segments in recordings(),
        thousandths in prop_oneof![Just(-125), Just(-1_000)],
        bound in prop_oneof![Just(None), (3_usize..30).prop_map(Some)],
        delays in prop::collection::vec(0_u64..400, 1..4),
    ) {
        let pieces = pieces(&segments);
        let group_bound = bound.map(|pictures| GroupBound { pictures, bytes: 1 << 20 });
        let config = Config { group_bound, ..Config::default() };
        let play = Play::from(start(scale(thousandths)), scale(thousandths));
        let sim = played(pieces.clone(), config, play, delays);
        let mut all = expected(&pieces);
        all.reverse();
        prop_assert_eq!(which(&sim), all);
        prop_assert!(sim.came.iter().all(|c| c.unit.kind == UnitKind::Picture), "no sound");
        // A part begins with a keyframe, and no part is larger than the bound.
        let mut held = 0;
        for unit in sim.pictures() {
            held = if unit.keyframe { 0 } else { held } + usize::from(unit.shown);
            prop_assert_eq!(unit.keyframe, unit.discontinuity);
            prop_assert!(bound.is_none_or(|bound| held <= bound));
        }
        prop_assert!(bound.is_some() || sim.notices.is_empty());
    }

    #[test]
    fn at_16_and_in_reverse_keyframes_are_shown_at_least(
        segments in recordings(),
        thousandths in prop_oneof![Just(16_000), Just(4_000), Just(-2_000), Just(-16_000)],
        delays in prop::collection::vec(0_u64..400, 1..4),
    ) {
        let pieces = pieces(&segments);
        let play = Play::from(start(scale(thousandths)), scale(thousandths));
        let sim = played(pieces.clone(), Config::default(), play, delays);
        let shown: Vec<_> = sim.shown().iter().map(|u| (u.segment, u.index)).collect();
        for piece in &pieces {
            for group in 0..piece.groups() {
                let key = piece.group(group).start;
                if piece.window_us().contains(&piece.wall(key)) {
                    prop_assert!(shown.contains(&(piece.key(), key)), "{group} of {:?}", piece.key());
                }
            }
        }
    }

    #[test]
    fn nothing_comes_late_and_nothing_early(
        segments in recordings(),
        thousandths in prop_oneof![Just(250), Just(1_000), Just(2_000), Just(16_000)],
    ) {
        let pieces = pieces(&segments);
        let play = Play::from(start(scale(thousandths)), scale(thousandths));
        let sim = played(pieces, Config::default(), play, vec![0]);
        let units: Vec<_> = sim.came.iter().filter(|c| c.unit.shown).collect();
        for (at, came) in units.iter().enumerate() {
            prop_assert!(came.at_us <= came.unit.presentation_us, "late: {came:?}");
            // No earlier than what follows it in the order of decoding is shown.
            let first = units[at..].iter().map(|c| c.unit.presentation_us).min().expect("itself");
            prop_assert!(came.at_us >= first - 1, "early: {came:?}");
        }
    }

    #[test]
    fn in_reverse_a_group_is_there_before_it_is_shown(segments in recordings()) {
        let sim = played(
            pieces(&segments),
            Config::default(),
            Play::from(start(Scale::REVERSE), Scale::REVERSE),
            vec![0],
        );
        for came in sim.came.iter().filter(|c| c.unit.shown) {
            prop_assert!(came.at_us <= came.unit.presentation_us, "late: {came:?}");
        }
    }

    #[test]
    fn gaps_take_no_time(segments in recordings()) {
        let pieces = pieces(&segments);
        let play = Play::from(UnixMicros(0), Scale::NORMAL);
        let sim = played(pieces.clone(), Config::default(), play, vec![0]);
        for pair in sim.shown().windows(2) {
            let wall = pair[1].wall.0 - pair[0].wall.0;
            let shown = pair[1].presentation_us - pair[0].presentation_us;
            prop_assert!(shown <= wall.min(1_000_000) + 10_000, "{pair:?}");
            // But for the tick that pictures of two runs are kept apart.
            prop_assert!((wall - shown).abs() <= 12 || wall > 500_000, "{pair:?}");
        }
    }

    #[test]
    fn one_picture_of_every_second(segments in recordings(), reverse in any::<bool>()) {
        let pieces = pieces(&segments);
        let scale = if reverse { Scale::REVERSE } else { Scale::NORMAL };
        let play = Play { selection: Selection::EachSecond, ..Play::from(start(scale), scale) };
        let sim = played(pieces.clone(), Config::default(), play, vec![0]);
        let mut seconds: Vec<_> =
            expected(&pieces).iter().map(|e| e.0.div_euclid(1_000_000)).collect();
        seconds.dedup();
        if reverse {
            seconds.reverse();
        }
        let shown: Vec<_> = sim.shown().iter().map(|u| u.wall.0.div_euclid(1_000_000)).collect();
        prop_assert_eq!(shown, seconds);
    }

    #[test]
    fn freely_delivered_nothing_waits(segments in recordings(), reverse in any::<bool>()) {
        let pieces = pieces(&segments);
        let scale = if reverse { Scale::REVERSE } else { Scale::NORMAL };
        let play = Play { delivery: Delivery::Free, ..Play::from(start(scale), scale) };
        let mut sim = Sim::new(pieces.clone(), Config::default(), vec![0]);
        sim.tell(Input::Play(play));
        sim.run_for(Duration::ZERO);
        prop_assert_eq!(sim.ends, 1);
        prop_assert_eq!(sim.shown().len(), expected(&pieces).len());
    }

    #[test]
    fn a_closed_range_shows_what_lies_in_it(
        segments in recordings(),
        from in 0_i64..20_000_000,
        len in 1_i64..20_000_000,
        reverse in any::<bool>(),
    ) {
        let pieces = pieces(&segments);
        let (low, high) = (UnixMicros(BEGIN + from), UnixMicros(BEGIN + from + len));
        let scale = if reverse { Scale::REVERSE } else { Scale::NORMAL };
        let (at, until) = if reverse { (high, low) } else { (low, high) };
        let play = Play { until: Some(until), ..Play::from(at, scale) };
        let sim = played(pieces.clone(), Config::default(), play, vec![0]);
        let all = expected(&pieces);
        let inside = |t: i64| if reverse { (low.0..=high.0).contains(&t) } else { (low.0..high.0).contains(&t) };
        let mut walls: Vec<_> = all.iter().map(|e| e.0).filter(|t| inside(*t)).collect();
        // At the beginning the picture that is shown then, which may have been taken before; only
        // when its piece is on screen at all.
        if !reverse
            && let Some(piece) = pieces.iter().find(|p| p.window_us().contains(&low.0))
            && let Some(before) = all.iter().map(|e| e.0).filter(|t| *t <= low.0).max()
            && piece.window_us().contains(&before)
            && walls.first() != Some(&before)
        {
            walls.insert(0, before);
        }
        if reverse {
            walls.reverse();
        }
        let shown: Vec<_> = sim.shown().iter().map(|u| u.wall.0).collect();
        prop_assert_eq!(shown, walls);
    }
}
