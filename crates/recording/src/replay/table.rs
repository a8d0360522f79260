//! What the planner knows of a segment: where its pictures are, and when.

use std::{ops::Range, sync::Arc};

use sightline_media::{AccessUnit, mp4::read::Contents};
use sightline_model::UnixMicros;

use crate::statement::{RunId, Sequence};

/// Most pictures (and pieces of sound) in one segment.
pub const MAX_PICTURES: usize = 1 << 16;
/// Farthest that a picture may lie from its segment's start, in microseconds: a day.
const MAX_POSITION_US: i64 = 86_400_000_000;

/// A segment among all that a planner may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentKey {
    /// The chain, by a number that the caller gives.
    pub chain: u32,
    /// Its number in the chain.
    pub sequence: Sequence,
}

/// A picture, in the order of the file, which is that of decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// When it is shown, from the segment's start, on the video clock of 90 kHz. Below zero for
    /// pictures that follow the first keyframe in the file and are shown before it.
    pub position_90k: i64,
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// Whether no other picture refers to it.
    pub disposable: bool,
    /// Its length, in bytes.
    pub len: u32,
    /// Its number in what it was read from: for a segment's file in [`Contents::units`].
    pub source: usize,
}

impl Picture {
    fn position_us(&self) -> i64 {
        self.position_90k.saturating_mul(100).div_euclid(9)
    }
}

/// A piece of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// When it is heard, from the segment's start, in microseconds.
    pub position_us: i64,
    /// Its length, in bytes.
    pub len: u32,
    /// Its number in what it was read from.
    pub source: usize,
}

/// Why a table cannot be used; the fault of the segment or of who read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// No picture.
    #[error("the segment has no picture")]
    Empty,
    /// The first picture is not a keyframe.
    #[error("the segment does not begin with a keyframe")]
    NoKeyframe,
    /// More than [`MAX_PICTURES`].
    #[error("the segment has more than {MAX_PICTURES} pictures or pieces of sound")]
    TooLong,
    /// A position that no segment has.
    #[error("a picture lies more than a day from its segment's start")]
    Position,
    /// The part to be shown is empty.
    #[error("the part of the segment that is to be shown is empty")]
    Window,
}

/// The pictures and the sound of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pictures: Vec<Picture>,
    sound: Vec<Sound>,
    /// Index of every keyframe.
    groups: Vec<usize>,
}

impl Table {
    /// Checks the table. Sound is put in the order of time.
    ///
    /// # Errors
    /// [`PieceError`], but for its `Window`.
    pub fn new(pictures: Vec<Picture>, mut sound: Vec<Sound>) -> Result<Self, PieceError> {
        if pictures.len() > MAX_PICTURES || sound.len() > MAX_PICTURES {
            return Err(PieceError::TooLong);
        }
        if !pictures.first().ok_or(PieceError::Empty)?.keyframe {
            return Err(PieceError::NoKeyframe);
        }
        let near = |position_us: i64| (-MAX_POSITION_US..=MAX_POSITION_US).contains(&position_us);
        if !pictures.iter().all(|p| near(p.position_us()))
            || !sound.iter().all(|s| near(s.position_us))
        {
            return Err(PieceError::Position);
        }
        sound.sort_by_key(|s| s.position_us);
        let groups = (0..pictures.len()).filter(|i| pictures[*i].keyframe).collect();
        Ok(Self { pictures, sound, groups })
    }

    /// The table of a segment that was read.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(contents: &Contents) -> Result<Self, PieceError> {
        let (mut pictures, mut sound) = (Vec::new(), Vec::new());
        let begin = i64::try_from(contents.position_90k).unwrap_or(i64::MAX);
        for (source, read) in contents.units.iter().enumerate() {
            let len = u32::try_from(read.unit.len()).unwrap_or(u32::MAX);
            match &read.unit {
                AccessUnit::Video { timestamp, keyframe, disposable, .. } => {
                    let position_90k = timestamp.saturating_sub(begin);
                    let (keyframe, disposable) = (*keyframe, *disposable);
                    pictures.push(Picture { position_90k, keyframe, disposable, len, source });
                }
                AccessUnit::Audio { .. } => {
                    sound.push(Sound { position_us: read.shown_us, len, source });
                }
            }
        }
        Self::new(pictures, sound)
    }

    /// Its pictures, in the order of decoding.
    #[must_use]
    pub fn pictures(&self) -> &[Picture] {
        &self.pictures
    }

    /// Its sound, in the order of time.
    #[must_use]
    pub fn sound(&self) -> &[Sound] {
        &self.sound
    }
}

/// A segment, or the part of it that the timeline shows: where two segments claim one second, only
/// one of them is shown then (decision 0090).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    key: SegmentKey,
    run: RunId,
    start: UnixMicros,
    window: Range<i64>,
    table: Arc<Table>,
}

impl Piece {
    /// A piece that is shown in `window` (the end not included); `start` is the corrected time of
    /// the segment's position 0.
    ///
    /// # Errors
    /// [`PieceError::Window`].
    pub fn new(
        key: SegmentKey,
        run: RunId,
        start: UnixMicros,
        window: Range<UnixMicros>,
        table: Arc<Table>,
    ) -> Result<Self, PieceError> {
        if window.start >= window.end {
            return Err(PieceError::Window);
        }
        Ok(Self { key, run, start, window: window.start.0..window.end.0, table })
    }

    /// Which segment.
    #[must_use]
    pub const fn key(&self) -> SegmentKey {
        self.key
    }

    /// Its run.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }

    /// When it is shown: from, and until (not included).
    #[must_use]
    pub const fn window(&self) -> Range<UnixMicros> {
        UnixMicros(self.window.start)..UnixMicros(self.window.end)
    }

    /// Its table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// When picture `index` was taken, in microseconds since 1970.
    pub(super) fn wall(&self, index: usize) -> i64 {
        self.start.0.saturating_add(self.table.pictures[index].position_us())
    }

    /// When sound `index` was taken.
    pub(super) fn sound_wall(&self, index: usize) -> i64 {
        self.start.0.saturating_add(self.table.sound[index].position_us)
    }

    /// How many pieces of sound were taken before `wall`.
    pub(super) fn sound_before(&self, wall: i64) -> usize {
        self.table.sound.partition_point(|s| self.start.0.saturating_add(s.position_us) < wall)
    }

    /// Window in microseconds since 1970.
    pub(super) const fn window_us(&self) -> &Range<i64> {
        &self.window
    }

    /// Leaves out what is not after (forwards) or before (backwards) `bound`.
    pub(super) fn clip(&mut self, window: Range<i64>) {
        self.window.start = self.window.start.max(window.start);
        self.window.end = self.window.end.min(window.end);
    }

    /// How many groups it has.
    pub(super) fn groups(&self) -> usize {
        self.table.groups.len()
    }

    /// Indices of the pictures of group `group`.
    pub(super) fn group(&self, group: usize) -> Range<usize> {
        let groups = &self.table.groups;
        groups[group]..groups.get(group + 1).copied().unwrap_or(self.table.pictures.len())
    }

    /// The groups that may have a picture in the window; never empty.
    pub(super) fn groups_in_window(&self) -> Range<usize> {
        let first = self.group_at(self.window.start);
        let last = self.group_at(self.window.end - 1);
        first..last.max(first) + 1
    }

    /// The last group whose keyframe was taken at or before `wall`, else the first.
    pub(super) fn group_at(&self, wall: i64) -> usize {
        let groups = &self.table.groups;
        groups.partition_point(|index| self.wall(*index) <= wall).saturating_sub(1)
    }

    /// The group that picture `index` belongs to.
    pub(super) fn group_of(&self, index: usize) -> usize {
        self.table.groups.partition_point(|key| *key <= index).saturating_sub(1)
    }

    /// From its last picture to the end of its window, in microseconds; 1 ms to a second.
    pub(super) fn rest_us(&self) -> i64 {
        let walls = (0..self.table.pictures.len()).map(|index| self.wall(index));
        let last = walls.filter(|wall| self.window.contains(wall)).max();
        let rest = self.window.end.saturating_sub(last.unwrap_or(self.window.end));
        rest.clamp(1_000, 1_000_000)
    }

    /// Mean distance of its pictures, in microseconds; at least 1 ms, at most a second.
    pub(super) fn interval_us(&self) -> i64 {
        let count = self.table.pictures.len();
        let last = (0..count).map(|i| self.wall(i)).max().unwrap_or(0);
        let span = last.saturating_sub(self.start.0);
        (span / i64::try_from(count.max(2) - 1).unwrap_or(i64::MAX)).clamp(1_000, 1_000_000)
    }
}
