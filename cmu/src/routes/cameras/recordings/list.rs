//! `GET /cameras/{id}/recordings` (A6.2.1; A8.7.2 and A8.7.3, playback steps 1 to 6).

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Deserialize;
use sightline_model::{CameraId, StreamTier, Timeline, UnixMicros};
use sightline_protocol::ps::{MAX_MESSAGE_SPANS, RecordingQuery, RecordingReply, RecordingRequest};
use sightline_service_kit::flow;

use super::{ask_recorder, unexpected};
use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Query},
    state::AppState,
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

/// What was recorded of a camera in a stretch of time: spans that can be played, gaps with their
/// reasons, and events.
#[utoipa::path(get, path = "/cameras/{id}/recordings", operation_id = "listRecordings",
    tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera"), Which),
    responses(
        (status = 200, body = Timeline),
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
) -> Result<Json<Timeline>, ApiError> {
    let micros = |at: Timestamp| UnixMicros(at.as_microsecond());
    let query = RecordingQuery {
        camera: id.clone(),
        from: micros(which.from),
        to: micros(which.to),
        max_spans: which.max_spans.unwrap_or(MAX_MESSAGE_SPANS),
        tier: which.tier,
    };
    match ask_recorder(&app, &caller, &id, RecordingRequest::List(query)).await? {
        RecordingReply::Timeline(timeline) if timeline.camera == id => {
            flow::sent("Cm", "CMU", "CU", "timeline", id.pu.as_str());
            Ok(Json(*timeline))
        }
        _ => Err(unexpected()),
    }
}
