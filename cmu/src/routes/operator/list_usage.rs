//! `GET /operator/usage`.

use axum::{Json, extract::State};
use serde::Deserialize;
use sightline_model::UserId;
use sightline_protocol::cm::UsageList;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, Query},
    state::AppState,
};

use super::Days;

const MAX_ROWS: u32 = 500;
const DAYS: Days = Days { usual: 30, most: 400 };

/// What to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub struct Which {
    /// Whose sessions; everybody's when left out.
    #[param(value_type = Option<String>)]
    user: Option<UserId>,
    /// Days back from today, which counts; 30 when left out, 400 at most.
    days: Option<u16>,
}

/// What was relayed, by session and by relay, for accounting; sessions that began last come first.
#[utoipa::path(get, path = "/operator/usage", operation_id = "listUsage", tag = "operator",
    security(("bearer" = [])), params(Which),
    responses(
        (status = 200, body = UsageList),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "not the operator's staff", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<UsageList>, ApiError> {
    caller.operator()?;
    let (_, since) = DAYS.back(which.days, app.now());
    let (usages, user) = (app.db.relay_usages(), which.user.as_ref());
    let sessions = usages.sessions(since, user, MAX_ROWS).await?;
    let mtus = usages.by_mtu(since, user, MAX_ROWS).await?;
    Ok(Json(UsageList { sessions, mtus }))
}
