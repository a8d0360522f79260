//! `POST /cameras/{id}/recordings/playlist`.

use std::time::Duration;

use axum::extract::State;
use sightline_model::{CameraId, Secret, UnixMicros};
use sightline_protocol::{
    ProblemKind,
    cm::{PlaylistLink, PlaylistRequest},
};

use super::own_cloud;
use crate::{
    cloud::playlist::PLAYLIST_PATH,
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Json},
    state::AppState,
};

/// Longest span of a playlist, and how long its address works.
const SIX_HOURS: Duration = Duration::from_secs(6 * 3_600);

/// An address at which other players show what lies in the cloud storage (HLS).
#[utoipa::path(post, path = "/cameras/{id}/recordings/playlist", operation_id = "makePlaylist",
    tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera")),
    request_body = PlaylistRequest,
    responses(
        (status = 200, body = PlaylistLink),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to recordings", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera, or no cloud storage", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
    Json(request): Json<PlaylistRequest>,
) -> Result<axum::Json<PlaylistLink>, ApiError> {
    own_cloud(&app, &caller, &id).await?;
    let PlaylistRequest { from, to, tier } = request;
    if to <= from || to.since(from) > SIX_HOURS {
        let detail = "to: must be at most six hours behind from";
        return Err(ApiError::new(ProblemKind::InvalidRequest, detail));
    }
    let expires_at = app.now().plus(SIX_HOURS);
    let user = &caller.0.account.id;
    let token = app.keys.sign_playlist(&caller.0, (&id, tier), (from, to), expires_at.as_secs());
    let token = token.map_err(|error| {
        tracing::error!(%error, "a playlist's address cannot be signed");
        ApiError::internal()
    })?;
    app.audit(Some(user), "recording.playlist", &id.to_string(), "ok").await;
    let url = Secret::new(format!("{PLAYLIST_PATH}/{}/playlist.m3u8", token.expose()));
    let expires_at = UnixMicros(expires_at.as_secs().saturating_mul(1_000_000));
    Ok(axum::Json(PlaylistLink { url, expires_at }))
}
