//! Interfaces Cp and Cp', between PU and cloud storage (H.626.4 clauses 9.12 and 9.13; A8.7.1 steps 7 to 11).
//!
//! The CMU speaks for the store: questions travel PU, SCU, CMU ([`crate::ps::PuToScu::Cloud`],
//! [`crate::sc::ScRequest::Cloud`]), only the bytes of a segment go to the store itself, by the request
//! in [`CloudReply::Put`] (decision 0096).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sightline_model::{Secret, Signature, UnixMicros, UserId};

use crate::Problem;

/// Most entries of one [`CloudRequest::Note`].
pub const MAX_NOTES: usize = 64;

/// An entry of a chain as it was signed (decision 0091).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedEntry {
    /// The encoded statement, base64url without padding.
    pub encoded: String,
    /// The recorder's signature over it.
    pub signature: Signature,
}

/// From PU to CMU: a request, and the number that its answer repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudCall {
    /// Number that the answer repeats.
    pub request: u64,
    /// What is asked.
    pub ask: CloudRequest,
}

/// From CMU to PU: what became of a [`CloudCall`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudAnswer {
    /// The number from the request.
    pub request: u64,
    /// The answer, or why there is none.
    pub result: Result<CloudReply, Problem>,
}

/// What a PU asks of the cloud storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CloudRequest {
    /// Step 7: a chain is to be stored. Asked again after every start.
    Open {
        /// Whose recordings they are, as the PU knows it.
        owner: UserId,
        /// The chain's first entry.
        entry: SignedEntry,
    },
    /// Step 9: leave to store a segment.
    Upload {
        /// Whose recording it is, as the PU knows it.
        owner: UserId,
        /// What the chain says of the segment.
        entry: SignedEntry,
        /// To be added to its times, in microseconds (decision 0090).
        correction_us: i64,
        /// Whether somebody vouches for the corrected times.
        time_known: bool,
    },
    /// Step 9: the segment is in the store.
    Stored {
        /// The chain, 32 hexadecimal digits.
        chain: String,
        /// Number of the segment in it.
        sequence: u64,
    },
    /// Entries that are no segments: gaps, steps of the clock, and what left the spool.
    Note {
        /// Whose recordings they are about, as the PU knows it.
        owner: UserId,
        /// The entries, at most [`MAX_NOTES`].
        entries: Vec<SignedEntry>,
    },
    /// Step 10: delete the oldest, so that so much fits.
    MakeRoom {
        /// Bytes that are to fit; no more than a segment has.
        bytes: u64,
    },
}

/// What the PU is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CloudReply {
    /// Step 8: the chain is known.
    Opened,
    /// Send the segment with this request, then [`CloudRequest::Stored`].
    Put(PutRequest),
    /// It is stored, and listed: the PU may let it go.
    Stored,
    /// The entries are kept.
    Noted,
    /// The owner's space is full; the PU may ask for room.
    Full {
        /// Bytes that are missing.
        missing_bytes: u64,
    },
    /// Step 11.
    RoomMade {
        /// Segments that were deleted.
        segments: u64,
        /// Their bytes.
        bytes: u64,
    },
}

/// A request for one object, signed by the centre: method PUT, with exactly these headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// Where to.
    pub url: Secret<String>,
    /// Headers, beside `content-length`.
    pub headers: BTreeMap<String, String>,
    /// No use after this.
    pub expires_at: UnixMicros,
}
