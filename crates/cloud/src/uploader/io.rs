//! What goes into an [`Uploader`](super::Uploader) and comes out of it.

use sightline_model::UnixMicros;
use sightline_recording::statement::Sequence;

use crate::budget::{Budget, Spent};

/// A chain of the spool, as its owner numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chain(pub u32);

/// Clips of events of a chain, or the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId {
    /// Clips of events.
    pub is_event: bool,
    /// Of which chain.
    pub chain: Chain,
}

/// Clips of events come first.
impl Ord for LaneId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (!self.is_event, self.chain).cmp(&(!other.is_event, other.chain))
    }
}

impl PartialOrd for LaneId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A segment of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item {
    /// Its number in its chain.
    pub sequence: Sequence,
    /// Its length, in bytes.
    pub len: u64,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The one that never jumps, in microseconds.
    pub monotonic_us: u64,
    /// The unit's wall clock, as well as it is known.
    pub wall: UnixMicros,
}

/// How patient an uploader is.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What may go over a metered link; none: everything.
    pub budget: Option<Budget>,
    /// Segments that are on their way at once.
    pub at_once: usize,
    /// First wait after a failure, in microseconds.
    pub retry_min_us: u64,
    /// Longest wait, in microseconds: a store that is back is used again within half a minute.
    pub retry_max_us: u64,
    /// So often room is asked for before one segment is put off.
    pub rounds: u32,
    /// So many confirmed segments of a lane are let go at once,
    pub release_count: u32,
    /// or so many bytes,
    pub release_bytes: u64,
    /// or what was confirmed so long ago, in microseconds.
    pub release_after_us: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            budget: None,
            at_once: 4,
            retry_min_us: 1_000_000,
            retry_max_us: 15_000_000,
            rounds: 3,
            release_count: 16,
            release_bytes: 64 << 20,
            release_after_us: 30_000_000,
        }
    }
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The centre can be asked, and somebody owns the unit.
    Up,
    /// It cannot, or nobody does. Jobs that were given out end by themselves.
    Down,
    /// The unit is somebody else's: what is shown to them of the spool is another thing. Jobs that were
    /// given out are not waited for.
    OwnerChanged,
    /// A chain is there, or has something new.
    News(Chain),
    /// What became of a job.
    Done(JobId, Outcome),
}

/// A job, as numbered by the uploader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Tell the centre of a chain. Ends with [`Outcome::Done`].
    Open(Chain),
    /// Tell it the entries that are no segments. Ends with [`Outcome::Noted`].
    Note {
        /// Of which chain.
        chain: Chain,
        /// Those behind this one; none: from the beginning.
        after: Option<Sequence>,
    },
    /// Find the next segment of a lane that is the owner's. Ends with [`Outcome::Found`].
    Look {
        /// Of which lane.
        lane: LaneId,
        /// Behind this one; none: the first.
        after: Option<Sequence>,
    },
    /// Ask for leave to store it. Ends with [`Outcome::Leave`], [`Outcome::Stored`] or
    /// [`Outcome::Full`].
    Ask {
        /// Of which lane.
        lane: LaneId,
        /// Which segment.
        item: Item,
    },
    /// Send it with the leave that was given. Ends with [`Outcome::Done`].
    Send {
        /// Of which lane.
        lane: LaneId,
        /// Which segment.
        item: Item,
    },
    /// Say that it was sent. Ends with [`Outcome::Stored`].
    Confirm {
        /// Of which lane.
        lane: LaneId,
        /// Which segment.
        item: Item,
    },
    /// Ask for the oldest to be deleted until this fits. Ends with [`Outcome::Done`].
    MakeRoom {
        /// Of which lane.
        lane: LaneId,
        /// Which segment.
        item: Item,
    },
    /// Let go from the spool what is stored. Ends with [`Outcome::Done`].
    Release {
        /// Of which lane.
        lane: LaneId,
        /// Up to this one.
        through: Sequence,
    },
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// To [`Job::Note`].
    Noted {
        /// The last entry that was looked at; none: there was none.
        through: Option<Sequence>,
        /// There are more.
        more: bool,
    },
    /// To [`Job::Look`].
    Found(Option<Item>),
    /// It may be sent.
    Leave,
    /// It is in the centre's list.
    Stored,
    /// The owner's space is full.
    Full,
    /// It was not done.
    Failed(Failure),
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Centre, store or link are away, or say no for now.
    Away,
    /// The owner's space is full of what may not go.
    NoSpace,
    /// This segment can never be stored: it has gone or is spoilt, or the centre will not have it.
    Unacceptable,
}

/// What an uploader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Do this.
    Do(JobId, Job),
    /// Keep this through restarts.
    Keep(Spent),
    /// This segment is not stored. For the log.
    PassedOver(LaneId, Item),
}
