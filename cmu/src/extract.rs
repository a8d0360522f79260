//! What handlers take from a request; every rejection is a problem document.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRef, FromRequest, FromRequestParts, OptionalFromRequest, Request},
    http::{HeaderMap, header, request::Parts},
};
use cmu_domain::headers::{bearer, client_address};
use cmu_storage::SignIn;
use serde::de::DeserializeOwned;
use sightline_protocol::{ProblemKind, cm::Subscription};

use crate::{
    error::ApiError,
    state::{App, AppState},
};

/// A JSON body.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let axum::Json(value) =
            <axum::Json<T> as FromRequest<S>>::from_request(request, state).await?;
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, ApiError> {
        let body = <axum::Json<T> as OptionalFromRequest<S>>::from_request(request, state).await?;
        Ok(body.map(|axum::Json(value)| Self(value)))
    }
}

/// The query of a URL.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query =
            <axum::extract::Query<T> as FromRequestParts<S>>::from_request_parts(parts, state);
        let axum::extract::Query(value) = query.await.map_err(|rejection| {
            ApiError::new(sightline_protocol::ProblemKind::InvalidRequest, rejection.body_text())
        })?;
        Ok(Self(value))
    }
}

/// The id in a path. One that is malformed is not found, like one that is unknown.
#[derive(Debug)]
pub struct IdPath<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for IdPath<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let axum::extract::Path(text) =
            <axum::extract::Path<String> as FromRequestParts<S>>::from_request_parts(parts, state)
                .await?;
        text.parse().map(Self).map_err(|_| ApiError::not_found())
    }
}

/// Several parts of a path; likewise.
#[derive(Debug)]
pub struct PathParts<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParts<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path =
            <axum::extract::Path<T> as FromRequestParts<S>>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(parts)| Self(parts)).map_err(|_| ApiError::not_found())
    }
}

/// The address that a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl<S> FromRequestParts<S> for ClientAddress
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let app = AppState::from_ref(state);
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        // A server that does not say who calls makes everybody share one budget: limits still hold.
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(a)| a.ip());
        let values = parts.headers.get_all("x-forwarded-for").iter();
        let hops = values.filter_map(|v| v.to_str().ok());
        Ok(Self(client_address(peer.to_canonical(), hops, &app.config.trusted_proxies)))
    }
}

/// A signed-in user. The sign-in, the subscription and the role are read anew for each request.
#[derive(Debug, Clone)]
pub struct Caller(pub Arc<SignIn>);

impl Caller {
    /// Refuses a subscription that is not approved.
    ///
    /// # Errors
    /// [`ProblemKind::NotApproved`].
    pub fn approved(&self) -> Result<(), ApiError> {
        let detail = match self.0.account.subscription {
            Subscription::Active => return Ok(()),
            Subscription::Pending => "Your account still waits for the operator's approval.",
            Subscription::Suspended => "The operator has suspended your account.",
        };
        Err(ApiError::new(ProblemKind::NotApproved, detail))
    }

    /// Refuses everybody who does not work for the operator.
    ///
    /// # Errors
    /// [`ProblemKind::Forbidden`].
    pub fn operator(&self) -> Result<(), ApiError> {
        if self.0.account.is_operator {
            return Ok(());
        }
        Err(ApiError::new(ProblemKind::Forbidden, "This is for the operator's staff."))
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let app = AppState::from_ref(state);
        authenticate(&app, &parts.headers).await.map(|(sign_in, _)| Self(Arc::new(sign_in)))
    }
}

/// A signed-in user, and until when the access token that they showed works.
#[derive(Debug, Clone)]
pub struct CallerUntil(pub Caller, pub i64);

impl<S> FromRequestParts<S> for CallerUntil
where
    S: Send + Sync,
    AppState: FromRef<S>,
{
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let app = AppState::from_ref(state);
        let (sign_in, exp) = authenticate(&app, &parts.headers).await?;
        Ok(Self(Caller(Arc::new(sign_in)), exp))
    }
}

async fn authenticate(app: &App, headers: &HeaderMap) -> Result<(SignIn, i64), ApiError> {
    let refuse = || ApiError::new(ProblemKind::Unauthenticated, "Please sign in.");
    let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = value.and_then(bearer).ok_or_else(refuse)?;
    let claims = app.keys.verify_access(&app.db, token, app.clock.now()).await?;
    let claims = claims.ok_or_else(refuse)?;
    let sign_in = app.db.sign_ins().get(&claims.sid).await?.ok_or_else(refuse)?;
    if sign_in.revoked || sign_in.account.id != claims.sub {
        return Err(refuse());
    }
    Ok((sign_in, claims.exp))
}
