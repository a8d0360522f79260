//! `PUT /nvrs/{pu}/cameras/{id}` (A8.7.2 steps 1 to 8).

use axum::{Json, extract::State};
use cmu_storage::{Made, RelationRow};
use sightline_model::{CameraId, DeviceKind, PuId, Right};
use sightline_protocol::{ProblemKind, cm::Related, ps::MAX_RELATIONS};
use sightline_service_kit::flow;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, PathParts},
    relations,
    routes::cameras::own_camera,
    state::AppState,
};

/// Have an NVR record a camera. What it records is said by the camera's plan at the place `nvr`.
///
/// Both must be yours. A device that is away now hears of it when it is back.
#[utoipa::path(put, path = "/nvrs/{pu}/cameras/{id}", operation_id = "relateNvr",
    tag = "recordings", security(("bearer" = [])),
    params(("pu" = PuId, Path, description = "the NVR"),
        ("id" = CameraId, Path, description = "the camera")),
    responses(
        (status = 200, body = Related),
        (status = 400, description = "the device is no NVR, or the camera is its own", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to change it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such NVR or camera of yours", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "another NVR records the camera", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    PathParts((nvr, id)): PathParts<(PuId, CameraId)>,
) -> Result<Json<Related>, ApiError> {
    let (user, target) = (&caller.0.account.id, format!("{nvr} {id}"));
    let result = relate(&app, &caller, &nvr, &id).await;
    app.audited(Some(user), "relation.create", &target, result).await?;
    // Side by side: neither depends on the other.
    let (nvr_told, pu_told) =
        tokio::try_join!(relations::tell(&app, &nvr), relations::tell(&app, &id.pu))?;
    flow::sent("Cm", "CMU", "CU", "related", nvr.as_str());
    Ok(Json(Related { nvr_told, pu_told }))
}

async fn relate(
    app: &AppState,
    caller: &Caller,
    nvr: &PuId,
    id: &CameraId,
) -> Result<RelationRow, ApiError> {
    caller.approved()?;
    let user = &caller.0.account.id;
    let limit = app.config.limits.recordings_per_user;
    app.limit(limit, &format!("recordings:user:{user}")).await?;
    let (_, camera) = own_camera(app, caller, id).await?;
    if !camera.rights.allows(Right::Manage) {
        let detail = "You have no right to change what is recorded of this camera.";
        return Err(ApiError::new(ProblemKind::Forbidden, detail));
    }
    let device = app.db.bindings().find(nvr, user).await?.ok_or_else(ApiError::not_found)?;
    let wrong = |detail: &str| Err(ApiError::new(ProblemKind::InvalidRequest, detail));
    if device.kind != DeviceKind::Nvr {
        return wrong("That device is no network video recorder.");
    }
    if id.pu == *nvr {
        return wrong("That camera is the recorder's own: its plan is set at the place `pu`.");
    }
    let table = app.db.relations();
    let (of_nvr, of_pu) = tokio::try_join!(table.of_nvr(nvr), table.of_pu(&id.pu))?;
    let known = of_nvr.iter().any(|of| of.camera == *id);
    if !known && (of_nvr.len() >= MAX_RELATIONS || of_pu.len() >= MAX_RELATIONS) {
        return wrong("The recorder records as many cameras as it can.");
    }
    match table.insert(nvr, id, user, app.now()).await? {
        Made::Holds(row) => Ok(row),
        Made::NotTheirs => Err(ApiError::not_found()),
        Made::Elsewhere(_) => {
            let detail = "Another recorder records this camera. End that first.";
            Err(ApiError::new(ProblemKind::AlreadyRelated, detail))
        }
    }
}
