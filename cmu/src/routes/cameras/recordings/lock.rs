//! `PUT /cameras/{id}/recordings/lock`.

use axum::extract::State;
use sightline_model::{CameraId, RecordingPlace, StreamTier};
use sightline_protocol::{
    cm::{LockChange, Locked},
    ps::{LockSpan, RecordingReply, RecordingRequest},
};

use super::{allow, pass_on, the_cloud, unexpected};
use crate::{
    cloud::terms,
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Json},
    state::AppState,
};

/// Keep what was recorded in a stretch of time from being overwritten, or no longer.
#[utoipa::path(put, path = "/cameras/{id}/recordings/lock", operation_id = "lockRecordings",
    tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera")),
    request_body = LockChange,
    responses(
        (status = 200, body = Locked),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to change it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera, or nothing records it there", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "the recorder or its storage is away", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "the recorder did not answer", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
    Json(change): Json<LockChange>,
) -> Result<axum::Json<Locked>, ApiError> {
    let LockChange { place, tier, from, to, locked } = change;
    let span = LockSpan { camera: id.clone(), place, tier, from, to, locked };
    let asked = set(&app, &caller, span).await;
    let action = if locked { "recording.lock" } else { "recording.unlock" };
    let done = app.audited(Some(&caller.0.account.id), action, &id.to_string(), asked).await?;
    Ok(axum::Json(done))
}

async fn set(app: &AppState, caller: &Caller, span: LockSpan) -> Result<Locked, ApiError> {
    let ask = RecordingRequest::Lock(span.clone());
    allow(app, caller, &span.camera, &ask).await?;
    if span.place != RecordingPlace::Cs {
        return match pass_on(app, &span.camera, ask).await? {
            RecordingReply::Locked(locked) => Ok(locked),
            _ => Err(unexpected()),
        };
    }
    the_cloud(app)?;
    let mut done = Locked { segments: 0, bytes: 0 };
    let wanted = |tier: &StreamTier| span.tier.is_none_or(|one| one == *tier);
    for tier in [StreamTier::Main, StreamTier::Sub].into_iter().filter(wanted) {
        let of = (&caller.0.account.id, &span.camera, tier);
        let (segments, bytes) = app.db.cloud().lock(of, span.from..span.to, span.locked).await?;
        done.segments += segments;
        done.bytes += bytes;
    }
    terms::tell_soon(app).await;
    Ok(done)
}
