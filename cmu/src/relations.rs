//! Telling devices which NVR records which camera (A8.7.2 steps 2 to 7), and taking relations back.

use cmu_storage::{RelationRow, StorageError};
use sightline_model::PuId;
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{RecordingReply, RecordingRequest, RelatedCamera, RelatedNvr, Relations},
    sm::{SmReply, SmRequest},
};

use crate::{
    cameras,
    error::ApiError,
    revoke,
    state::{App, AppState},
};

/// All relations of a device, as it is to be told.
///
/// # Errors
/// [`StorageError`].
pub async fn of_device(app: &App, pu: &PuId) -> Result<Relations, StorageError> {
    let table = app.db.relations();
    // Before what it counts: see there.
    let revision = table.revision(pu).await?;
    let recorded = table.of_nvr(pu).await?;
    let recorded_by = table.of_pu(pu).await?;
    let mut records = Vec::with_capacity(recorded.len());
    for RelationRow { number, camera, owner, .. } in recorded {
        let found = cameras::one(&app.db, &owner, &camera, app.now()).await?;
        // A camera that its unit no longer has is not recorded.
        if let Some((device, found)) = found {
            let (name, device_key) = (found.name, device.public_key);
            records.push(RelatedCamera { camera, channel: number, name, device_key });
        }
    }
    let nvr = |of: RelationRow| RelatedNvr { nvr: of.nvr, channel: of.camera.channel };
    Ok(Relations { revision, records, recorded_by: recorded_by.into_iter().map(nvr).collect() })
}

/// Tells a device all its relations; whether it has taken them. One that is away is told with its next
/// registration.
///
/// # Errors
/// Our own fault: the database fails.
pub async fn tell(app: &AppState, pu: &PuId) -> Result<bool, ApiError> {
    let relations = Box::new(of_device(app, pu).await?);
    let ask = Box::new(RecordingRequest::Relate { relations });
    let request = SmRequest::Recording { device: pu.clone(), ask };
    match app.ask_scu(pu, &request).await {
        Ok(SmReply::Recorded { reply }) if matches!(*reply, RecordingReply::Related { .. }) => {
            Ok(true)
        }
        Ok(_) => {
            tracing::error!(%pu, "a device gave another answer than to its relations");
            Ok(false)
        }
        Err(problem) => {
            tracing::info!(%pu, kind = ?problem.kind, "a device has not heard of its relations yet");
            Ok(false)
        }
    }
}

/// Takes back what a relation gave that has ended: the NVR's stream and whoever looks back there.
///
/// # Errors
/// Our own fault: the database fails.
pub async fn withdraw(app: &AppState, ended: &RelationRow) -> Result<(), ApiError> {
    let running = app.db.relations().revoke(ended).await?;
    let why = "This camera is not related to that recorder any more.";
    revoke::sessions_for(app, running, &Problem::new(ProblemKind::TokenRevoked, why)).await;
    Ok(())
}

/// A device is bound otherwise now: relations that it had do not hold any more, and the devices at their
/// other ends are told so.
///
/// # Errors
/// Our own fault: the database fails.
pub async fn binding_changed(app: &AppState, pu: &PuId) -> Result<(), ApiError> {
    let others = app.db.relations().end_stale(pu, app.now()).await?;
    if others.is_empty() {
        return Ok(());
    }
    for of in others.iter().chain([pu]) {
        tell(app, of).await?;
    }
    Ok(())
}
