//! What CUs are told without asking, and what CMUs tell each other for that.

use serde::{Deserialize, Serialize};
use sightline_model::{CameraId, DeviceId, PuId, StorageState, UserId};

use super::{Camera, Subscription};

/// `GET /events`: server-sent events, each the JSON of one of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Event {
    /// A camera's state has changed.
    Camera {
        /// As it is now.
        camera: Box<Camera>,
    },
    /// A camera is no longer in the list.
    CameraGone {
        /// Which.
        id: CameraId,
    },
    /// The subscription has changed.
    Subscription {
        /// To what.
        subscription: Subscription,
    },
    /// Something has happened around a device that its owner should know of.
    Alert {
        /// Which device.
        device: DeviceId,
        /// Its cameras, for showing their names.
        cameras: Vec<CameraId>,
        /// What has happened.
        kind: AlertKind,
        /// The same in words, in English; a CU that knows the kind uses words of its own.
        text: String,
    },
    /// Events may have been missed: fetch the list again.
    Resync,
}

/// What owners are alerted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Somebody without the device's key has tried to register as the device; it was refused.
    WrongKey,
    /// The recorder's storage is slower than the cameras.
    StorageSlow,
    /// The recorder's storage is full, and nothing may go.
    StorageFull,
    /// The recorder's storage takes no writes.
    StorageReadOnly,
    /// The recorder's storage is gone.
    StorageAway,
    /// The recorder's storage fails.
    StorageFailing,
}

impl AlertKind {
    /// What a recorder's owner is alerted of when its storage is so.
    #[must_use]
    pub const fn of_storage(state: StorageState) -> Option<Self> {
        match state {
            StorageState::Ok => None,
            StorageState::Slow => Some(Self::StorageSlow),
            StorageState::Full => Some(Self::StorageFull),
            StorageState::ReadOnly => Some(Self::StorageReadOnly),
            StorageState::Away => Some(Self::StorageAway),
            StorageState::Failing => Some(Self::StorageFailing),
        }
    }

    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::StorageSlow => {
                "The storage of this camera's recorder is too slow: parts were not recorded. Use a \
                 faster card or disk, or record a smaller picture."
            }
            Self::StorageFull => {
                "The storage of this camera's recorder is full and everything on it is locked: \
                 nothing is recorded. Unlock recordings, or use a larger one."
            }
            Self::StorageReadOnly => {
                "The storage of this camera's recorder cannot be written to: nothing is recorded. \
                 Check the card's lock, or replace it."
            }
            Self::StorageAway => {
                "The storage of this camera's recorder is gone: nothing is recorded. Put the card \
                 or disk back in."
            }
            Self::StorageFailing => {
                "The storage of this camera's recorder fails: nothing is recorded. Replace the card \
                 or disk."
            }
            Self::WrongKey => {
                "Somebody has tried to pass for this camera's device and was refused. Your camera \
                 is safe and goes on working."
            }
        }
    }
}

/// What a CMU tells the other CMUs so that each can tell its own CUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice {
    /// Something about a device has changed.
    Device {
        /// Which.
        device: PuId,
        /// Users who lost it with this change.
        #[serde(default)]
        lost_by: Vec<UserId>,
    },
    /// The owner of a device is to be alerted.
    Alert {
        /// Which device.
        device: PuId,
        /// Of what.
        kind: AlertKind,
    },
    /// Something about a user has changed.
    User {
        /// Who.
        user: UserId,
    },
}
