//! Single cases, by hand.

use std::{sync::Arc, time::Duration};

use sightline_model::UnixMicros;

use super::sim::{BEGIN, Group, Segment, Sim, answer, expected, pieces, table};
use crate::replay::{
    Answer, Config, Delivery, EndReason, GroupBound, Input, MAX_PICTURES, Notice, Output, Picture,
    Piece, PieceError, Planner, Play, Scale, Selection, Sound, Table, UnitKind, Way, export,
    thumbnail_at, thumbnails,
};

const LONG: Duration = Duration::from_secs(10_000);

fn segment(gap_us: i64, groups: &[usize]) -> Segment {
    let groups = groups.iter().map(|pictures| Group { pictures: *pictures, between: 0 }).collect();
    Segment { gap_us, groups, interval_90k: 3_600, confirmed: true, drift_us: 0 }
}

/// Two clips of two groups each, as in the figures of the ONVIF Streaming Specification,
/// section "Packet transmission order".
fn two_clips() -> Vec<Piece> {
    pieces(&[segment(0, &[3, 3]), segment(60_000_000, &[3, 3])])
}

type Marks = Vec<(u64, usize, &'static str)>;

fn marks(sim: &Sim) -> Marks {
    sim.pictures()
        .map(|u| {
            let marks = match (u.discontinuity, u.section_end, u.last) {
                (false, false, false) => "",
                (true, false, false) => "D",
                (false, true, false) => "E",
                (false, true, true) => "ET",
                other => panic!("{other:?}"),
            };
            (u.segment.sequence.0, u.index, marks)
        })
        .collect()
}

#[test]
fn marks_forwards_and_in_reverse_are_those_of_onvif() {
    let mut sim = Sim::new(two_clips(), Config::default(), vec![30]);
    sim.tell(Input::Play(Play::from(UnixMicros(0), Scale::NORMAL)));
    sim.run_for(LONG);
    let forwards: Marks = vec![
        (0, 0, "D"),
        (0, 1, ""),
        (0, 2, ""),
        (0, 3, ""),
        (0, 4, ""),
        (0, 5, "E"),
        (1, 0, "D"),
        (1, 1, ""),
        (1, 2, ""),
        (1, 3, ""),
        (1, 4, ""),
        (1, 5, "ET"),
    ];
    assert_eq!(marks(&sim), forwards);
    let mut sim = Sim::new(two_clips(), Config::default(), vec![30]);
    sim.tell(Input::Play(Play::from(UnixMicros(i64::MAX), Scale::REVERSE)));
    sim.run_for(LONG);
    let backwards: Marks = vec![
        (1, 3, "D"),
        (1, 4, ""),
        (1, 5, ""),
        (1, 0, "D"),
        (1, 1, ""),
        (1, 2, "E"),
        (0, 3, "D"),
        (0, 4, ""),
        (0, 5, ""),
        (0, 0, "D"),
        (0, 1, ""),
        (0, 2, "ET"),
    ];
    assert_eq!(marks(&sim), backwards);
}

#[test]
fn a_jump_begins_with_the_keyframe_and_hides_what_was_before() {
    let mut sim = Sim::new(two_clips(), Config::default(), vec![0]);
    // The picture of 40 ms is shown until 80 ms.
    sim.tell(Input::Play(Play::from(UnixMicros(BEGIN + 79_000), Scale::NORMAL)));
    sim.run_for(Duration::from_millis(39));
    let came: Vec<_> = sim.pictures().map(|u| (u.index, u.shown, u.discontinuity)).collect();
    assert_eq!(came, [(0, false, true), (1, true, false)]);
    // In a gap: forwards what follows it, backwards what precedes it.
    for (scale, first) in [(Scale::NORMAL, (1, 0)), (Scale::REVERSE, (0, 3))] {
        let mut sim = Sim::new(two_clips(), Config::default(), vec![0]);
        sim.tell(Input::Play(Play::from(UnixMicros(BEGIN + 30_000_000), scale)));
        sim.run_for(Duration::from_millis(10));
        let unit = sim.pictures().next().expect("something");
        assert_eq!((unit.segment.sequence.0, unit.index), first);
    }
}

#[test]
fn keyframes_only_begin_at_or_before_the_wanted_time_and_keep_their_distance() {
    let pieces = pieces(&[segment(0, &[10, 10, 10, 10])]);
    let selection = Selection::Keyframes { interval_us: 500_000 };
    for (scale, at, walls) in [
        (Scale::NORMAL, 450_000, vec![400_000, 1_200_000]),
        (Scale::REVERSE, 1_250_000, vec![1_200_000, 400_000]),
    ] {
        let mut sim = Sim::new(pieces.clone(), Config::default(), vec![0]);
        let delivery = Delivery::Free;
        let play = Play { selection, delivery, ..Play::from(UnixMicros(BEGIN + at), scale) };
        sim.tell(Input::Play(play));
        sim.run_for(LONG);
        let shown: Vec<_> = sim.shown().iter().map(|u| u.wall.0 - BEGIN).collect();
        assert_eq!(shown, walls);
    }
}

#[test]
fn above_the_budget_first_what_nobody_refers_to_is_left_out() {
    let groups = vec![Group { pictures: 25, between: 2 }];
    let one = Segment { gap_us: 0, groups, interval_90k: 3_600, confirmed: true, drift_us: 0 };
    for (thousandths, count) in [(4_000, 25), (8_000, 9), (16_000, 1)] {
        let mut sim = Sim::new(pieces(std::slice::from_ref(&one)), Config::default(), vec![0]);
        let scale = Scale::from_thousandths(thousandths).expect("played");
        sim.tell(Input::Play(Play::from(UnixMicros(0), scale)));
        sim.run_for(LONG);
        assert_eq!(sim.shown().len(), count, "{thousandths}");
        assert!(sim.came.iter().all(|c| c.unit.kind == UnitKind::Picture));
    }
}

#[test]
fn a_group_too_long_to_hold_is_sent_in_parts_and_that_is_told() {
    let pieces = pieces(&[segment(0, &[100])]);
    let group_bound = Some(GroupBound { pictures: 40, bytes: u64::MAX });
    let config = Config { group_bound, ..Config::default() };
    let mut sim = Sim::new(pieces.clone(), config, vec![0]);
    sim.tell(Input::Play(Play::from(UnixMicros(i64::MAX), Scale::REVERSE)));
    sim.run_for(LONG);
    assert_eq!(sim.notices, [Notice::LargeGroup { pictures: 100, one_of: 1 }]);
    let sent: Vec<usize> = sim.pictures().map(|u| u.index).collect();
    let parts: Vec<usize> = (0..100).chain(0..60).chain(0..20).collect();
    assert_eq!(sent, parts);
    assert_eq!(sim.shown().len(), 100);
    // By bytes as well: a keyframe of 30,000 and pictures of 3,000.
    let group_bound = Some(GroupBound { pictures: 1_000, bytes: 60_000 });
    let mut sim = Sim::new(pieces.clone(), Config { group_bound, ..config }, vec![0]);
    sim.tell(Input::Play(Play::from(UnixMicros(i64::MAX), Scale::REVERSE)));
    sim.run_for(LONG);
    assert_eq!(sim.shown().len(), 100);
    assert_eq!(sim.pictures().filter(|u| u.keyframe).count(), 6);
    // So long that even that would take too long: one of some is shown.
    let group_bound = Some(GroupBound { pictures: 5, bytes: u64::MAX });
    let mut sim = Sim::new(pieces, Config { group_bound, ..config }, vec![0]);
    sim.tell(Input::Play(Play::from(UnixMicros(i64::MAX), Scale::REVERSE)));
    sim.run_for(LONG);
    assert_eq!(sim.notices, [Notice::LargeGroup { pictures: 100, one_of: 3 }]);
    assert_eq!(sim.shown().len(), 34);
    sim.check_decodable();
}

#[test]
fn sound_goes_with_pictures_as_they_happened_and_only_then() {
    let pieces = pieces(&[segment(0, &[50, 50]), segment(0, &[50])]);
    let count = |scale, at: i64| {
        let mut sim = Sim::new(pieces.clone(), Config::default(), vec![20]);
        sim.tell(Input::Play(Play::from(UnixMicros(BEGIN + at), scale)));
        sim.run_for(LONG);
        let sound = sim.came.iter().filter(|c| c.unit.kind == UnitKind::Sound);
        let mut walls: Vec<_> = sound.map(|c| c.unit.wall.0).collect();
        assert!(walls.is_sorted());
        walls.dedup();
        walls.len()
    };
    // 4 s and 2 s of pieces of 64 ms.
    assert_eq!(count(Scale::NORMAL, 0), 62 + 31);
    assert_eq!(count(Scale::NORMAL, 3_000_000), 62 - 47 + 31);
    assert_eq!(count(Scale::from_thousandths(2_000).expect("played"), 0), 0);
    assert_eq!(count(Scale::REVERSE, 6_000_000), 0);
    // Turned on and off while it plays.
    let mut sim = Sim::new(pieces, Config::default(), vec![0]);
    sim.tell(Input::Play(Play::from(UnixMicros(BEGIN), Scale::NORMAL)));
    sim.run_for(Duration::from_millis(500));
    sim.tell(Input::Play(Play::on(Scale::from_thousandths(500).expect("played"))));
    let came = sim.came.len();
    sim.run_for(Duration::from_secs(3));
    assert!(sim.came[came..].iter().all(|c| c.unit.kind == UnitKind::Picture));
    sim.tell(Input::Play(Play::on(Scale::NORMAL)));
    sim.run_for(LONG);
    let sound: Vec<_> = sim.came.iter().filter(|c| c.unit.kind == UnitKind::Sound).collect();
    assert!(sound.iter().all(|c| c.at_us <= c.unit.presentation_us), "late sound");
    assert!(sound.len() > 31);
}

#[test]
fn what_is_still_recorded_is_played_as_it_grows() {
    let all = pieces(&[segment(0, &[5]), segment(0, &[5])]);
    let now = std::time::Instant::now();
    let mut planner = Planner::new(Config::default(), now);
    let drain = |planner: &mut Planner, known: usize, ends: bool| {
        let mut units = Vec::new();
        let mut at = now;
        loop {
            match planner.poll_output() {
                Some(Output::Need(request)) => {
                    let found = match answer(&all[..known], request) {
                        Answer::End if !ends => Answer::Later,
                        found => found,
                    };
                    planner.handle_input(Input::Segment(request.id, found), at);
                }
                Some(Output::Send(unit)) => units.push(unit),
                Some(Output::Ended(reason)) => {
                    assert_eq!((reason, ends), (EndReason::Recording, true))
                }
                Some(Output::Notice(notice)) => panic!("{notice:?}"),
                None => match planner.poll_timeout() {
                    Some(next) => {
                        at = next;
                        planner.handle_timeout(at);
                    }
                    None => return units,
                },
            }
        }
    };
    planner.handle_input(Input::Play(Play::from(UnixMicros(0), Scale::NORMAL)), now);
    let first = drain(&mut planner, 1, false);
    assert_eq!(first.iter().filter(|u| u.kind == UnitKind::Picture).count(), 5);
    assert!(first.iter().all(|u| !u.section_end && !u.last), "it goes on");
    planner.handle_input(Input::More, now);
    let second = drain(&mut planner, 2, true);
    let pictures: Vec<_> = second.iter().filter(|u| u.kind == UnitKind::Picture).collect();
    assert_eq!(pictures.len(), 5);
    assert!(!pictures[0].discontinuity && pictures[4].last && pictures[4].section_end);
}

#[test]
fn what_cannot_be_read_is_passed_over_and_told() {
    let all = pieces(&[segment(0, &[5]), segment(0, &[5]), segment(0, &[5])]);
    for scale in [Scale::NORMAL, Scale::REVERSE] {
        let now = std::time::Instant::now();
        let mut planner = Planner::new(Config::default(), now);
        let from = if scale == Scale::NORMAL { 0 } else { i64::MAX };
        let play = Play { delivery: Delivery::Free, ..Play::from(UnixMicros(from), scale) };
        planner.handle_input(Input::Play(play), now);
        let (mut units, mut notices, mut ended) = (Vec::new(), Vec::new(), false);
        while let Some(output) = planner.poll_output() {
            match output {
                Output::Need(request) => {
                    let found = match answer(&all, request) {
                        Answer::Piece(piece) if piece.key() == all[1].key() => {
                            Answer::Unreadable(piece.window())
                        }
                        found => found,
                    };
                    planner.handle_input(Input::Segment(request.id, found), now);
                }
                Output::Send(unit) => units.push(unit),
                Output::Notice(notice) => notices.push(notice),
                Output::Ended(_) => ended = true,
            }
        }
        assert!(ended);
        let window = all[1].window();
        assert_eq!(notices, [Notice::Unreadable { from: window.start, to: window.end }]);
        let pictures: Vec<_> = units.iter().filter(|u| u.kind == UnitKind::Picture).collect();
        assert_eq!(pictures.len(), 10);
        assert!(pictures[5].discontinuity);
    }
}

#[test]
fn answers_out_of_turn_do_nothing() {
    let all = two_clips();
    let now = std::time::Instant::now();
    let mut planner = Planner::new(Config::default(), now);
    planner.handle_input(Input::Segment(crate::replay::RequestId(0), Answer::End), now);
    planner.handle_input(Input::More, now);
    planner.handle_input(Input::Pause, now);
    assert_eq!((planner.poll_output(), planner.poll_timeout()), (None, None));
    planner.handle_input(Input::Play(Play::from(UnixMicros(0), Scale::NORMAL)), now);
    let Some(Output::Need(old)) = planner.poll_output() else { panic!("asks") };
    planner.handle_input(Input::Play(Play::from(UnixMicros(BEGIN), Scale::NORMAL)), now);
    let Some(Output::Need(new)) = planner.poll_output() else { panic!("asks again") };
    assert_ne!(old.id, new.id);
    planner.handle_input(Input::Segment(old.id, Answer::End), now);
    assert_eq!(planner.poll_output(), None, "the old answer is not for this");
    planner.handle_input(Input::Segment(new.id, answer(&all, new)), now);
    assert!(planner.poll_output().is_some());
    assert_eq!(new.way, Way::Forwards);
}

#[test]
fn tables_that_lie_are_refused() {
    let picture = |position_90k, keyframe| Picture {
        position_90k,
        keyframe,
        disposable: false,
        len: 1,
        source: 0,
    };
    assert_eq!(Table::new(vec![], vec![]), Err(PieceError::Empty));
    assert_eq!(Table::new(vec![picture(0, false)], vec![]), Err(PieceError::NoKeyframe));
    assert_eq!(Table::new(vec![picture(i64::MAX, true)], vec![]), Err(PieceError::Position));
    let far = Sound { position_us: i64::MIN, len: 1, source: 0 };
    assert_eq!(Table::new(vec![picture(0, true)], vec![far]), Err(PieceError::Position));
    let many = vec![picture(0, true); MAX_PICTURES + 1];
    assert_eq!(Table::new(many, vec![]), Err(PieceError::TooLong));
    let all = two_clips();
    let table = Arc::new(Table::new(vec![picture(0, true)], vec![]).expect("valid"));
    let at = UnixMicros(5);
    let refused = Piece::new(all[0].key(), all[0].run(), at, at..at, table);
    assert_eq!(refused, Err(PieceError::Window));
    assert_eq!(Scale::from_thousandths(100), None);
    assert_eq!(Scale::from_thousandths(-16_001), None);
    assert_eq!(Scale::nearest(0.0), None);
    assert_eq!(Scale::nearest(f64::NAN), None);
    assert_eq!(Scale::nearest(-99.0).map(Scale::thousandths), Some(-16_000));
    assert_eq!(Scale::nearest(0.01).map(Scale::thousandths), Some(125));
}

#[test]
fn an_export_takes_whole_groups_and_names_what_proves_it() {
    let all = pieces(&[
        segment(0, &[10, 10]),
        segment(0, &[10, 10]),
        segment(5_000_000, &[10]),
        segment(0, &[10]),
    ]);
    // From the middle of the first segment's second group to the third segment's middle.
    let span = UnixMicros(BEGIN + 510_000)..UnixMicros(BEGIN + 1_600_000 + 5_000_000 + 190_000);
    let mut planner = export::Planner::new(span);
    all.iter().for_each(|piece| planner.add(piece));
    let plan = planner.finish();
    let parts: Vec<_> = plan
        .parts
        .iter()
        .map(|p| (p.segment.sequence.0, p.pictures.clone(), p.lead_in, p.follows))
        .collect();
    assert_eq!(parts, [(0, 10..20, 2, false), (1, 0..20, 0, true), (2, 0..5, 0, false)]);
    assert_eq!(plan.proofs.len(), 1);
    let entries = &plan.proofs[0].entries;
    assert_eq!((entries.start().0, entries.end().0), (0, 2));
    let mut nothing = export::Planner::new(UnixMicros(0)..UnixMicros(5));
    all.iter().for_each(|piece| nothing.add(piece));
    assert_eq!(nothing.finish(), export::Plan::default());
}

#[test]
fn thumbnails_stand_for_stretches_of_the_timeline() {
    let piece = &pieces(&[segment(0, &[25, 25, 25, 25])])[0];
    assert_eq!(expected(std::slice::from_ref(piece)).len(), 100);
    let of = |zoom_us| -> Vec<i64> {
        thumbnails(piece, zoom_us).iter().map(|t| t.wall.0 - BEGIN).collect()
    };
    assert_eq!(of(1), [0, 1_000_000, 2_000_000, 3_000_000]);
    assert_eq!(of(2_000_000), [0, 2_000_000]);
    assert_eq!(of(0).len(), 4);
    let at = thumbnail_at(piece, UnixMicros(BEGIN + 3_900_000), 2_000_000).expect("there");
    assert_eq!((at.wall.0 - BEGIN, at.index), (2_000_000, 50));
    assert_eq!(thumbnail_at(piece, UnixMicros(BEGIN + 500_000), 100_000), None);
    let (table, duration_us) = table(&segment(0, &[2]));
    assert_eq!((table.pictures().len(), duration_us), (2, 80_000));
}
