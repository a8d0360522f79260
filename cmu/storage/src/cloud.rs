//! The list of what lies in the cloud storage, and the space of each user (decision 0096).
//!
//! Invariant: a user's `used_bytes` is the sum of their rows, because both change in one transaction.

mod chain;
mod erase;
mod list;
mod row;
mod segment;
mod space;
mod terms;

use sightline_model::{DomainName, StreamTier};

use crate::{Database, StorageError};

pub use chain::ChainRow;
pub use erase::{Erased, OutdatedNote, Used};
pub use list::{NoteRow, SignedNote, Step, Stretch};
pub use row::{SegmentRow, SegmentState};
pub use segment::Reservation;
pub use space::Space;
pub use terms::{Aged, DueTerms, KeptTerms};

/// Repository of what lies in the cloud storage.
#[derive(Debug)]
pub struct Cloud<'a>(pub(crate) &'a Database);

/// No segment is longer, in microseconds: whoever looks for one that reaches into a time begins so much
/// earlier. Cameras whose segments are longer do not exist (decision 0090).
const LONGEST_US: i64 = 600_000_000;

impl Cloud<'_> {
    fn domain(&self) -> &DomainName {
        &self.0.domain
    }
}

fn count(number: i64) -> Result<u64, StorageError> {
    u64::try_from(number).map_err(|_| StorageError::Corrupt("number in the list of the cloud"))
}

/// SQL of a number that has no sign. One beyond what SQL can say matches nothing.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

const fn tier_word(tier: StreamTier) -> &'static str {
    match tier {
        StreamTier::Main => "main",
        StreamTier::Sub => "sub",
    }
}

fn read_tier(word: &str) -> Result<StreamTier, StorageError> {
    match word {
        "main" => Ok(StreamTier::Main),
        "sub" => Ok(StreamTier::Sub),
        _ => Err(StorageError::Corrupt("encoding")),
    }
}

/// Runs statements as one, on whichever engine is open. Whoever leaves the block early takes them back.
macro_rules! transaction {
    ($db:expr, $tx:ident, $body:block) => {
        match &$db.backend {
            $crate::pools::Backend::Sqlite(pools) => {
                let mut turn = pools.write().await?;
                let mut $tx = sqlx::Connection::begin(&mut *turn).await?;
                let value = $body;
                $tx.commit().await?;
                value
            }
            $crate::pools::Backend::Postgres(pools) => {
                let mut $tx = pools.write().begin().await?;
                let value = $body;
                $tx.commit().await?;
                value
            }
        }
    };
}
use transaction;
