//! A segment in the list, as it is stored and read.

use sightline_model::{CameraId, Signature, StreamTier, UnixMicros, UserId};

use super::{count, read_tier};
use crate::{StorageError, channel, typed};

/// Where a segment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// A unit may send it.
    Reserved,
    /// It is there, and listed.
    Stored,
    /// It is being deleted.
    Leaving,
}

impl SegmentState {
    pub(super) const fn stored(self) -> i64 {
        match self {
            Self::Reserved => 0,
            Self::Stored => 1,
            Self::Leaving => 2,
        }
    }

    fn read(number: i64) -> Result<Self, StorageError> {
        match number {
            0 => Ok(Self::Reserved),
            1 => Ok(Self::Stored),
            2 => Ok(Self::Leaving),
            _ => Err(StorageError::Corrupt("state of a segment in the cloud")),
        }
    }
}

/// A segment in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Its chain, 32 hexadecimal digits.
    pub chain: String,
    /// Its number in it.
    pub sequence: u64,
    /// Whose it is.
    pub user: UserId,
    /// Of which camera.
    pub camera: CameraId,
    /// Of which encoding.
    pub tier: StreamTier,
    /// Where it stands.
    pub state: SegmentState,
    /// Its run.
    pub run: u64,
    /// The machine's start whose clock dated it.
    pub boot: u64,
    /// When it begins, corrected.
    pub start: UnixMicros,
    /// When it ends, corrected.
    pub end: UnixMicros,
    /// What was added to the times in its entry, in microseconds.
    pub correction_us: i64,
    /// Whether somebody vouches for its time.
    pub time_known: bool,
    /// Whether it is a clip of an event.
    pub event: bool,
    /// Whether it is kept until it is unlocked.
    pub locked: bool,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Its entry, base64url.
    pub encoded: String,
    /// The device's signature over it.
    pub signature: Signature,
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    chain: String,
    sequence: i64,
    user_id: String,
    pu: String,
    channel: i64,
    tier: String,
    state: i64,
    run: i64,
    boot: String,
    start_us: i64,
    end_us: i64,
    correction_us: i64,
    time_known: i64,
    event: i64,
    locked: i64,
    bytes: i64,
    encoded: String,
    signature: String,
}

/// Columns of [`Row`], as a literal for `concat!`.
macro_rules! segment_columns {
    () => {
        "SELECT chain, sequence, user_id, pu, channel, tier, state, run, boot, start_us, end_us,
             correction_us, time_known, event, locked, bytes, encoded, signature
         FROM cloud_segment "
    };
}
pub(super) use segment_columns;

impl TryFrom<Row> for SegmentRow {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        let boot = u64::from_str_radix(&row.boot, 16);
        Ok(Self {
            chain: row.chain,
            sequence: count(row.sequence)?,
            user: typed(&row.user_id, "user id")?,
            camera: CameraId { pu: typed(&row.pu, "device id")?, channel: channel(row.channel)? },
            tier: read_tier(&row.tier)?,
            state: SegmentState::read(row.state)?,
            run: count(row.run)?,
            boot: boot.map_err(|_| StorageError::Corrupt("start of a machine"))?,
            start: UnixMicros(row.start_us),
            end: UnixMicros(row.end_us),
            correction_us: row.correction_us,
            time_known: row.time_known != 0,
            event: row.event != 0,
            locked: row.locked != 0,
            bytes: count(row.bytes)?,
            encoded: row.encoded,
            signature: typed(&row.signature, "signature")?,
        })
    }
}
