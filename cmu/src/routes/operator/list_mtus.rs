//! `GET /operator/mtus`.

use axum::{Json, extract::State};
use sightline_protocol::cm::{MtuList, MtuRow};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::Caller,
    state::AppState,
};

/// The relays (MTUs) that run, with their load.
#[utoipa::path(get, path = "/operator/mtus", operation_id = "listMtus", tag = "operator",
    security(("bearer" = [])),
    responses(
        (status = 200, body = MtuList),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "not the operator's staff", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
) -> Result<Json<MtuList>, ApiError> {
    caller.operator()?;
    let mtus = app.mtus.list(app.now()).into_iter().map(|(status, heard_at)| MtuRow {
        mtu: status.mtu,
        load: status.load,
        accepting: status.accepting,
        draining: status.draining,
        capacity_bps: status.capacity_bps,
        relayed_bps: status.relayed_bps,
        allocations: status.allocations,
        heard_at,
    });
    Ok(Json(MtuList { mtus: mtus.collect() }))
}
