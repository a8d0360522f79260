//! Segments on a disk: files and their index, written so that what is acknowledged stays.
//!
//! The order of writes and deletes, and what start-up repairs, is decision 0092. Chains and their
//! entries are those of `sightline_recording::chain` (decision 0091).
//!
//! - [`Store::open`] repairs what a crash left behind, and says what it found.
//! - [`Store::writer`] gives the one [`ChainWriter`] of a chain. It never waits for the disk: what it
//!   is handed goes into a bounded queue, and what does not fit ends the segment with a gap.
//! - [`Store::segments`], [`Store::gaps`], [`Store::recorded`] and their like read the index beside the
//!   writer; [`Store::open_file`] opens a segment so that expiry does not break the reading.
//! - [`Store::verify`] compares files, index and chain.
//! - [`Store::health`] tells how the storage is. It is probed and comes back by itself.
//!
//! Invariant: a segment is told to nobody before its file, its name and its row are durable.

mod committer;
mod error;
mod expiry;
mod files;
mod index;
mod keeper;
mod layout;
mod query;
mod repair;
mod state;
mod store;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use expiry::ChainKeep;
pub use query::{
    GapRow, MAX_PAGE, MAX_STEPS, OpenFile, Opened, Page, Piece, ProvenSpan, SegmentRow, Usage,
    Wanted, file_name,
};
pub use repair::{ChainRepair, RepairReport};
pub use state::{Health, State};
pub use store::{Key, Limits, Setup, Store};
pub use verify::{Level, VerifyReport};
pub use writer::{Acknowledged, ChainWriter, Pending};
