//! `PUT /operator/subscriptions/{user}` (A6.1.1).

use axum::extract::State;
use sightline_model::UserId;
use sightline_protocol::cm::{Notice, Subscription, SubscriptionChange, SubscriptionRow};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Json},
    revoke,
    state::AppState,
};

/// Approve, refuse or suspend a subscription. Suspending ends the user's streams.
#[utoipa::path(put, path = "/operator/subscriptions/{user}", operation_id = "changeSubscription", tag = "operator",
    security(("bearer" = [])), params(("user" = UserId, Path, description = "the account")),
    request_body = SubscriptionChange,
    responses(
        (status = 200, body = SubscriptionRow),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "not the operator's staff", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(user): IdPath<UserId>,
    Json(change): Json<SubscriptionChange>,
) -> Result<axum::Json<SubscriptionRow>, ApiError> {
    let result = set(&app, &caller, &user, change.subscription).await;
    let by = Some(&caller.0.account.id);
    let row = app.audited(by, "subscription.change", user.as_str(), result).await?;
    Ok(axum::Json(row))
}

async fn set(
    app: &AppState,
    caller: &Caller,
    user: &UserId,
    subscription: Subscription,
) -> Result<SubscriptionRow, ApiError> {
    caller.operator()?;
    let account = app.db.accounts().set_subscription(user, subscription).await?;
    let account = account.ok_or_else(ApiError::not_found)?;
    app.notify(&Notice::User { user: user.clone() }).await;
    if subscription != Subscription::Active {
        for device in app.db.bindings().list(user).await? {
            revoke::user_at_device(app, &device.pu, user).await?;
        }
    }
    Ok(SubscriptionRow {
        user: account.id,
        phone_masked: account.phone.masked(),
        subscription: account.subscription,
        since: account.created_at,
    })
}
