//! How media travels: what PUs and CUs report of it, and what the operator learns from that.

use cmu_domain::network;
use cmu_storage::{MAX_NETWORKS_A_DAY, SESSIONS, SessionPlace, Side, StorageError, rung_word};
use sightline_model::{MediaSessionId, NatReport, PuId, Rung};
use sightline_protocol::{cs::StageTimes, pc::PathReport};

use crate::state::App;

/// Metric of a rung: how many sessions stand on it.
pub const RUNG: &str = "rung.";
/// Metric of a cause: how many sessions are relayed for it.
pub const RELAY_CAUSE: &str = "relay_cause.";
/// Metric of a stage: a distribution of milliseconds.
pub const STAGE: &str = "stage.";
/// The stage that is the sum of all.
pub const TOTAL: &str = "total";

/// Stages beyond this are a clock's mistake rather than anybody's wait.
const LONGEST_MS: u32 = 600_000;

/// What a viewer reports of its session. `false`: the device has no such session.
///
/// # Errors
/// [`StorageError`].
pub async fn viewer_reports(
    app: &App,
    pu: &PuId,
    session: &MediaSessionId,
    path: &PathReport,
    stages: Option<&StageTimes>,
    nat: Option<&NatReport>,
) -> Result<bool, StorageError> {
    let tokens = app.db.play_tokens();
    let Some(mut place) = tokens.place(pu, session).await? else { return Ok(false) };
    tokens.viewer_report(pu, session, path, nat).await?;
    place.viewer_nat = nat.cloned().or(place.viewer_nat);
    if let Some(rung) = path.rung {
        count_rung(app, pu, session, &place, rung).await?;
    }
    if let Some(stages) = stages {
        take_stages(app, pu, session, &place, stages).await?;
    }
    Ok(true)
}

/// What a device reports of a session counts as long as its viewer says nothing itself.
///
/// # Errors
/// [`StorageError`].
pub async fn device_reports(
    app: &App,
    pu: &PuId,
    session: &MediaSessionId,
    path: &PathReport,
) -> Result<(), StorageError> {
    let Some(rung) = path.rung else { return Ok(()) };
    match app.db.play_tokens().place(pu, session).await? {
        Some(place) if !place.viewer_reported => count_rung(app, pu, session, &place, rung).await,
        Some(_) | None => Ok(()),
    }
}

/// A session counts for the rung on which it was seen last: once, however often it changes.
async fn count_rung(
    app: &App,
    pu: &PuId,
    session: &MediaSessionId,
    place: &SessionPlace,
    rung: Rung,
) -> Result<(), StorageError> {
    let word = rung_word(rung);
    let cause = if rung.is_relayed() {
        let pu_nat = app.db.devices().nat(pu).await?;
        network::relay_cause(place.viewer_nat.as_ref(), pu_nat.as_ref()).word()
    } else {
        ""
    };
    let (before, now) = ((&*place.rung, &*place.relay_cause), (word, cause));
    let tokens = app.db.play_tokens();
    if before == now || !tokens.set_standing(pu, session, before, now).await? {
        return Ok(());
    }
    if before.0.is_empty() {
        add(app, place, SESSIONS, 0, 1).await?;
    }
    if before.0 != word {
        metrics::counter!("sightline_cmu_session_rungs_total", "rung" => word).increment(1);
    }
    move_count(app, place, RUNG, before.0, word).await?;
    move_count(app, place, RELAY_CAUSE, before.1, cause).await
}

/// Counts a session for another word than before; empty: for none.
async fn move_count(
    app: &App,
    place: &SessionPlace,
    metric: &str,
    before: &str,
    now: &str,
) -> Result<(), StorageError> {
    if before == now {
        return Ok(());
    }
    for (word, by) in [(before, -1), (now, 1)] {
        if !word.is_empty() {
            add(app, place, &format!("{metric}{word}"), 0, by).await?;
        }
    }
    Ok(())
}

async fn take_stages(
    app: &App,
    pu: &PuId,
    session: &MediaSessionId,
    place: &SessionPlace,
    stages: &StageTimes,
) -> Result<(), StorageError> {
    if !stages.adds_up() || stages.total_ms > LONGEST_MS {
        metrics::counter!("sightline_cmu_stages_refused_total").increment(1);
        return Ok(());
    }
    if !app.db.play_tokens().set_stages(pu, session, stages).await? {
        return Ok(());
    }
    // Traces know numbers with a sign only.
    let span = tracing::info_span!(
        "first frame",
        session = session.as_str(),
        play_ms = i64::from(stages.play_ms),
        signalling_ms = i64::from(stages.signalling_ms),
        answer_ms = i64::from(stages.answer_ms),
        path_ms = i64::from(stages.path_ms),
        secure_ms = i64::from(stages.secure_ms),
        packet_ms = i64::from(stages.packet_ms),
        frame_ms = i64::from(stages.frame_ms),
        total_ms = i64::from(stages.total_ms),
    );
    drop(span.entered());
    let named = StageTimes::NAMES.into_iter().zip(stages.stages_ms());
    for (stage, ms) in named.chain([(TOTAL, stages.total_ms)]) {
        let seconds = f64::from(ms) / 1_000.0;
        metrics::histogram!("sightline_cmu_first_frame_seconds", "stage" => stage).record(seconds);
        add(app, place, &format!("{STAGE}{stage}"), network::bucket(ms), 1).await?;
    }
    Ok(())
}

/// Counts for the network of either end, on the day when the session was asked for.
async fn add(
    app: &App,
    place: &SessionPlace,
    metric: &str,
    bucket: i64,
    by: i64,
) -> Result<(), StorageError> {
    let (day, stats) = (network::day(place.created_at), app.db.network_stats());
    for (side, of) in [(Side::Viewer, &place.viewer_network), (Side::Pu, &place.pu_network)] {
        let Some(of) = of else { continue };
        let name = stats.name(day, side, of, MAX_NETWORKS_A_DAY).await?;
        stats.add(day, side, &name, (metric, bucket), by).await?;
    }
    Ok(())
}
