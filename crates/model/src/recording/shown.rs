//! What viewers are told of recordings.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Causes, EventKind, RecordingPlace, ZoneName};
use crate::{CameraId, PuId, StreamTier, UnixMicros};

/// Who holds recordings of a camera, where, and of which encoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordingSource {
    /// The place.
    pub place: RecordingPlace,
    /// Who recorded: a PU or an NVR; for the cloud storage, who uploaded.
    pub recorder: PuId,
    /// Which of the camera's encodings.
    pub tier: StreamTier,
}

/// Why there is nothing to see at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Absence {
    /// No strategy wanted it.
    NotPlanned,
    /// The camera gave no picture.
    CameraAway,
    /// The recorder was not running.
    RecorderOff,
    /// No space, and nothing that may go.
    StorageFull,
    /// The storage takes no writes.
    StorageReadOnly,
    /// The storage is gone: pulled out, or not mounted.
    StorageAway,
    /// The storage failed or was too slow.
    StorageFailed,
    /// The stream cannot be put into a file.
    UnusableStream,
    /// It was let go for space or age.
    Expired,
    /// It was recorded, and its file is missing or spoilt.
    Damaged,
    /// It is in the segment that is being written: it can be played when that is complete.
    BeingRecorded,
    /// Nothing says why.
    Unknown,
}

/// A stretch of a timeline that can be played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimelineSpan {
    /// From when on, corrected.
    pub from: UnixMicros,
    /// Until when, exclusive.
    pub to: UnixMicros,
    /// The best source, by its place in [`Timeline::sources`].
    pub source: u16,
    /// Others that have all or part of it, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<u16>,
    /// Why it was recorded.
    pub causes: Causes,
    /// Whether somebody vouches for its time.
    pub time_known: bool,
    /// Whether the source has this time twice, after its clock was set back: both can be played.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub twice: bool,
}

/// A stretch of a timeline without any recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimelineGap {
    /// From when on.
    pub from: UnixMicros,
    /// Until when, exclusive.
    pub to: UnixMicros,
    /// Why, by who could have recorded it best.
    pub reason: Absence,
}

/// An event, or several of a kind that lie too close together to be told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventMark {
    /// When the first began.
    pub from: UnixMicros,
    /// When the last ended.
    pub to: UnixMicros,
    /// What happened.
    pub kind: EventKind,
    /// How many.
    pub count: u32,
}

/// What a stretch of time looks like for one camera, over all places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Timeline {
    /// The camera.
    pub camera: CameraId,
    /// Where it begins.
    pub from: UnixMicros,
    /// Where it ends, exclusive.
    pub to: UnixMicros,
    /// Interruptions shorter than this are not told, in microseconds.
    pub resolution_us: u64,
    /// Who has recordings, best first.
    pub sources: Vec<RecordingSource>,
    /// What can be played, in order; no two overlap.
    pub spans: Vec<TimelineSpan>,
    /// What cannot, in order, between the spans.
    pub gaps: Vec<TimelineGap>,
    /// Events, in order.
    pub events: Vec<EventMark>,
}

/// The days of a month that have recordings, by the camera's calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordedDays {
    /// The camera.
    pub camera: CameraId,
    /// The zone whose days are meant.
    pub zone: ZoneName,
    /// Year of our era.
    pub year: i16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Days, 1 to 31.
    pub days: BTreeSet<u8>,
}
