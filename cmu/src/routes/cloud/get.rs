//! `GET /cloud`.

use axum::{Json, extract::State};
use sightline_protocol::cm::CloudSpace;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::Caller,
    state::AppState,
};

/// How much space the caller has in the cloud storage, and uses.
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
    let free_bytes = app.config.cloud.free_bytes;
    let space = app.db.cloud().space(&caller.0.account.id, free_bytes).await?;
    Ok(Json(CloudSpace {
        available: app.cloud.is_some(),
        used_bytes: space.used_bytes,
        quota_bytes: space.quota_bytes,
        free_bytes,
    }))
}
