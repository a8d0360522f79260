//! `GET /cloud`.

use axum::{Json, extract::State};
use cmu_storage::Used;
use sightline_protocol::cm::{CloudDevice, CloudSpace};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::Caller,
    state::AppState,
};

/// How much space the caller has in the cloud storage, and uses, device by device: also of devices that were
/// released meanwhile.
#[utoipa::path(get, path = "/cloud", operation_id = "getCloudSpace", tag = "recordings",
    security(("bearer" = [])),
    responses(
        (status = 200, body = CloudSpace),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
) -> Result<Json<CloudSpace>, ApiError> {
    let (user, free_bytes) = (&caller.0.account.id, app.config.cloud.free_bytes);
    let (cloud, bindings) = (app.db.cloud(), app.db.bindings());
    let (space, used, own) =
        tokio::try_join!(cloud.space(user, free_bytes), cloud.used(user), bindings.list(user))?;
    let device = |used: Used| {
        let Used { pu, segments, bytes, from, to } = used;
        let bound = own.iter().any(|device| device.pu == pu);
        CloudDevice { device: pu, bound, segments, bytes, from, to }
    };
    Ok(Json(CloudSpace {
        available: app.cloud.is_some(),
        used_bytes: space.used_bytes,
        quota_bytes: space.quota_bytes,
        free_bytes,
        devices: used.into_iter().map(device).collect(),
    }))
}
