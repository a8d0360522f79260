//! Answers that carry access and refresh tokens, shared by signing in and refreshing.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cmu_domain::{
    headers::{cookie, refresh_family},
    sign_in::REFRESH_LIFE,
};
use cmu_storage::Account;
use sightline_model::{ClientId, RefreshId, Secret, SessionToken};
use sightline_protocol::cm::{RefreshIn, SignedIn, User};

use crate::{error::ApiError, random, state::App};

const COOKIE: &str = "sightline_refresh";
const COOKIE_PATH: &str = "/api/v1/sessions";

/// A refresh token: which sign-in, and 256 random bits. Its text is `SIGN-IN.BITS`.
pub struct RefreshToken {
    /// Which sign-in.
    pub family: RefreshId,
    /// The whole token.
    pub token: SessionToken,
}

impl RefreshToken {
    /// A new one.
    ///
    /// # Errors
    /// Our own fault: the system gives no random numbers.
    pub fn new(family: RefreshId) -> Result<Self, ApiError> {
        let token = Secret::new(format!("{family}.{}", random::secret()?));
        Ok(Self { family, token })
    }

    /// Reads one; `None` when it cannot be one of ours.
    #[must_use]
    pub fn parse(token: SessionToken) -> Option<Self> {
        let family = refresh_family(token.expose())?;
        Some(Self { family, token })
    }

    /// From the cookie of a request.
    #[must_use]
    pub fn from_cookie(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
        Self::parse(Secret::new(cookie(cookies, COOKIE)?.to_owned()))
    }
}

/// The account as its user sees it.
#[must_use]
pub fn user(account: &Account) -> User {
    User {
        id: account.id.clone(),
        phone_masked: account.phone.masked(),
        subscription: account.subscription,
        is_operator: account.is_operator,
    }
}

/// The answer to whoever has signed in or refreshed.
///
/// # Errors
/// Our own fault: signing fails.
pub fn signed_in(
    app: &App,
    status: StatusCode,
    account: &Account,
    client: ClientId,
    refresh: RefreshToken,
    place: RefreshIn,
) -> Result<Response, ApiError> {
    let life_s = app.config.tokens.access_s;
    let access = app.keys.sign_access(&account.id, &refresh.family, app.now(), life_s);
    let access_token = access.map_err(|error| {
        tracing::error!(%error, "an access token could not be signed");
        ApiError::internal()
    })?;
    let in_body = (place == RefreshIn::Body).then(|| refresh.token.clone());
    let body = SignedIn {
        access_token,
        expires_in_s: life_s,
        refresh_token: in_body,
        user: user(account),
        client,
    };
    let mut response = (status, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if place == RefreshIn::Cookie {
        set_cookie(app, headers, refresh.token.expose(), REFRESH_LIFE.as_secs());
    }
    Ok(response)
}

/// Makes the browser forget the refresh token.
pub fn clear_cookie(app: &App, headers: &mut HeaderMap) {
    set_cookie(app, headers, "", 0);
}

fn set_cookie(app: &App, headers: &mut HeaderMap, value: &str, max_age_s: u64) {
    let secure = if app.config.public_url.starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE}={value}; Path={COOKIE_PATH}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        headers.append(header::SET_COOKIE, cookie);
    }
}
