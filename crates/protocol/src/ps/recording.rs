//! Recording over Ps (A8.7.1 steps 3 to 6, A8.7.2 steps 11 to 14 and playback 3 to 5, A8.7.3 steps 3 to
//! 5 and playback 3 to 5). An NVR is spoken to as a PU is.

use serde::{Deserialize, Serialize};
use sightline_model::{
    CameraId, Causes, PuId, RecordedDays, RecordingPlace, RecordingPlan, ReportedHead,
    StorageStatus, StrategyId, StreamTier, Timeline, UnixMicros, ZoneName,
};

use super::Relations;
use crate::Problem;

/// Most spans of a timeline that travels in one message: with its gaps and marks it stays below
/// [`crate::MAX_MESSAGE_BYTES`]. Who needs more asks for shorter stretches of time.
pub const MAX_MESSAGE_SPANS: u16 = 100;

/// From SCU to PU or NVR: a request, and the number that its answer repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingCall {
    /// Number that the answer repeats.
    pub request: u64,
    /// What is asked.
    pub ask: RecordingRequest,
}

/// From PU or NVR to SCU: what became of a [`RecordingCall`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingAnswer {
    /// The number from the request.
    pub request: u64,
    /// The answer, or why there is none.
    pub result: Result<RecordingReply, Problem>,
}

/// What a recorder is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RecordingRequest {
    /// Carry out this plan from now on, and keep it. A revision below the kept one is refused.
    SetPlan {
        /// The plan.
        plan: Box<RecordingPlan>,
    },
    /// What is planned for a camera, and what is recorded of it now.
    ReadPlans {
        /// The camera.
        camera: CameraId,
    },
    /// Start or stop a manual strategy.
    Manual {
        /// The camera.
        camera: CameraId,
        /// At which place.
        place: RecordingPlace,
        /// The strategy's name in the plan.
        strategy: StrategyId,
        /// Start, else stop.
        on: bool,
    },
    /// What is recorded of a camera.
    List(RecordingQuery),
    /// On which days something is recorded.
    Days {
        /// The camera.
        camera: CameraId,
        /// Whose days are meant.
        zone: ZoneName,
        /// Year of our era.
        year: i16,
        /// Month, 1 to 12.
        month: u8,
    },
    /// Keep from expiry, or no longer.
    Lock(LockSpan),
    /// How the storage is.
    Status,
    /// These are all your relations (A8.7.2 steps 3 and 4). Also to a PU that does not record.
    Relate {
        /// All of them.
        relations: Box<Relations>,
    },
}

/// Asks for a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordingQuery {
    /// The camera.
    pub camera: CameraId,
    /// From when on.
    pub from: UnixMicros,
    /// Until when, exclusive; at most 400 days later.
    pub to: UnixMicros,
    /// Most spans, 8 to [`MAX_MESSAGE_SPANS`].
    pub max_spans: u16,
    /// Only this encoding; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<StreamTier>,
}

/// Locks or unlocks every segment that lies in a span, even partly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockSpan {
    /// The camera.
    pub camera: CameraId,
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

/// What a recorder answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RecordingReply {
    /// The plan is kept and carried out.
    PlanSet {
        /// The revision that holds.
        revision: u64,
    },
    /// To [`RecordingRequest::ReadPlans`].
    Plans {
        /// One for each place that this recorder serves.
        plans: Vec<PlanState>,
    },
    /// Done.
    Done,
    /// To [`RecordingRequest::List`].
    Timeline(Box<Timeline>),
    /// To [`RecordingRequest::Days`].
    Days(RecordedDays),
    /// To [`RecordingRequest::Lock`].
    Locked(Locked),
    /// To [`RecordingRequest::Status`].
    Status(Box<RecorderReport>),
    /// To [`RecordingRequest::Relate`] (A8.7.2 steps 5 and 6).
    Related {
        /// The revision that holds.
        revision: u64,
    },
}

/// A plan, and what comes of it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanState {
    /// The plan that holds.
    pub plan: RecordingPlan,
    /// Encodings that are being recorded, and why.
    pub recording: Vec<TierState>,
}

/// An encoding that is being recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TierState {
    /// Which.
    pub tier: StreamTier,
    /// Why.
    pub causes: Causes,
}

/// What was locked or unlocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Locked {
    /// Segments that lie in the span.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// From PU or NVR to SCU, after every change of the storage's state and once an hour: how the
/// storage is, and what the chains have come to (decision 0091).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecorderReport {
    /// Who records.
    pub recorder: PuId,
    /// Its storage.
    pub storage: StorageStatus,
    /// Its chains.
    pub heads: Vec<ReportedHead>,
}
