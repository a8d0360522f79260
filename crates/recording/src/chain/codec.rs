//! The bytes of an entry: what is signed and hashed, and the strict way back.

use sha2::{Digest as _, Sha256};

use super::expiry::{self, MAX_EXPIRED_RANGES};
use crate::statement::{Digest, Entry, Segment, Sequence, Statement, What};

/// What an entry's hash and signature begin with: no other signature of the recorder's key can be
/// taken for one of an entry, nor the other way round.
const DOMAIN: &[u8] = b"sightline-recording-entry-v1\0";

/// First byte of every encoded statement.
const VERSION: u8 = 1;

/// Longest encoded statement, in bytes: a checkpoint with [`MAX_EXPIRED_RANGES`] ranges fits.
pub const MAX_ENCODED_LEN: usize = 64 * 1024;

/// Longest segment that is believed, in microseconds: a day.
pub const MAX_SEGMENT_US: u64 = 24 * 3_600 * 1_000_000;

/// Text that is no chain id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chain id has 32 characters of 0-9 and a-f")]
pub struct InvalidChainId;

/// A statement that the caller wants to be encoded cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The caller's fault: it would be refused by whoever reads it.
    #[error("the statement says what no reader believes: {0}")]
    Invalid(&'static str),
    /// Our own fault: the encoding of a known type failed.
    #[error("the statement cannot be encoded: {0}")]
    Internal(postcard::Error),
}

/// The bytes of an entry are not a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than any entry has.
    #[error("{0} bytes are more than an entry can have")]
    TooLong(usize),
    /// Made by another version, or no entry at all.
    #[error("no entry of a known version")]
    Version,
    /// Cut short or altered.
    #[error("the bytes are not those of a statement")]
    Malformed,
    /// A statement, but not in its one form: trailing bytes, or a number spelt at length.
    #[error("the statement is not spelt in its one form")]
    NotCanonical,
    /// A statement that no recorder makes.
    #[error("the statement says what no recorder says: {0}")]
    Invalid(&'static str),
}

/// The bytes of a statement, as [`Entry::encoded`] keeps them.
///
/// # Errors
///
/// When [`decode`] would refuse them.
pub fn encode(statement: &Statement) -> Result<Vec<u8>, EncodeError> {
    check(statement).map_err(EncodeError::Invalid)?;
    spell(statement).map_err(EncodeError::Internal)
}

fn spell(statement: &Statement) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(statement, vec![VERSION])
}

/// The statement in an entry. Nothing is said of its signature: [`super::Verifier`] checks that.
///
/// # Errors
///
/// Whatever the bytes are, this ends in bounded time and memory, and takes each statement in one
/// form only.
pub fn decode(entry: &Entry) -> Result<Statement, DecodeError> {
    if entry.encoded.len() > MAX_ENCODED_LEN {
        return Err(DecodeError::TooLong(entry.encoded.len()));
    }
    let Some((&VERSION, body)) = entry.encoded.split_first() else {
        return Err(DecodeError::Version);
    };
    let (statement, rest): (Statement, _) =
        postcard::take_from_bytes(body).map_err(|_| DecodeError::Malformed)?;
    if !rest.is_empty() {
        return Err(DecodeError::NotCanonical);
    }
    check(&statement).map_err(DecodeError::Invalid)?;
    // `postcard` takes numbers with leading zeros; then two spellings would say the same.
    match spell(&statement) {
        Ok(again) if again == entry.encoded => Ok(statement),
        Ok(_) | Err(_) => Err(DecodeError::NotCanonical),
    }
}

/// What the recorder signs, and what is hashed: a domain of its own, then the encoded statement.
#[must_use]
pub fn signed_bytes(encoded: &[u8]) -> Vec<u8> {
    [DOMAIN, encoded].concat()
}

/// The hash by which the next entry refers to this one.
#[must_use]
pub fn hash(encoded: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update(DOMAIN).chain_update(encoded).finalize().into())
}

/// What holds of every statement that a recorder makes, whatever came before it.
fn check(statement: &Statement) -> Result<(), &'static str> {
    let Statement { chain: _, sequence, previous, what } = statement;
    if sequence.0 == u64::MAX {
        return Err("the last number there is");
    }
    let begins = matches!(what, What::Begin { .. });
    if begins != (*sequence == Sequence(0)) {
        return Err("the beginning is number 0, and nothing else is");
    }
    if begins != (*previous == Digest([0; 32])) {
        return Err("nothing comes before the beginning, and something before all else");
    }
    match what {
        What::Segment(segment) => check_segment(*sequence, segment),
        What::Checkpoint(checkpoint) => {
            if checkpoint.expired.len() > MAX_EXPIRED_RANGES {
                return Err("too many ranges");
            }
            if checkpoint.expired.last().is_some_and(|range| range.last >= *sequence) {
                return Err("expired before it was made");
            }
            expiry::check(&checkpoint.expired)
        }
        What::Begin { .. } | What::Gap(_) | What::ClockStep(_) => Ok(()),
    }
}

fn check_segment(sequence: Sequence, segment: &Segment) -> Result<(), &'static str> {
    if segment.duration_us > MAX_SEGMENT_US {
        return Err("a segment of more than a day");
    }
    if segment.run.0 > sequence.0 {
        return Err("a run that begins later than its segment");
    }
    if u64::from(segment.head_len) > segment.len {
        return Err("a head longer than its file");
    }
    Ok(())
}
