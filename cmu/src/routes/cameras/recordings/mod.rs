//! Routes of `/cameras/{id}/recordings` (A8.7.1 to A8.7.3, steps of searching).

pub mod days;
pub mod list;
pub mod lock;
pub mod playlist;
pub mod proof;
pub mod segments;

use cmu_storage::DeviceRow;
use sightline_model::{CameraId, PuId, RecordingPlace, Right, Rights};
use sightline_protocol::{
    ProblemKind,
    cm::{SilenceReason, SilentRecorder},
    ps::{RecordingReply, RecordingRequest},
    sm::{SmReply, SmRequest},
};

use super::own_camera;
use crate::{
    cloud::{CloudError, CloudStore, listing::ListError},
    error::ApiError,
    extract::Caller,
    state::AppState,
};

/// Asks whoever records the camera at the place that the question names, on behalf of somebody who has the
/// right to it.
pub(super) async fn ask_recorder(
    app: &AppState,
    caller: &Caller,
    id: &CameraId,
    ask: RecordingRequest,
) -> Result<RecordingReply, ApiError> {
    allow(app, caller, id, &ask).await?;
    pass_on(app, id, ask).await
}

/// Asks everybody who records the camera, at once, on behalf of somebody who has the right to it.
pub(super) async fn ask_recorders(
    app: &AppState,
    caller: &Caller,
    id: &CameraId,
    ask: RecordingRequest,
) -> Result<Heard, ApiError> {
    allow(app, caller, id, &ask).await?;
    pass_on_to_all(app, id, ask).await
}

/// Asks the recorder at the place that the question names, for somebody who was allowed to.
pub(super) async fn pass_on(
    app: &AppState,
    id: &CameraId,
    ask: RecordingRequest,
) -> Result<RecordingReply, ApiError> {
    let device = match place(&ask) {
        RecordingPlace::Nvr => nvr_of(app, id).await?.ok_or_else(|| {
            ApiError::new(ProblemKind::NotFound, "No recorder records this camera.")
        })?,
        RecordingPlace::Pu | RecordingPlace::Cs => id.pu.clone(),
    };
    ask_device(app, &device, ask).await
}

/// [`ask_recorders`] for somebody who was allowed to.
pub(super) async fn pass_on_to_all(
    app: &AppState,
    id: &CameraId,
    ask: RecordingRequest,
) -> Result<Heard, ApiError> {
    let mut heard = Heard::default();
    match nvr_of(app, id).await? {
        None => heard.add(RecordingPlace::Pu, &id.pu, ask_device(app, &id.pu, ask).await),
        Some(nvr) => {
            let (own, nvrs) =
                tokio::join!(ask_device(app, &id.pu, ask.clone()), ask_device(app, &nvr, ask));
            heard.add(RecordingPlace::Pu, &id.pu, own);
            heard.add(RecordingPlace::Nvr, &nvr, nvrs);
        }
    }
    Ok(heard)
}

/// What came of asking everybody who records a camera.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The camera's own device first.
    replies: Vec<RecordingReply>,
    silent: Vec<SilentRecorder>,
    /// What is answered when nobody else has anything.
    refusal: Option<ApiError>,
}

impl Heard {
    fn add(
        &mut self,
        place: RecordingPlace,
        recorder: &PuId,
        answer: Result<RecordingReply, ApiError>,
    ) {
        let error = match answer {
            Ok(reply) => return self.replies.push(reply),
            Err(error) => error,
        };
        let kind = error.kind();
        tracing::info!(%recorder, ?kind, "a recorder has not told what it has");
        if let Some(reason) = silence(kind) {
            self.silent.push(SilentRecorder { place, recorder: recorder.clone(), reason });
        }
        // Of a unit that does not record, the NVR's reason matters.
        let before = self.refusal.as_ref().map(ApiError::kind);
        if before.is_none_or(|before| before == ProblemKind::NotFound) {
            self.refusal = Some(error);
        }
    }

    /// The answers, or why there are none; and who could not be asked.
    pub(super) fn parts(self) -> (Result<Vec<RecordingReply>, ApiError>, Vec<SilentRecorder>) {
        let replies = match self.refusal {
            Some(refusal) if self.replies.is_empty() => Err(refusal),
            Some(_) | None => Ok(self.replies),
        };
        (replies, self.silent)
    }
}

/// Why a recorder says nothing; none: it has answered, that it does not record the camera.
const fn silence(kind: ProblemKind) -> Option<SilenceReason> {
    match kind {
        ProblemKind::NotFound => None,
        ProblemKind::DeviceOffline => Some(SilenceReason::Offline),
        ProblemKind::Timeout => Some(SilenceReason::NoAnswer),
        ProblemKind::StorageAway => Some(SilenceReason::StorageAway),
        ProblemKind::Busy | ProblemKind::RateLimited => Some(SilenceReason::Busy),
        _ => Some(SilenceReason::Failed),
    }
}

/// The place that a question is about; what names none is asked of the camera's own device.
fn place(ask: &RecordingRequest) -> RecordingPlace {
    match ask {
        RecordingRequest::SetPlan { plan } => plan.place,
        RecordingRequest::Manual { place, .. } => *place,
        RecordingRequest::Lock(lock) => lock.place,
        RecordingRequest::ReadPlans { .. }
        | RecordingRequest::List(_)
        | RecordingRequest::Days { .. }
        | RecordingRequest::Status
        | RecordingRequest::Relate { .. } => RecordingPlace::Pu,
    }
}

async fn nvr_of(app: &AppState, id: &CameraId) -> Result<Option<PuId>, ApiError> {
    Ok(app.db.relations().of_camera(id).await?.map(|held| held.nvr))
}

async fn ask_device(
    app: &AppState,
    device: &PuId,
    ask: RecordingRequest,
) -> Result<RecordingReply, ApiError> {
    let request = SmRequest::Recording { device: device.clone(), ask: Box::new(ask) };
    match app.ask_scu(device, &request).await? {
        SmReply::Recorded { reply } => Ok(*reply),
        SmReply::Prepared { .. } | SmReply::Done | SmReply::Refused { .. } => Err(unexpected()),
    }
}

/// Refuses whoever may not ask that.
pub(super) async fn allow(
    app: &AppState,
    caller: &Caller,
    id: &CameraId,
    ask: &RecordingRequest,
) -> Result<(), ApiError> {
    let (_, rights) = camera_of(app, caller, id).await?;
    permit(&rights, ask)
}

/// A camera of an approved caller, and what they may do with it.
async fn camera_of(
    app: &AppState,
    caller: &Caller,
    id: &CameraId,
) -> Result<(DeviceRow, Rights), ApiError> {
    caller.approved()?;
    let user = &caller.0.account.id;
    app.limit(app.config.limits.recordings_per_user, &format!("recordings:user:{user}")).await?;
    let (device, camera) = own_camera(app, caller, id).await?;
    Ok((device, camera.rights))
}

/// The cloud storage, for somebody who may look at what is recorded of a camera and listen to it:
/// segments carry sound.
pub(super) async fn own_cloud<'a>(
    app: &'a AppState,
    caller: &Caller,
    id: &CameraId,
) -> Result<(DeviceRow, &'a CloudStore), ApiError> {
    let (device, rights) = camera_of(app, caller, id).await?;
    if !rights.allows(Right::Playback) || !rights.allows(Right::Listen) {
        let detail = "You have no right to the recordings of this camera.";
        return Err(ApiError::new(ProblemKind::Forbidden, detail));
    }
    Ok((device, the_cloud(app)?))
}

/// The cloud storage, where there is one.
pub(super) fn the_cloud(app: &AppState) -> Result<&CloudStore, ApiError> {
    let none = || ApiError::new(ProblemKind::NotFound, "This portal has no cloud storage.");
    app.cloud.as_ref().ok_or_else(none)
}

/// Whether a recorder cannot be asked, or has nothing to do with it: then the cloud is asked alone.
pub(super) const fn is_away(kind: ProblemKind) -> bool {
    matches!(
        kind,
        ProblemKind::DeviceOffline
            | ProblemKind::CameraOffline
            | ProblemKind::StorageAway
            | ProblemKind::NotFound
            | ProblemKind::Busy
            | ProblemKind::Timeout
    )
}

impl From<ListError> for ApiError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Coverage(error) => Self::new(ProblemKind::InvalidRequest, error.to_string()),
            ListError::Cloud(error) => error.into(),
        }
    }
}

impl From<CloudError> for ApiError {
    fn from(error: CloudError) -> Self {
        match error {
            CloudError::Storage(error) => error.into(),
            CloudError::Store(error) => {
                tracing::warn!(%error, "the cloud storage fails");
                let detail = "The cloud storage cannot be reached now.";
                Self::new(ProblemKind::StorageAway, detail)
            }
            CloudError::Corrupt => {
                tracing::error!("the list of the cloud storage is spoilt");
                Self::internal()
            }
        }
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
        | RecordingRequest::Status
        | RecordingRequest::Relate { .. } => {
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
