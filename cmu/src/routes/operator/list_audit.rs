//! `GET /operator/audit`.

use axum::{Json, extract::State};
use sightline_protocol::cm::AuditList;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::Caller,
    state::AppState,
};

const MAX_ROWS: u32 = 200;

/// What was done and refused lately, newest first.
#[utoipa::path(get, path = "/operator/audit", operation_id = "listAudit", tag = "operator",
    security(("bearer" = [])),
    responses(
        (status = 200, body = AuditList),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "not the operator's staff", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
) -> Result<Json<AuditList>, ApiError> {
    caller.operator()?;
    Ok(Json(AuditList { entries: app.db.audit().list(MAX_ROWS).await? }))
}
