//! What recording says across interfaces: plans, where recordings lie, and what viewers are told
//! of them (A6.1.6, A6.1.7, A6.1.13; flows A8.7.1 to A8.7.3).
//!
//! These are values only. When to record is decided in `sightline-recording`, which also checks a
//! plan against the limits that are named here.

mod plan;
mod schedule;
mod shown;
mod storage;

pub use plan::{
    Causes, EventKind, Keep, PlanError, RecordingPlace, RecordingPlan, Strategy, StrategyId,
    Trigger,
};
pub use schedule::{MinuteOfDay, Weekday, WeeklySchedule, WeeklySpan, ZoneName};
pub use shown::{
    Absence, EventMark, RecordedDays, RecordingSource, Timeline, TimelineGap, TimelineSpan,
};
pub use storage::{ReportedHead, StorageState, StorageStatus};
