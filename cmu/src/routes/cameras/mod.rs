//! Routes of `/cameras`.

pub mod get;
pub mod list;
pub mod patch;
pub mod plans;
pub mod play;
pub mod recordings;

use cmu_storage::DeviceRow;
use sightline_model::CameraId;
use sightline_protocol::cm::Camera;

use crate::{cameras, error::ApiError, extract::Caller, state::AppState};

/// A camera of the caller. Whoever asks for too many that are not theirs has to wait: ids cannot be
/// tried out, although 128 bits could not be found that way anyhow.
pub(super) async fn own_camera(
    app: &AppState,
    caller: &Caller,
    id: &CameraId,
) -> Result<(DeviceRow, Camera), ApiError> {
    let user = &caller.0.account.id;
    let (limit, key) = (app.config.limits.not_found_per_user, format!("miss:user:{user}"));
    let found = cameras::one(&app.db, user, id, app.now());
    let (left, found) = tokio::join!(app.limit_left(limit, &key), found);
    left?;
    if let Some(found) = found? {
        return Ok(found);
    }
    app.limit(limit, &key).await?;
    Err(ApiError::not_found())
}
