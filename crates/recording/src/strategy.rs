//! When to record (A6.1.6, A6.1.7, A6.3.2; decision 0090, "Schedules").
//!
//! An [`Engine`] carries out one [`RecordingPlan`]: that of one camera at one place (PU, NVR or CS).
//! It is told of events, buttons, plans and time, and says for each tier when to begin, from how
//! far back, for which causes, and when to end. A [`PreRoll`] holds the pictures of the last
//! seconds, so that a recording can begin before its event.
//!
//! - Several strategies hold side by side; a tier is recorded while any of them wants it.
//! - A plan with a higher revision replaces the one before, at once. An older one is refused.
//! - What must outlive a restart is handed out as [`Kept`]: the plan, and manual recordings that run.
//!   Events do not: their source reports them again.
//! - While the clock is unconfirmed a schedule counts as holding all week: evidence before space.
//! - Time within an engine is monotonic; only schedules look at the clock on the wall.
//!
//! ```
//! use sightline_model::*;
//! use sightline_recording::{
//!     clock::Moment,
//!     statement::Authority,
//!     strategy::{Engine, Input, Output},
//! };
//!
//! let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
//! let camera = CameraId { pu, channel: ChannelId(0) };
//! let now = Moment { monotonic_us: 0, time: UnixMicros(0), authority: Authority::System };
//! let mut engine = Engine::new(camera.clone(), RecordingPlace::Pu);
//! let plan = RecordingPlan {
//!     revision: 1,
//!     strategies: vec![Strategy {
//!         id: "always".parse()?,
//!         tier: StreamTier::Main,
//!         trigger: Trigger::Continuous,
//!     }],
//!     ..RecordingPlan::nothing(camera, RecordingPlace::Pu)
//! };
//! engine.handle_input(now, Input::Plan(plan))?;
//! assert!(matches!(engine.poll_output(), Some(Output::Keep(_))));
//! assert!(matches!(engine.poll_output(), Some(Output::Begin { tier: StreamTier::Main, .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod engine;
mod pre_roll;
mod running;
#[cfg(test)]
mod tests;
mod week;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sightline_model::{
    CameraId, EventKind, PlanError, RecordingPlace, RecordingPlan, StrategyId, StreamTier,
    UnixMicros, ZoneName,
};

use crate::{clock::Moment, statement::Causes};

pub use engine::Engine;
pub use pre_roll::{PreRoll, PreRollLimits, Pushed};
pub use week::Week;
pub(crate) use week::zone;

/// An event that nobody ends is taken to have ended after this; it goes on when it is reported again.
pub const MAX_EVENT: Duration = Duration::from_secs(3_600);

/// Most events of one camera that are followed at once. A further one counts as ending at once, so it
/// is recorded with its pre-roll and post-roll.
pub const MAX_EVENTS: usize = 256;

/// A schedule is looked at again after this at the latest. The clock on the wall is slewed by up to 500
/// millionths, so a change is seen at most 0.3 s late; after a step, call [`Engine::handle_timeout`].
pub const RECHECK: Duration = Duration::from_secs(600);

/// One event, as its source calls it: unique among the camera's events of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u64);

/// What an [`Engine`] is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A plan was set.
    Plan(RecordingPlan),
    /// An event has begun, or goes on.
    EventStarted {
        /// Which.
        event: EventId,
        /// Of which kind.
        kind: EventKind,
    },
    /// An event has ended.
    EventEnded {
        /// Which.
        event: EventId,
    },
    /// Somebody wants a manual strategy to record, or to begin its time anew.
    ManualStart {
        /// Which.
        strategy: StrategyId,
    },
    /// Somebody has had enough.
    ManualStop {
        /// Which.
        strategy: StrategyId,
    },
}

/// What an [`Engine`] wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Keep this so that it survives a restart, before anything of it is confirmed to anybody.
    Keep(Kept),
    /// Hold the pictures of so long from now on.
    PreRoll {
        /// Which encoding.
        tier: StreamTier,
        /// How long; zero: none need be held.
        length: Duration,
    },
    /// Begin to record.
    Begin {
        /// Which encoding.
        tier: StreamTier,
        /// Why.
        causes: Causes,
        /// From when on, by the monotonic clock, as far as pictures are held.
        back_to_us: u64,
    },
    /// Go on recording, for these causes from now on.
    GoOn {
        /// Which encoding.
        tier: StreamTier,
        /// Why.
        causes: Causes,
        /// From when on they hold, by the monotonic clock: a pre-roll reaches into what is
        /// recorded already.
        back_to_us: u64,
    },
    /// Stop recording, at the next keyframe.
    End {
        /// Which encoding.
        tier: StreamTier,
    },
}

/// What survives a restart. [`Engine::restore`] takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Of this form; [`Kept::VERSION`] when this build wrote it.
    pub version: u16,
    /// The plan.
    pub plan: RecordingPlan,
    /// Manual recordings that run.
    pub manual: Vec<KeptManual>,
}

impl Kept {
    /// The form that this build reads and writes.
    pub const VERSION: u16 = 1;
}

/// A manual recording that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptManual {
    /// Its strategy.
    pub strategy: StrategyId,
    /// When it was started; absent when the clock was unconfirmed: then its time begins anew with
    /// each restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<UnixMicros>,
}

/// Why an input or a kept state was not taken. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrategyError {
    /// The plan breaks a limit: the fault of who wrote it.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan names a zone that the IANA database has not: likewise.
    #[error("there is no time zone {0}; a name such as Europe/Berlin is needed")]
    NoSuchZone(ZoneName),
    /// The plan is older than the one that holds: the sender's.
    #[error("the plan has revision {offered}, but {kept} holds already")]
    Stale {
        /// Revision that holds.
        kept: u64,
        /// Revision that came.
        offered: u64,
    },
    /// Another plan with the revision of the one that holds: the sender's.
    #[error("another plan with revision {0} holds already; a change needs a higher one")]
    Conflict(u64),
    /// The plan is for another camera or place: the sender's.
    #[error("the plan is for {0} at {1:?}, which is not recorded here")]
    Elsewhere(CameraId, RecordingPlace),
    /// The plan has no strategy of that name: the caller's.
    #[error("the plan has no strategy {0}")]
    NoSuchStrategy(StrategyId),
    /// It records by itself: the caller's.
    #[error("strategy {0} is not a manual one; it starts and ends by itself")]
    NotManual(StrategyId),
    /// The kept state is of a build that knows more: our own fault.
    #[error("the kept plan has form {0}, this build knows form {known}", known = Kept::VERSION)]
    KeptVersion(u16),
}
