//! What a person is told of recordings.

use std::time::SystemTime;

use sightline_model::{Timeline, TimelineGap, UnixMicros};

use crate::http::metric;

/// This moment.
#[must_use]
pub fn now() -> UnixMicros {
    UnixMicros::from(SystemTime::now())
}

/// A time as `cu` and the portal read it.
///
/// # Panics
/// When it lies before or behind all calendars.
#[must_use]
pub fn time_text(at: UnixMicros) -> String {
    jiff::Timestamp::from_second(at.as_secs()).expect("a time").to_string()
}

/// Segments that a unit or an NVR says are durable since its start, at its own port for figures; none: it does
/// not answer.
#[must_use]
pub fn acknowledged(admin: u16) -> Option<u64> {
    let of = |unit: &str| metric(admin, &format!("sightline_{unit}_recording_segments_total{{"));
    ["pu", "nvr"].into_iter().map(of).sum()
}

/// From the first recording to the end of the last; none: nothing is recorded.
#[must_use]
pub fn stretch(timeline: &Timeline) -> Option<(UnixMicros, UnixMicros)> {
    Some((timeline.spans.first()?.from, timeline.spans.last()?.to))
}

/// What is missing between the first recording and the last.
#[must_use]
pub fn interruptions(timeline: &Timeline) -> Vec<TimelineGap> {
    let Some((first, last)) = stretch(timeline) else { return Vec::new() };
    let between = |gap: &&TimelineGap| gap.from >= first && gap.to <= last;
    timeline.gaps.iter().filter(between).cloned().collect()
}
