//! Whatever a person does: speeds, jumps, pauses, single pictures.

use std::time::Duration;

use proptest::prelude::*;
use sightline_model::UnixMicros;

use super::sim::{BEGIN, Sim, expected, pieces, recordings};
use crate::replay::{Config, GroupBound, Input, Play, Scale, Unit, Way};

#[derive(Debug, Clone)]
enum Action {
    Play(i32),
    Jump(i64, i32),
    Pause,
    Show(i64),
    Step(bool),
}

fn actions() -> impl Strategy<Value = Vec<(Action, u64)>> {
    let scale = prop_oneof![
        Just(125),
        Just(1_000),
        Just(2_000),
        Just(8_000),
        Just(16_000),
        Just(-1_000),
        Just(-4_000),
        Just(-16_000)
    ];
    let at = -5_000_000_i64..25_000_000;
    let action = prop_oneof![
        4 => scale.clone().prop_map(Action::Play),
        2 => (at.clone(), scale).prop_map(|(at, scale)| Action::Jump(at, scale)),
        1 => Just(Action::Pause),
        1 => at.prop_map(Action::Show),
        3 => any::<bool>().prop_map(Action::Step),
    ];
    prop::collection::vec((action, 0_u64..1_500), 1..16)
}

/// What a receiver shows: everything that came, but what a later command has overtaken.
#[derive(Default)]
struct Screen {
    pending: Vec<Unit>,
    shown: Vec<Unit>,
    taken: usize,
}

impl Screen {
    /// Shows what has been due.
    fn watch(&mut self, sim: &Sim) {
        let pictures: Vec<_> = sim.pictures().filter(|u| u.shown).cloned().collect();
        for unit in &pictures[self.taken..] {
            self.pending.retain(|p| p.command == unit.command);
            self.pending.push(unit.clone());
        }
        self.taken = pictures.len();
        let at = sim.planner.presentation_us(sim.now);
        self.pending.sort_by_key(|u| u.presentation_us);
        let due = self.pending.partition_point(|u| u.presentation_us <= at);
        self.shown.extend(self.pending.drain(..due));
    }

    fn last(&self) -> Option<i64> {
        self.shown.last().map(|u| u.wall.0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn between_jumps_time_goes_the_right_way(
        segments in recordings(),
        actions in actions(),
        delays in prop::collection::vec(0_u64..300, 1..4),
        bound in prop_oneof![Just(None), (3_usize..30).prop_map(Some)],
    ) {
        let group_bound = bound.map(|pictures| GroupBound { pictures, bytes: 1 << 20 });
        let config = Config { group_bound, ..Config::default() };
        let mut sim = Sim::new(pieces(&segments), config, delays);
        let mut screen = Screen::default();
        let mut way = Way::Forwards;
        // Where the present stretch of one direction begins among what was shown.
        let mut began = 0;
        for (action, then_ms) in actions {
            screen.watch(&sim);
            let old_way = way;
            let command = sim.planner.command();
            let jumped = match action {
                Action::Play(thousandths) => {
                    let scale = Scale::from_thousandths(thousandths).expect("played");
                    way = scale.way();
                    sim.tell(Input::Play(Play::on(scale)));
                    false
                }
                Action::Jump(at, thousandths) => {
                    let scale = Scale::from_thousandths(thousandths).expect("played");
                    way = scale.way();
                    sim.tell(Input::Play(Play::from(UnixMicros(BEGIN + at), scale)));
                    true
                }
                Action::Pause => {
                    sim.tell(Input::Pause);
                    false
                }
                Action::Show(at) => {
                    sim.tell(Input::Show(UnixMicros(BEGIN + at)));
                    true
                }
                Action::Step(back) => {
                    way = if back { Way::Backwards } else { Way::Forwards };
                    let from = screen.last().map(UnixMicros);
                    sim.tell(Input::Step(way, from));
                    false
                }
            };
            if sim.planner.command() != command {
                screen.pending.clear();
            }
            if jumped {
                began = screen.shown.len();
            } else if way != old_way {
                began = screen.shown.len().saturating_sub(1);
            }
            for _ in 0..=then_ms / 100 {
                sim.run_for(Duration::from_millis(100));
                screen.watch(&sim);
            }
            let stretch = &screen.shown[began.min(screen.shown.len())..];
            for pair in stretch.windows(2) {
                prop_assert!(pair[0].presentation_us < pair[1].presentation_us, "{pair:?}");
                let right = match way {
                    Way::Forwards => pair[0].wall < pair[1].wall,
                    Way::Backwards => pair[0].wall > pair[1].wall,
                };
                prop_assert!(right, "{way:?} {pair:?}");
            }
        }
        sim.check_decodable();
    }

    #[test]
    fn steps_walk_through_every_picture(
        segments in recordings(),
        back in any::<bool>(),
        delays in prop::collection::vec(0_u64..300, 1..4),
    ) {
        let pieces = pieces(&segments);
        let mut sim = Sim::new(pieces.clone(), Config::default(), delays);
        let mut all: Vec<_> = expected(&pieces).iter().map(|e| e.0).collect();
        let way = if back { Way::Backwards } else { Way::Forwards };
        if back {
            all.reverse();
        }
        sim.tell(Input::Show(UnixMicros(all[0])));
        sim.run_for(Duration::from_secs(2));
        for _ in 1..all.len() {
            sim.tell(Input::Step(way, None));
            sim.run_for(Duration::from_secs(2));
        }
        let shown: Vec<_> = sim.shown().iter().map(|u| u.wall.0).collect();
        prop_assert_eq!(&shown, &all);
        sim.check_decodable();
        prop_assert_eq!(sim.ends, 0);
        sim.tell(Input::Step(way, None));
        sim.run_for(Duration::from_secs(2));
        prop_assert_eq!(sim.ends, 1, "there is no picture beyond the last");
        prop_assert_eq!(sim.shown().len(), all.len());
    }

    #[test]
    fn a_time_is_shown_by_the_picture_of_that_time(
        segments in recordings(),
        at in -5_000_000_i64..25_000_000,
    ) {
        let pieces = pieces(&segments);
        let mut sim = Sim::new(pieces.clone(), Config::default(), vec![20]);
        sim.tell(Input::Show(UnixMicros(BEGIN + at)));
        sim.run_for(Duration::from_secs(1));
        let shown = sim.shown();
        prop_assert_eq!(shown.len(), 1);
        let at = BEGIN + at;
        let all = expected(&pieces);
        let by_then = all.iter().map(|e| e.0).filter(|t| *t <= at).max();
        let after = all.iter().map(|e| e.0).filter(|t| *t > at).min();
        let inside = pieces.iter().any(|p| p.window_us().contains(&at));
        // In a gap the recording behind it is shown; behind everything, the last picture.
        let right = [by_then.filter(|_| inside || after.is_none()), after];
        prop_assert!(right.contains(&Some(shown[0].wall.0)), "{:?} {right:?}", shown[0]);
        sim.check_decodable();
    }

    #[test]
    fn a_pause_loses_nothing(
        segments in recordings(),
        pauses in prop::collection::vec((0_u64..900, 0_u64..5_000), 1..5),
        reverse in any::<bool>(),
    ) {
        let pieces = pieces(&segments);
        let (scale, from) = if reverse {
            (Scale::REVERSE, UnixMicros(i64::MAX))
        } else {
            (Scale::NORMAL, UnixMicros(0))
        };
        let mut sim = Sim::new(pieces.clone(), Config::default(), vec![10]);
        sim.tell(Input::Play(Play::from(from, scale)));
        for (plays_ms, stands_ms) in pauses {
            sim.run_for(Duration::from_millis(plays_ms));
            sim.tell(Input::Pause);
            let came = sim.came.len();
            let at = sim.planner.presentation_us(sim.now);
            sim.run_for(Duration::from_millis(stands_ms));
            prop_assert_eq!(sim.came.len(), came);
            prop_assert_eq!(sim.planner.presentation_us(sim.now), at);
            sim.tell(Input::Play(Play::on(scale)));
        }
        sim.run_for(Duration::from_secs(100_000));
        prop_assert_eq!(sim.shown().len(), expected(&pieces).len());
        sim.check_decodable();
    }

    #[test]
    fn other_speeds_forwards_lose_nothing(
        segments in recordings(),
        speeds in prop::collection::vec((0_u64..900, prop_oneof![Just(125), Just(500), Just(1_000)]), 1..6),
    ) {
        let pieces = pieces(&segments);
        let mut sim = Sim::new(pieces.clone(), Config::default(), vec![10]);
        sim.tell(Input::Play(Play::from(UnixMicros(0), Scale::NORMAL)));
        for (ms, thousandths) in speeds {
            sim.run_for(Duration::from_millis(ms));
            let scale = Scale::from_thousandths(thousandths).expect("played");
            sim.tell(Input::Play(Play::on(scale)));
        }
        sim.run_for(Duration::from_secs(100_000));
        let shown = sim.shown();
        super::sim::check_order(&shown, Way::Forwards);
        prop_assert_eq!(shown.len(), expected(&pieces).len());
    }
}
