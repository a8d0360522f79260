//! `DELETE /nvrs/{pu}/cameras/{id}`.

use axum::{extract::State, http::StatusCode};
use sightline_model::{CameraId, PuId, Right};
use sightline_protocol::ProblemKind;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, PathParts},
    relations,
    routes::cameras::own_camera,
    state::AppState,
};

/// Have an NVR record a camera no more: its stream ends within two seconds. What was recorded stays on the
/// NVR, out of sight, until it goes by the plan or the two are related again.
#[utoipa::path(delete, path = "/nvrs/{pu}/cameras/{id}", operation_id = "unrelateNvr",
    tag = "recordings", security(("bearer" = [])),
    params(("pu" = PuId, Path, description = "the NVR"),
        ("id" = CameraId, Path, description = "the camera")),
    responses(
        (status = 204),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to change it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera of yours, or that NVR does not record it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    PathParts((nvr, id)): PathParts<(PuId, CameraId)>,
) -> Result<StatusCode, ApiError> {
    let (user, target) = (&caller.0.account.id, format!("{nvr} {id}"));
    let result = unrelate(&app, &caller, &nvr, &id).await;
    app.audited(Some(user), "relation.delete", &target, result).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unrelate(
    app: &AppState,
    caller: &Caller,
    nvr: &PuId,
    id: &CameraId,
) -> Result<(), ApiError> {
    let (_, camera) = own_camera(app, caller, id).await?;
    if !camera.rights.allows(Right::Manage) {
        let detail = "You have no right to change what is recorded of this camera.";
        return Err(ApiError::new(ProblemKind::Forbidden, detail));
    }
    let ended = app.db.relations().end(nvr, id, app.now()).await?;
    let ended = ended.ok_or_else(ApiError::not_found)?;
    // Side by side: together they must be done within two seconds.
    let (withdrawn, pu, nvr) = tokio::join!(
        relations::withdraw(app, &ended),
        relations::tell(app, &id.pu),
        relations::tell(app, nvr)
    );
    withdrawn?;
    pu?;
    nvr?;
    Ok(())
}
