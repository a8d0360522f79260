//! What recorders report (H.626.4 clause 9.9: status and alarms).

use cmu_storage::{Reported, StorageError};
use sightline_model::{PuId, ReportedHead, StorageState};
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

/// Keeps a recorder's report, and alerts its owner when its storage has gone bad. A chain that is
/// shorter than was told before is found in the audit log.
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
    if !report.heads.iter().all(has_form) {
        let why = "heads: a chain's id has 32, a hash 64 small hexadecimal digits";
        return Ok(refuse(ProblemKind::InvalidRequest, why));
    }
    let Some(found) = app.db.devices().set_recorder(device, epoch, report).await? else {
        return Ok(done_or_stale(false));
    };
    let now = report.storage.state;
    if found.before.unwrap_or(StorageState::Ok) != now {
        storage_changed(app, device, now).await;
    }
    chains_contradict(app, device, &found).await;
    Ok(ScReply::Done)
}

/// What is kept for good has a bounded length, and one spelling.
fn has_form(head: &ReportedHead) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    head.chain.len() == 32 && head.hash.len() == 64 && is_hex(&head.chain) && is_hex(&head.hash)
}

async fn storage_changed(app: &App, device: &PuId, now: StorageState) {
    // A device could else keep its owner busy, and fill the audit log.
    let budget = format!("alert:storage:{device}:{}", state_word(now));
    if app.limit(ALERTS, &budget).await.is_err() {
        return;
    }
    app.audit(None, "recorder.storage", device.as_str(), state_word(now)).await;
    if let Some(kind) = AlertKind::of_storage(now) {
        app.notify(&Notice::Alert { device: device.clone(), kind }).await;
    }
}

async fn chains_contradict(app: &App, device: &PuId, found: &Reported) {
    let (receded, surplus) = (!found.receded.is_empty(), found.surplus > 0);
    for (is, outcome) in [(receded, "chain_receded"), (surplus, "too_many_chains")] {
        if !is || app.limit(ALERTS, &format!("audit:{device}:{outcome}")).await.is_err() {
            continue;
        }
        let chains = found.receded.iter().map(|head| (head.chain.as_str(), head.sequence));
        let chains: Vec<_> = chains.collect();
        tracing::warn!(%device, outcome, ?chains, "a recorder contradicts what it had told");
        app.audit(None, "recorder.chains", device.as_str(), outcome).await;
    }
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
