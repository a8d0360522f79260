//! `POST /sessions` (A6.1.1).

use axum::{extract::State, http::StatusCode, response::Response};
use cmu_domain::{
    code::{MAX_WRONG_TRIES, OneTimeCode},
    sign_in::REFRESH_LIFE,
    text::is_chosen_name,
};
use cmu_storage::{Account, NewSignIn};
use sightline_model::{ClientId, PhoneNumber, RefreshId, UserId};
use sightline_protocol::{
    ProblemKind,
    cm::{Approval, SignInRequest, SignedIn, Subscription},
};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{ClientAddress, Json},
    random,
    state::{AppState, phone_key},
    tokens::{self, RefreshToken},
};

/// Sign in with the code from the SMS; the first time makes the account.
#[utoipa::path(post, path = "/sessions", operation_id = "signIn", tag = "sessions",
    request_body = SignInRequest,
    responses(
        (status = 201, body = SignedIn),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "the code is wrong, used or too old", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "too many tries", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    ClientAddress(ip): ClientAddress,
    Json(request): Json<SignInRequest>,
) -> Result<Response, ApiError> {
    if !request.client_name.is_empty() && !is_chosen_name(&request.client_name, 64) {
        let detail = "client_name: must have at most 64 printable characters";
        return Err(ApiError::new(ProblemKind::InvalidRequest, detail));
    }
    let result = check_code(&app, ip, &request).await;
    let account = match result {
        Ok(account) => account,
        Err(error) => return app.audited(None, "session.create", "phone", Err(error)).await,
    };
    let result = sign_in(&app, &account, &request).await;
    app.audited(Some(&account.id), "session.create", account.id.as_str(), result).await
}

async fn check_code(
    app: &AppState,
    ip: std::net::IpAddr,
    request: &SignInRequest,
) -> Result<Account, ApiError> {
    let phone = &request.phone;
    let limits = &app.config.limits;
    app.limit(limits.sign_in_per_address, &format!("sign_in:ip:{ip}")).await?;
    let key = format!("sign_in:to:{}", phone_key(phone.expose()));
    app.limit(limits.sign_in_per_number, &key).await?;

    let wrong = || {
        let detail = "This code is not right or no longer works. Please ask for a new one.";
        ApiError::new(ProblemKind::WrongCode, detail)
    };
    let code = OneTimeCode::from_typed(&request.code).ok_or_else(wrong)?;
    let given = code.hash(&app.config.domain, phone);
    let codes = app.db.sms_codes();
    let stored = codes.try_once(phone, MAX_WRONG_TRIES, app.now()).await?.ok_or_else(wrong)?;
    if !given.matches(&stored) || !codes.consume(phone, &stored).await? {
        return Err(wrong());
    }
    find_or_make(app, phone).await
}

async fn find_or_make(app: &AppState, phone: &PhoneNumber) -> Result<Account, ApiError> {
    let subscription = match app.config.approval {
        Approval::Automatic => Subscription::Active,
        Approval::Operator => Subscription::Pending,
    };
    let new = Account {
        id: UserId::from_random(random::id_bits()?),
        phone: phone.clone(),
        subscription,
        is_operator: false,
        created_at: app.now(),
    };
    let account = app.db.accounts().find_or_insert(&new).await?;
    if account.id == new.id {
        app.audit(Some(&account.id), "account.create", account.id.as_str(), "ok").await;
    }
    Ok(account)
}

async fn sign_in(
    app: &AppState,
    account: &Account,
    request: &SignInRequest,
) -> Result<Response, ApiError> {
    let refresh = RefreshToken::new(RefreshId::from_random(random::id_bits()?))?;
    let client = ClientId::from_random(random::id_bits()?);
    let now = app.now();
    let new = NewSignIn {
        id: &refresh.family,
        user: &account.id,
        client: &client,
        client_key: &request.client_key,
        client_name: &request.client_name,
        current: &refresh.token.hash(),
        created_at: now,
        expires_at: now.plus(REFRESH_LIFE),
    };
    app.db.sign_ins().insert(&new).await?;
    tokens::signed_in(app, StatusCode::CREATED, account, client, refresh, request.refresh_in)
}
