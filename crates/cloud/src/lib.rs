//! What the cloud storage is about, without I/O (decision 0096): how objects are called and what they
//! say of themselves, what the centre takes from a unit, and what a unit uploads next.
//!
//! - [`object`]: names and metadata of objects, by which the list can be rebuilt.
//! - [`admit`]: what a unit may store, judged by the signed entry alone.
//! - [`terms`]: what owners have said of their recordings: locks and age limits.
//! - [`uploader`]: which segment goes next, and what follows from each answer. [`budget`]: how much may
//!   go over a metered link.
//!
//! Nothing here opens a socket or a file, reads a clock or draws a random number: the store itself is
//! in `sightline-cloud-store`, the unit's side in its agent, the centre's in the CMU.

pub mod admit;
pub mod budget;
pub mod object;
pub mod terms;
pub mod uploader;

use data_encoding::BASE64URL_NOPAD;
use sightline_protocol::cp::SignedEntry;
use sightline_recording::{chain::MAX_ENCODED_LEN, statement::Entry};

/// Longest segment that is stored, in bytes: a segment is cut at 256 MiB (decision 0090).
pub const MAX_SEGMENT_BYTES: u64 = 320 << 20;

/// An entry as messages carry it.
#[must_use]
pub fn to_wire(entry: &Entry) -> SignedEntry {
    SignedEntry { encoded: BASE64URL_NOPAD.encode(&entry.encoded), signature: entry.signature }
}

/// An entry that came in a message; none: it cannot be one. Nothing is said of its signature.
#[must_use]
pub fn from_wire(entry: &SignedEntry) -> Option<Entry> {
    // Four characters for three bytes.
    if entry.encoded.len() > MAX_ENCODED_LEN / 3 * 4 + 4 {
        return None;
    }
    let encoded = BASE64URL_NOPAD.decode(entry.encoded.as_bytes()).ok()?;
    Some(Entry { encoded, signature: entry.signature })
}
