//! Recording over Cm (A6.2.1, A6.3.2; A8.7.1 to A8.7.3, each flow's first and last steps).
//!
//! Queries are in the OpenAPI document. Whoever records a camera and could not be asked is named in the
//! answer: what it has is not in it.

use serde::{Deserialize, Serialize};
use sightline_model::{
    Keep, PuId, RecordedDays, RecordingPlace, Strategy, StreamTier, Timeline, UnixMicros,
};

pub use crate::ps::{Locked, PlanState, TierState};

/// `PUT /cameras/{id}/plans/{place}` (A8.7.1, A8.7.3 step 1; A8.7.2 step 9). Its revision is
/// the next after the one that was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanChange {
    /// The revision that the user has seen: when another holds by now, the change is refused.
    pub seen_revision: u64,
    /// What is to be recorded; nothing when empty.
    pub strategies: Vec<Strategy>,
    /// For how long.
    #[serde(default)]
    pub keep: Keep,
}

/// `GET /cameras/{id}/recordings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CameraTimeline {
    /// What those have who have answered, and the cloud storage.
    #[serde(flatten)]
    pub timeline: Timeline,
    /// Who could not be asked: where the timeline has a gap, they may have a recording.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<SilentRecorder>,
}

/// `GET /cameras/{id}/recordings/days`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CameraDays {
    /// The days of those who have answered, and of the cloud storage.
    #[serde(flatten)]
    pub days: RecordedDays,
    /// Who could not be asked: they may have recordings of other days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<SilentRecorder>,
}

/// A recorder of a camera that could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SilentRecorder {
    /// Where it records the camera.
    pub place: RecordingPlace,
    /// Who it is.
    pub recorder: PuId,
    /// Why it says nothing.
    pub reason: SilenceReason,
}

/// Why a recorder says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SilenceReason {
    /// It is not connected to the centre.
    Offline,
    /// It is connected, and did not answer in time.
    NoAnswer,
    /// Its card or disk is gone.
    StorageAway,
    /// It has too much to do just now.
    Busy,
    /// It answered something else, or the centre failed; it is in the log there.
    Failed,
}

/// `GET /cameras/{id}/plans`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanList {
    /// At most one of each place.
    pub plans: Vec<PlanState>,
    /// Who could not be asked: their plans are carried out all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<SilentRecorder>,
}

/// `PUT /cameras/{id}/plans/{place}/manual/{strategy}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManualChange {
    /// Start, else stop.
    pub on: bool,
}

/// `PUT /cameras/{id}/recordings/lock`; the answer is [`Locked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockChange {
    /// At which place.
    pub place: RecordingPlace,
    /// Of which encoding; absent: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<StreamTier>,
    /// From when on.
    pub from: UnixMicros,
    /// Until when, exclusive.
    pub to: UnixMicros,
    /// Lock, else unlock.
    pub locked: bool,
}
