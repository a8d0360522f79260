//! What goes first when recordings grow too old or too many (decision 0090, "Order of expiry").
//!
//! Two machines decide, [`Aging`] for limits by age and [`Space`] for limits by bytes. Both ask for
//! rows of the index in small batches ([`Query`]) and end with a few [`Release`]s, each of which says
//! "all unlocked ones of this chain up to that number". So neither holds a list of a million rows,
//! and a release is one range in the chain's checkpoint unless locked segments or event clips lie in it.
//!
//! - Oldest first by sequence number, never by time: a clock in the future does not make the newest
//!   segment the oldest.
//! - Locked segments never go.
//! - With [`EventClips::Last`], recordings without an event go before those with one.
//! - Age counts from the corrected end. Nothing goes by age while the clock is unconfirmed, and a
//!   segment whose time nobody vouches for has no age of its own: it goes with the next that has.
//! - Space is shared fairly: the chain that is furthest over its share gives first; when none is over,
//!   the oldest segment of all.
//!
//! ```
//! use sightline_recording::retention::{ChainUse, Row, Space, Step};
//! use sightline_recording::statement::Sequence;
//! use sightline_model::UnixMicros;
//!
//! let mut space = Space::new(1_500, vec![ChainUse::new(3_000, 2_000)]);
//! while let Step::Read(query) = space.poll() {
//!     // Here stands the index: two rows of 1,000 bytes.
//!     let first = query.after.map_or(1, |after| after.0 + 1);
//!     let row = |n| Row { sequence: Sequence(n), end: UnixMicros(0), bytes: 1_000, ..Row::default() };
//!     space.handle_rows((first..3).map(row).collect())?;
//! }
//! let verdict = space.into_verdict();
//! assert_eq!(verdict.releases[0].through, Sequence(2));
//! assert_eq!(verdict.missing_bytes, 0);
//! # Ok::<(), sightline_recording::retention::RowsError>(())
//! ```

mod aging;
mod space;
mod stream;
#[cfg(test)]
mod tests;

use sightline_model::UnixMicros;

use crate::statement::{Causes, Sequence};

pub use aging::{AgeRule, Aging};
pub use space::{ChainUse, Space};

/// Most rows that one query asks for.
pub const BATCH_ROWS: u32 = 256;

/// Most rows that one [`Verdict`] covers, so that one transaction stays short.
pub const MAX_ROWS_AT_ONCE: u32 = 4_096;

/// Above so many ranges in a chain's checkpoint, event clips are treated as all others are: every
/// clip that stays among gone neighbours costs the checkpoint one more range, and each new checkpoint
/// repeats them all.
pub const MAX_EXPIRED_RANGES: u32 = 512;

/// One row of the index: a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Row {
    /// Its number in its chain.
    pub sequence: Sequence,
    /// When it ends, corrected (decision 0090).
    pub end: UnixMicros,
    /// Whether somebody vouches for its time: its clock was confirmed, or a later step has set it right.
    pub time_known: bool,
    /// What letting it go frees, in bytes.
    pub bytes: u64,
    /// Whether it must stay.
    pub locked: bool,
    /// Why it was recorded.
    pub causes: Causes,
}

/// How clips of events are treated in comparison with other recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventClips {
    /// As all others.
    #[default]
    Alike,
    /// They go when nothing else of the chain is left.
    Last,
}

/// Which rows of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// All.
    All,
    /// Those without [`Causes::event`].
    WithoutEvent,
    /// Those with it.
    WithEvent,
}

impl Which {
    /// Whether a row with these causes is one of them.
    #[must_use]
    pub const fn has(self, causes: Causes) -> bool {
        match self {
            Self::All => true,
            Self::WithoutEvent => !causes.event,
            Self::WithEvent => causes.event,
        }
    }

    /// In which order a chain gives its rows away.
    const fn order(clips: EventClips, expired_ranges: u32) -> &'static [Self] {
        match clips {
            EventClips::Last if expired_ranges < MAX_EXPIRED_RANGES => {
                &[Self::WithoutEvent, Self::WithEvent]
            }
            EventClips::Last | EventClips::Alike => &[Self::All],
        }
    }
}

/// Rows that a machine must see next: unlocked ones, in rising order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The chain, by its place in the list that the machine was made with.
    pub chain: usize,
    /// Of which kind.
    pub which: Which,
    /// Only those above this number; `None`: from the beginning.
    pub after: Option<Sequence>,
    /// Only those of known time that end no later than this; `None`: whatever their time.
    pub timed_until: Option<UnixMicros>,
    /// Most rows to hand in. Fewer mean that there are no more.
    pub limit: u32,
}

/// What a machine wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Rows, by `handle_rows`.
    Read(Query),
    /// Nothing any more: the verdict is ready.
    Done,
}

/// Lets all unlocked rows of a kind go, up to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The chain, by its place in the list.
    pub chain: usize,
    /// Of which kind.
    pub which: Which,
    /// The last that goes.
    pub through: Sequence,
    /// How many rows the machine has seen going. By age, rows of unknown time go besides.
    pub rows: u32,
    /// How many bytes they free. By age, rows of unknown time free some besides.
    pub bytes: u64,
}

/// What is to go now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// At most two of a chain: without events, with events.
    pub releases: Vec<Release>,
    /// Bytes that were asked for on the disk and that nothing may free: the rest is locked.
    pub missing_bytes: u64,
    /// There is more to do than one transaction should: carry this out and ask again.
    pub more: bool,
}

impl Verdict {
    /// Bytes that the releases free.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.releases.iter().map(|release| release.bytes).sum()
    }
}

/// The index gave rows that were not asked for: its fault, not the user's. Nothing was decided on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// No query was open.
    #[error("rows came that nobody had asked for")]
    Unasked,
    /// More than the limit.
    #[error("{0} rows came, more than were asked for")]
    TooMany(usize),
    /// A locked row, one of another kind, or one outside the times asked for.
    #[error("row {} is none of those that were asked for", .0.0)]
    NotAsAsked(Sequence),
    /// Not in rising order.
    #[error("row {} does not follow in order", .0.0)]
    Unordered(Sequence),
}
