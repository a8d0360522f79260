//! Which segment is shown at, after or before a time.
//!
//! The index tells what overlaps a span; spans are kept short, for a chain may hold a year. Where the
//! minute that was asked for is empty, the nearest recording is found by halving what lies beyond.

use std::ops::Range;

use sightline_model::{StreamTier, UnixMicros};
use sightline_recording::{
    replay::{Way, choose},
    statement::Subject,
};
use sightline_recording_store::{MAX_PAGE, SegmentRow, Store, StoreError};

use crate::candidate;

/// What is looked at at once, in microseconds.
const MINUTE_US: i64 = 60_000_000;

/// What was found.
#[derive(Debug)]
pub(crate) enum Stretch {
    /// A segment, and the part of it that the timeline shows.
    Shown { row: Box<SegmentRow>, window: Range<UnixMicros> },
    /// The nearest is known to be damaged. When it was.
    Damaged(Range<UnixMicros>),
    /// Nothing lies in this direction; whether recording goes on.
    Nothing { grows: bool },
}

impl Stretch {
    /// How far from `at` it lies, in microseconds: 0 where it covers it. What is still to be recorded
    /// lies where it is waited for.
    pub(crate) fn far_us(&self, at: UnixMicros, way: Way) -> u64 {
        match (self, way) {
            (Self::Shown { window, .. } | Self::Damaged(window), Way::Forwards) => {
                window.start.0.saturating_sub(at.0).max(0).unsigned_abs()
            }
            (Self::Shown { window, .. } | Self::Damaged(window), Way::Backwards) => {
                at.0.saturating_sub(window.end.0).max(0).unsigned_abs()
            }
            (Self::Nothing { grows: true }, Way::Forwards) => 0,
            (Self::Nothing { .. }, _) => u64::MAX,
        }
    }

    /// Whether no other encoding would do better at its place.
    pub(crate) const fn serves(&self) -> bool {
        match self {
            Self::Shown { .. } | Self::Nothing { .. } => true,
            Self::Damaged(_) => false,
        }
    }

    /// Which of two is taken: the nearer one; of equally near ones what can be shown, and what is
    /// damaged before what is not there yet, for more may lie behind it.
    pub(crate) fn rank(&self, at: UnixMicros, way: Way) -> (u64, u8) {
        let kind = match self {
            Self::Shown { .. } => 0,
            Self::Damaged(_) => 1,
            Self::Nothing { .. } => 2,
        };
        (self.far_us(at, way), kind)
    }

    /// What this leaves of another encoding's damaged window, which lies nearer: up to where it can be
    /// shown itself, or, where it is damaged, up to where that may be over.
    pub(crate) fn leaves(&self, damaged: Range<UnixMicros>, way: Way) -> Range<UnixMicros> {
        let bound = match (self, way) {
            (Self::Shown { window, .. }, Way::Forwards)
            | (Self::Damaged(window), Way::Backwards) => window.start,
            (Self::Shown { window, .. }, Way::Backwards)
            | (Self::Damaged(window), Way::Forwards) => window.end,
            (Self::Nothing { .. }, _) => return damaged,
        };
        let left = match way {
            Way::Forwards => damaged.start..damaged.end.min(bound),
            Way::Backwards => damaged.start.max(bound)..damaged.end,
        };
        if left.start < left.end { left } else { damaged }
    }
}

/// The stretch that is shown at `at`, else the first after it; backwards the one that is shown just
/// before `at`, else the last before it.
pub(crate) async fn stretch(
    store: &Store,
    subject: &Subject,
    at: UnixMicros,
    way: Way,
) -> Result<Stretch, StoreError> {
    let search = Search { store, subject, way };
    let all = match way {
        Way::Forwards => at.0..i64::MAX,
        Way::Backwards => i64::MIN..at.0,
    };
    // Whoever plays on finds it here. What else the chain holds is not asked for every segment.
    let (near, beyond) = search.split(&all, MINUTE_US);
    if search.any(&near).await? {
        return search.chosen(near).await;
    }
    let usage = store.usage(subject).await?;
    let (Some(oldest), Some(newest)) = (usage.oldest, usage.newest) else {
        return nothing(store, subject, at, None).await;
    };
    let beyond = beyond.start.max(oldest.0)..beyond.end.min(newest.0);
    if beyond.is_empty() {
        return nothing(store, subject, at, Some(newest)).await;
    }
    match search.nearest(beyond).await? {
        Some(near) => search.chosen(near).await,
        None => nothing(store, subject, at, Some(newest)).await,
    }
}

/// So far behind the newest segment something may still be being written, in microseconds: segments are
/// closed at the first keyframe after 4 s, and most cameras send one at least every 10 s.
const BEING_WRITTEN_US: i64 = 20_000_000;

/// Recording goes on unless the newest entry says since when it does not. A recorder that was killed
/// says it at its next start only: so what lies far behind the newest segment, and what the other
/// encoding has gone on without this one for, is not waited for.
async fn nothing(
    store: &Store,
    subject: &Subject,
    at: UnixMicros,
    newest: Option<UnixMicros>,
) -> Result<Stretch, StoreError> {
    let span = newest.unwrap_or(UnixMicros(i64::MIN))..UnixMicros(i64::MAX);
    let gaps = store.gaps(subject, span, None, MAX_PAGE).await?;
    let far_behind = |a: UnixMicros, b: UnixMicros| a.0.saturating_sub(b.0) > BEING_WRITTEN_US;
    let other = match subject.tier {
        StreamTier::Main => StreamTier::Sub,
        StreamTier::Sub => StreamTier::Main,
    };
    let other = store.usage(&Subject { tier: other, ..subject.clone() }).await?.newest;
    let ended = gaps.rows.iter().any(|gap| gap.to.is_none())
        || newest.is_some_and(|newest| far_behind(at, newest))
        || other.is_some_and(|other| far_behind(other, at));
    Ok(Stretch::Nothing { grows: !ended })
}

struct Search<'a> {
    store: &'a Store,
    subject: &'a Subject,
    way: Way,
}

impl Search<'_> {
    /// The minute, at the nearer end of `beyond`, in which the nearest recording lies.
    async fn nearest(&self, beyond: Range<i64>) -> Result<Option<Range<i64>>, StoreError> {
        let (near, mut rest) = self.split(&beyond, MINUTE_US);
        if self.any(&near).await? {
            return Ok(Some(near));
        }
        if !self.any(&rest).await? {
            return Ok(None);
        }
        // Something lies in `rest`, always.
        while rest.end.saturating_sub(rest.start) > MINUTE_US {
            let (nearer, farther) = self.split(&rest, (rest.end - rest.start) / 2);
            rest = if self.any(&nearer).await? { nearer } else { farther };
        }
        Ok(Some(rest))
    }

    /// The nearer part of this length, and the rest.
    fn split(&self, span: &Range<i64>, length: i64) -> (Range<i64>, Range<i64>) {
        match self.way {
            Way::Forwards => {
                let at = span.start.saturating_add(length).min(span.end);
                (span.start..at, at..span.end)
            }
            Way::Backwards => {
                let at = span.end.saturating_sub(length).max(span.start);
                (at..span.end, span.start..at)
            }
        }
    }

    async fn any(&self, span: &Range<i64>) -> Result<bool, StoreError> {
        if span.is_empty() {
            return Ok(false);
        }
        self.store.has_any(self.subject, times(span)).await
    }

    /// What is shown nearest to the nearer end of `near`, in which some segment lies.
    async fn chosen(&self, near: Range<i64>) -> Result<Stretch, StoreError> {
        let rows = self.rows(&near).await?;
        let Some((index, target)) = nearest_shown(&rows, &near, self.way) else {
            return Ok(damaged(&rows, &near));
        };
        // What else claims its seconds may lie outside of the minute.
        let row = &rows[index];
        let rivals = self.rows(&(row.start().0..row.end().0)).await?;
        let shown = choose(&usable(&rivals))
            .into_iter()
            .find(|stretch| (stretch.window.start.0..stretch.window.end.0).contains(&target));
        let found = shown.and_then(|stretch| {
            let row = rivals.iter().find(|row| row.sequence == stretch.key.sequence)?;
            Some(Stretch::Shown { row: Box::new(row.clone()), window: stretch.window })
        });
        // It may have expired between the two looks.
        Ok(found.unwrap_or_else(|| Stretch::Damaged(row.start()..row.end())))
    }

    async fn rows(&self, span: &Range<i64>) -> Result<Vec<SegmentRow>, StoreError> {
        Ok(self.store.segments(self.subject, times(span), None, MAX_PAGE).await?.rows)
    }
}

const fn times(span: &Range<i64>) -> Range<UnixMicros> {
    UnixMicros(span.start)..UnixMicros(span.end)
}

fn usable(rows: &[SegmentRow]) -> Vec<sightline_recording::replay::Candidate> {
    rows.iter().filter(|row| !row.damaged).map(candidate).collect()
}

/// The row that is shown nearest to the nearer end of `near`, and an instant at which it is.
fn nearest_shown(rows: &[SegmentRow], near: &Range<i64>, way: Way) -> Option<(usize, i64)> {
    let shown = choose(&usable(rows));
    let mut inside = shown
        .iter()
        .filter(|stretch| stretch.window.start.0 < near.end && stretch.window.end.0 > near.start);
    let (stretch, target) = match way {
        Way::Forwards => {
            let first = inside.next()?;
            (first, first.window.start.0.max(near.start))
        }
        Way::Backwards => {
            let last = inside.next_back()?;
            (last, last.window.end.0.min(near.end) - 1)
        }
    };
    let index = rows.iter().position(|row| row.sequence == stretch.key.sequence)?;
    Some((index, target))
}

/// When the damaged segments of a minute were: all of them are passed over together.
fn damaged(rows: &[SegmentRow], near: &Range<i64>) -> Stretch {
    let from = rows.iter().map(|row| row.start().0).min().unwrap_or(near.start);
    let to = rows.iter().map(|row| row.end().0).max().unwrap_or(near.end);
    // What begins behind the minute is looked at on its own.
    Stretch::Damaged(UnixMicros(from.max(near.start))..UnixMicros(to.min(near.end)))
}
