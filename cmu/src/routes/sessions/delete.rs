//! `DELETE /sessions/current`.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use sightline_protocol::cm::Notice;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::Caller,
    revoke,
    state::AppState,
    tokens,
};

/// Sign out here: the access token, the refresh token and the play tokens of this sign-in end, and
/// so do its streams.
#[utoipa::path(delete, path = "/sessions/current", operation_id = "signOut", tag = "sessions",
    security(("bearer" = [])),
    responses(
        (status = 204),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    Caller(sign_in): Caller,
) -> Result<(StatusCode, HeaderMap), ApiError> {
    app.db.sign_ins().revoke(&sign_in.id).await?;
    let sessions = app.db.play_tokens().revoke_for_sign_in(&sign_in.id).await?;
    let user = &sign_in.account.id;
    app.audit(Some(user), "session.delete", sign_in.id.as_str(), "ok").await;
    app.notify(&Notice::User { user: user.clone() }).await;
    revoke::sessions(&app, sessions).await;
    let mut headers = HeaderMap::new();
    tokens::clear_cookie(&app, &mut headers);
    Ok((StatusCode::NO_CONTENT, headers))
}
