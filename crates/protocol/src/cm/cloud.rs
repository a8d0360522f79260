//! The cloud storage over Cm (A6.1.13; A8.7.1, playback steps 1 to 7).

use serde::{Deserialize, Serialize};
use sightline_model::{Causes, PuId, Secret, StreamTier, UnixMicros};

/// A segment in the cloud storage, and where it can be fetched (interface Cc).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloudSegment {
    /// Its chain, 32 hexadecimal digits.
    pub chain: String,
    /// Its number in it.
    pub sequence: u64,
    /// Its run: segments of one run follow each other without a seam.
    pub run: u64,
    /// Which of the camera's encodings.
    pub tier: StreamTier,
    /// When it begins, corrected.
    pub from: UnixMicros,
    /// When it ends, corrected.
    pub to: UnixMicros,
    /// Whether somebody vouches for its time.
    pub time_known: bool,
    /// Why it was recorded.
    pub causes: Causes,
    /// Whether it is kept until it is unlocked.
    pub locked: bool,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Length of its head (`ftyp` and `moov`), in bytes.
    pub head_bytes: u32,
    /// SHA-256 of its bytes as the device signed it, 64 hexadecimal digits.
    pub sha256: String,
    /// Where its bytes are, whole or in ranges (RFC 9110, 14), without any further leave. A path alone is
    /// relative to the portal. Let nobody see it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub url: Secret<String>,
}

/// `GET /cameras/{id}/recordings/segments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloudSegmentList {
    /// In the order of their beginnings.
    pub segments: Vec<CloudSegment>,
    /// To be handed in as `after` for more; absent: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Until when their addresses work.
    pub expires_at: UnixMicros,
}

/// `POST /cameras/{id}/recordings/playlist`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlaylistRequest {
    /// From when on.
    pub from: UnixMicros,
    /// Until when, exclusive; at most six hours later.
    pub to: UnixMicros,
    /// Which encoding.
    pub tier: StreamTier,
}

/// Its answer: an HLS playlist (RFC 8216) for players that know neither us nor a sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlaylistLink {
    /// The playlist. A path alone is relative to the portal. Whoever has it can watch: show it to nobody.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub url: Secret<String>,
    /// Until when it works. It ends earlier with the sign-in, and when the camera is released.
    pub expires_at: UnixMicros,
}

/// `GET /cloud`: the caller's space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloudSpace {
    /// Whether there is a cloud storage.
    pub available: bool,
    /// Bytes of the caller's recordings, those of cameras that were released included.
    pub used_bytes: u64,
    /// Bytes that the caller may use.
    pub quota_bytes: u64,
    /// Bytes that everybody may use for nothing.
    pub free_bytes: u64,
    /// Devices of which something lies there, those that were released included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<CloudDevice>,
}

/// What the caller has in the cloud storage of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloudDevice {
    /// The device: a PU, or an NVR with cameras of its own.
    pub device: PuId,
    /// Whether it is the caller's now. What is recorded with another one is shown nowhere; it can be deleted.
    pub bound: bool,
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest begins.
    pub from: UnixMicros,
    /// When the newest ends.
    pub to: UnixMicros,
}

/// `PUT /operator/subscriptions/{user}/cloud`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloudQuotaChange {
    /// Bytes that the user may use; absent: the free allowance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
}

/// `DELETE /cloud/devices/{pu}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloudDeleted {
    /// Segments that are being deleted.
    pub segments: u64,
}
