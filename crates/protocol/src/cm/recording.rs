//! Recording over Cm (A6.2.1, A6.3.2; A8.7.1 to A8.7.3, each flow's first and last steps).
//!
//! `GET /cameras/{id}/recordings` answers with a [`sightline_model::Timeline`], `GET
//! /cameras/{id}/recordings/days` with [`sightline_model::RecordedDays`]; their queries are in the
//! OpenAPI document.

use serde::{Deserialize, Serialize};
use sightline_model::{Keep, RecordingPlace, Strategy, StreamTier, UnixMicros};

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

/// `GET /cameras/{id}/plans`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanList {
    /// At most one of each place.
    pub plans: Vec<PlanState>,
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
