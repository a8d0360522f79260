//! `GET /cameras/{id}`.

use axum::{Json, extract::State};
use sightline_model::CameraId;
use sightline_protocol::cm::Camera;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath},
    routes::cameras::own_camera,
    state::AppState,
};

/// One camera.
#[utoipa::path(get, path = "/cameras/{id}", operation_id = "getCamera", tag = "cameras",
    security(("bearer" = [])), params(("id" = CameraId, Path, description = "the camera")),
    responses(
        (status = 200, body = Camera),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "unknown, unbound or somebody else's", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
) -> Result<Json<Camera>, ApiError> {
    let (_, camera) = own_camera(&app, &caller, &id).await?;
    Ok(Json(camera))
}
