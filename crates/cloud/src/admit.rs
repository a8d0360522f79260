//! What a unit may store: judged by what it has signed, and nothing else that it says.

use sightline_model::{PublicKey, UnixMicros};
use sightline_recording::{
    chain::{DecodeError, decode, signed_bytes},
    statement::{ChainId, ClockStep, Entry, Gap, Segment, Sequence, Statement, Subject, What},
};

use crate::{MAX_SEGMENT_BYTES, object::Meta};

/// A date beyond which nothing is believed, in microseconds since 1970: the year 2200. One below 1970 neither.
const END_OF_TIME: UnixMicros = UnixMicros(7_258_118_400_000_000);

/// Why an entry is not taken: the unit's fault, or somebody's in between.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No entry at all.
    #[error("the entry cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// Not signed by this unit.
    #[error("the entry is not signed by this unit's key")]
    Signature,
    /// Of another recorder, or of a camera of another unit.
    #[error("the chain is not one of this unit's own cameras")]
    Foreign,
    /// Another kind of entry than was meant.
    #[error("the entry says something else than was asked")]
    OtherKind,
    /// Empty, or longer than a segment can be.
    #[error("a segment has 1 to {MAX_SEGMENT_BYTES} bytes")]
    Length,
    /// A time that cannot be.
    #[error("the segment's time is none")]
    Time,
    /// More than a store takes beside an object.
    #[error("the entry is too long")]
    TooLong,
}

/// A chain's beginning that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The chain.
    pub chain: ChainId,
    /// Whose recording of what.
    pub subject: Subject,
}

/// A segment's entry that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The chain that it claims to be of.
    pub chain: ChainId,
    /// Its number.
    pub sequence: Sequence,
    /// What it says.
    pub segment: Segment,
    /// When it begins, corrected.
    pub start: UnixMicros,
    /// When it ends, corrected.
    pub end: UnixMicros,
}

/// What else is kept of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Nothing is recorded from here on.
    Gap(Gap),
    /// The clock was set.
    Step(ClockStep),
    /// What left the spool: kept so that the chain has no holes.
    Checkpoint,
}

/// The statement in an entry that this unit has signed.
///
/// # Errors
/// [`Refusal`].
pub fn signed(entry: &Entry, key: &PublicKey) -> Result<Statement, Refusal> {
    let statement = decode(entry)?;
    if !key.verify(&signed_bytes(&entry.encoded), &entry.signature) {
        return Err(Refusal::Signature);
    }
    Ok(statement)
}

/// The beginning of a chain of the unit whose key this is.
///
/// # Errors
/// [`Refusal`].
pub fn open(entry: &Entry, key: &PublicKey) -> Result<Opened, Refusal> {
    let statement = signed(entry, key)?;
    let What::Begin { subject } = statement.what else { return Err(Refusal::OtherKind) };
    if !subject.recorder.matches(key) || subject.camera.pu != subject.recorder {
        return Err(Refusal::Foreign);
    }
    Ok(Opened { chain: statement.chain, subject })
}

/// A segment that is to be stored.
///
/// # Errors
/// [`Refusal`].
pub fn segment(meta: &Meta, key: &PublicKey) -> Result<Admitted, Refusal> {
    if !meta.fits() {
        return Err(Refusal::TooLong);
    }
    let statement = signed(&meta.entry, key)?;
    let What::Segment(segment) = statement.what else { return Err(Refusal::OtherKind) };
    if segment.len == 0 || segment.len > MAX_SEGMENT_BYTES {
        return Err(Refusal::Length);
    }
    let start = segment.start.0.checked_add(meta.correction_us).ok_or(Refusal::Time)?;
    let end = start.checked_add_unsigned(segment.duration_us).ok_or(Refusal::Time)?;
    if start < 0 || end > END_OF_TIME.0 {
        return Err(Refusal::Time);
    }
    let (start, end) = (UnixMicros(start), UnixMicros(end));
    Ok(Admitted { chain: statement.chain, sequence: statement.sequence, segment, start, end })
}

/// An entry that is no segment.
///
/// # Errors
/// [`Refusal`].
pub fn note(entry: &Entry, key: &PublicKey) -> Result<(ChainId, Sequence, Noted), Refusal> {
    let statement = signed(entry, key)?;
    let noted = match statement.what {
        What::Gap(gap) => Noted::Gap(gap),
        What::ClockStep(step) => Noted::Step(step),
        What::Checkpoint(_) => Noted::Checkpoint,
        What::Begin { .. } | What::Segment(_) => return Err(Refusal::OtherKind),
    };
    Ok((statement.chain, statement.sequence, noted))
}
