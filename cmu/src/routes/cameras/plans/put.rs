//! `PUT /cameras/{id}/plans/{place}` (A8.7.1, A8.7.3 steps 1 to 6; A8.7.2 steps 9 to 14).

use axum::{extract::State, http::StatusCode};
use sightline_model::{CameraId, RecordingPlace, RecordingPlan};
use sightline_protocol::{
    ProblemKind,
    cm::PlanChange,
    ps::{RecordingReply, RecordingRequest},
};
use sightline_service_kit::flow;

use crate::{
    cloud::terms,
    error::{ApiError, ProblemDocument},
    extract::{Caller, Json, PathParts},
    routes::cameras::recordings::{ask_recorder, the_cloud, unexpected},
    state::AppState,
};

/// Change what is recorded of a camera at one place, and for how long it stays. It is carried out from
/// now on, through restarts of the recorder too.
#[utoipa::path(put, path = "/cameras/{id}/plans/{place}", operation_id = "changePlan",
    tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera"),
        ("place" = RecordingPlace, Path, description = "where it is recorded")),
    request_body = PlanChange,
    responses(
        (status = 204, description = "the recorder has kept it and carries it out"),
        (status = 400, description = "the plan cannot be carried out", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to change it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera, or nothing can record it there", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "somebody has changed it meanwhile", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "the recorder is offline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "the recorder did not answer", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    PathParts((id, place)): PathParts<(CameraId, RecordingPlace)>,
    Json(change): Json<PlanChange>,
) -> Result<StatusCode, ApiError> {
    let target = id.to_string();
    let result = set(&app, &caller, id, place, change).await;
    app.audited(Some(&caller.0.account.id), "recording.plan", &target, result).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set(
    app: &AppState,
    caller: &Caller,
    camera: CameraId,
    place: RecordingPlace,
    change: PlanChange,
) -> Result<(), ApiError> {
    let PlanChange { seen_revision, strategies, keep } = change;
    let revision = seen_revision.checked_add(1).ok_or_else(|| {
        ApiError::new(ProblemKind::InvalidRequest, "seen_revision: is beyond what can be")
    })?;
    let plan = RecordingPlan { camera: camera.clone(), place, revision, strategies, keep };
    plan.check().map_err(|why| ApiError::new(ProblemKind::InvalidRequest, why.to_string()))?;
    if place == RecordingPlace::Cs {
        the_cloud(app)?;
    }
    let keep = plan.keep.clone();
    let ask = RecordingRequest::SetPlan { plan: Box::new(plan) };
    match ask_recorder(app, caller, &camera, ask).await? {
        RecordingReply::PlanSet { .. } => {
            // What has been uploaded is no longer the recorder's: here it is carried out.
            if place == RecordingPlace::Cs {
                app.db.cloud().set_keep(&camera, &caller.0.account.id, &keep).await?;
                terms::tell_soon(app).await;
            }
            flow::sent("Cm", "CMU", "CU", "plan_set", camera.pu.as_str());
            Ok(())
        }
        _ => Err(unexpected()),
    }
}
