//! One camera: from what is wanted to units in the order of sending.
//!
//! Contract: after every [`Planner::handle_input`] and [`Planner::handle_timeout`], poll outputs
//! until there is none. A caller who cannot send may stop polling: nothing piles up here, for units
//! are made when they are polled. It holds two pieces at most.

mod fill;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sightline_model::UnixMicros;

use super::{
    Answer, Config, Delivery, EndReason, Input, Notice, Output, Piece, Play, Request, RequestId,
    Scale, SegmentKey, Selection, Unit, UnitKind, Way, clock::PlayClock, group::Level,
};
use crate::statement::RunId;

/// Pieces whose distance is at most this follow each other: no gap.
pub(super) const SEAM_US: i64 = 500_000;

/// How far a planner in step with others is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
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
    epoch: u32,
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
            epoch: 0,
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
        let front = self.queue.front().filter(|front| self.runs() && !self.is_held(front))?;
        if self.is_due(front) {
            return Some(self.now);
        }
        (!self.clock.is_paused()).then(|| self.clock.instant(front.due_us))
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
        let shown = self.queue.iter().filter(|q| q.unit.shown).map(|q| q.unit.presentation_us);
        match (shown.min(), &self.ahead) {
            (Some(next), _) => Standing::Has(next),
            (None, Ahead::End | Ahead::Later) => Standing::Ended,
            (None, _) if self.ended.is_some() => Standing::Ended,
            (None, Ahead::Unknown | Ahead::Asked { .. } | Ahead::Piece(_)) => Standing::Waits,
        }
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
        queued.closes && matches!(self.ahead, Ahead::Unknown | Ahead::Asked { .. })
    }

    fn shown_now(&self) -> i64 {
        self.playhead(self.now).map_or(self.cursor.wall(), |at| at.0)
    }

    fn play(&mut self, play: Play) {
        let goes_on = play.at.is_none()
            && matches!(self.mode, Mode::Playing | Mode::Paused)
            && !self.stepped
            && play.delivery == self.delivery
            && play.scale.way() == self.scale.way()
            && self.ended != Some(EndReason::Until)
            && (play.scale == self.scale || play.scale.way() == Way::Forwards);
        let from = match (play.at, self.mode) {
            (Some(at), _) => Cursor::At(at.0),
            (None, Mode::Idle) if play.scale.way() == Way::Forwards => Cursor::At(i64::MIN),
            (None, Mode::Idle) => Cursor::At(i64::MAX),
            (None, Mode::Playing | Mode::Paused | Mode::One(_)) => Cursor::Beyond(self.shown_now()),
        };
        let old_scale = std::mem::replace(&mut self.scale, play.scale);
        self.selection = play.selection;
        self.delivery = play.delivery;
        self.until = play.until.map(|t| t.0);
        self.mode = Mode::Playing;
        self.stepped = false;
        self.told_end = false;
        if play.at.is_some() {
            self.decoder = None;
        }
        self.clock.resume(self.now);
        if !goes_on {
            return self.restart(from);
        }
        self.leave_out_beyond_until();
        if play.scale != old_scale {
            self.retime();
        }
        let (selection, scale, budget) = (self.selection, self.scale, self.config.budget);
        if let Some(current) = &mut self.current {
            current.level = Level::of(selection, &current.piece, scale, budget);
        }
    }

    fn one(&mut self, way: Way, from: Cursor) {
        self.mode = Mode::One(way);
        self.stepped = true;
        self.until = None;
        self.clock.pause(self.now);
        self.restart(from);
    }

    /// What is queued is dropped; planning begins anew.
    fn restart(&mut self, from: Cursor) {
        let at = self.clock.at(self.now);
        self.shown.retain(|(presentation, _)| *presentation <= at);
        self.queue.clear();
        self.outputs.retain(|output| !matches!(output, Output::Need(_)));
        self.cursor = from;
        self.epoch = self.epoch.wrapping_add(1);
        self.ended = None;
        self.broken = true;
        self.whole = false;
        self.restart_clock = true;
        self.behind_gap = false;
        self.sound_until = None;
        self.last_shown = None;
        self.previous = None;
        self.ahead = Ahead::Unknown;
        // Pieces are small, but asking for one takes time that a person notices.
        if let Some(current) = self.current.take()
            && self.serves(&current.piece)
        {
            self.enter(current.piece);
        }
    }

    /// Whether a request for the cursor would be answered with this piece.
    fn serves(&self, piece: &Piece) -> bool {
        let window = piece.window_us();
        match (self.way(), self.cursor) {
            (Way::Forwards, Cursor::At(t)) => window.contains(&t),
            (Way::Forwards, Cursor::Beyond(t)) => window.contains(&t.saturating_add(1)),
            (Way::Backwards, Cursor::At(t)) => window.contains(&t),
            (Way::Backwards, Cursor::Beyond(t)) => window.contains(&t.saturating_sub(1)),
        }
    }

    fn answered(&mut self, id: RequestId, answer: Answer) {
        let Ahead::Asked { request, beyond } = self.ahead else { return };
        if request.id != id {
            return;
        }
        self.ahead = match answer {
            Answer::End => Ahead::End,
            Answer::Later => Ahead::Later,
            Answer::Unreadable(window) => {
                let (from, to) = (window.start, window.end);
                self.outputs.push_back(Output::Notice(Notice::Unreadable { from, to }));
                self.broken = true;
                let at = match request.way {
                    Way::Forwards => to.0.max(request.at.0.saturating_add(1)),
                    Way::Backwards => from.0.min(request.at.0.saturating_sub(1)),
                };
                self.request(at, true)
            }
            Answer::Piece(mut piece) => {
                let at = request.at.0;
                match (request.way, beyond) {
                    (Way::Forwards, true) => piece.clip(at..i64::MAX),
                    (Way::Backwards, true) => piece.clip(i64::MIN..at),
                    (Way::Forwards | Way::Backwards, false) => {}
                }
                if piece.window_us().is_empty() {
                    Ahead::End
                } else {
                    Ahead::Piece(Box::new(piece))
                }
            }
        };
    }

    fn request(&mut self, at: i64, beyond: bool) -> Ahead {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let request = Request { id, at: UnixMicros(at), way: self.way() };
        self.outputs.push_back(Output::Need(request));
        Ahead::Asked { request, beyond }
    }

    /// Asks for the piece behind the current one before it is needed.
    fn ask_ahead(&mut self) {
        if self.mode != Mode::Playing
            || self.ended.is_some()
            || !matches!(self.ahead, Ahead::Unknown)
        {
            return;
        }
        let Some(current) = &self.current else { return };
        let window = current.piece.window_us().clone();
        let at = if self.way() == Way::Forwards { window.end } else { window.start };
        self.ahead = self.request(at, true);
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
        Self { from: window.start, to: window.end, run: piece.run() }
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

/// Slack before what is late moves the clock, in microseconds.
const STALL_US: i64 = 250_000;
/// Longest time that a group is sent ahead in reverse.
const LONGEST_LEAD: Duration = Duration::from_secs(10);
