//! `PUT /cameras/{id}/plans/{place}/manual/{strategy}`.

use axum::{extract::State, http::StatusCode};
use sightline_model::{CameraId, RecordingPlace, StrategyId};
use sightline_protocol::{
    cm::ManualChange,
    ps::{RecordingReply, RecordingRequest},
};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, Json, PathParts},
    routes::cameras::recordings::{ask_recorder, unexpected},
    state::AppState,
};

/// Start or stop a manual strategy of a camera's plan.
#[utoipa::path(put, path = "/cameras/{id}/plans/{place}/manual/{strategy}",
    operation_id = "recordManually", tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera"),
        ("place" = RecordingPlace, Path, description = "where it is recorded"),
        ("strategy" = StrategyId, Path, description = "its name in the plan")),
    request_body = ManualChange,
    responses(
        (status = 204, description = "the recorder has obeyed"),
        (status = 400, description = "the strategy is not a manual one", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to change it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera or strategy", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "the recorder is offline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "the recorder did not answer", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    PathParts((id, place, strategy)): PathParts<(CameraId, RecordingPlace, StrategyId)>,
    Json(change): Json<ManualChange>,
) -> Result<StatusCode, ApiError> {
    let camera = id.clone();
    let ask = RecordingRequest::Manual { camera, place, strategy, on: change.on };
    let result = ask_recorder(&app, &caller, &id, ask).await;
    let action = if change.on { "recording.start" } else { "recording.stop" };
    match app.audited(Some(&caller.0.account.id), action, &id.to_string(), result).await? {
        RecordingReply::Done => Ok(StatusCode::NO_CONTENT),
        _ => Err(unexpected()),
    }
}
