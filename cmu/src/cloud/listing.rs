//! What viewers see of the cloud storage, alone and beside what lies at home (A6.2.1; A8.7.1, playback).

use std::ops::Range;

use cmu_storage::SegmentRow;
use sightline_cloud_store::SegmentStore;
use sightline_model::{
    CameraId, Causes, RecordedDays, RecordingPlace, RecordingSource, Rung, StreamTier, Timeline,
    UnixMicros, UserId, ZoneName,
};
use sightline_protocol::{cm::CloudSegment, ps::RecordingQuery};
use sightline_recording::{
    chain::decode,
    coverage::{Calendar, Coverage, CoverageError, Missing, Recorded, absence, rank},
    statement::{GapReason, Segment, What},
};

use super::{CloudError, GET_LIFE, entry_of, key_of};
use crate::{state::App, timelines};

/// Up to here a timeline is made of every single segment, beyond of an outline; in microseconds.
const FINE_US: i64 = 2 * 3_600_000_000;
/// Steps of an outline for each span that may be told.
const STEPS_PER_SPAN: i64 = 10;
/// Segments that are read at once.
const PAGE: u32 = 1_000;
/// Gaps of one timeline, each of which is looked up.
const MOST_GAPS: u32 = 100;
/// Both encodings.
const TIERS: [StreamTier; 2] = [StreamTier::Main, StreamTier::Sub];

/// There is no timeline or calendar.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The caller's fault.
    #[error(transparent)]
    Coverage(#[from] CoverageError),
    /// The list fails.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

impl From<cmu_storage::StorageError> for ListError {
    fn from(error: cmu_storage::StorageError) -> Self {
        Self::Cloud(error.into())
    }
}

/// What one encoding has in the cloud of a span.
#[derive(Debug, Default)]
struct Own {
    recorded: Vec<Recorded>,
    missing: Vec<Missing>,
    grain_us: i64,
}

/// The timeline of a user's camera over cloud, unit and NVR; `recorders`: what lies at home, when one of its
/// recorders could be asked. None: the cloud has nothing of it.
///
/// # Errors
/// [`ListError`].
pub async fn timeline(
    app: &App,
    user: &UserId,
    query: &RecordingQuery,
    recorders: Option<&Timeline>,
) -> Result<Option<Timeline>, ListError> {
    // What lies in the future is nothing.
    let to = query.to.min(app.now()).max(UnixMicros(query.from.0.saturating_add(1)));
    let mut coverage = Coverage::new(query.from, to, query.max_spans.into())?;
    let mut has_any = false;
    for tier in TIERS.into_iter().filter(|tier| query.tier.is_none_or(|wanted| wanted == *tier)) {
        let of = (user, &query.camera, tier);
        let own = own(app, of, query.from..to, query.max_spans).await?;
        if own.recorded.is_empty() && own.missing.is_empty() {
            continue;
        }
        has_any = true;
        let recorder = query.camera.pu.clone();
        let source = RecordingSource { place: RecordingPlace::Cs, recorder, tier };
        let number = coverage.add_source(source, rank(RecordingPlace::Cs, None, tier))?;
        coverage.coarsen(own.grain_us);
        own.recorded.into_iter().for_each(|piece| coverage.add_recorded(number, piece));
        own.missing.into_iter().for_each(|piece| coverage.add_missing(number, piece));
    }
    if !has_any {
        return Ok(None);
    }
    if let Some(recorders) = recorders {
        // They have answered: they can be reached, by whatever path.
        timelines::add(&mut coverage, recorders, Some(Rung::Host))?;
    }
    Ok(Some(coverage.finish(query.camera.clone())))
}

async fn own(
    app: &App,
    of: (&UserId, &CameraId, StreamTier),
    span: Range<UnixMicros>,
    max_spans: u16,
) -> Result<Own, ListError> {
    let mut own = Own::default();
    let length = span.end.0.saturating_sub(span.start.0);
    if length <= FINE_US {
        let mut after: Option<(UnixMicros, String, u64)> = None;
        loop {
            let from = after.as_ref().map(|(at, chain, n)| (*at, chain.as_str(), *n));
            let page = app.db.cloud().segments(of, span.clone(), from, PAGE).await?;
            own.recorded.extend(page.iter().map(|row| Recorded {
                from: row.start,
                to: row.end,
                causes: causes(row),
                time_known: row.time_known,
            }));
            after = page.last().map(|row| (row.start, row.chain.clone(), row.sequence));
            if page.len() < PAGE as usize {
                break;
            }
        }
    } else {
        let step_us = length / (i64::from(max_spans.max(1)) * STEPS_PER_SPAN) + 1;
        own.grain_us = 2 * step_us;
        for stretch in app.db.cloud().outline(of, span.clone(), step_us).await? {
            let causes =
                Causes { event: stretch.event, continuous: stretch.other, ..Causes::default() };
            let to = UnixMicros(stretch.from.0.saturating_add(step_us));
            own.recorded.push(Recorded { from: stretch.from, to, causes, time_known: true });
        }
    }
    own.missing = missing(app, of, span).await?;
    Ok(own)
}

/// What the entry says; one that cannot be read any more was recorded all the same.
fn causes(row: &SegmentRow) -> Causes {
    segment(row)
        .map_or_else(|_| Causes { event: row.event, ..Causes::default() }, |segment| segment.causes)
}

fn segment(row: &SegmentRow) -> Result<Segment, CloudError> {
    let entry = entry_of(&row.encoded, row.signature)?;
    match decode(&entry).map(|statement| statement.what) {
        Ok(What::Segment(segment)) => Ok(segment),
        Ok(_) | Err(_) => Err(CloudError::Corrupt),
    }
}

/// Gaps as the unit has stated them: each lasts until the next gap or segment.
async fn missing(
    app: &App,
    of: (&UserId, &CameraId, StreamTier),
    span: Range<UnixMicros>,
) -> Result<Vec<Missing>, ListError> {
    let gaps = app.db.cloud().gaps(of, span.clone(), MOST_GAPS).await?;
    let mut missing = Vec::with_capacity(gaps.len());
    for (n, (from, reason)) in gaps.iter().enumerate() {
        let Ok(reason) = serde_json::from_str::<GapReason>(reason) else { continue };
        let next_gap = gaps.get(n + 1).map(|(at, _)| *at);
        let resumed = app.db.cloud().next_start(of, *from).await?;
        let to = [next_gap, resumed].into_iter().flatten().min().unwrap_or(span.end);
        let reason = absence(reason);
        missing.push(Missing { from: (*from).max(span.start), to: to.min(span.end), reason });
    }
    missing.retain(|piece| piece.from < piece.to);
    Ok(missing)
}

/// On which days of a month the cloud has anything of a camera.
///
/// # Errors
/// [`ListError`].
pub async fn days(
    app: &App,
    user: &UserId,
    camera: &CameraId,
    zone: &ZoneName,
    (year, month): (i16, u8),
) -> Result<RecordedDays, ListError> {
    let mut calendar = Calendar::new(zone, year, month)?;
    let days: Vec<_> = calendar.days().collect();
    for (_, from, to) in days {
        for tier in TIERS {
            let of = (user, camera, tier);
            if !app.db.cloud().segments(of, from..to, None, 1).await?.is_empty() {
                calendar.add(from, to);
                break;
            }
        }
    }
    Ok(calendar.finish(camera.clone()))
}

/// A segment as a viewer is told of it, with an address that is signed for it.
///
/// # Errors
/// [`CloudError`].
pub fn shown(
    app: &App,
    store: &dyn SegmentStore,
    row: &SegmentRow,
) -> Result<CloudSegment, CloudError> {
    let stated = segment(row)?;
    let key = key_of(app.db.domain(), row)?;
    Ok(CloudSegment {
        chain: row.chain.clone(),
        sequence: row.sequence,
        run: row.run,
        tier: row.tier,
        from: row.start,
        to: row.end,
        time_known: row.time_known,
        causes: stated.causes,
        locked: row.locked,
        bytes: row.bytes,
        head_bytes: stated.head_len,
        sha256: stated.content.to_string(),
        url: store.get_url(&key, app.now(), GET_LIFE)?,
    })
}
