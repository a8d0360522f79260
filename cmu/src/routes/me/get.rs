//! `GET /me`.

use axum::Json;
use sightline_protocol::cm::User;

use crate::{error::ProblemDocument, extract::Caller, tokens};

/// Who is signed in.
#[utoipa::path(get, path = "/me", operation_id = "getMe", tag = "sessions",
    security(("bearer" = [])),
    responses(
        (status = 200, body = User),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(Caller(sign_in): Caller) -> Json<User> {
    Json(tokens::user(&sign_in.account))
}
