//! Which entries have been let go: the arithmetic of checkpoints.

use std::iter::Peekable;

use crate::statement::{Digest, ExpiredRange, Sequence};

/// Most ranges in a checkpoint. Every stretch of locked segments costs one, so this bounds how many
/// stretches can stay locked in one chain.
pub const MAX_EXPIRED_RANGES: usize = 1_000;

/// What the caller wants to let go cannot be. All of these are the caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpiryError {
    /// The beginning says whose chain it is, and stays.
    #[error("a chain's beginning is never let go")]
    Beginning,
    /// The numbers do not rise.
    #[error("entry {} is named out of order", .0.0)]
    Order(Sequence),
    /// It is gone already.
    #[error("entry {} has been let go before", .0.0)]
    Twice(Sequence),
    /// There is no such entry yet.
    #[error("entry {} does not exist", .0.0)]
    Unknown(Sequence),
    /// The ranges that were there before are no checkpoint's.
    #[error("the ranges of before are not in order")]
    Before,
    /// Too many stretches of locked segments.
    #[error("more than {MAX_EXPIRED_RANGES} ranges: too many stretches are locked")]
    TooManyRanges,
}

/// The ranges of the next checkpoint: those of `before` and the entries in `now`, which come with
/// their hashes and in rising order.
///
/// What lies between two ranges stays. To keep the ranges few, keep the gaps and checkpoints between
/// two neighbouring locked segments too: they are small.
///
/// # Errors
///
/// See [`ExpiryError`]; then nothing may be let go.
pub fn let_go(
    before: &[ExpiredRange],
    now: impl IntoIterator<Item = (Sequence, Digest)>,
) -> Result<Vec<ExpiredRange>, ExpiryError> {
    check(before).map_err(|_| ExpiryError::Before)?;
    let mut old = before.iter().copied().peekable();
    let mut merged: Vec<ExpiredRange> = Vec::new();
    let mut newest = Sequence(0);
    for (sequence, hash) in now {
        if sequence == Sequence(0) {
            return Err(ExpiryError::Beginning);
        }
        if sequence == Sequence(u64::MAX) {
            return Err(ExpiryError::Unknown(sequence));
        }
        if sequence <= newest {
            return Err(ExpiryError::Order(sequence));
        }
        newest = sequence;
        take_until(&mut old, sequence, &mut merged)?;
        append(&mut merged, ExpiredRange { first: sequence, last: sequence, last_hash: hash })?;
    }
    for range in old {
        append(&mut merged, range)?;
    }
    Ok(merged)
}

/// Takes over the ranges of before that begin at or before `sequence`.
fn take_until(
    old: &mut Peekable<impl Iterator<Item = ExpiredRange>>,
    sequence: Sequence,
    merged: &mut Vec<ExpiredRange>,
) -> Result<(), ExpiryError> {
    while let Some(range) = old.next_if(|range| range.first <= sequence) {
        if range.last >= sequence {
            return Err(ExpiryError::Twice(sequence));
        }
        append(merged, range)?;
    }
    Ok(())
}

fn append(merged: &mut Vec<ExpiredRange>, range: ExpiredRange) -> Result<(), ExpiryError> {
    if let Some(before) = merged.last_mut().filter(|before| before.last.next() == range.first) {
        before.last = range.last;
        before.last_hash = range.last_hash;
        return Ok(());
    }
    if merged.len() == MAX_EXPIRED_RANGES {
        return Err(ExpiryError::TooManyRanges);
    }
    merged.push(range);
    Ok(())
}

/// Whether `ranges`, which are a checkpoint's, name `sequence`.
#[must_use]
pub fn covers(ranges: &[ExpiredRange], sequence: Sequence) -> bool {
    let at = ranges.partition_point(|range| range.last < sequence);
    ranges.get(at).is_some_and(|range| range.first <= sequence)
}

/// What holds of the ranges of every checkpoint.
pub(super) fn check(ranges: &[ExpiredRange]) -> Result<(), &'static str> {
    if ranges.first().is_some_and(|range| range.first == Sequence(0)) {
        return Err("the beginning never expires");
    }
    if ranges.iter().any(|range| range.first > range.last || range.last.0 == u64::MAX) {
        return Err("a range that ends before it begins");
    }
    // A hole of one at least stays between two ranges.
    if ranges.windows(2).any(|pair| pair[0].last.next() >= pair[1].first) {
        return Err("ranges out of order, or not merged");
    }
    Ok(())
}
