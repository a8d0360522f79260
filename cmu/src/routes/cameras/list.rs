//! `GET /cameras`.

use axum::{Json, extract::State};
use sightline_protocol::cm::CameraList;

use crate::{
    cameras,
    error::{ApiError, ProblemDocument},
    extract::Caller,
    state::AppState,
};

/// The caller's cameras, by name.
#[utoipa::path(get, path = "/cameras", operation_id = "listCameras", tag = "cameras",
    security(("bearer" = [])),
    responses(
        (status = 200, body = CameraList),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    Caller(sign_in): Caller,
) -> Result<Json<CameraList>, ApiError> {
    let cameras = cameras::list(&app.db, &sign_in.account.id, app.now()).await?;
    Ok(Json(CameraList { cameras }))
}
