//! `DELETE /cloud/devices/{pu}`.

use axum::{Json, extract::State};
use sightline_model::PuId;
use sightline_protocol::cm::CloudDeleted;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath},
    state::AppState,
};

/// Delete everything that the caller has recorded in the cloud storage with a device, locked or not. The
/// device may have been released meanwhile.
#[utoipa::path(delete, path = "/cloud/devices/{pu}", operation_id = "deleteCloudRecordings",
    tag = "recordings", security(("bearer" = [])),
    params(("pu" = PuId, Path, description = "the device")),
    responses(
        (status = 200, body = CloudDeleted),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(pu): IdPath<PuId>,
) -> Result<Json<CloudDeleted>, ApiError> {
    let user = &caller.0.account.id;
    app.limit(app.config.limits.recordings_per_user, &format!("recordings:user:{user}")).await?;
    // It is gone from every list now; the objects go within a minute.
    let result = app.db.cloud().leave_device(user, &pu, app.now()).await.map_err(ApiError::from);
    let segments = app.audited(Some(user), "cloud.delete", pu.as_str(), result).await?;
    Ok(Json(CloudDeleted { segments }))
}
