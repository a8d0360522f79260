//! NVRs over Cm, and what they record (A8.7.2 steps 1 and 8; playback steps 1 and 6).

use serde::{Deserialize, Serialize};
use sightline_model::{CameraId, DeviceId, PublicKey, StorageStatus, UnixMicros};

/// `GET /nvrs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NvrList {
    /// The caller's NVRs, the oldest binding first.
    pub nvrs: Vec<Nvr>,
}

/// An NVR as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Nvr {
    /// The device.
    pub device: DeviceId,
    /// Its key, whose hash is the device id.
    pub device_key: PublicKey,
    /// Whether it is registered now.
    pub online: bool,
    /// How its storage was by its last report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// What it records of other devices' cameras.
    pub records: Vec<Relation>,
}

/// A relation between an NVR and a camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Relation {
    /// The camera.
    pub camera: CameraId,
    /// Since when.
    pub since: UnixMicros,
}

/// `PUT /nvrs/{pu}/cameras/{id}`: the relation holds; who of the two has said so by now. One that is away
/// is told when it is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Related {
    /// The NVR (A8.7.2 step 5).
    pub nvr_told: bool,
    /// The camera's own device (step 6).
    pub pu_told: bool,
}
