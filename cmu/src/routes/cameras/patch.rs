//! `PATCH /cameras/{id}`.

use axum::extract::State;
use cmu_domain::text::is_chosen_name;
use sightline_model::CameraId;
use sightline_protocol::{
    ProblemKind,
    cm::{Camera, CameraChange, Notice},
};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Json},
    routes::cameras::own_camera,
    state::AppState,
};

/// Rename a camera.
#[utoipa::path(patch, path = "/cameras/{id}", operation_id = "changeCamera", tag = "cameras",
    security(("bearer" = [])), params(("id" = CameraId, Path, description = "the camera")),
    request_body = CameraChange,
    responses(
        (status = 200, body = Camera),
        (status = 400, description = "the name cannot be shown", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
    Json(change): Json<CameraChange>,
) -> Result<axum::Json<Camera>, ApiError> {
    let name = change.name.trim();
    if !is_chosen_name(name, 64) {
        let detail = "name: must have 1 to 64 printable characters";
        return Err(ApiError::new(ProblemKind::InvalidRequest, detail));
    }
    let (_, mut camera) = own_camera(&app, &caller, &id).await?;
    if !app.db.bindings().set_name(&id, &caller.0.account.id, name).await? {
        return Err(ApiError::not_found());
    }
    camera.name = name.to_owned();
    app.notify(&Notice::Device { device: id.pu, lost_by: Vec::new() }).await;
    Ok(axum::Json(camera))
}
