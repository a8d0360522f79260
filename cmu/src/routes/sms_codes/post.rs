//! `POST /sms-codes` (A6.1.1).

use axum::{extract::State, http::StatusCode};
use cmu_domain::{
    address::prefix,
    code::{LIFE, OneTimeCode},
    phone,
};
use sightline_model::PhoneNumber;
use sightline_protocol::{
    ProblemKind,
    cm::{SmsCodeRequest, SmsCodeSent},
};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{ClientAddress, Json},
    random,
    state::{AppState, phone_key},
};

/// Send a one-time code by SMS.
///
/// The answer is the same whether the number has an account or not.
#[utoipa::path(post, path = "/sms-codes", operation_id = "sendSmsCode", tag = "sessions",
    request_body = SmsCodeRequest,
    responses(
        (status = 202, body = SmsCodeSent),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "the country is not served", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "too many; no SMS was sent", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "the SMS gateway fails", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    ClientAddress(ip): ClientAddress,
    Json(request): Json<SmsCodeRequest>,
) -> Result<(StatusCode, axum::Json<SmsCodeSent>), ApiError> {
    let result = send(&app, ip, &request).await;
    let sent = app.audited(None, "sms_code.send", "phone", result).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(sent)))
}

/// On a thread of its own: the first number of a country makes the numbering plans' expressions,
/// a tenth of a second in which a runtime's thread would look after neither sockets nor timers.
async fn admit(app: &AppState, phone: &PhoneNumber) -> Result<(), ApiError> {
    let (phone, countries) = (phone.clone(), app.config.sms.countries.clone());
    let admit = move || phone::admit(&phone, &countries);
    let admitted = tokio::task::spawn_blocking(admit).await;
    let admitted = admitted.map_err(|error| {
        tracing::error!(%error, "a number could not be checked");
        ApiError::internal()
    })?;
    admitted.map_err(|refusal| {
        let kind = match refusal {
            phone::Refusal::NotANumber => ProblemKind::InvalidRequest,
            phone::Refusal::Country => ProblemKind::Forbidden,
        };
        ApiError::new(kind, refusal.to_string())
    })
}

async fn send(
    app: &AppState,
    ip: std::net::IpAddr,
    SmsCodeRequest { phone }: &SmsCodeRequest,
) -> Result<SmsCodeSent, ApiError> {
    admit(app, phone).await?;
    // Whoever asks is counted before whom they name, so that one sender cannot use up the budget
    // of somebody else's number, nor everybody's.
    let limits = &app.config.limits;
    app.limit(limits.sms_per_address, &format!("sms:ip:{ip}")).await?;
    app.limit(limits.sms_per_network, &format!("sms:net:{}", prefix(ip))).await?;
    app.limit(limits.sms_per_number, &format!("sms:to:{}", phone_key(phone.expose()))).await?;
    app.limit(limits.sms_total, "sms:total").await?;

    let code = OneTimeCode::from_random(random::bits()?);
    let hash = code.hash(&app.config.domain, phone);
    app.db.sms_codes().replace(phone, &hash.0, app.now().plus(LIFE)).await?;
    let minutes = LIFE.as_secs() / 60;
    let text = format!(
        "{}: {} is your code to sign in. It works for {minutes} minutes. Give it to nobody.",
        app.config.operator_name,
        code.expose()
    );
    app.sms.send(phone, &text).await.map_err(|error| {
        tracing::error!(%error, "an SMS could not be sent");
        ApiError::new(ProblemKind::Busy, "The SMS could not be sent. Please try again soon.")
    })?;
    Ok(SmsCodeSent {
        expires_in_s: u32::try_from(LIFE.as_secs()).unwrap_or(u32::MAX),
        // Another may be asked for as long as the number's budget lasts; a person should wait a
        // moment for the first to arrive.
        retry_after_s: 30,
    })
}
