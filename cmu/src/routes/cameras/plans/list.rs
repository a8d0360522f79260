//! `GET /cameras/{id}/plans`.

use axum::{Json, extract::State};
use sightline_model::CameraId;
use sightline_protocol::{
    cm::PlanList,
    ps::{RecordingReply, RecordingRequest},
};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath},
    routes::cameras::recordings::{ask_recorders, unexpected},
    state::AppState,
};

/// What is planned to be recorded of a camera, and what is recorded now. A recorder that could not be asked is named in
/// `silent`.
#[utoipa::path(get, path = "/cameras/{id}/plans", operation_id = "listPlans", tag = "recordings",
    security(("bearer" = [])), params(("id" = CameraId, Path, description = "the camera")),
    responses(
        (status = 200, body = PlanList),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to recordings", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera, or nothing can record it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "the recorder is offline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "the recorder did not answer", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
) -> Result<Json<PlanList>, ApiError> {
    let ask = RecordingRequest::ReadPlans { camera: id.clone() };
    let (replies, silent) = ask_recorders(&app, &caller, &id, ask).await?.parts();
    let mut plans = Vec::new();
    for reply in replies? {
        match reply {
            RecordingReply::Plans { plans: of_one } => plans.extend(of_one),
            _ => return Err(unexpected()),
        }
    }
    Ok(Json(PlanList { plans, silent }))
}
