//! `GET /cameras/{id}/recordings` (A6.2.1; A8.7.2 and A8.7.3, playback steps 1 to 6).

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Deserialize;
use sightline_model::{CameraId, StreamTier, Timeline, UnixMicros};
use sightline_protocol::{
    ProblemKind,
    cm::CameraTimeline,
    ps::{MAX_MESSAGE_SPANS, RecordingQuery, RecordingReply, RecordingRequest},
};
use sightline_service_kit::flow;

use super::{allow, is_away, pass_on_to_all, unexpected};
use crate::{
    cloud::listing,
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Query},
    state::AppState,
    timelines,
};

/// What to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub struct Which {
    /// From when on (RFC 3339).
    #[param(value_type = String, format = DateTime, example = "2026-11-21T17:00:00Z")]
    from: Timestamp,
    /// Until when, exclusive; at most 400 days later (RFC 3339).
    #[param(value_type = String, format = DateTime, example = "2026-11-21T18:00:00Z")]
    to: Timestamp,
    /// Most spans, 8 to 100; 100 when left out. Fewer are coarser: the answer says how much.
    max_spans: Option<u16>,
    /// Only this encoding; all when left out.
    tier: Option<StreamTier>,
}

/// What was recorded of a camera in a stretch of time, on its own device, on an NVR and in the cloud storage: spans that can be
/// played and where, gaps with their reasons, and events. A recorder that could not be asked is named in `silent`: what
/// it has is missing here.
#[utoipa::path(get, path = "/cameras/{id}/recordings", operation_id = "listRecordings",
    tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera"), Which),
    responses(
        (status = 200, body = CameraTimeline),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to recordings", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera, or nothing records it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "the recorder or its storage is away", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "the recorder did not answer", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
    Query(which): Query<Which>,
) -> Result<Json<CameraTimeline>, ApiError> {
    let micros = |at: Timestamp| UnixMicros(at.as_microsecond());
    let query = RecordingQuery {
        camera: id.clone(),
        from: micros(which.from),
        to: micros(which.to),
        max_spans: which.max_spans.unwrap_or(MAX_MESSAGE_SPANS),
        tier: which.tier,
    };
    let ask = RecordingRequest::List(query.clone());
    allow(&app, &caller, &id, &ask).await?;
    let (replies, silent) = pass_on_to_all(&app, &id, ask).await?.parts();
    let recorders = match replies {
        Ok(replies) => Ok(joined(&query, replies)?),
        Err(error) if is_away(error.kind()) => Err(error),
        Err(error) => return Err(error),
    };
    let user = &caller.0.account.id;
    let with_cloud = match &app.cloud {
        Some(_) => listing::timeline(&app, user, &query, recorders.as_ref().ok()).await?,
        None => None,
    };
    let timeline = match with_cloud {
        Some(timeline) => timeline,
        // The cloud has nothing: what the recorders say, that they are away too, is all there is.
        None => recorders?,
    };
    flow::sent("Cm", "CMU", "CU", "timeline", id.pu.as_str());
    Ok(Json(CameraTimeline { timeline, silent }))
}

/// One timeline of what the recorders have told.
fn joined(query: &RecordingQuery, replies: Vec<RecordingReply>) -> Result<Timeline, ApiError> {
    let mut timelines = Vec::with_capacity(replies.len());
    for reply in replies {
        match reply {
            RecordingReply::Timeline(timeline) if timeline.camera == query.camera => {
                timelines.push(*timeline);
            }
            _ => return Err(unexpected()),
        }
    }
    match <[Timeline; 1]>::try_from(timelines) {
        Ok([alone]) => Ok(alone),
        Err(several) => {
            let invalid =
                |error| ApiError::new(ProblemKind::InvalidRequest, format!("no timeline: {error}"));
            timelines::join(query.camera.clone(), query, &several).map_err(invalid)
        }
    }
}
