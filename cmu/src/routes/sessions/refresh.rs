//! `POST /sessions/refresh`.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use cmu_domain::sign_in::{Family, REFRESH_LIFE, Refresh, refresh};
use cmu_storage::SignIn;
use sightline_protocol::{
    ProblemKind,
    cm::{RefreshIn, RefreshRequest, SignedIn},
};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::Json,
    revoke,
    state::AppState,
    tokens::{self, RefreshToken},
};

/// Get a new access token for a refresh token, which is replaced.
///
/// A refresh token works once. When an old one comes again, somebody has a copy: the whole sign-in
/// ends. (For ten seconds the last one is forgiven, since two pages may refresh at once.)
#[utoipa::path(post, path = "/sessions/refresh", operation_id = "refreshSession", tag = "sessions",
    request_body(content = Option<RefreshRequest>, description = "may be empty when the cookie is sent"),
    responses(
        (status = 200, body = SignedIn),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "sign in again", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    headers: HeaderMap,
    request: Option<Json<RefreshRequest>>,
) -> Result<Response, ApiError> {
    let in_body = request.and_then(|Json(r)| r.refresh_token);
    let (shown, place) = match in_body {
        Some(token) => (RefreshToken::parse(token), RefreshIn::Body),
        None => (RefreshToken::from_cookie(&headers), RefreshIn::Cookie),
    };
    match rotate(&app, shown, place).await {
        Err(error) if place == RefreshIn::Cookie => {
            let ended = error.kind() == ProblemKind::Unauthenticated;
            let mut response = error.into_response();
            if ended {
                tokens::clear_cookie(&app, response.headers_mut());
            }
            Ok(response)
        }
        result => result,
    }
}

fn ended() -> ApiError {
    ApiError::new(ProblemKind::Unauthenticated, "Your sign-in has ended. Please sign in again.")
}

async fn rotate(
    app: &AppState,
    shown: Option<RefreshToken>,
    place: RefreshIn,
) -> Result<Response, ApiError> {
    let shown = shown.ok_or_else(ended)?;
    let hash = shown.token.hash();
    // A second look after losing a race against another page of the same browser.
    for _ in 0..2 {
        let stored = app.db.sign_ins().get(&shown.family).await?.ok_or_else(ended)?;
        let now = app.now();
        match refresh(&family(&stored), &hash, now) {
            Refresh::Ended => return Err(ended()),
            Refresh::Reused => {
                end(app, &stored).await?;
                return Err(ended());
            }
            Refresh::Rotate => {}
        }
        let next = RefreshToken::new(shown.family.clone())?;
        let expires_at = now.plus(REFRESH_LIFE);
        let sign_ins = app.db.sign_ins();
        let family = &shown.family;
        if sign_ins.rotate(family, &stored.current, &next.token.hash(), now, expires_at).await? {
            return tokens::signed_in(
                app,
                StatusCode::OK,
                &stored.account,
                stored.client,
                next,
                place,
            );
        }
    }
    Err(ApiError::rate_limited(1))
}

fn family(stored: &SignIn) -> Family<'_> {
    Family {
        current: &stored.current,
        previous: stored.previous.as_deref(),
        rotated_at: stored.rotated_at,
        expires_at: stored.expires_at,
        revoked: stored.revoked,
    }
}

async fn end(app: &AppState, stored: &SignIn) -> Result<(), ApiError> {
    tracing::warn!(sign_in = %stored.id, "a refresh token was used twice; the sign-in ends");
    app.db.sign_ins().revoke(&stored.id).await?;
    let sessions = app.db.play_tokens().revoke_for_sign_in(&stored.id).await?;
    let user = &stored.account.id;
    app.audit(Some(user), "session.refresh_reuse", stored.id.as_str(), "unauthenticated").await;
    app.notify(&sightline_protocol::cm::Notice::User { user: user.clone() }).await;
    revoke::sessions(app, sessions).await;
    Ok(())
}
