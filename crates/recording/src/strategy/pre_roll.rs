//! The last seconds, held so that a recording can begin before its event.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use sightline_media::AccessUnit;

/// Bounds of a [`PreRoll`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreRollLimits {
    /// Most bytes.
    pub bytes: usize,
    /// Most units.
    pub units: usize,
    /// How far back a recording shall be able to begin; the rest of the group of pictures in which
    /// that lies is held too.
    pub length: Duration,
}

impl PreRollLimits {
    /// So long, in at most 64 MiB: half a minute of 16 Mbit/s.
    #[must_use]
    pub const fn of(length: Duration) -> Self {
        Self { bytes: 64 << 20, units: 16_384, length }
    }
}

/// What became of a unit.
#[derive(Debug, Clone)]
pub enum Pushed {
    /// It is held for a recording that may come.
    Held,
    /// Neither: it lies before the first keyframe, and nothing can begin with it.
    Skipped,
    /// It belongs to the recording.
    Record(Arc<AccessUnit>),
    /// The recording has ended before it; it is held.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Holding,
    /// Recording from the next keyframe on.
    Awaiting,
    Recording,
    /// Recording until the next keyframe.
    Ending,
}

/// Holds the newest units of one stream while nothing is recorded, and hands them over when a
/// recording begins. Every unit since the first keyframe is recorded once, or held and then let go,
/// never both and never twice.
///
/// Units are shared with the hub: what is held costs memory only when the hub has dropped it.
///
/// Invariant: what is held begins with a keyframe.
#[derive(Debug)]
pub struct PreRoll {
    limits: PreRollLimits,
    has_video: bool,
    state: State,
    held: VecDeque<Arc<AccessUnit>>,
    /// Places in `held`, counted from the first unit ever held, where decoding can start, and when
    /// their units came.
    starts: VecDeque<(u64, u64)>,
    /// Number of `held[0]`.
    first: u64,
    bytes: usize,
}

impl PreRoll {
    /// Nothing held. `has_video` is false for a stream of sound alone, where every unit is a place
    /// to start.
    #[must_use]
    pub const fn new(limits: PreRollLimits, has_video: bool) -> Self {
        Self {
            limits,
            has_video,
            state: State::Holding,
            held: VecDeque::new(),
            starts: VecDeque::new(),
            first: 0,
            bytes: 0,
        }
    }

    /// Other bounds from the next unit on.
    pub const fn set_limits(&mut self, limits: PreRollLimits) {
        self.limits = limits;
    }

    /// Takes the stream's next unit, which came at `at_us` by the monotonic clock.
    pub fn push(&mut self, unit: Arc<AccessUnit>, at_us: u64) -> Pushed {
        let is_start = unit.is_keyframe() || !self.has_video;
        match self.state {
            State::Recording => Pushed::Record(unit),
            State::Awaiting if !is_start => Pushed::Skipped,
            State::Awaiting => {
                self.state = State::Recording;
                Pushed::Record(unit)
            }
            State::Ending if !is_start => Pushed::Record(unit),
            State::Ending => {
                self.state = State::Holding;
                self.hold(unit, at_us, is_start);
                Pushed::Ended
            }
            State::Holding if self.held.is_empty() && !is_start => Pushed::Skipped,
            State::Holding => {
                self.hold(unit, at_us, is_start);
                if self.held.is_empty() { Pushed::Skipped } else { Pushed::Held }
            }
        }
    }

    /// A recording begins, as far back as `back_to_us` by the monotonic clock if that is held, and at
    /// the keyframe before. Gives the units it begins with, in order; those that follow come from
    /// [`Self::push`]. While a recording runs, or has not ended yet, it just goes on.
    pub fn begin(&mut self, back_to_us: u64) -> Vec<Arc<AccessUnit>> {
        match self.state {
            State::Holding if self.held.is_empty() => self.state = State::Awaiting,
            State::Holding => return self.hand_over(back_to_us),
            State::Ending => self.state = State::Recording,
            State::Awaiting | State::Recording => {}
        }
        Vec::new()
    }

    /// The recording ends at the next keyframe, which [`Pushed::Ended`] tells.
    pub fn end(&mut self) {
        self.state = match self.state {
            State::Recording | State::Ending => State::Ending,
            State::Awaiting | State::Holding => State::Holding,
        };
    }

    /// The stream was interrupted: what is held does not join what comes. A recording that runs goes
    /// on at the next keyframe; one that was to end has ended.
    pub fn interrupt(&mut self) {
        self.forget();
        self.state = match self.state {
            State::Recording | State::Awaiting => State::Awaiting,
            State::Ending | State::Holding => State::Holding,
        };
    }

    /// Bytes that are held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Units that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn hand_over(&mut self, back_to_us: u64) -> Vec<Arc<AccessUnit>> {
        self.state = State::Recording;
        let reached = self.starts.iter().rev().find(|(_, at_us)| *at_us <= back_to_us);
        let from = reached.or(self.starts.front()).map_or(self.first, |(number, _)| *number);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let units = self.held.drain(..).skip(skip).collect();
        self.forget();
        units
    }

    fn hold(&mut self, unit: Arc<AccessUnit>, at_us: u64, is_start: bool) {
        if is_start {
            self.starts.push_back((self.first + self.held.len() as u64, at_us));
        }
        self.bytes += unit.len();
        self.held.push_back(unit);
        let back_to_us = at_us.saturating_sub(self.limits.length.as_micros() as u64);
        // The first group goes when the second reaches far enough back.
        while self.starts.get(1).is_some_and(|(_, at_us)| *at_us <= back_to_us) {
            self.drop_first_group();
        }
        while self.bytes > self.limits.bytes || self.held.len() > self.limits.units {
            self.drop_first_group();
        }
    }

    fn drop_first_group(&mut self) {
        self.starts.pop_front();
        let Some((next, _)) = self.starts.front() else { return self.forget() };
        while self.first < *next {
            let Some(unit) = self.held.pop_front() else { break };
            self.bytes -= unit.len();
            self.first += 1;
        }
    }

    fn forget(&mut self) {
        self.held.clear();
        self.starts.clear();
        self.first = 0;
        self.bytes = 0;
    }
}
