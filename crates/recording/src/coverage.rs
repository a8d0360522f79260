//! What a stretch of time looks like for one camera, over all places that record it (A6.2.1).
//!
//! A [`Coverage`] is fed with what each source has, in any order and any number of pieces, and gives
//! one [`Timeline`]: spans that can be played with their best source, gaps with their reasons, marks
//! of events. It holds and gives a bounded number of each, whatever the zoom: where there are more,
//! the shortest are joined, and [`Timeline::resolution_us`] says how long an interruption must be to
//! be told. Two things hold at every zoom: whatever is recorded lies in a span, and every interruption
//! of at least the resolution is a gap.
//!
//! Times are corrected ones; [`Corrections`] makes them from a chain's entries. A [`Calendar`] says
//! which days of a month have recordings.
//!
//! ```
//! use sightline_model::*;
//! use sightline_recording::coverage::{Coverage, Recorded};
//!
//! let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
//! let mut coverage = Coverage::new(UnixMicros(0), UnixMicros(60_000_000), 100)?;
//! let source = RecordingSource { place: RecordingPlace::Pu, recorder: pu.clone(), tier: StreamTier::Main };
//! let source = coverage.add_source(source, 0)?;
//! let piece = |from, to| Recorded {
//!     from: UnixMicros(from),
//!     to: UnixMicros(to),
//!     causes: Causes { continuous: true, ..Causes::default() },
//!     time_known: true,
//! };
//! coverage.add_recorded(source, piece(0, 4_000_000));
//! coverage.add_recorded(source, piece(4_000_000, 8_000_000));
//! let timeline = coverage.finish(CameraId { pu, channel: ChannelId(0) });
//! assert_eq!(timeline.spans[0].to, UnixMicros(8_000_000));
//! assert_eq!(timeline.gaps[0].from, UnixMicros(8_000_000));
//! # Ok::<(), sightline_recording::coverage::CoverageError>(())
//! ```

mod calendar;
mod corrections;
mod stretch;
#[cfg(test)]
mod tests;

use std::{cmp::Reverse, collections::BTreeMap};

use sightline_model::{
    Absence, CameraId, Causes, EventKind, EventMark, RecordingPlace, RecordingSource, Rung,
    StreamTier, Timeline, TimelineGap, TimelineSpan, UnixMicros, ZoneName,
};

use crate::statement::GapReason;
use stretch::{Rank, Stretch, join, join_until, sweep};

pub use calendar::Calendar;
pub use corrections::{Corrected, Corrections};

/// Most sources of a camera.
pub const MAX_SOURCES: usize = 64;
/// Most spans that can be asked for.
pub const MAX_SPANS: usize = 1_000;
/// Fewest spans that can be asked for.
pub const MIN_SPANS: usize = 8;
/// Longest stretch of time that can be asked for, in days.
pub const MAX_DAYS: i64 = 400;

/// Pieces that are this close join without a gap, in microseconds: below the length of a picture.
const SEAM_US: i64 = 20_000;

/// Why there is no timeline or calendar: the caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoverageError {
    /// The end is not behind the beginning, or too far behind it.
    #[error("a timeline must be longer than nothing and no longer than {MAX_DAYS} days")]
    Window,
    /// Too few or too many spans.
    #[error("{0} spans are not between {MIN_SPANS} and {MAX_SPANS}")]
    Spans(usize),
    /// More than [`MAX_SOURCES`].
    #[error("a camera has at most {MAX_SOURCES} sources of recordings")]
    TooManySources,
    /// No such month.
    #[error("there is no month {month} of the year {year}")]
    Month {
        /// Year.
        year: i16,
        /// Month.
        month: u8,
    },
    /// The IANA database has no such zone.
    #[error("there is no time zone {0}; a name such as Europe/Berlin is needed")]
    NoSuchZone(ZoneName),
}

/// A source, as [`Coverage::add_source`] has numbered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceNumber(u16);

/// A piece that a source has: a segment, or several that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// From when on, corrected.
    pub from: UnixMicros,
    /// Until when, exclusive.
    pub to: UnixMicros,
    /// Why it was recorded.
    pub causes: Causes,
    /// Whether somebody vouches for its time.
    pub time_known: bool,
}

/// A piece that a source knows it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// From when on, corrected.
    pub from: UnixMicros,
    /// Until when, exclusive.
    pub to: UnixMicros,
    /// Why.
    pub reason: Absence,
}

/// What a chain's gap means to a viewer.
#[must_use]
pub const fn absence(reason: GapReason) -> Absence {
    match reason {
        GapReason::NotPlanned => Absence::NotPlanned,
        GapReason::CameraAway => Absence::CameraAway,
        GapReason::RecorderOff => Absence::RecorderOff,
        GapReason::StorageFull => Absence::StorageFull,
        GapReason::StorageReadOnly => Absence::StorageReadOnly,
        GapReason::StorageAway => Absence::StorageAway,
        GapReason::StorageFailed => Absence::StorageFailed,
        GapReason::UnusableStream => Absence::UnusableStream,
    }
}

/// The usual rank of a source, for a viewer that reaches its recorder on that rung (`None`: not now):
/// direct on the LAN, other paths by rung, the cloud storage, and last who cannot be reached; of one
/// recorder, the main encoding before the sub.
#[must_use]
pub const fn rank(place: RecordingPlace, reach: Option<Rung>, tier: StreamTier) -> u32 {
    let tier = match tier {
        StreamTier::Main => 0,
        StreamTier::Sub => 1,
    };
    match (place, reach) {
        (RecordingPlace::Pu | RecordingPlace::Nvr, Some(rung)) => 2 * rung as u32 + tier,
        (RecordingPlace::Cs, _) => 100 + tier,
        (RecordingPlace::Pu | RecordingPlace::Nvr, None) => 200 + tier,
    }
}

/// Makes a timeline. See the module.
#[derive(Debug)]
pub struct Coverage {
    from: UnixMicros,
    to: UnixMicros,
    max: usize,
    sources: Vec<Source>,
    events: BTreeMap<EventKind, Vec<EventMark>>,
    /// Interruptions shorter than this may have been lost in joining.
    grain_us: i64,
    pieces: u64,
}

#[derive(Debug)]
struct Source {
    of: RecordingSource,
    rank: u32,
    recorded: Vec<Stretch<Held>>,
    missing: Vec<Stretch<Absence>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    causes: Causes,
    time_known: bool,
}

impl stretch::Attribute for Held {
    fn with(self, other: Self) -> Self {
        let causes = self.causes.and(other.causes);
        Self { causes, time_known: self.time_known && other.time_known }
    }
}

impl stretch::Attribute for Absence {
    /// The worse of two that are too short to be told apart.
    fn with(self, other: Self) -> Self {
        if matches!(self, Self::NotPlanned | Self::BeingRecorded) { other } else { self }
    }
}

impl Coverage {
    /// From `from` to `to`, exclusive, in at most so many spans and marks of each kind, and twice as
    /// many gaps. What lies in the future is a gap; let it end now.
    ///
    /// # Errors
    /// [`CoverageError::Window`], [`CoverageError::Spans`].
    pub fn new(from: UnixMicros, to: UnixMicros, max_spans: usize) -> Result<Self, CoverageError> {
        let length = to.0.checked_sub(from.0).ok_or(CoverageError::Window)?;
        if length <= 0 || length > MAX_DAYS * 86_400_000_000 {
            return Err(CoverageError::Window);
        }
        if !(MIN_SPANS..=MAX_SPANS).contains(&max_spans) {
            return Err(CoverageError::Spans(max_spans));
        }
        let (sources, events) = (Vec::new(), BTreeMap::new());
        Ok(Self { from, to, max: max_spans, sources, events, grain_us: 0, pieces: 0 })
    }

    /// Adds a source; the lowest rank is the best, see [`rank`]. Between equals the first added wins.
    ///
    /// # Errors
    /// [`CoverageError::TooManySources`].
    pub fn add_source(
        &mut self,
        of: RecordingSource,
        rank: u32,
    ) -> Result<SourceNumber, CoverageError> {
        let number = u16::try_from(self.sources.len()).unwrap_or(u16::MAX);
        if usize::from(number) >= MAX_SOURCES {
            return Err(CoverageError::TooManySources);
        }
        self.sources.push(Source { of, rank, recorded: Vec::new(), missing: Vec::new() });
        Ok(SourceNumber(number))
    }

    /// What is added may hide interruptions shorter than this, in microseconds: the timeline says so.
    pub fn coarsen(&mut self, grain_us: i64) {
        self.grain_us = self.grain_us.max(grain_us);
    }

    /// Adds a piece that a source has. Where pieces of one source overlap, one of known time is
    /// preferred, then the one added later (decision 0090, "Overlaps").
    pub fn add_recorded(&mut self, source: SourceNumber, piece: Recorded) {
        let held = Held { causes: piece.causes, time_known: piece.time_known };
        let limit = self.max * 8;
        let Some(mut stretch) = self.stretch(source, piece.from, piece.to, held) else { return };
        stretch.rank.known = piece.time_known;
        if let Some(source) = self.sources.get_mut(usize::from(source.0)) {
            add(&mut source.recorded, stretch, limit, &mut self.grain_us);
        }
    }

    /// Adds a piece that a source knows it has not.
    pub fn add_missing(&mut self, source: SourceNumber, piece: Missing) {
        let limit = self.max * 8;
        let Some(mut stretch) = self.stretch(source, piece.from, piece.to, piece.reason) else {
            return;
        };
        // That nobody wanted it explains nothing when another wanted it and failed.
        stretch.rank.weight = u8::from(piece.reason != Absence::NotPlanned);
        if let Some(source) = self.sources.get_mut(usize::from(source.0)) {
            add(&mut source.missing, stretch, limit, &mut self.grain_us);
        }
    }

    /// Adds an event. One that two sources report is one when it has the same kind and time.
    pub fn add_event(&mut self, mark: EventMark) {
        if mark.to < self.from || mark.from >= self.to || mark.to < mark.from {
            return;
        }
        let marks = self.events.entry(mark.kind).or_default();
        if !marks.contains(&mark) {
            marks.push(mark);
        }
        if marks.len() > self.max * 2 {
            join_marks(marks, self.max);
        }
    }

    /// The timeline.
    #[must_use]
    pub fn finish(mut self, camera: CameraId) -> Timeline {
        let order = self.best_first();
        let recorded: Vec<_> = self.sources.iter().flat_map(|s| s.recorded.clone()).collect();
        let mut spans = sweep(&recorded, self.sources.len());
        let mut grain_us = self.grain_us;
        spans = join(spans, grain_us);
        spans = join_until(spans, self.max, &mut grain_us);
        let missing: Vec<_> = self.sources.iter().flat_map(|s| s.missing.clone()).collect();
        let missing = join(sweep(&missing, self.sources.len()), grain_us);
        let gaps = self.gaps(&spans, &missing, &mut grain_us);
        for marks in self.events.values_mut() {
            join_marks(marks, self.max);
        }
        let mut events: Vec<_> = self.events.into_values().flatten().collect();
        events.sort_by_key(|mark| (mark.from, mark.kind));
        let place = |number: u16| order.iter().position(|n| *n == number).unwrap_or(0) as u16;
        let span = |span: Stretch<Held>| {
            let mut others: Vec<u16> = span.others.iter().map(|number| place(*number)).collect();
            others.sort_unstable();
            TimelineSpan {
                from: UnixMicros(span.from),
                to: UnixMicros(span.to),
                source: place(span.source),
                others,
                causes: span.attribute.causes,
                time_known: span.attribute.time_known,
                twice: span.twice,
            }
        };
        Timeline {
            camera,
            from: self.from,
            to: self.to,
            resolution_us: grain_us.max(SEAM_US).unsigned_abs(),
            sources: order.iter().map(|n| self.sources[usize::from(*n)].of.clone()).collect(),
            spans: spans.into_iter().map(span).collect(),
            gaps,
            events,
        }
    }

    /// A piece within the window.
    fn stretch<A>(
        &mut self,
        source: SourceNumber,
        from: UnixMicros,
        to: UnixMicros,
        attribute: A,
    ) -> Option<Stretch<A>> {
        let (from, to) = (from.max(self.from).0, to.min(self.to).0);
        let rank = self.sources.get(usize::from(source.0)).filter(|_| from < to)?.rank;
        self.pieces += 1;
        let rank =
            Rank { weight: 0, source: Reverse((rank, source.0)), known: true, piece: self.pieces };
        Some(Stretch { from, to, source: source.0, rank, attribute, others: vec![], twice: false })
    }

    /// Numbers of the sources that have anything, best first.
    fn best_first(&self) -> Vec<u16> {
        let mut order: Vec<u16> = (0..self.sources.len() as u16).collect();
        order.retain(|n| !self.sources[usize::from(*n)].recorded.is_empty());
        order.sort_by_key(|n| (self.sources[usize::from(*n)].rank, *n));
        order
    }

    /// What lies between the spans, with reasons.
    fn gaps(
        &self,
        spans: &[Stretch<Held>],
        missing: &[Stretch<Absence>],
        grain_us: &mut i64,
    ) -> Vec<TimelineGap> {
        let mut found: Vec<Stretch<Absence>> = Vec::new();
        let ends = spans.iter().map(|span| (span.from, span.to)).chain([(self.to.0, self.to.0)]);
        let (mut from, mut next) = (self.from.0, 0);
        for (to, resumes) in ends {
            if from < to {
                while missing.get(next).is_some_and(|reason| reason.to <= from) {
                    next += 1;
                }
                let within = missing[next..].iter().take_while(|reason| reason.from < to);
                explain(&mut found, from, to, within);
            }
            from = resumes;
        }
        // Only gaps that touch are joined: a span lies between all others.
        while found.len() > self.max * 2 {
            *grain_us = (*grain_us).max(SEAM_US) * 2;
            found = join_touching(found, *grain_us);
        }
        let gap = |gap: Stretch<Absence>| TimelineGap {
            from: UnixMicros(gap.from),
            to: UnixMicros(gap.to),
            reason: gap.attribute,
        };
        found.into_iter().map(gap).collect()
    }
}

/// Adds a piece to a source's own; where there are too many, what is short is joined.
fn add<A: stretch::Attribute>(
    list: &mut Vec<Stretch<A>>,
    new: Stretch<A>,
    limit: usize,
    grain_us: &mut i64,
) {
    if let Some(last) = list.last_mut()
        && (new.from - last.to).abs() <= SEAM_US
        && new.attribute == last.attribute
        && new.from > last.from
    {
        last.to = last.to.max(new.to);
        last.rank = new.rank;
        return;
    }
    list.push(new);
    if list.len() > limit {
        let source_count = list.iter().map(|s| usize::from(s.source) + 1).max().unwrap_or(1);
        let flat = join(sweep(list, source_count), *grain_us);
        *list = join_until(flat, limit / 2, grain_us);
    }
}

/// A gap from `from` to `to`, cut where its reason changes. Slivers between reasons belong to the one
/// before them.
fn explain<'a>(
    found: &mut Vec<Stretch<Absence>>,
    from: i64,
    to: i64,
    reasons: impl Iterator<Item = &'a Stretch<Absence>>,
) {
    let mut at = from;
    for reason in reasons {
        let (begin, end) = (reason.from.max(at), reason.to.min(to));
        if begin - at > SEAM_US {
            push_gap(found, at, begin, Absence::Unknown);
            at = begin;
        }
        if end > at {
            push_gap(found, at, end, reason.attribute);
            at = end;
        }
    }
    if at < to {
        let last = found.last().filter(|last| last.to == at && at > from && to - at <= SEAM_US);
        push_gap(found, at, to, last.map_or(Absence::Unknown, |last| last.attribute));
    }
}

fn push_gap(found: &mut Vec<Stretch<Absence>>, from: i64, to: i64, attribute: Absence) {
    match found.last_mut() {
        Some(last) if last.to == from && last.attribute == attribute => last.to = to,
        Some(_) | None => {
            let rank = Rank { weight: 0, source: Reverse((0, 0)), known: true, piece: 0 };
            let (others, twice) = (Vec::new(), false);
            found.push(Stretch { from, to, source: 0, rank, attribute, others, twice });
        }
    }
}

/// Joins gaps of different reasons that touch, where one is shorter than the grain.
fn join_touching(gaps: Vec<Stretch<Absence>>, grain_us: i64) -> Vec<Stretch<Absence>> {
    let mut joined: Vec<Stretch<Absence>> = Vec::with_capacity(gaps.len());
    for gap in gaps {
        match joined.last_mut() {
            Some(last) if last.to == gap.from && last.is_joined_by(&gap, grain_us) => {
                last.take_in(gap, grain_us);
            }
            Some(_) | None => joined.push(gap),
        }
    }
    joined
}

/// Joins marks of one kind until there are at most so many.
fn join_marks(marks: &mut Vec<EventMark>, max: usize) {
    marks.sort_by_key(|mark| (mark.from, mark.to));
    let mut grain_us = SEAM_US;
    while marks.len() > max {
        let mut joined: Vec<EventMark> = Vec::with_capacity(marks.len());
        for mark in marks.drain(..) {
            match joined.last_mut() {
                Some(last) if mark.from.0.saturating_sub(last.to.0) < grain_us => {
                    last.to = last.to.max(mark.to);
                    last.count = last.count.saturating_add(mark.count);
                }
                Some(_) | None => joined.push(mark),
            }
        }
        *marks = joined;
        grain_us = grain_us.saturating_mul(2);
    }
}
