//! What recorders report (H.626.4 clause 9.9: status and alarms).

use cmu_storage::StorageError;
use sightline_model::{PuId, StorageState};
use sightline_protocol::{
    ProblemKind,
    cm::{AlertKind, Notice},
    ps::RecorderReport,
    sc::ScReply,
};

use crate::{
    sc::{ALERTS, done_or_stale, refuse},
    state::App,
};

/// Keeps a recorder's report, and alerts its owner when its storage has gone bad.
pub async fn reported(
    app: &App,
    device: &PuId,
    epoch: u64,
    report: &RecorderReport,
) -> Result<ScReply, StorageError> {
    if report.recorder != *device {
        let why = "a device reports of its own recordings only";
        return Ok(refuse(ProblemKind::InvalidRequest, why));
    }
    let devices = app.db.devices();
    let before = devices.recorder(device).await?.map(|report| report.storage.state);
    let current = devices.set_recorder(device, epoch, report).await?;
    let now = report.storage.state;
    if current && before.unwrap_or(StorageState::Ok) != now {
        app.audit(None, "recorder.storage", device.as_str(), state_word(now)).await;
        // A device could else keep its owner busy.
        let budget = format!("alert:storage:{device}:{}", state_word(now));
        if let Some(kind) = AlertKind::of_storage(now)
            && app.limit(ALERTS, &budget).await.is_ok()
        {
            app.notify(&Notice::Alert { device: device.clone(), kind }).await;
        }
    }
    Ok(done_or_stale(current))
}

const fn state_word(state: StorageState) -> &'static str {
    match state {
        StorageState::Ok => "ok",
        StorageState::Slow => "slow",
        StorageState::Full => "full",
        StorageState::ReadOnly => "read_only",
        StorageState::Away => "away",
        StorageState::Failing => "failing",
    }
}
