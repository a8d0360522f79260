//! `GET /cameras/{id}/recordings/proof`.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use sightline_model::{CameraId, StreamTier, UnixMicros};
use sightline_protocol::ProblemKind;

use super::own_cloud;
use crate::{
    cloud::proof,
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Query},
    state::AppState,
};

/// What to prove.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub struct Which {
    /// From when on (RFC 3339).
    #[param(value_type = String, format = DateTime, example = "2026-11-21T17:00:00Z")]
    from: Timestamp,
    /// Until when, exclusive; at most about six hours later (RFC 3339).
    #[param(value_type = String, format = DateTime, example = "2026-11-21T18:00:00Z")]
    to: Timestamp,
    /// Which encoding.
    tier: StreamTier,
}

/// What proves the recordings in the cloud storage: the entries that the device has signed.
#[utoipa::path(get, path = "/cameras/{id}/recordings/proof", operation_id = "proveCloudSegments",
    tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera"), Which),
    responses(
        (status = 200, description = "a proof as `cu verify` reads it", body = String, content_type = "application/json"),
        (status = 400, description = "more than can be proven at once", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to recordings", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera, or no cloud storage", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
    Query(which): Query<Which>,
) -> Result<Response, ApiError> {
    let (device, _) = own_cloud(&app, &caller, &id).await?;
    let micros = |at: Timestamp| UnixMicros(at.as_microsecond());
    let of = (&caller.0.account.id, &id, which.tier);
    let span = micros(which.from)..micros(which.to);
    let Some(proof) = proof::proof(&app, of, span, device.public_key).await? else {
        let detail = "That is more than can be proven at once; ask for less.";
        return Err(ApiError::new(ProblemKind::InvalidRequest, detail));
    };
    let json = proof.to_json().map_err(|error| {
        tracing::error!(%error, "a proof cannot be written");
        ApiError::internal()
    })?;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((kind, json).into_response())
}
