//! `PUT /operator/subscriptions/{user}/cloud` (A6.1.13).

use axum::{Json, extract::State};
use sightline_model::UserId;
use sightline_protocol::{
    ProblemKind,
    cm::{CloudQuotaChange, CloudSpace},
};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Json as Body},
    state::AppState,
};

/// Set how much space a user has in the cloud storage. Less than is used deletes nothing by itself: what
/// comes next makes room.
#[utoipa::path(put, path = "/operator/subscriptions/{user}/cloud", operation_id = "changeCloudSpace",
    tag = "operator", security(("bearer" = [])),
    params(("user" = UserId, Path, description = "the account")),
    request_body = CloudQuotaChange,
    responses(
        (status = 200, body = CloudSpace),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "not the operator's staff", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(user): IdPath<UserId>,
    Body(change): Body<CloudQuotaChange>,
) -> Result<Json<CloudSpace>, ApiError> {
    let result = set(&app, &caller, &user, change).await;
    let by = Some(&caller.0.account.id);
    Ok(Json(app.audited(by, "cloud.quota", user.as_str(), result).await?))
}

async fn set(
    app: &AppState,
    caller: &Caller,
    user: &UserId,
    change: CloudQuotaChange,
) -> Result<CloudSpace, ApiError> {
    caller.operator()?;
    if change.quota_bytes.is_some_and(|bytes| i64::try_from(bytes).is_err()) {
        let detail = "quota_bytes: is beyond what can be";
        return Err(ApiError::new(ProblemKind::InvalidRequest, detail));
    }
    app.db.accounts().get(user).await?.ok_or_else(ApiError::not_found)?;
    app.db.cloud().set_quota(user, change.quota_bytes).await?;
    let free_bytes = app.config.cloud.free_bytes;
    let space = app.db.cloud().space(user, free_bytes).await?;
    Ok(CloudSpace {
        available: app.cloud.is_some(),
        used_bytes: space.used_bytes,
        quota_bytes: space.quota_bytes,
        free_bytes,
        // Where somebody has cameras is theirs to know.
        devices: Vec::new(),
    })
}
