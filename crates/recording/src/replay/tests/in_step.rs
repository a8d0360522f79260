//! Several cameras at one playhead.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use sightline_model::UnixMicros;

use super::sim::{BEGIN, Segment, answer, check_order, expected, pieces, recordings};
use crate::replay::{
    Answer, Config, InStep, Input, Output, Piece, Play, RequestId, Scale, Unit, UnitKind, Way,
};

struct Room {
    step: InStep,
    cameras: Vec<Vec<Piece>>,
    now: Instant,
    delay: Vec<Duration>,
    answers: VecDeque<(Instant, usize, RequestId, Answer)>,
    came: Vec<(usize, Instant, Unit)>,
    ended: Vec<usize>,
}

impl Room {
    fn new(recordings: &[Vec<Segment>], delays_ms: &[u64]) -> Self {
        let now = Instant::now();
        let cameras: Vec<_> = recordings.iter().map(|r| pieces(r)).collect();
        let step = InStep::new(Config::default(), cameras.len(), now);
        let delay = delays_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let (answers, came, ended) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { step, cameras, now, delay, answers, came, ended }
    }

    fn tell(&mut self, camera: usize, input: Input) {
        self.step.handle_input(camera, input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some((camera, output)) = self.step.poll_output() {
            match output {
                Output::Need(request) => {
                    let answer = answer(&self.cameras[camera], request);
                    let at = self.now + self.delay[camera % self.delay.len()];
                    self.answers.push_back((at, camera, request.id, answer));
                }
                Output::Send(unit) => self.came.push((camera, self.now, unit)),
                Output::Ended(_) => self.ended.push(camera),
                Output::Notice(notice) => panic!("{notice:?}"),
            }
            assert!(self.came.len() < 100_000, "it never ends");
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        for _ in 0..100_000 {
            self.drain();
            let answer = self.answers.iter().map(|a| a.0).min();
            let next = [self.step.poll_timeout(), answer].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while let Some(at) = self.answers.iter().position(|a| a.0 <= self.now) {
                let (_, camera, id, answer) = self.answers.remove(at).expect("found");
                self.tell(camera, Input::Segment(id, answer));
            }
            self.step.handle_timeout(self.now);
        }
        self.now = until;
        self.step.handle_timeout(until);
        self.drain();
    }

    fn shown(&self, camera: usize) -> Vec<&Unit> {
        let of = |c: &&(usize, Instant, Unit)| {
            c.0 == camera && c.2.shown && c.2.kind == UnitKind::Picture
        };
        let mut shown: Vec<_> = self.came.iter().filter(of).map(|c| &c.2).collect();
        shown.sort_by_key(|u| u.presentation_us);
        shown
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_shown_together_was_taken_together(
        recordings in prop::collection::vec(recordings(), 1..4),
        reverse in any::<bool>(),
        delay in 0_u64..200,
    ) {
        let mut room = Room::new(&recordings, &[0, delay]);
        let (scale, at, way) = if reverse {
            (Scale::REVERSE, BEGIN + 20_000_000, Way::Backwards)
        } else {
            (Scale::NORMAL, BEGIN - 1_000_000, Way::Forwards)
        };
        room.tell(0, Input::Play(Play::from(UnixMicros(at), scale)));
        room.run_for(Duration::from_secs(5_000));
        prop_assert_eq!(room.ended.len(), recordings.len());
        let mut all = Vec::new();
        for camera in 0..recordings.len() {
            let shown = room.shown(camera);
            check_order(&shown, way);
            // A picture taken before the time that playing began at is shown then.
            all.extend(shown.iter().skip(1).map(|u| (u.presentation_us, u.wall.0)));
            // Without delay none is lost.
            let total = expected(&room.cameras[camera])
                .iter()
                .filter(|e| if reverse { e.0 <= at } else { e.0 >= at })
                .count();
            prop_assert!(delay > 0 || shown.len() == total, "{} of {total}", shown.len());
        }
        all.sort_unstable();
        for pair in all.windows(2) {
            let wall = if reverse { pair[0].1 - pair[1].1 } else { pair[1].1 - pair[0].1 };
            let shown = pair[1].0 - pair[0].0;
            // Later is later for all of them, and only a gap of all is skipped.
            prop_assert!(wall >= 0, "{pair:?}");
            prop_assert!((wall - shown).abs() <= 2 || wall > 900_000, "{pair:?}");
            // In reverse a group may be on its way already when the gap begins to be shown.
            let longest = if reverse { 3_500_000 } else { 1_100_000 };
            prop_assert!(shown <= longest, "a gap of all was waited for: {pair:?}");
        }
    }

    #[test]
    fn a_time_is_shown_by_all_who_have_it(
        recordings in prop::collection::vec(recordings(), 1..4),
        at in 0_i64..20_000_000,
    ) {
        let mut room = Room::new(&recordings, &[10]);
        room.tell(0, Input::Show(UnixMicros(BEGIN + at)));
        room.run_for(Duration::from_secs(1));
        for (camera, pieces) in room.cameras.iter().enumerate() {
            let has = pieces.iter().any(|p| p.window_us().contains(&(BEGIN + at)));
            let shown = room.shown(camera);
            prop_assert!(!has || shown.len() == 1);
            prop_assert!(shown.iter().all(|u| u.wall.0 <= BEGIN + at + 500_000));
        }
    }
}

fn steady(pictures: usize, interval_90k: i64) -> Vec<Segment> {
    let groups = vec![super::sim::Group { pictures, between: 0 }];
    vec![Segment { gap_us: 0, groups, interval_90k, confirmed: true, drift_us: 0 }]
}

#[test]
fn the_others_follow_a_step_of_one() {
    let mut room = Room::new(&[steady(50, 3_600), steady(20, 9_000)], &[5]);
    room.tell(0, Input::Show(UnixMicros(BEGIN + 1_000_000)));
    room.run_for(Duration::from_secs(1));
    for _ in 0..5 {
        room.tell(0, Input::Step(Way::Forwards, None));
        room.run_for(Duration::from_secs(1));
    }
    let walls = |room: &Room, camera| -> Vec<i64> {
        room.shown(camera).iter().map(|u| (u.wall.0 - BEGIN) / 1_000).collect()
    };
    assert_eq!(walls(&room, 0), [1_000, 1_040, 1_080, 1_120, 1_160, 1_200]);
    assert_eq!(walls(&room, 1), [1_000, 1_000, 1_000, 1_100, 1_100, 1_200]);
    for _ in 0..2 {
        room.tell(0, Input::Step(Way::Backwards, None));
        room.run_for(Duration::from_secs(1));
    }
    assert_eq!(walls(&room, 0)[6..], [1_160, 1_120]);
    assert_eq!(walls(&room, 1)[6..], [1_100, 1_100]);
}

#[test]
fn a_late_camera_holds_up_nobody_for_long_and_joins_at_the_playhead() {
    let mut room = Room::new(&[steady(500, 3_600), steady(500, 3_600)], &[0, 5_000]);
    room.tell(0, Input::Play(Play::from(UnixMicros(BEGIN), Scale::NORMAL)));
    room.run_for(Duration::from_millis(1_900));
    assert_eq!(room.shown(0).len(), 1, "the first picture is there while the others are awaited");
    room.run_for(Duration::from_millis(2_000));
    assert!(room.shown(0).len() > 40);
    assert!(room.shown(1).is_empty());
    room.run_for(Duration::from_millis(1_200));
    let shown = room.shown(1);
    let playhead = room.step.playhead(room.now).expect("plays").0;
    let newest = shown.last().expect("joined").wall.0;
    assert!((playhead - newest).abs() <= 40_000, "{} behind", playhead - newest);
    // A pause holds all.
    let came = room.came.len();
    room.tell(0, Input::Pause);
    room.run_for(Duration::from_secs(3));
    assert_eq!(room.came.len(), came);
    room.tell(0, Input::Play(Play::on(Scale::NORMAL)));
    room.run_for(Duration::from_secs(1));
    assert!(room.came.len() >= came + 48);
}
