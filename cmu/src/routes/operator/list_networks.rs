//! `GET /operator/networks`.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use cmu_domain::network;
use cmu_storage::{SESSIONS, Side, StatRow};
use serde::Deserialize;
use sightline_model::Rung;
use sightline_protocol::{
    cm::{CauseCount, NetworkList, NetworkRow, NetworkSide, RelayCause, RungCount, StageFigures},
    cs::StageTimes,
};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, Query},
    paths::{RELAY_CAUSE, RUNG, STAGE, TOTAL},
    state::AppState,
};

use super::Days;

const MAX_NETWORKS: u32 = 200;
const DAYS: Days = Days { usual: 7, most: 90 };

const RUNGS: [Rung; 7] = [
    Rung::Host,
    Rung::Mapped,
    Rung::Punched,
    Rung::Probed,
    Rung::RelayUdp,
    Rung::RelayTcp,
    Rung::RelayTls,
];

/// What to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub struct Which {
    /// Whose networks: those of viewers, or those of devices.
    side: NetworkSide,
    /// Days back from today, which counts; 7 when left out, 90 at most.
    days: Option<u16>,
}

/// How sessions reach their viewers, by network: rungs of the ladder, bytes relayed, and the time
/// to the first frame by stage. Networks are prefixes (/24, /48); those with the most sessions come
/// first.
#[utoipa::path(get, path = "/operator/networks", operation_id = "listNetworks", tag = "operator",
    security(("bearer" = [])), params(Which),
    responses(
        (status = 200, body = NetworkList),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "not the operator's staff", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<NetworkList>, ApiError> {
    caller.operator()?;
    let side = match which.side {
        NetworkSide::Viewer => Side::Viewer,
        NetworkSide::Pu => Side::Pu,
    };
    let (from_day, from) = DAYS.back(which.days, app.now());
    let counts = app.db.network_stats().list(from_day, side, MAX_NETWORKS).await?;
    let relayed = app.db.relay_usages().by_network(from, side).await?;
    Ok(Json(NetworkList { from, networks: rows(counts, &relayed.into_iter().collect()) }))
}

fn rows(counts: Vec<StatRow>, relayed: &BTreeMap<String, u64>) -> Vec<NetworkRow> {
    let mut networks = BTreeMap::<String, BTreeMap<String, Vec<(i64, i64)>>>::new();
    for row in counts {
        let metrics = networks.entry(row.network).or_default();
        metrics.entry(row.metric).or_default().push((row.bucket, row.count));
    }
    let mut rows: Vec<NetworkRow> = networks
        .into_iter()
        .map(|(network, metrics)| {
            let relayed_bytes = relayed.get(&network).copied().unwrap_or(0);
            row(network, &metrics, relayed_bytes)
        })
        .collect();
    rows.sort_by(|a, b| b.sessions.cmp(&a.sessions).then_with(|| a.network.cmp(&b.network)));
    rows
}

fn row(
    network: String,
    metrics: &BTreeMap<String, Vec<(i64, i64)>>,
    relayed_bytes: u64,
) -> NetworkRow {
    let of = |metric: &str| metrics.get(metric).map_or(&[][..], Vec::as_slice);
    let sum = |metric: &str| -> u64 {
        let sum: i64 = of(metric).iter().map(|(_, count)| count).sum();
        u64::try_from(sum).unwrap_or(0)
    };
    let rung = |rung| RungCount {
        rung,
        sessions: sum(&format!("{RUNG}{}", cmu_storage::rung_word(rung))),
    };
    let cause = |cause: RelayCause| CauseCount {
        cause,
        sessions: sum(&format!("{RELAY_CAUSE}{}", cause.word())),
    };
    let mut relay_causes: Vec<CauseCount> =
        RelayCause::ALL.into_iter().map(cause).filter(|count| count.sessions > 0).collect();
    relay_causes.sort_by_key(|count| std::cmp::Reverse(count.sessions));
    let stage = |stage: &str| {
        let metric = format!("{STAGE}{stage}");
        let counts = of(&metric);
        Some(StageFigures {
            stage: stage.to_owned(),
            p50_ms: network::percentile_ms(counts, 50)?,
            p95_ms: network::percentile_ms(counts, 95)?,
        })
    };
    NetworkRow {
        network,
        sessions: sum(SESSIONS),
        rungs: RUNGS.into_iter().map(rung).filter(|count| count.sessions > 0).collect(),
        relayed_bytes,
        relay_causes,
        stages: StageTimes::NAMES.into_iter().chain([TOTAL]).filter_map(stage).collect(),
    }
}
