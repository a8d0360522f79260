//! Relations over Ps (A8.7.2 steps 3 to 7; interfaces Np and Pn): which NVR records which camera. Both ends
//! are told all of theirs, with every registration and after every change.

use serde::{Deserialize, Serialize};
use sightline_model::{CameraId, ChannelId, PuId, PublicKey};

/// Most cameras that one NVR records, and most NVRs that one PU is related to: all relations of a device
/// travel in one message.
pub const MAX_RELATIONS: usize = 128;

/// The first number of a related camera at its NVR; those below are the NVR's own cameras.
pub const FIRST_RELATED: ChannelId = ChannelId(1_000);

/// All relations of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations {
    /// Rises with every change of them. Told by a request, an older one changes nothing; told by a
    /// registration, they hold whatever was before.
    pub revision: u64,
    /// The cameras that this device records, as an NVR.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RelatedCamera>,
    /// Who records this device's cameras, as a PU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorded_by: Vec<RelatedNvr>,
}

/// A camera, as the NVR hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelatedCamera {
    /// The camera.
    pub camera: CameraId,
    /// Its number at the NVR, from [`FIRST_RELATED`] on; never given to another camera.
    pub channel: ChannelId,
    /// What its owner calls it.
    pub name: String,
    /// The key of its PU, whose hash is the PU's id.
    pub device_key: PublicKey,
}

/// An NVR, as the PU hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelatedNvr {
    /// The NVR: the hash of its key.
    pub nvr: PuId,
    /// The camera that it records.
    pub channel: ChannelId,
}

impl Relations {
    /// Whether `nvr` records that camera of this device.
    #[must_use]
    pub fn allow(&self, nvr: &PuId, channel: ChannelId) -> bool {
        self.recorded_by.iter().any(|of| of.nvr == *nvr && of.channel == channel)
    }
}
