//! One camera: from what is wanted to units in the order of sending.
//!
//! Contract: after every [`Planner::handle_input`] and [`Planner::handle_timeout`], poll outputs
//! until there is none. A caller who cannot send may stop polling: nothing piles up here, for units
//! are made when they are polled. It holds two pieces at most.

mod fill;
mod input;
mod pace;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sightline_model::UnixMicros;

use super::{
    Config, Delivery, EndReason, Input, Output, Piece, Request, Scale, SegmentKey, Selection, Unit,
    UnitKind, Way, clock::PlayClock, group::Level,
};
use crate::statement::RunId;

/// Pieces whose distance is at most this follow each other: no gap.
pub(super) const SEAM_US: i64 = 500_000;

/// How far a planner in step with others is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Something that was sent is still to be shown.
    Shows,
    /// The next picture is shown then (presentation time).
    Has(i64),
    /// It waits for a piece.
    Waits,
    /// Nothing more comes for now.
    Ended,
}

/// What to plan next begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cursor {
    /// The picture that is shown at this time, and on.
    At(i64),
    /// Pictures after (in reverse: before) this time.
    Beyond(i64),
}

impl Cursor {
    const fn wall(self) -> i64 {
        match self {
            Self::At(wall) | Self::Beyond(wall) => wall,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing was wanted yet.
    Idle,
    Playing,
    Paused,
    /// One picture, then paused.
    One(Way),
}

/// The piece that is being planned.
#[derive(Debug)]
struct Current {
    piece: Piece,
    /// The group to plan next; none: it is done.
    group: Option<usize>,
    level: Level,
}

/// The piece behind the current one.
#[derive(Debug)]
enum Ahead {
    Unknown,
    /// Asked for; whether it must lie beyond the time asked for.
    Asked {
        request: Request,
        beyond: bool,
    },
    Piece(Box<Piece>),
    Later,
    End,
}

/// The piece before the current one.
#[derive(Debug, Clone, Copy)]
struct Previous {
    from: i64,
    to: i64,
    run: RunId,
    /// How long its last picture is shown, of the recording's time.
    rest_us: i64,
}

/// What the receiver's decoder was given last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decoder {
    segment: SegmentKey,
    /// Index of the keyframe.
    key: usize,
    /// Index of the next picture of its group.
    next: usize,
}

#[derive(Debug)]
struct Queued {
    unit: Unit,
    /// Presentation time at which it is sent.
    due_us: i64,
    /// The last picture of its piece: it waits until it is known what follows.
    closes: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Planner {
    config: Config,
    now: Instant,
    mode: Mode,
    scale: Scale,
    selection: Selection,
    delivery: Delivery,
    until: Option<i64>,
    cursor: Cursor,
    clock: PlayClock,
    /// The clock is someone else's ([`super::InStep`]).
    follows: bool,
    current: Option<Current>,
    ahead: Ahead,
    previous: Option<Previous>,
    decoder: Option<Decoder>,
    queue: VecDeque<Queued>,
    outputs: VecDeque<Output>,
    /// Presentation time and time of pictures given and perhaps not shown yet.
    shown: Vec<(i64, i64)>,
    last_shown: Option<i64>,
    /// Sound up to here was planned; none: begins with the next picture.
    sound_until: Option<i64>,
    /// What comes next does not follow what was sent.
    broken: bool,
    /// The last group was sent to its end.
    whole: bool,
    /// The next picture begins the clock anew.
    restart_clock: bool,
    /// The next picture is behind a gap that is skipped.
    behind_gap: bool,
    ended: Option<EndReason>,
    told_end: bool,
    /// The last group that was told to be large.
    told_large: Option<(SegmentKey, usize)>,
    /// A single picture was shown: playing has to begin anew.
    stepped: bool,
    command: u32,
    next_request: u64,
}

impl Planner {
    /// A planner that waits to be told what to play.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            config,
            now,
            mode: Mode::Idle,
            scale: Scale::NORMAL,
            selection: Selection::Budget,
            delivery: Delivery::Paced,
            until: None,
            cursor: Cursor::At(i64::MIN),
            clock: PlayClock::new(now),
            follows: false,
            current: None,
            ahead: Ahead::Unknown,
            previous: None,
            decoder: None,
            queue: VecDeque::new(),
            outputs: VecDeque::new(),
            shown: Vec::new(),
            last_shown: None,
            sound_until: None,
            broken: true,
            whole: false,
            restart_clock: true,
            behind_gap: false,
            ended: None,
            told_end: false,
            told_large: None,
            stepped: false,
            command: 0,
            next_request: 0,
        }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        self.now = self.now.max(now);
        match input {
            Input::Segment(id, answer) => self.answered(id, answer),
            Input::More => {
                if matches!(self.ahead, Ahead::Later | Ahead::End) {
                    self.ahead = Ahead::Unknown;
                    self.ended = self.ended.filter(|reason| *reason != EndReason::Recording);
                }
            }
            Input::Play(play) => self.play(play),
            Input::Pause => {
                self.clock.pause(self.now);
                if self.mode == Mode::Playing {
                    self.mode = Mode::Paused;
                }
            }
            Input::Show(at) => {
                self.decoder = None;
                self.one(Way::Forwards, Cursor::At(at.0));
            }
            Input::Step(way, from) => {
                let from = from.map_or_else(|| self.shown_now(), |t| t.0);
                self.one(way, Cursor::Beyond(from));
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(self.now);
        }
        let front = self.queue.front().filter(|_| self.runs())?;
        let due = self.goes_at_once(front) || front.due_us <= self.clock.at(self.now);
        match (due, self.is_held(front), self.clock.is_paused()) {
            // To be held up, or to be sent.
            (true, true, false) if self.may_stall() => Some(self.now),
            (true, false, _) => Some(self.now),
            (true, true, _) | (false, _, true) => None,
            (false, _, false) => Some(self.clock.instant(front.due_us)),
        }
    }

    /// The next output; `None`: nothing before [`Self::poll_timeout`].
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if self.runs() && self.queue.is_empty() {
            self.fill();
        }
        if let (Some(reason), true, false) = (self.ended, self.queue.is_empty(), self.told_end) {
            self.told_end = true;
            return Some(Output::Ended(reason));
        }
        if !self.runs() {
            return None;
        }
        self.ask_ahead();
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        self.stall();
        if !self.is_due(self.queue.front()?) {
            return None;
        }
        let queued = self.queue.pop_front()?;
        Some(Output::Send(self.give(queued)))
    }

    /// The scale of playing.
    #[must_use]
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// The number of the command that what is sent next belongs to, see [`Unit::command`].
    #[must_use]
    pub const fn command(&self) -> u32 {
        self.command
    }

    /// The presentation time at `now`: pictures up to it have been shown. Stands while paused.
    #[must_use]
    pub fn presentation_us(&self, now: Instant) -> i64 {
        self.clock.at(now)
    }

    /// The time of the picture that is shown at `now`, as far as is known here: receivers with a
    /// queue of their own are behind it. None before the first picture.
    #[must_use]
    pub fn playhead(&self, now: Instant) -> Option<UnixMicros> {
        let at = self.clock.at(now);
        let shown = self.shown.iter().filter(|(presentation, _)| *presentation <= at).max();
        let free = self.delivery == Delivery::Free;
        let wall = if free { self.last_shown } else { shown.map(|(_, wall)| *wall) };
        wall.map(UnixMicros)
    }

    /// Uses the clock of who keeps several cameras in step.
    pub(super) fn follow(&mut self, clock: PlayClock) {
        let high_us = self.clock.high_us();
        self.follows = true;
        self.clock = clock;
        self.clock.given(high_us);
    }

    /// Highest presentation time given.
    pub(super) const fn high_us(&self) -> i64 {
        self.clock.high_us()
    }

    /// What is queued is shown so much earlier.
    pub(super) fn advance(&mut self, by_us: i64) {
        for queued in &mut self.queue {
            queued.unit.presentation_us -= by_us;
            queued.due_us = queued.due_us.saturating_sub(by_us);
        }
    }

    /// Whether it has what to show next.
    pub(super) fn standing(&self) -> Standing {
        let queued = self.queue.iter().filter(|q| q.unit.shown).map(|q| q.unit.presentation_us);
        match (queued.min(), &self.ahead) {
            _ if self.shown_until() > self.clock.at(self.now) => Standing::Shows,
            (Some(next), _) => Standing::Has(next),
            (None, Ahead::End | Ahead::Later) => Standing::Ended,
            (None, _) if self.ended.is_some() => Standing::Ended,
            (None, Ahead::Unknown | Ahead::Asked { .. } | Ahead::Piece(_)) => Standing::Waits,
        }
    }

    /// The presentation time at which the last of what was sent is shown.
    pub(super) fn shown_until(&self) -> i64 {
        self.shown.iter().map(|shown| shown.0).max().unwrap_or(i64::MIN)
    }

    /// Whether something is played or about to be shown.
    fn runs(&self) -> bool {
        match self.mode {
            Mode::Idle | Mode::Paused => false,
            Mode::Playing | Mode::One(_) => self.ended.is_none() || !self.queue.is_empty(),
        }
    }

    const fn way(&self) -> Way {
        match self.mode {
            Mode::One(way) => way,
            Mode::Idle | Mode::Playing | Mode::Paused => self.scale.way(),
        }
    }

    fn goes_at_once(&self, queued: &Queued) -> bool {
        queued.due_us == i64::MIN
            || self.delivery == Delivery::Free
            || matches!(self.mode, Mode::One(_))
    }

    fn is_due(&self, queued: &Queued) -> bool {
        !self.is_held(queued)
            && (self.goes_at_once(queued) || queued.due_us <= self.clock.at(self.now))
    }

    fn is_held(&self, queued: &Queued) -> bool {
        let asks = matches!(self.ahead, Ahead::Unknown | Ahead::Asked { .. });
        queued.closes && self.ended.is_none() && asks
    }

    /// Whether this planner's clock stands while a piece is awaited.
    fn may_stall(&self) -> bool {
        self.mode == Mode::Playing && !self.follows && self.delivery == Delivery::Paced
    }

    /// What should be sent has to wait for an answer: the clock does as well.
    fn stall(&mut self) {
        let waits = self.queue.front().is_some_and(|front| {
            let due = self.goes_at_once(front) || front.due_us <= self.clock.at(self.now);
            due && self.is_held(front)
        });
        if waits && self.may_stall() {
            self.clock.pause(self.now);
        }
    }

    fn shown_now(&self) -> i64 {
        self.playhead(self.now).map_or(self.cursor.wall(), |at| at.0)
    }

    fn give(&mut self, queued: Queued) -> Unit {
        let at_once = self.goes_at_once(&queued);
        let Queued { mut unit, closes, due_us } = queued;
        unit.due = if at_once { self.now } else { self.clock.instant(due_us) };
        if closes {
            unit.last = matches!(self.ahead, Ahead::End);
            unit.section_end = unit.last || self.gap_ahead();
            let sound = self.queue.iter_mut().rev().find(|q| q.unit.kind == UnitKind::Sound);
            if let Some(Queued { unit: sound, .. }) = sound {
                sound.section_end = unit.section_end;
                sound.last = unit.last;
            }
        }
        if unit.kind == UnitKind::Picture {
            self.given(&unit);
        }
        if self.queue.is_empty()
            && let Mode::One(_) = self.mode
        {
            self.mode = Mode::Paused;
        }
        unit
    }

    fn given(&mut self, unit: &Unit) {
        let decoder = self.decoder.filter(|d| d.segment == unit.segment && !unit.keyframe);
        self.decoder = Some(Decoder {
            segment: unit.segment,
            key: decoder.map_or(unit.index, |d| d.key),
            next: unit.index + 1,
        });
        if !unit.shown {
            return;
        }
        let wall = unit.wall.0;
        self.clock.given(unit.presentation_us);
        let before = match self.cursor {
            Cursor::Beyond(before) => Some(before),
            Cursor::At(_) => None,
        };
        self.cursor = Cursor::Beyond(match self.way() {
            Way::Forwards => before.map_or(wall, |b| b.max(wall)),
            Way::Backwards => before.map_or(wall, |b| b.min(wall)),
        });
        self.last_shown = Some(self.cursor.wall());
        let at = self.clock.at(self.now);
        self.shown.push((unit.presentation_us, wall));
        if self.shown.len() > 64
            && let Some(newest) = self.shown.iter().map(|s| s.0).filter(|p| *p <= at).max()
        {
            self.shown.retain(|(presentation, _)| *presentation >= newest);
        }
    }

    fn gap_ahead(&self) -> bool {
        let (Some(current), Ahead::Piece(next)) = (&self.current, &self.ahead) else {
            return false;
        };
        !Previous::of(&current.piece).is_followed_by(next, self.way())
    }
}

impl Previous {
    fn of(piece: &Piece) -> Self {
        let window = piece.window_us();
        let (from, to) = (window.start, window.end);
        Self { from, to, run: piece.run(), rest_us: piece.rest_us() }
    }

    fn is_followed_by(&self, next: &Piece, way: Way) -> bool {
        self.run == next.run() && self.distance_us(next, way) <= SEAM_US
    }

    fn distance_us(&self, next: &Piece, way: Way) -> i64 {
        let window = next.window_us();
        match way {
            Way::Forwards => window.start.saturating_sub(self.to),
            Way::Backwards => self.from.saturating_sub(window.end),
        }
    }
}

/// Longest time that a group is sent ahead in reverse.
const LONGEST_LEAD: Duration = Duration::from_secs(10);
