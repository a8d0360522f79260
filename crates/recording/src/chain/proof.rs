//! The file beside an export: the entries that prove it, as JSON.
//!
//! ```json
//! {
//!   "format": "sightline-recording-proof", "version": 1,
//!   "chains": [{
//!     "recorder_key": "…",
//!     "context": [{"statement": "…", "signature": "…"}],
//!     "entries": [
//!       {"statement": "…", "signature": "…", "file": "000017.mp4"},
//!       {"statement": "…", "signature": "…", "pieces": [{"bytes": "…"}, {"at": 1024, "len": 99000}]}
//!     ]
//!   }]
//! }
//! ```
//!
//! Bytes are base64url without padding. A statement is [`Entry::encoded`]. `entries` are those of the
//! span, all of them in the order of their numbers; `context` is the chain's beginning, which says
//! whose recording of what it is, and from behind the span the newest checkpoint and the steps of the clock
//! that correct its times. An export of several sources has a chain for each.
//!
//! A segment is found in one of two ways. `file`: it lies as it was recorded in a file of that name
//! beside the proof. `pieces`: it is put together again from bytes that the proof holds (the heads of
//! its boxes) and stretches of the export (its pictures and sound). Either way its SHA-256 must be
//! the signed one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sightline_model::{PublicKey, Signature};

use super::{Expected, FileState, Verifier};
use crate::statement::{Digest, Entry, Segment};

/// Longest proof that is read, in bytes: about two days of one camera.
pub const MAX_PROOF_LEN: usize = 256 * 1024 * 1024;

const FORMAT: &str = "sightline-recording-proof";
const VERSION: u32 = 1;
/// Most chains in a proof, or stretches of one chain.
pub const MAX_CHAINS: usize = 64;
/// Most entries of one chain in a proof: a month of segments of a second, about.
const MAX_ENTRIES: usize = 3_000_000;

/// The bytes are not a proof that can be checked.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The input's fault: too much of it.
    #[error("{0} bytes are more than a proof can have")]
    TooLong(usize),
    /// The input's fault: no JSON, or of another shape.
    #[error("this is no proof of a recording: {0}")]
    Malformed(serde_json::Error),
    /// The input's fault: something else, or from a newer version.
    #[error("this is no proof of a known version")]
    Version,
    /// The input's fault: it says what no proof says.
    #[error("this is no proof of a recording: {0}")]
    Invalid(&'static str),
    /// Our own fault.
    #[error("the proof cannot be written: {0}")]
    Internal(serde_json::Error),
}

/// A proof; see the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    format: String,
    version: u32,
    /// The chains that the export is taken from.
    pub chains: Vec<ChainProof>,
}

/// A part of one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainProof {
    /// The recorder's key. Whoever verifies compares its hash with the id that they know.
    pub recorder_key: PublicKey,
    /// Entries from outside of the span: the beginning always, and what explains the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<ProvenEntry>,
    /// The entries of the span, without a hole.
    pub entries: Vec<ProvenEntry>,
}

/// An entry, and for a segment where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenEntry {
    /// The encoded statement.
    #[serde(with = "base64")]
    pub statement: Vec<u8>,
    /// The recorder's signature.
    pub signature: Signature,
    /// The name of the segment's file beside the proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What the segment's bytes are put together from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<Piece>,
}

/// A stretch of a segment's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Piece {
    /// They are here.
    Bytes {
        /// The bytes.
        #[serde(with = "base64")]
        bytes: Vec<u8>,
    },
    /// They are in the export.
    Export {
        /// Where they begin, in bytes from the beginning of the file.
        at: u64,
        /// How many they are.
        len: u64,
    },
}

impl Piece {
    /// How many bytes it stands for.
    #[must_use]
    pub const fn len(&self) -> u64 {
        match self {
            Self::Bytes { bytes } => bytes.len() as u64,
            Self::Export { len, .. } => *len,
        }
    }

    /// Whether it stands for none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Proof {
    /// A proof of these chains.
    #[must_use]
    pub fn new(chains: Vec<ChainProof>) -> Self {
        Self { format: FORMAT.into(), version: VERSION, chains }
    }

    /// Reads a proof, from whatever bytes there are. What it says is not believed yet:
    /// [`ChainProof::verifier`] checks that.
    ///
    /// # Errors
    ///
    /// When the bytes are too many or not a proof.
    pub fn parse(json: &[u8]) -> Result<Self, ProofError> {
        if json.len() > MAX_PROOF_LEN {
            return Err(ProofError::TooLong(json.len()));
        }
        let proof: Self = serde_json::from_slice(json).map_err(ProofError::Malformed)?;
        if proof.format != FORMAT || proof.version != VERSION {
            return Err(ProofError::Version);
        }
        proof.check()?;
        Ok(proof)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    ///
    /// When [`Self::parse`] would refuse them.
    pub fn to_json(&self) -> Result<Vec<u8>, ProofError> {
        self.check()?;
        let json = serde_json::to_vec(self).map_err(ProofError::Internal)?;
        if json.len() > MAX_PROOF_LEN { Err(ProofError::TooLong(json.len())) } else { Ok(json) }
    }

    fn check(&self) -> Result<(), ProofError> {
        if self.chains.is_empty() || self.chains.len() > MAX_CHAINS {
            return Err(ProofError::Invalid("no chain, or too many"));
        }
        let mut names = BTreeSet::new();
        for chain in &self.chains {
            if chain.entries.len() > MAX_ENTRIES || chain.context.len() > MAX_ENTRIES {
                return Err(ProofError::Invalid("too many entries"));
            }
            for name in chain.entries.iter().filter_map(|entry| entry.file.as_deref()) {
                if !is_file_name(name) {
                    return Err(ProofError::Invalid("a file name that could lead elsewhere"));
                }
                if !names.insert(name) {
                    return Err(ProofError::Invalid("two segments in one file"));
                }
            }
        }
        Ok(())
    }

    /// The stretches of the export that the pieces name, as where each begins and how long it is.
    pub fn stretches(&self) -> impl Iterator<Item = (u64, u64)> {
        let pieces = self.chains.iter().flat_map(|chain| &chain.entries).flat_map(|e| &e.pieces);
        pieces.filter_map(|piece| match piece {
            Piece::Export { at, len } => Some((*at, *len)),
            Piece::Bytes { .. } => None,
        })
    }
}

/// A plain name: no path, nothing hidden.
fn is_file_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(plain)
}

impl ChainProof {
    /// The walk over its entries, prepared: push [`Self::entries`] in order.
    #[must_use]
    pub fn verifier(&self, expected: Expected) -> Verifier {
        let mut verifier = Verifier::new(self.recorder_key, Expected { excerpt: true, ..expected });
        for entry in &self.context {
            verifier.push_context(&entry.entry());
        }
        verifier
    }
}

impl ProvenEntry {
    /// An entry that needs no bytes beside it, or whose bytes are named later.
    #[must_use]
    pub fn new(entry: Entry) -> Self {
        let Entry { encoded: statement, signature } = entry;
        Self { statement, signature, file: None, pieces: Vec::new() }
    }

    /// The entry.
    #[must_use]
    pub fn entry(&self) -> Entry {
        Entry { encoded: self.statement.clone(), signature: self.signature }
    }
}

/// Puts the bytes of a segment together again. `read` is called for each stretch of the export (where
/// it begins, its length) and hands its bytes on in portions of any size; `out` gets all bytes.
///
/// Pieces that are not as long together as the segment are not read at all.
///
/// # Errors
///
/// Those of `read`.
pub fn rebuild<E>(
    segment: &Segment,
    pieces: &[Piece],
    mut read: impl FnMut(u64, u64, &mut dyn FnMut(&[u8])) -> Result<(), E>,
    mut out: impl FnMut(&[u8]),
) -> Result<FileState, E> {
    let stated = pieces.iter().fold(0u64, |sum, piece| sum.saturating_add(piece.len()));
    if stated != segment.len {
        return Ok(FileState::Length(stated));
    }
    let mut hasher = Sha256::new();
    let mut len = 0u64;
    let mut take = |bytes: &[u8]| {
        len = len.saturating_add(bytes.len() as u64);
        hasher.update(bytes);
        out(bytes);
    };
    for piece in pieces {
        match piece {
            Piece::Bytes { bytes } => take(bytes),
            Piece::Export { at, len } => read(*at, *len, &mut take)?,
        }
    }
    Ok(FileState::Hashed { len, content: Digest(hasher.finalize().into()) })
}

/// The stretches of `within` (where each begins, its length), such as the contents of an export's `mdat`
/// boxes, that no piece names: bytes in them are proven by nothing. Where each begins, and its length.
#[must_use]
pub fn unproven(
    within: impl IntoIterator<Item = (u64, u64)>,
    named: impl IntoIterator<Item = (u64, u64)>,
) -> Vec<(u64, u64)> {
    let mut sorted: Vec<_> = named.into_iter().collect();
    sorted.sort_unstable();
    // As beginnings and ends, without overlaps.
    let mut named: Vec<(u64, u64)> = Vec::new();
    for (at, len) in sorted {
        let end = at.saturating_add(len);
        match named.last_mut() {
            Some((_, before)) if *before >= at => *before = end.max(*before),
            _ => named.push((at, end)),
        }
    }
    let mut bare = Vec::new();
    for (at, len) in within {
        let (mut next, end) = (at, at.saturating_add(len));
        let first = named.partition_point(|range| range.1 <= at);
        for &(from, to) in named[first..].iter().take_while(|range| range.0 < end) {
            if from > next {
                bare.push((next, from - next));
            }
            next = to;
        }
        if next < end {
            bare.push((next, end - next));
        }
    }
    bare
}

mod base64 {
    use std::borrow::Cow;

    use data_encoding::BASE64URL_NOPAD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64URL_NOPAD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let wrong = |_| D::Error::custom("expected base64url without padding");
        BASE64URL_NOPAD.decode(text.as_bytes()).map_err(wrong)
    }
}
