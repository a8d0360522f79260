//! Random recordings, a source of pieces that answers late, and a receiver that checks whether it
//! could decode what it was sent.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use sightline_model::UnixMicros;

use crate::{
    replay::{
        Answer, Candidate, Config, Input, Notice, Output, Picture, Piece, Planner, Request,
        RequestId, SegmentKey, Sound, Table, Unit, UnitKind, Way, choose,
    },
    statement::{RunId, Sequence},
};

/// When recordings begin, in microseconds since 1970.
pub const BEGIN: i64 = 1_700_000_000_000_000;

#[derive(Debug, Clone)]
pub struct Group {
    pub pictures: usize,
    /// Pictures between two that refer to each other.
    pub between: usize,
}

#[derive(Debug, Clone)]
pub struct Segment {
    /// Distance to the end of the segment before; not 0: another run.
    pub gap_us: i64,
    pub groups: Vec<Group>,
    pub interval_90k: i64,
    pub confirmed: bool,
    /// The slow correction of the clock.
    pub drift_us: i64,
}

/// Recordings with gaps, runs, clock steps back, reordered pictures and any length of groups.
pub fn recordings() -> impl Strategy<Value = Vec<Segment>> {
    let gap = prop_oneof![
        6 => Just(0),
        1 => Just(100_000),
        1 => Just(3_000_000),
        1 => Just(90_000_000),
        1 => Just(-700_000),
    ];
    let group =
        (1_usize..24, 0_usize..3).prop_map(|(pictures, between)| Group { pictures, between });
    let groups = prop::collection::vec(group, 1..4);
    let segment = (gap, groups, 1_500_i64..9_000, any::<bool>(), -2_000_i64..2_000).prop_map(
        |(gap_us, groups, interval_90k, confirmed, drift_us)| Segment {
            gap_us,
            groups,
            interval_90k,
            confirmed,
            drift_us,
        },
    );
    prop::collection::vec(segment, 1..7)
}

/// The pictures of one group behind `slot`, in the order of decoding.
fn group_pictures(group: &Group, slot: i64, interval_90k: i64, out: &mut Vec<Picture>) {
    let mut add = |offset: usize, keyframe, disposable| {
        let at = slot + i64::try_from(offset).expect("small");
        let len = if keyframe { 30_000 } else { 3_000 };
        let source = out.len();
        out.push(Picture { position_90k: at * interval_90k, keyframe, disposable, len, source });
    };
    add(0, true, false);
    let mut next = 1;
    while next < group.pictures {
        let anchor = (next + group.between).min(group.pictures - 1);
        add(anchor, false, false);
        (next..anchor).for_each(|offset| add(offset, false, true));
        next = anchor + 1;
    }
}

pub fn table(segment: &Segment) -> (Table, i64) {
    let mut pictures = Vec::new();
    let mut slot = 0;
    for group in &segment.groups {
        group_pictures(group, slot, segment.interval_90k, &mut pictures);
        slot += i64::try_from(group.pictures).expect("small");
    }
    let duration_us = slot * segment.interval_90k * 100 / 9;
    let sound = (0..duration_us / 64_000)
        .map(|n| Sound { position_us: n * 64_000, len: 100, source: 0 })
        .collect();
    (Table::new(pictures, sound).expect("valid"), duration_us)
}

/// What the timeline shows of these segments.
pub fn pieces(segments: &[Segment]) -> Vec<Piece> {
    let (mut end, mut run) = (BEGIN, 0);
    let mut made = Vec::new();
    for (segment, number) in segments.iter().zip(0_u64..) {
        let (table, duration_us) = table(segment);
        run = if segment.gap_us == 0 { run } else { number };
        let drift = if segment.gap_us == 0 { segment.drift_us } else { 0 };
        let start = end + segment.gap_us + drift;
        end = start + duration_us;
        let key = SegmentKey { chain: 0, sequence: Sequence(number) };
        made.push((key, RunId(run), start, end, segment.confirmed, Arc::new(table)));
    }
    let candidates: Vec<_> = made
        .iter()
        .map(|(key, run, start, end, confirmed, _)| Candidate {
            key: *key,
            run: *run,
            start: UnixMicros(*start),
            end: UnixMicros(*end),
            confirmed: *confirmed,
            preference: 0,
        })
        .collect();
    let piece = |stretch: crate::replay::Stretch| {
        let (key, run, start, _, _, table) =
            made.iter().find(|m| m.0 == stretch.key).expect("chosen from these").clone();
        Piece::new(key, run, UnixMicros(start), stretch.window, table).expect("not empty")
    };
    choose(&candidates).into_iter().map(piece).collect()
}

/// Every picture that is shown, by time: when, and which.
pub fn expected(pieces: &[Piece]) -> Vec<(i64, SegmentKey, usize)> {
    let mut all = Vec::new();
    for piece in pieces {
        let inside = |i: &usize| piece.window_us().contains(&piece.wall(*i));
        let indices = (0..piece.table().pictures().len()).filter(inside);
        all.extend(indices.map(|index| (piece.wall(index), piece.key(), index)));
    }
    all.sort_unstable();
    all
}

pub fn answer(pieces: &[Piece], request: Request) -> Answer {
    let at = request.at.0;
    let found = match request.way {
        Way::Forwards => pieces.iter().find(|p| p.window_us().end > at),
        Way::Backwards => pieces.iter().rfind(|p| p.window_us().start < at),
    };
    found.map_or(Answer::End, |piece| Answer::Piece(piece.clone()))
}

/// A unit, and the presentation time when it came.
#[derive(Debug, Clone)]
pub struct Came {
    pub at_us: i64,
    pub unit: Unit,
}

pub struct Sim {
    pub planner: Planner,
    pub pieces: Vec<Piece>,
    pub now: Instant,
    pub came: Vec<Came>,
    pub notices: Vec<Notice>,
    pub ends: usize,
    /// How long the source takes, in turn.
    delays_ms: Vec<u64>,
    answers: VecDeque<(Instant, RequestId, Answer)>,
    asked: usize,
}

impl Sim {
    pub fn new(pieces: Vec<Piece>, config: Config, delays_ms: Vec<u64>) -> Self {
        let now = Instant::now();
        let planner = Planner::new(config, now);
        let (came, notices, answers) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { planner, pieces, now, came, notices, ends: 0, delays_ms, answers, asked: 0 }
    }

    pub fn tell(&mut self, input: Input) {
        self.planner.handle_input(input, self.now);
        self.drain();
    }

    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        // Far more than any recording here needs.
        for _ in 0..100_000 {
            self.drain();
            let answer = self.answers.iter().map(|a| a.0).min();
            let next = [self.planner.poll_timeout(), answer].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while let Some(at) = self.answers.iter().position(|a| a.0 <= self.now) {
                let (_, id, answer) = self.answers.remove(at).expect("found");
                self.planner.handle_input(Input::Segment(id, answer), self.now);
                self.drain();
            }
            self.planner.handle_timeout(self.now);
        }
        assert!(self.planner.poll_timeout().is_none_or(|t| t >= self.now), "it stands still");
        self.now = until;
        self.planner.handle_timeout(until);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.planner.poll_output() {
            match output {
                Output::Need(request) => {
                    let delays = self.delays_ms.len();
                    let delay = Duration::from_millis(self.delays_ms[self.asked % delays]);
                    self.asked += 1;
                    let answer = answer(&self.pieces, request);
                    self.answers.push_back((self.now + delay, request.id, answer));
                }
                Output::Send(unit) => {
                    let at_us = self.planner.presentation_us(self.now);
                    self.came.push(Came { at_us, unit });
                }
                Output::Notice(notice) => self.notices.push(notice),
                Output::Ended(_) => self.ends += 1,
            }
            assert!(self.came.len() < 200_000, "it never ends");
        }
    }

    pub fn pictures(&self) -> impl Iterator<Item = &Unit> {
        self.came.iter().map(|c| &c.unit).filter(|u| u.kind == UnitKind::Picture)
    }

    /// Pictures that are shown, by the time at which they are.
    pub fn shown(&self) -> Vec<&Unit> {
        let mut shown: Vec<_> = self.pictures().filter(|u| u.shown).collect();
        shown.sort_by_key(|u| u.presentation_us);
        shown
    }

    /// Fails when a picture came without what it refers to.
    pub fn check_decodable(&self) {
        let mut group: Option<(SegmentKey, usize)> = None;
        let mut had = BTreeSet::new();
        for unit in self.pictures() {
            let piece = self.pieces.iter().find(|p| p.key() == unit.segment).expect("known");
            let key = piece.group(piece.group_of(unit.index)).start;
            if unit.keyframe {
                group = Some((unit.segment, unit.index));
                had.clear();
            } else {
                assert!(!unit.discontinuity, "begins without a keyframe: {unit:?}");
                assert_eq!(group, Some((unit.segment, key)), "{unit:?}");
                let pictures = piece.table().pictures();
                let refers = (key..unit.index).filter(|i| !pictures[*i].disposable);
                for index in refers {
                    assert!(had.contains(&index), "{index} is missing for {unit:?}");
                }
            }
            had.insert(unit.index);
        }
    }
}

/// Fails when presentation does not rise, or the recording's time does not go the right way.
pub fn check_order(shown: &[&Unit], way: Way) {
    for pair in shown.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        assert!(a.presentation_us < b.presentation_us, "{a:?} {b:?}");
        match way {
            Way::Forwards => assert!(a.wall < b.wall, "{a:?} {b:?}"),
            Way::Backwards => assert!(a.wall > b.wall, "{a:?} {b:?}"),
        }
    }
}
