//! `GET /cameras/{id}/recordings/segments` (A8.7.1, playback steps 4 to 7).

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Deserialize;
use sightline_model::{CameraId, StreamTier, UnixMicros};
use sightline_protocol::{ProblemKind, cm::CloudSegmentList};
use sightline_service_kit::flow;

use super::own_cloud;
use crate::{
    cloud::{GET_LIFE, listing},
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Query},
    state::AppState,
};

/// Segments of one answer: thirteen minutes.
const MOST: u32 = 200;

/// What to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub struct Which {
    /// From when on (RFC 3339).
    #[param(value_type = String, format = DateTime, example = "2026-11-21T17:00:00Z")]
    from: Timestamp,
    /// Until when, exclusive (RFC 3339).
    #[param(value_type = String, format = DateTime, example = "2026-11-21T18:00:00Z")]
    to: Timestamp,
    /// Which encoding.
    tier: StreamTier,
    /// The `next` of the answer before, for more.
    after: Option<String>,
}

/// What lies in the cloud storage of a camera, each segment with an address from which it can be fetched,
/// whole or in ranges.
#[utoipa::path(get, path = "/cameras/{id}/recordings/segments", operation_id = "listCloudSegments",
    tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera"), Which),
    responses(
        (status = 200, body = CloudSegmentList),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to recordings", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera, or no cloud storage", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "the cloud storage is away", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
    Query(which): Query<Which>,
) -> Result<Json<CloudSegmentList>, ApiError> {
    let (_, cloud) = own_cloud(&app, &caller, &id).await?;
    let micros = |at: Timestamp| UnixMicros(at.as_microsecond());
    let after = match &which.after {
        None => None,
        Some(text) => Some(read_after(text).ok_or_else(|| {
            ApiError::new(ProblemKind::InvalidRequest, "after: must be a `next` as it was given")
        })?),
    };
    let after = after.as_ref().map(|(at, chain, number)| (*at, chain.as_str(), *number));
    let of = (&caller.0.account.id, &id, which.tier);
    let span = micros(which.from)..micros(which.to);
    let rows = app.db.cloud().segments(of, span, after, MOST).await?;
    let last = rows.last().filter(|_| rows.len() == MOST as usize);
    let next = last.map(|row| format!("{}.{}.{}", row.start.0, row.chain, row.sequence));
    let segments: Result<Vec<_>, _> =
        rows.iter().map(|row| listing::shown(&app, &*cloud.store, row)).collect();
    flow::sent("Cm", "CMU", "CU", "segments", id.pu.as_str());
    Ok(Json(CloudSegmentList { segments: segments?, next, expires_at: app.now().plus(GET_LIFE) }))
}

fn read_after(text: &str) -> Option<(UnixMicros, String, u64)> {
    let (start, rest) = text.split_once('.')?;
    let (chain, number) = rest.split_once('.')?;
    if chain.len() != 32 {
        return None;
    }
    Some((UnixMicros(start.parse().ok()?), chain.to_owned(), number.parse().ok()?))
}
