//! `GET /cameras/{id}/recordings/days`.

use axum::{Json, extract::State};
use serde::Deserialize;
use sightline_model::{CameraId, RecordedDays, ZoneName};
use sightline_protocol::{
    cm::CameraDays,
    ps::{RecordingReply, RecordingRequest},
};

use super::{allow, is_away, pass_on_to_all, unexpected};
use crate::{
    cloud::listing,
    error::{ApiError, ProblemDocument},
    extract::{Caller, IdPath, Query},
    state::AppState,
    timelines,
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

/// On which days of a month something was recorded. A recorder that could not be asked is named in `silent`.
#[utoipa::path(get, path = "/cameras/{id}/recordings/days", operation_id = "listRecordedDays",
    tag = "recordings", security(("bearer" = [])),
    params(("id" = CameraId, Path, description = "the camera"), Which),
    responses(
        (status = 200, body = CameraDays),
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
) -> Result<Json<CameraDays>, ApiError> {
    let ask = RecordingRequest::Days { camera: id.clone(), zone: zone.clone(), year, month };
    allow(&app, &caller, &id, &ask).await?;
    let (replies, silent) = pass_on_to_all(&app, &id, ask).await?.parts();
    let recorders = match replies {
        Ok(replies) => Ok(joined(&id, replies)?),
        Err(error) if is_away(error.kind()) => Err(error),
        Err(error) => return Err(error),
    };
    let days = if app.cloud.is_some() {
        let user = &caller.0.account.id;
        let cloud = listing::days(&app, user, &id, &zone, (year, month)).await?;
        match recorders {
            Ok(mut days) => {
                days.days.extend(cloud.days);
                days
            }
            Err(error) if cloud.days.is_empty() => return Err(error),
            Err(_) => cloud,
        }
    } else {
        recorders?
    };
    Ok(Json(CameraDays { days, silent }))
}

/// The days that any of the recorders has told.
fn joined(camera: &CameraId, replies: Vec<RecordingReply>) -> Result<RecordedDays, ApiError> {
    let mut all = Vec::with_capacity(replies.len());
    for reply in replies {
        match reply {
            RecordingReply::Days(days) if days.camera == *camera => all.push(days),
            _ => return Err(unexpected()),
        }
    }
    timelines::join_days(all).ok_or_else(unexpected)
}
