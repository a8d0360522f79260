//! Routes of `/cameras/{id}/recordings` (A8.7.1 to A8.7.3, steps of searching).

pub mod days;
pub mod list;
pub mod lock;

use sightline_model::{CameraId, Right, Rights};
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
    ask: RecordingRequest,
) -> Result<RecordingReply, ApiError> {
    caller.approved()?;
    let user = &caller.0.account.id;
    app.limit(app.config.limits.recordings_per_user, &format!("recordings:user:{user}")).await?;
    let (_, camera) = own_camera(app, caller, id).await?;
    permit(&camera.rights, &ask)?;
    let request = SmRequest::Recording { device: id.pu.clone(), ask: Box::new(ask) };
    match app.ask_scu(&id.pu, &request).await? {
        SmReply::Recorded { reply } => Ok(*reply),
        SmReply::Prepared { .. } | SmReply::Done | SmReply::Refused { .. } => Err(unexpected()),
    }
}

/// Refuses whoever lacks the right that a question takes. The question alone says which: no route can
/// name another.
fn permit(rights: &Rights, ask: &RecordingRequest) -> Result<(), ApiError> {
    let (right, detail) = match ask {
        RecordingRequest::List(_)
        | RecordingRequest::Days { .. }
        | RecordingRequest::ReadPlans { .. } => {
            (Right::Playback, "You have no right to the recordings of this camera.")
        }
        RecordingRequest::SetPlan { .. }
        | RecordingRequest::Manual { .. }
        | RecordingRequest::Lock(_)
        | RecordingRequest::Status => {
            (Right::Manage, "You have no right to change what is recorded of this camera.")
        }
    };
    if rights.allows(right) { Ok(()) } else { Err(ApiError::new(ProblemKind::Forbidden, detail)) }
}

/// A recorder answered something else than it was asked.
pub(super) fn unexpected() -> ApiError {
    tracing::error!("a recorder gave an answer to another question");
    ApiError::internal()
}

#[cfg(test)]
mod tests {
    use sightline_model::{ChannelId, PuId, PublicKey, RecordingPlace, RecordingPlan, UnixMicros};
    use sightline_protocol::ps::{LockSpan, RecordingQuery};

    use super::*;

    const PU: RecordingPlace = RecordingPlace::Pu;
    const FROM: UnixMicros = UnixMicros(1);
    const TO: UnixMicros = UnixMicros(2);

    fn camera() -> CameraId {
        let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        CameraId { pu, channel: ChannelId(0) }
    }

    fn looks() -> [RecordingRequest; 3] {
        let camera = camera();
        let zone = "UTC".parse().expect("a zone");
        [
            RecordingRequest::List(RecordingQuery {
                camera: camera.clone(),
                from: FROM,
                to: TO,
                max_spans: 8,
                tier: None,
            }),
            RecordingRequest::Days { camera: camera.clone(), zone, year: 2026, month: 11 },
            RecordingRequest::ReadPlans { camera },
        ]
    }

    fn changes() -> [RecordingRequest; 4] {
        let camera = camera();
        let plan = Box::new(RecordingPlan::nothing(camera.clone(), PU));
        let strategy = "button".parse().expect("a name");
        let (place, tier, locked) = (PU, None, false);
        let lock = LockSpan { camera: camera.clone(), place, tier, from: FROM, to: TO, locked };
        [
            RecordingRequest::SetPlan { plan },
            RecordingRequest::Manual { camera, place: PU, strategy, on: false },
            RecordingRequest::Lock(lock),
            RecordingRequest::Status,
        ]
    }

    #[test]
    fn who_may_look_may_not_change_and_who_may_do_neither_is_refused_both() {
        let refused = |rights: &[Right], ask: &RecordingRequest| {
            let rights = Rights(rights.iter().copied().collect());
            permit(&rights, ask).err().map(|error| error.kind())
        };
        let forbidden = Some(ProblemKind::Forbidden);
        let live = [Right::View, Right::Listen, Right::Talk, Right::Ptz];
        for ask in looks() {
            assert_eq!(refused(&[], &ask), forbidden, "{ask:?}");
            assert_eq!(refused(&live, &ask), forbidden, "{ask:?}");
            assert_eq!(refused(&[Right::Manage], &ask), forbidden, "{ask:?}");
            assert_eq!(refused(&[Right::Playback], &ask), None, "{ask:?}");
        }
        for ask in changes() {
            assert_eq!(refused(&[], &ask), forbidden, "{ask:?}");
            assert_eq!(refused(&live, &ask), forbidden, "{ask:?}");
            assert_eq!(refused(&[Right::Playback], &ask), forbidden, "{ask:?}");
            assert_eq!(refused(&[Right::Manage], &ask), None, "{ask:?}");
        }
    }
}
