//! `POST /bindings` (A8.2).

use std::net::IpAddr;

use axum::{extract::State, http::StatusCode};
use cmu_domain::binding::{Claimed, Decision, decide};
use cmu_storage::NewBinding;
use sightline_model::{BindingId, ClaimCode, DeviceId, UserId};
use sightline_protocol::{
    ProblemKind,
    cm::{BindRequest, Bound, Notice},
};
use sightline_service_kit::flow;

use crate::{
    cameras,
    error::{ApiError, ProblemDocument},
    extract::{Caller, ClientAddress, Json},
    random, relations, revoke,
    state::AppState,
};

/// Make a camera yours by its claim code.
///
/// A wrong code and a device that has never been online are answered alike. Binding one's own
/// device again changes nothing.
#[utoipa::path(post, path = "/bindings", operation_id = "bindDevice", tag = "devices",
    security(("bearer" = [])), request_body = BindRequest,
    responses(
        (status = 201, body = Bound),
        (status = 400, description = "this cannot be a claim code", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "wrong code, or not approved", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "bound to somebody else", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "too many tries", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    ClientAddress(ip): ClientAddress,
    caller: Caller,
    Json(request): Json<BindRequest>,
) -> Result<(StatusCode, axum::Json<Bound>), ApiError> {
    let user = &caller.0.account.id;
    // A person who mistypes is told so before it counts as a try.
    let code: ClaimCode =
        request.claim_code.expose().parse().map_err(|error: sightline_model::InvalidValue| {
            ApiError::new(ProblemKind::InvalidRequest, error.to_string())
        })?;
    let result = bind(&app, &caller, ip, &code).await;
    let bound = app.audited(Some(user), "binding.create", code.pu_id().as_str(), result).await?;
    flow::sent("Cm", "CMU", "CU", "bound", code.pu_id().as_str());
    Ok((StatusCode::CREATED, axum::Json(bound)))
}

async fn bind(
    app: &AppState,
    caller: &Caller,
    ip: IpAddr,
    code: &ClaimCode,
) -> Result<Bound, ApiError> {
    let user = &caller.0.account.id;
    caller.approved()?;
    let limits = &app.config.limits;
    app.limit(limits.bind_per_address, &format!("bind:ip:{ip}")).await?;
    app.limit(limits.bind_per_user, &format!("bind:user:{user}")).await?;

    let pu = code.pu_id();
    let device = app.db.devices().get(pu).await?;
    let claimed = device.as_ref().map(|d| Claimed {
        claim_hash: &d.claim_hash,
        unlocked: d.claim_unlocked,
        owner: d.owner.as_ref(),
        observed: Some(d.observed),
    });
    let seen_at = app.config.devices.bind_from_same_address.then_some(ip);
    match decide(user, code, claimed.as_ref(), seen_at) {
        Decision::Own => {}
        Decision::Bind { from } => store(app, code, user, from).await?,
        Decision::Refuse(kind, detail) => return Err(ApiError::new(kind, detail)),
    }
    let found = cameras::of_device(&app.db, user, pu, app.now()).await?;
    let (_, cameras) = found.ok_or_else(ApiError::not_found)?;
    Ok(Bound { device: DeviceId { domain: app.db.domain().clone(), pu: pu.clone() }, cameras })
}

async fn store(
    app: &AppState,
    code: &ClaimCode,
    user: &UserId,
    from: Option<UserId>,
) -> Result<(), ApiError> {
    let pu = code.pu_id();
    let id = BindingId::from_random(random::id_bits()?);
    let new = NewBinding { id: &id, pu, user, from: from.as_ref(), now: app.now() };
    if !app.db.bindings().insert(&new).await? {
        let detail = "This camera has just been taken by another account.";
        return Err(ApiError::new(ProblemKind::AlreadyBound, detail));
    }
    app.db.devices().lock_claim(pu).await?;
    if let Some(former) = &from {
        app.audit(Some(former), "binding.taken_over", pu.as_str(), "ok").await;
        revoke::user_at_device(app, pu, former).await?;
    }
    app.notify(&Notice::Device { device: pu.clone(), lost_by: from.into_iter().collect() }).await;
    app.notify(&Notice::User { user: user.clone() }).await;
    revoke::owner_changed(app, pu, Some(user.clone())).await;
    relations::binding_changed(app, pu).await
}
