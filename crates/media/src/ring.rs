//! The hub's memory: the newest units of one stream, read by any number of cursors.
//!
//! Every reader keeps a cursor into one shared ring, so a reader costs nothing while it reads and
//! cannot hold anybody up: who falls behind what the ring holds is moved to the newest keyframe.
//!
//! Held is what newcomers begin with, the units since the newest keyframe, and what a reader may be
//! behind by without losing anything ([`Limits::lag`]). Nothing older is kept.
//!
//! So memory follows what the stream has from keyframe to keyframe. Where that exceeds the limits
//! it cannot be held: new readers wait for the next keyframe, and till then only what a reader may
//! be behind by is kept.
//!
//! Invariant: when the ring holds any keyframe, it holds everything since the newest one.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use sightline_model::UnixMicros;

use crate::AccessUnit;

/// Bounds of a [`Ring`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes, whatever comes; the older units go when there are more. What is held is mostly
    /// far less: see the module.
    pub bytes: usize,
    /// Most units, likewise.
    pub units: usize,
    /// By how much a reader may be behind the newest unit, going by when they were captured: units
    /// older than that go as soon as no keyframe before them, or one after them, is held.
    pub lag: Duration,
}

impl Default for Limits {
    /// 16 s of 16 Mbit/s, 4,096 units, 2 s behind: who is further behind the live picture than that
    /// is better served with the next keyframe.
    fn default() -> Self {
        Self { bytes: 32 << 20, units: 4_096, lag: Duration::from_secs(2) }
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

    /// Adds a unit and drops what nobody needs any more or is over the limits.
    pub fn push(&mut self, unit: Arc<AccessUnit>) {
        let number = self.first + self.units.len() as u64;
        if unit.is_keyframe() || !self.has_video {
            self.newest_keyframe = Some(number);
        }
        self.bytes += unit.len();
        let newest = unit.captured_at();
        self.units.push_back(unit);
        while self.bytes > self.limits.bytes
            || self.units.len() > self.limits.units
            || self.is_oldest_overtaken(newest)
        {
            self.drop_oldest();
        }
    }

    /// Whether nobody begins with the oldest unit and it lies further back than a reader may.
    fn is_oldest_overtaken(&self, newest: UnixMicros) -> bool {
        let Some(oldest) = self.units.front() else { return false };
        self.newest_keyframe.is_none_or(|keyframe| self.first < keyframe)
            && newest.since(oldest.captured_at()) > self.limits.lag
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const FPS: i64 = 25;

    /// Picture `number` of a stream with a keyframe every `gop`.
    fn picture(number: i64, gop: i64) -> Arc<AccessUnit> {
        picture_of(1_000, number, gop)
    }

    /// As [`picture`], of `size` and the four bytes that say so.
    fn picture_of(size: usize, number: i64, gop: i64) -> Arc<AccessUnit> {
        let header = if number % gop == 0 { 0x65 } else { 0x61 };
        let length = u32::try_from(size).expect("small").to_be_bytes();
        let data = [&length[..], &[header], &vec![0; size - 1]].concat();
        let captured_at = UnixMicros(1_000_000 * number / FPS);
        Arc::new(AccessUnit::h264(number, captured_at, data.into()))
    }

    fn number_of(read: Read) -> i64 {
        let Read::Unit(unit) = read else { panic!("{read:?}") };
        let AccessUnit::Video { timestamp, .. } = &*unit else { panic!("a picture") };
        *timestamp
    }

    #[test]
    fn a_long_stream_is_held_from_the_keyframe_and_the_allowed_lag_on() {
        let lag = Duration::from_secs(1);
        let mut ring = Ring::new(Limits { lag, ..Limits::default() }, true);
        let mut most = 0;
        for number in 0..1_000 {
            ring.push(picture(number, 50));
            most = most.max(ring.bytes());
        }
        // One group of 50, however long the stream goes on.
        assert_eq!(most, 1_004 * 50);
        assert_eq!(number_of(ring.read(&mut ring.cursor())), 950);
    }

    #[test]
    fn a_reader_within_the_lag_loses_nothing_and_one_beyond_it_goes_on_at_the_keyframe() {
        let lag = Duration::from_secs(1);
        let mut ring = Ring::new(Limits { lag, ..Limits::default() }, true);
        for number in 0..50 {
            ring.push(picture(number, 50));
        }
        let mut slow = ring.cursor();
        for number in 0..25 {
            assert_eq!(number_of(ring.read(&mut slow)), number);
        }
        let mut slower = slow;
        for number in 50..100 {
            ring.push(picture(number, 50));
            assert_eq!(number_of(ring.read(&mut slow)), number - 25);
        }
        assert!(matches!(ring.read(&mut slower), Read::Skipped(25)));
        assert_eq!(number_of(ring.read(&mut slower)), 50);
    }

    #[test]
    fn a_group_over_the_limit_leaves_no_place_to_start() {
        let mut ring = Ring::new(Limits { bytes: 10_040, ..Limits::default() }, true);
        for number in 0..11 {
            ring.push(picture(number, 1_000));
        }
        assert_eq!(ring.bytes(), 10_040);
        assert!(matches!(ring.read(&mut ring.cursor()), Read::Empty));
    }

    #[test]
    fn a_large_stream_is_held_whole_from_its_keyframe_on() {
        // 16 Mbit/s with a keyframe every 4 s.
        let mut ring = Ring::new(Limits::default(), true);
        for number in 0..500 {
            ring.push(picture_of(80_000, number, 100));
            let begin = number_of(ring.read(&mut ring.cursor()));
            assert_eq!(begin, number / 100 * 100, "a newcomer at {number}");
            // Four seconds and the allowed lag of the ones before.
            assert!(ring.bytes() <= 151 * 80_004, "{}", ring.bytes());
        }
    }

    #[test]
    fn a_group_over_the_limit_takes_no_memory_that_nobody_can_use() {
        let lag = Duration::from_secs(1);
        let mut ring = Ring::new(Limits { bytes: 100_400, lag, ..Limits::default() }, true);
        let mut reader = ring.cursor();
        for number in 0..300 {
            ring.push(picture(number, 1_000));
            assert!(ring.bytes() <= 100_400);
            if let Some(due) = (number >= 20).then(|| number - 20) {
                assert_eq!(number_of(ring.read(&mut reader)), due, "a reader within the lag");
            }
        }
        assert_eq!(ring.bytes(), 26 * 1_004);
        assert!(matches!(ring.read(&mut ring.cursor()), Read::Empty));
        ring.push(picture(1_000, 1_000));
        assert_eq!(number_of(ring.read(&mut ring.cursor())), 1_000);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_the_ring_within_its_limits() {
        let mut ring = Ring::new(Limits { bytes: 100_400, ..Limits::default() }, true);
        for number in (1_000..1_200).chain(0..200) {
            ring.push(picture(number, 50));
        }
        assert!(ring.bytes() <= 100_400);
        assert_eq!(number_of(ring.read(&mut ring.cursor())), 150);
    }

    #[test]
    fn sound_alone_is_held_as_long_as_a_reader_may_be_behind() {
        let bytes = Bytes::from_static(&[0; 160]);
        let mut ring = Ring::new(Limits::default(), false);
        for number in 0..1_000 {
            let captured_at = UnixMicros(number * 20_000);
            let data = bytes.clone();
            ring.push(Arc::new(AccessUnit::Audio { timestamp: number, captured_at, data }));
        }
        assert_eq!(ring.bytes(), 160 * 101);
    }
}
