//! `DELETE /devices/{pu}/binding`.

use axum::{extract::State, http::StatusCode};
use sightline_model::PuId;
use sightline_protocol::cm::Notice;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath},
    relations, revoke,
    state::AppState,
};

/// Release a device: its streams end within two seconds, and its claim code works again.
#[utoipa::path(delete, path = "/devices/{pu}/binding", operation_id = "releaseDevice", tag = "devices",
    security(("bearer" = [])), params(("pu" = PuId, Path, description = "the device")),
    responses(
        (status = 204),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(pu): IdPath<PuId>,
) -> Result<StatusCode, ApiError> {
    let user = &caller.0.account.id;
    let result = release(&app, &caller, &pu).await;
    app.audited(Some(user), "binding.delete", pu.as_str(), result).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn release(app: &AppState, caller: &Caller, pu: &PuId) -> Result<(), ApiError> {
    let user = &caller.0.account.id;
    let (limit, key) = (app.config.limits.not_found_per_user, format!("miss:user:{user}"));
    app.limit_left(limit, &key).await?;
    if !app.db.bindings().delete(pu, user).await? {
        app.limit(limit, &key).await?;
        return Err(ApiError::not_found());
    }
    app.notify(&Notice::Device { device: pu.clone(), lost_by: vec![user.clone()] }).await;
    // Side by side: together they must be done within two seconds.
    let (revoked, (), related) = tokio::join!(
        revoke::user_at_device(app, pu, user),
        revoke::owner_changed(app, pu, None),
        relations::binding_changed(app, pu)
    );
    revoked.and(related)
}
