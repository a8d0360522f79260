//! `GET /nvrs`.

use axum::{Json, extract::State};
use cmu_domain::lease::LeaseState;
use cmu_storage::{DeviceRow, RelationRow};
use sightline_model::{DeviceId, DeviceKind};
use sightline_protocol::cm::{Nvr, NvrList, Relation};

use crate::{
    error::{ApiError, ProblemDocument},
    extract::Caller,
    state::AppState,
};

/// Your network video recorders, and which cameras each records.
#[utoipa::path(get, path = "/nvrs", operation_id = "listNvrs", tag = "recordings",
    security(("bearer" = [])),
    responses(
        (status = 200, body = NvrList),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    caller: Caller,
) -> Result<Json<NvrList>, ApiError> {
    let user = &caller.0.account.id;
    let (bindings, table) = (app.db.bindings(), app.db.relations());
    let (devices, relations) = tokio::try_join!(bindings.list(user), table.of_user(user))?;
    let mut nvrs = Vec::new();
    for device in devices.into_iter().filter(|device| device.kind == DeviceKind::Nvr) {
        let report = app.db.devices().recorder(&device.pu).await?;
        nvrs.push(shown(&app, device, &relations, report.map(|report| report.storage)));
    }
    Ok(Json(NvrList { nvrs }))
}

fn shown(
    app: &AppState,
    device: DeviceRow,
    relations: &[RelationRow],
    storage: Option<sightline_model::StorageStatus>,
) -> Nvr {
    let lease = LeaseState { epoch: device.epoch, expires_at: device.lease_expires_at };
    let own = relations.iter().filter(|of| of.nvr == device.pu);
    let relation = |of: &RelationRow| Relation { camera: of.camera.clone(), since: of.since };
    Nvr {
        device_key: device.public_key,
        online: lease.is_live(app.now()),
        storage,
        records: own.map(relation).collect(),
        device: DeviceId { domain: app.db.domain().clone(), pu: device.pu },
    }
}
