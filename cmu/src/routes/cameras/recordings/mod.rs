//! Routes of `/cameras/{id}/recordings` (A8.7.1 to A8.7.3, steps of searching).

pub mod days;
pub mod list;
pub mod lock;

use sightline_model::{CameraId, Right};
use sightline_protocol::{
    ProblemKind,
    ps::{RecordingReply, RecordingRequest},
    sm::{SmReply, SmRequest},
};

use super::own_camera;
use crate::{error::ApiError, extract::Caller, state::AppState};

/// Asks whoever records the camera, on behalf of somebody who has the right to it.
pub(super) async fn ask_recorder(
    app: &AppState,
    caller: &Caller,
    id: &CameraId,
    right: Right,
    ask: RecordingRequest,
) -> Result<RecordingReply, ApiError> {
    caller.approved()?;
    let user = &caller.0.account.id;
    app.limit(app.config.limits.recordings_per_user, &format!("recordings:user:{user}")).await?;
    let (_, camera) = own_camera(app, caller, id).await?;
    if !camera.rights.allows(right) {
        let detail = "You have no right to the recordings of this camera.";
        return Err(ApiError::new(ProblemKind::Forbidden, detail));
    }
    let request = SmRequest::Recording { device: id.pu.clone(), ask: Box::new(ask) };
    match app.ask_scu(&id.pu, &request).await? {
        SmReply::Recorded { reply } => Ok(*reply),
        SmReply::Prepared { .. } | SmReply::Done | SmReply::Refused { .. } => Err(unexpected()),
    }
}

/// A recorder answered something else than it was asked.
pub(super) fn unexpected() -> ApiError {
    tracing::error!("a recorder gave an answer to another question");
    ApiError::internal()
}
