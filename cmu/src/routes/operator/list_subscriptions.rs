//! `GET /operator/subscriptions`.

use axum::{Json, extract::State};
use sightline_protocol::cm::{SubscriptionList, SubscriptionRow};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::Caller,
    state::AppState,
};

const MAX_ROWS: u32 = 10_000;

/// Accounts and their subscriptions, oldest first.
#[utoipa::path(get, path = "/operator/subscriptions", operation_id = "listSubscriptions", tag = "operator",
    security(("bearer" = [])),
    responses(
        (status = 200, body = SubscriptionList),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "not the operator's staff", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
) -> Result<Json<SubscriptionList>, ApiError> {
    caller.operator()?;
    let accounts = app.db.accounts().list(MAX_ROWS).await?;
    let subscriptions = accounts.iter().map(|a| SubscriptionRow {
        user: a.id.clone(),
        phone_masked: a.phone.masked(),
        subscription: a.subscription,
        since: a.created_at,
    });
    Ok(Json(SubscriptionList { subscriptions: subscriptions.collect() }))
}
