//! `GET /cameras/{id}/recordings/days`.

use axum::{Json, extract::State};
use serde::Deserialize;
use sightline_model::{CameraId, RecordedDays, ZoneName};
use sightline_protocol::ps::{RecordingReply, RecordingRequest};

use super::{ask_recorder, unexpected};
use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Query},
    state::AppState,
};

/// Which month.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub struct Which {
    /// Whose days are meant, as in the IANA database.
    #[param(value_type = String, example = "Europe/Berlin")]
    zone: ZoneName,
    /// Year of our era.
    year: i16,
    /// Month, 1 to 12.
    month: u8,
}

/// On which days of a month something was recorded.
#[utoipa::path(get, path = "/cameras/{id}/recordings/days", operation_id = "listRecordedDays",
    tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera"), Which),
    responses(
        (status = 200, body = RecordedDays),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "no right to recordings", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such camera, or nothing records it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "the recorder or its storage is away", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "the recorder did not answer", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
    Query(Which { zone, year, month }): Query<Which>,
) -> Result<Json<RecordedDays>, ApiError> {
    let ask = RecordingRequest::Days { camera: id.clone(), zone, year, month };
    match ask_recorder(&app, &caller, &id, ask).await? {
        RecordingReply::Days(days) if days.camera == id => Ok(Json(days)),
        _ => Err(unexpected()),
    }
}
