//! The hub's memory: the newest units of one stream, read by any number of cursors.
//!
//! Every reader keeps a cursor into one shared ring, so a reader costs nothing while it reads and
//! cannot hold anybody up: who falls behind what the ring holds is moved to the newest keyframe.
//!
//! Invariant: when the ring holds any keyframe, it holds everything since the newest one, unless
//! that exceeds the limits; then it holds nothing older than the limit allows and new readers wait
//! for the next keyframe.

use std::{collections::VecDeque, sync::Arc};

use crate::AccessUnit;

/// Bounds of a [`Ring`]; the older units go when either is passed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes.
    pub bytes: usize,
    /// Most units.
    pub units: usize,
}

impl Default for Limits {
    /// 12 s of 4 Mbit/s, and 4,096 units.
    fn default() -> Self {
        Self { bytes: 6 << 20, units: 4_096 }
    }
}

/// A reader's place in a [`Ring`].
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    /// Number of the next unit to read; `None` until a keyframe is there to begin with.
    next: Option<u64>,
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum Read {
    /// The next unit.
    Unit(Arc<AccessUnit>),
    /// The reader was too slow: so many units are gone, and it goes on at a keyframe.
    Skipped(u64),
    /// Nothing new yet.
    Empty,
}

/// See the module.
#[derive(Debug)]
pub struct Ring {
    limits: Limits,
    units: VecDeque<Arc<AccessUnit>>,
    /// Number of `units[0]`.
    first: u64,
    bytes: usize,
    newest_keyframe: Option<u64>,
    has_video: bool,
}

impl Ring {
    /// An empty ring. `has_video` is false for a stream of sound alone, where every unit is a
    /// place to start.
    #[must_use]
    pub fn new(limits: Limits, has_video: bool) -> Self {
        Self {
            limits,
            units: VecDeque::new(),
            first: 0,
            bytes: 0,
            newest_keyframe: None,
            has_video,
        }
    }

    /// Adds a unit, dropping what is older than the newest keyframe's predecessor or over the
    /// limits.
    pub fn push(&mut self, unit: Arc<AccessUnit>) {
        let number = self.first + self.units.len() as u64;
        if unit.is_keyframe() || !self.has_video {
            self.newest_keyframe = Some(number);
        }
        self.bytes += unit.len();
        self.units.push_back(unit);
        while self.bytes > self.limits.bytes || self.units.len() > self.limits.units {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(unit) = self.units.pop_front() {
            self.bytes -= unit.len();
            self.first += 1;
        }
        if self.newest_keyframe.is_some_and(|k| k < self.first) {
            self.newest_keyframe = None;
        }
    }

    /// Forgets everything, as when the source has been away: readers go on at the next keyframe.
    pub fn forget(&mut self) {
        self.first += self.units.len() as u64;
        self.units.clear();
        self.bytes = 0;
        self.newest_keyframe = None;
    }

    /// Forgets everything and holds a stream of another form from now on.
    pub fn clear(&mut self, has_video: bool) {
        self.forget();
        self.has_video = has_video;
    }

    /// A reader that starts at the newest keyframe, and at once.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { next: self.newest_keyframe }
    }

    /// Moves a reader to the newest keyframe if that is ahead of it, leaving out what lies between.
    pub fn skip_to_newest_keyframe(&self, cursor: &mut Cursor) {
        match (self.newest_keyframe, cursor.next) {
            (Some(key), Some(next)) if key <= next => {}
            (Some(key), _) => cursor.next = Some(key),
            (None, _) => {}
        }
    }

    /// Units that the reader has not read yet.
    #[must_use]
    pub fn behind(&self, cursor: &Cursor) -> u64 {
        let end = self.first + self.units.len() as u64;
        cursor.next.map_or(0, |next| end.saturating_sub(next))
    }

    /// Reads on.
    pub fn read(&self, cursor: &mut Cursor) -> Read {
        let Some(next) = cursor.next else {
            cursor.next = self.newest_keyframe;
            return match cursor.next {
                Some(_) => self.read(cursor),
                None => Read::Empty,
            };
        };
        if next < self.first {
            cursor.next = self.newest_keyframe;
            let resume = cursor.next.unwrap_or(self.first + self.units.len() as u64);
            return Read::Skipped(resume - next);
        }
        let index = usize::try_from(next - self.first).unwrap_or(usize::MAX);
        match self.units.get(index) {
            Some(unit) => {
                cursor.next = Some(next + 1);
                Read::Unit(Arc::clone(unit))
            }
            None => Read::Empty,
        }
    }

    /// Bytes held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}
