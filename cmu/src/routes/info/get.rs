//! `GET /info`.

use axum::{Json, extract::State};
use sightline_protocol::cm::Info;

use crate::state::AppState;

/// What a CU must know before anybody signs in.
#[utoipa::path(get, path = "/info", operation_id = "getInfo", tag = "info",
    responses((status = 200, body = Info)))]
pub async fn handler(State(app): State<AppState>) -> Json<Info> {
    Json(Info {
        operator: app.config.operator_name.clone(),
        domain: app.config.domain.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        approval: app.config.approval,
    })
}
