//! `PUT /operator/mtus/{mtu}`.

use axum::{extract::State, http::StatusCode};
use sightline_model::MtuId;
use sightline_protocol::{cm::MtuChange, sm::SmOrder};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Json},
    state::AppState,
};

/// Drain a relay before it is stopped, or let it take sessions again. What runs through it goes on;
/// new sessions are given other relays. A restart of the relay ends the draining.
#[utoipa::path(put, path = "/operator/mtus/{mtu}", operation_id = "changeMtu", tag = "operator",
    security(("bearer" = [])), params(("mtu" = String, Path, description = "the relay")),
    request_body = MtuChange,
    responses(
        (status = 204, description = "the relay has obeyed"),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "not the operator's staff", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such relay is running", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "the relay, or every SCU, does not answer", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(mtu): IdPath<MtuId>,
    Json(change): Json<MtuChange>,
) -> Result<StatusCode, ApiError> {
    let result = set(&app, &caller, &mtu, change.draining).await;
    let by = Some(&caller.0.account.id);
    let action = if change.draining { "mtu.drain" } else { "mtu.undrain" };
    app.audited(by, action, mtu.as_str(), result).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set(app: &AppState, caller: &Caller, mtu: &MtuId, drain: bool) -> Result<(), ApiError> {
    caller.operator()?;
    app.order(&SmOrder::DrainMtu { mtu: mtu.clone(), drain }).await?;
    Ok(())
}
