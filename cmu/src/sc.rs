//! Interface Sc: what SCUs ask and report over the bus.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use cmu_domain::{lease::LeaseState, limit::Limit, play, registration};
use cmu_storage::{NewRegistration, StorageError};
use sightline_bus::{Message, Subscription};
use sightline_model::{DeviceId, MediaSessionId, PuId, ScuId, TokenHash};
use sightline_protocol::{
    Named, Problem, ProblemKind,
    cm::{AlertKind, Notice, Subscription as Contract},
    decode, encode,
    pc::PathReport,
    ps::{Addresses, ChannelStatus, Registration, TokenBearer},
    sc::{Lease, ScReply, ScRequest, TokenGrant},
    sm::LeaseGranted,
    subject,
};
use sightline_service_kit::{
    flow,
    telemetry::{current_traceparent, message_span},
};
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::{
    cloud::uploads,
    error::kind_word,
    paths, recordings, relations,
    state::{App, AppState},
    tickets,
};

/// Requests worked on at once; more wait in the bounded queue of the bus.
const MAX_AT_ONCE: usize = 64;
/// Queue group: each request reaches one CMU.
pub const QUEUE_GROUP: &str = "cmu";

/// Answers requests until the bus or the service ends.
pub async fn serve(app: AppState, mut requests: Subscription) {
    let permits = Arc::new(Semaphore::new(MAX_AT_ONCE));
    while let Some(message) = requests.next().await {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let app = app.clone();
        app.clone().lifecycle.spawn(async move {
            answer(&app, message).await;
            drop(permit);
        });
    }
}

async fn answer(app: &App, message: Message) {
    let reply = match decode::<ScRequest>(&message.payload) {
        Ok(envelope) => {
            let name = envelope.body.name();
            let span = message_span("Sc", name, envelope.traceparent.as_deref());
            handle(app, envelope.body).instrument(span).await
        }
        Err(error) => refuse(ProblemKind::InvalidRequest, error.to_string()),
    };
    if let Some(to) = message.reply {
        to.send(Bytes::from(encode(&reply, current_traceparent()))).await;
    }
}

/// Does what an SCU asks.
pub async fn handle(app: &App, request: ScRequest) -> ScReply {
    let result = match request {
        ScRequest::Register { scu, scu_url, nonce, observed, registration } => {
            register(app, &Asking { scu, scu_url, nonce, observed }, &registration).await
        }
        ScRequest::RenewLeases { scu, leases } => renew(app, &scu, &leases).await,
        ScRequest::Release { device, epoch } => release(app, &device, epoch).await,
        ScRequest::Addresses { device, epoch, addresses } => {
            set_addresses(app, &device, epoch, &addresses).await
        }
        ScRequest::Channels { device, epoch, channels } => {
            set_channels(app, &device, epoch, &channels).await
        }
        ScRequest::TokenCheck { device, token, presented_by } => {
            check_token(app, &device, &token, &presented_by).await
        }
        ScRequest::SessionReport { device, epoch, session, path } => {
            let path = path.map(PathReport::bounded);
            report(app, &device, epoch, &session, path.as_ref()).await
        }
        ScRequest::ViewerReport { device, session, path, stages, nat } => {
            let path = path.bounded();
            let (stages, nat) = (stages.as_ref(), nat.as_ref());
            paths::viewer_reports(app, &device, &session, &path, stages, nat).await.map(known)
        }
        ScRequest::RecorderReport { device, epoch, report } => {
            recordings::reported(app, &device, epoch, &report).await
        }
        ScRequest::Ticket { device, epoch, camera } => {
            tickets::answer(app, &device, epoch, &camera).await
        }
        ScRequest::Cloud { device, epoch, ask } => uploads::asked(app, &device, epoch, *ask).await,
        ScRequest::Nat { device, epoch, nat } => {
            app.db.devices().set_nat(&device, epoch, &nat).await.map(done_or_stale)
        }
    };
    result.unwrap_or_else(|error: StorageError| {
        tracing::error!(%error, "a request of an SCU failed");
        refuse(ProblemKind::Internal, "The CMU failed; try again.")
    })
}

pub(crate) fn refuse(kind: ProblemKind, detail: impl Into<String>) -> ScReply {
    ScReply::Refused { problem: Problem::new(kind, detail) }
}

fn known(session: bool) -> ScReply {
    if session {
        ScReply::Done
    } else {
        refuse(ProblemKind::NotFound, "The device has no such session.")
    }
}

pub(crate) fn done_or_stale(current: bool) -> ScReply {
    if current {
        ScReply::Done
    } else {
        refuse(ProblemKind::StaleLease, "Another registration of the device has taken over.")
    }
}

async fn changed(app: &App, device: &PuId) {
    app.notify(&Notice::Device { device: device.clone(), lost_by: Vec::new() }).await;
}

struct Asking {
    scu: ScuId,
    scu_url: String,
    nonce: String,
    observed: IpAddr,
}

async fn register(
    app: &App,
    asking: &Asking,
    registration: &Registration,
) -> Result<ScReply, StorageError> {
    let pu = &registration.pu;
    let admitted = registration::admit(registration, &asking.scu, &asking.nonce, &app.policy);
    if let Err((kind, detail)) = admitted {
        return Ok(refuse_registration(app, pu, kind, detail).await);
    }
    // Empty: the SCU is reached under the portal's own address, as in the all-in-one.
    let url = &asking.scu_url;
    if !(url.is_empty() || url.starts_with("ws://") || url.starts_with("wss://")) {
        return Ok(refuse(ProblemKind::InvalidRequest, "scu_url: must be a WebSocket URL"));
    }
    let now = app.now();
    let new = NewRegistration {
        registration,
        observed: asking.observed,
        scu: &asking.scu,
        scu_url: &asking.scu_url,
        now,
        lease_expires_at: now.plus(app.config.lease_ttl()),
    };
    let Some(epoch) = app.db.devices().register(&new).await? else {
        let detail = "the id is known with another key";
        return Ok(refuse_registration(app, pu, ProblemKind::WrongKey, detail).await);
    };
    // Sessions of the connection before are reported anew by the device if they still run.
    app.db.play_tokens().end_all(pu, now).await?;
    announce_lease(app, pu, epoch, &asking.scu).await;
    changed(app, pu).await;
    let stored = app.db.devices().get(pu).await?;
    let domain = app.db.domain().clone();
    flow::sent("Sc", "CMU", "SCU", "registered", pu.as_str());
    Ok(ScReply::Registered(Box::new(Lease {
        device: DeviceId { domain, pu: pu.clone() },
        epoch,
        ttl_ms: app.config.devices.lease_ttl_ms,
        owner: stored.and_then(|device| device.owner),
        token_keys: app.keys.token_keys(&app.db).await?,
        server_time: now,
        relations: Some(relations::of_device(app, pu).await?),
    })))
}

/// Alerts of one device: whoever knows its id could else keep its owner busy.
pub(crate) const ALERTS: Limit = Limit { count: 1, per_s: 600 };

/// The device that holds the key keeps its lease. Its owner is alerted of an impostor, and finds
/// each try in the audit log.
async fn refuse_registration(
    app: &App,
    pu: &PuId,
    kind: ProblemKind,
    detail: &'static str,
) -> ScReply {
    tracing::warn!(%pu, ?kind, detail, "a registration was refused");
    let owner = app.db.devices().get(pu).await.ok().flatten().and_then(|d| d.owner);
    app.audit(owner.as_ref(), "device.register", pu.as_str(), &kind_word(kind)).await;
    let impostor = kind == ProblemKind::WrongKey && owner.is_some();
    if impostor && app.limit(ALERTS, &format!("alert:device:{pu}")).await.is_ok() {
        app.notify(&Notice::Alert { device: pu.clone(), kind: AlertKind::WrongKey }).await;
    }
    refuse(kind, detail)
}

async fn announce_lease(app: &App, pu: &PuId, epoch: u64, scu: &ScuId) {
    let granted = LeaseGranted { device: pu.clone(), epoch, scu: scu.clone() };
    let subject = subject::lease_events(app.db.domain());
    let payload = Bytes::from(encode(&granted, current_traceparent()));
    if let Err(error) = app.bus.publish(&subject, payload).await {
        // The epoch fences the older holder at its next renewal.
        tracing::warn!(%error, "a lease could not be announced");
    }
}

async fn renew(app: &App, scu: &ScuId, leases: &[(PuId, u64)]) -> Result<ScReply, StorageError> {
    let expires_at = app.now().plus(app.config.lease_ttl());
    let (renewed, back) = app.db.devices().renew(scu, leases, expires_at).await?;
    for device in &back {
        changed(app, device).await;
    }
    let renewed: std::collections::HashSet<PuId> = renewed.into_iter().collect();
    let lost = leases.iter().map(|(pu, _)| pu).filter(|pu| !renewed.contains(*pu)).cloned();
    Ok(ScReply::LeasesRenewed { lost: lost.collect() })
}

async fn release(app: &App, pu: &PuId, epoch: u64) -> Result<ScReply, StorageError> {
    let current = app.db.devices().release(pu, epoch).await?;
    if current {
        app.db.play_tokens().end_all(pu, app.now()).await?;
        changed(app, pu).await;
    }
    // An older lease changes nothing, and letting go of it is no mistake.
    Ok(ScReply::Done)
}

async fn set_addresses(
    app: &App,
    pu: &PuId,
    epoch: u64,
    addresses: &Addresses,
) -> Result<ScReply, StorageError> {
    if let Err(detail) = registration::check_addresses(addresses) {
        return Ok(refuse(ProblemKind::InvalidRequest, detail));
    }
    app.db.devices().set_addresses(pu, epoch, addresses).await.map(done_or_stale)
}

async fn set_channels(
    app: &App,
    pu: &PuId,
    epoch: u64,
    channels: &[ChannelStatus],
) -> Result<ScReply, StorageError> {
    if let Err(detail) = registration::check_channels(channels) {
        return Ok(refuse(ProblemKind::InvalidRequest, detail));
    }
    let current = app.db.devices().set_channels(pu, epoch, channels).await?;
    if current {
        changed(app, pu).await;
    }
    Ok(done_or_stale(current))
}

async fn check_token(
    app: &App,
    pu: &PuId,
    token: &TokenHash,
    bearer: &TokenBearer,
) -> Result<ScReply, StorageError> {
    let refused = match judge_token(app, pu, token, bearer).await? {
        Ok(grant) => {
            flow::sent("Sc", "CMU", "SCU", "token_granted", grant.session.as_str());
            return Ok(ScReply::TokenGranted(Box::new(grant)));
        }
        Err(problem) => problem,
    };
    app.audit(None, "token.check", pu.as_str(), &kind_word(refused.kind)).await;
    flow::sent("Sc", "CMU", "SCU", "token_refused", pu.as_str());
    Ok(ScReply::Refused { problem: refused })
}

async fn judge_token(
    app: &App,
    pu: &PuId,
    token: &TokenHash,
    bearer: &TokenBearer,
) -> Result<Result<TokenGrant, Problem>, StorageError> {
    // A token for another device is as unknown here as one that was never issued.
    let Some(row) = app.db.play_tokens().get(token.as_str(), pu).await? else {
        let detail = "The centre knows no such play token for this device.";
        return Ok(Err(Problem::new(ProblemKind::InvalidToken, detail)));
    };
    let shown_by = play::bearer_text(bearer);
    let state = play::TokenState {
        expires_at: row.expires_at,
        revoked: row.revoked,
        owned: row.owned,
        user_in_order: row.subscription == Contract::Active && !row.signed_out,
        bearer: row.bearer.as_deref(),
    };
    if let Err((kind, detail)) = play::check(&state, &shown_by, app.now()) {
        return Ok(Err(Problem::new(kind, detail)));
    }
    // Whoever has shown it before, or whose key it names, has claimed it already.
    let claimed = row.bearer.as_ref() == Some(&shown_by);
    if !claimed && !app.db.play_tokens().claim(token.as_str(), &shown_by).await? {
        let detail = "Another client has used this play token before.";
        return Ok(Err(Problem::new(ProblemKind::TokenInUse, detail)));
    }
    Ok(Ok(TokenGrant {
        domain: app.db.domain().clone(),
        user: row.user,
        session: row.session,
        channel: row.channel,
        rights: row.rights,
        capabilities: row.capabilities,
        expires_at: row.expires_at,
    }))
}

async fn report(
    app: &App,
    pu: &PuId,
    epoch: u64,
    session: &MediaSessionId,
    path: Option<&PathReport>,
) -> Result<ScReply, StorageError> {
    let device = app.db.devices().get(pu).await?;
    let lease = device.map(|d| LeaseState { epoch: d.epoch, expires_at: d.lease_expires_at });
    if lease.is_none_or(|lease| lease.admit(epoch).is_err()) {
        return Ok(done_or_stale(false));
    }
    let row = app.db.play_tokens().of_session(pu, session).await?;
    let ended = row.is_some_and(|row| {
        row.revoked || !row.owned || row.signed_out || row.subscription != Contract::Active
    });
    if path.is_some() && ended {
        // The device was away when the right was taken; its SCU ends the stream upon this.
        let detail = "The right to watch this camera has ended.";
        return Ok(refuse(ProblemKind::TokenRevoked, detail));
    }
    if app.db.play_tokens().report(pu, session, path, app.now()).await? {
        changed(app, pu).await;
    }
    if let Some(path) = path {
        paths::device_reports(app, pu, session, path).await?;
    }
    Ok(ScReply::Done)
}
