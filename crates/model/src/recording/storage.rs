//! How a recorder's storage is, and what its chains have come to.

use serde::{Deserialize, Serialize};

use super::RecordingSource;
use crate::{CameraId, UnixMicros};

/// The state of a recorder's storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StorageState {
    /// All is well.
    Ok,
    /// Slower than the cameras: parts were not recorded.
    Slow,
    /// Full, and nothing may go.
    Full,
    /// It takes no writes.
    ReadOnly,
    /// Pulled out, or not mounted.
    Away,
    /// Reading or writing fails.
    Failing,
}

/// A recorder's storage, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StorageStatus {
    /// Its state.
    pub state: StorageState,
    /// Size, in bytes; absent when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Bytes of recordings.
    pub recorded_bytes: u64,
    /// Bytes of those that are locked.
    pub locked_bytes: u64,
    /// When the oldest recording begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<UnixMicros>,
}

/// The newest entry of a chain, as its recorder reports it (decision 0091): whoever keeps the report
/// notices later that the chain's end was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportedHead {
    /// The camera.
    pub camera: CameraId,
    /// Who records which encoding where.
    pub source: RecordingSource,
    /// The chain's id, 32 hexadecimal digits.
    pub chain: String,
    /// Number of the entry.
    pub sequence: u64,
    /// Its hash, 64 hexadecimal digits.
    pub hash: String,
    /// When this was so, by the recorder's clock.
    pub at: UnixMicros,
}
