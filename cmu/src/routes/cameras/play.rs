//! `POST /cameras/{id}/play` (A8.4 steps 1 to 3).

use std::{net::IpAddr, time::Duration};

use axum::extract::State;
use cmu_domain::{address::same_place, lease::LeaseState, network, play};
use cmu_storage::{DeviceRow, NewPlayToken};
use sightline_model::{
    CameraId, DeviceId, MediaSessionId, Presence, PuId, Right, Rights, SessionToken, TokenId,
    UnixMicros,
};
use sightline_protocol::{
    ProblemKind,
    cm::{Camera, IceServer, Notice, PlayAnswer, PlayRequest, Player},
    cs::WEBSOCKET_PATH,
    ps::{PlayClaims, TokenBearer},
    sm::{SmReply, SmRequest},
};
use sightline_service_kit::flow;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    error::{ApiError, ProblemDocument},
    extract::{Caller, ClientAddress, IdPath, Json},
    random,
    routes::cameras::own_camera,
    state::AppState,
};

/// How long a camera that gives no picture yet is waited for.
const STARTING: Duration = Duration::from_secs(2);

/// Ask to watch a camera: the answer says where it is and holds a token for it.
///
/// The video comes from the device itself. The token names the caller's client key (player
/// `client`) or is bound to the first address that shows it (player `rtsp`). With `recorder` the answer is
/// for the recordings that this NVR has of the camera: `device` and `camera` are then the NVR and its
/// number of the camera.
#[utoipa::path(post, path = "/cameras/{id}/play", operation_id = "playCamera", tag = "cameras",
    security(("bearer" = [])), params(("id" = CameraId, Path, description = "the camera")),
    request_body = PlayRequest,
    responses(
        (status = 200, body = PlayAnswer),
        (status = 400, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "not approved, or an operator without the owner's grant", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "the device or its camera is offline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "the device did not answer", body = ProblemDocument, content_type = "application/problem+json"),
    ))]
pub async fn handler(
    State(app): State<AppState>,
    ClientAddress(ip): ClientAddress,
    caller: Caller,
    IdPath(id): IdPath<CameraId>,
    Json(request): Json<PlayRequest>,
) -> Result<axum::Json<PlayAnswer>, ApiError> {
    let user = &caller.0.account.id;
    let result = start(&app, &caller, ip, &id, &request).await;
    // Its token is written quickly too: whoever waits for a picture waits for no disk.
    let outcome = result.as_ref().map_or_else(ApiError::word, |_| "ok".to_owned());
    app.audit_quick(Some(user), "camera.play", &id.to_string(), &outcome).await;
    let answer = result?;
    flow::sent("Cm", "CMU", "CU", "play_answer", answer.session.as_str());
    Ok(axum::Json(answer))
}

async fn start(
    app: &AppState,
    caller: &Caller,
    ip: IpAddr,
    id: &CameraId,
    request: &PlayRequest,
) -> Result<PlayAnswer, ApiError> {
    caller.approved()?;
    let limits = &app.config.limits;
    let user = &caller.0.account.id;
    app.limit(limits.play_per_user, &format!("play:user:{user}")).await?;
    let (device, camera) = match &request.recorder {
        None => find_started(app, caller, id).await?,
        Some(recorder) => find_recorded(app, caller, id, recorder).await?,
    };
    let offline = |kind, detail| Err(ApiError::new(kind, detail));
    match camera.presence {
        Presence::Offline => {
            return offline(ProblemKind::DeviceOffline, "The camera is not connected now.");
        }
        Presence::Inactive => {
            let detail = "The device is there, but its camera gives no picture.";
            return offline(ProblemKind::CameraOffline, detail);
        }
        Presence::Online | Presence::Active => {}
    }
    let networks = (network::prefix(ip), network::prefix(device.observed));
    let (claims, ticket) = sign(app, caller, &camera, request)?;
    let prepare = SmRequest::PrepareMedia {
        device: device.pu.clone(),
        session: ticket.session.clone(),
        user: user.clone(),
        channel: camera.id.channel,
        capabilities: request.capabilities.clone(),
    };
    // The token is shown to nobody before both are done.
    let (prepared, ()) = tokio::try_join!(
        async { app.ask_scu(&device.pu, &prepare).await.map_err(ApiError::from) },
        enter(app, caller, &claims, &ticket, request, &networks),
    )?;
    let ice_servers = match prepared {
        SmReply::Prepared { ice_servers } => ice_servers,
        SmReply::Done | SmReply::Recorded { .. } | SmReply::Refused { .. } => Vec::new(),
    };
    let near = same_place(ip, device.observed);
    let signal = [&app.config.signal_url, &device.scu_url].into_iter().find(|url| !url.is_empty());
    let signal = signal.map_or("", String::as_str);
    Ok(answer(&device, camera, ticket, ice_servers, near, signal))
}

/// Whether the camera is only starting. One that its unit found broken is none that is waited for.
fn is_starting(camera: &Camera) -> bool {
    camera.presence == Presence::Inactive && camera.fault.is_none()
}

/// [`find`], but a camera that is just starting, as after its unit's start, is waited for: a person
/// who binds and watches at once sees the picture a moment later, and no error.
async fn find_started(
    app: &AppState,
    caller: &Caller,
    id: &CameraId,
) -> Result<(DeviceRow, Camera), ApiError> {
    let mut notices = app.notices.subscribe();
    let found = find(app, caller, id).await?;
    if !is_starting(&found.1) {
        return Ok(found);
    }
    let started = async {
        loop {
            match notices.recv().await {
                Ok(Notice::Device { device, .. }) if device != id.pu => continue,
                Ok(Notice::Alert { .. } | Notice::User { .. }) => continue,
                Ok(Notice::Device { .. }) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return std::future::pending().await,
            }
            let found = find(app, caller, id).await?;
            if !is_starting(&found.1) {
                return Ok(found);
            }
        }
    };
    tokio::time::timeout(STARTING, started).await.unwrap_or(Ok(found))
}

/// The camera as the NVR counts it that records it. Its own device may be away: what was recorded is there
/// all the same. Whoever may watch the camera may watch it there, and nothing else of the NVR.
async fn find_recorded(
    app: &AppState,
    caller: &Caller,
    id: &CameraId,
    recorder: &PuId,
) -> Result<(DeviceRow, Camera), ApiError> {
    let (_, camera) = find(app, caller, id).await?;
    if !camera.rights.allows(Right::Playback) {
        let detail = "You have no right to the recordings of this camera.";
        return Err(ApiError::new(ProblemKind::Forbidden, detail));
    }
    let held = app.db.relations().of_camera(id).await?.filter(|held| held.nvr == *recorder);
    let none =
        || ApiError::new(ProblemKind::NotFound, "That recorder does not record this camera.");
    let held = held.ok_or_else(none)?;
    let device = app.db.devices().get(recorder).await?.ok_or_else(none)?;
    let lease = LeaseState { epoch: device.epoch, expires_at: device.lease_expires_at };
    if !lease.is_live(app.now()) {
        let detail = "The recorder is not connected now.";
        return Err(ApiError::new(ProblemKind::DeviceOffline, detail));
    }
    let of_watching = [Right::View, Right::Listen, Right::Playback];
    let rights = of_watching.into_iter().filter(|right| camera.rights.allows(*right));
    let camera = Camera {
        id: CameraId { pu: recorder.clone(), channel: held.number },
        device: DeviceId { domain: app.db.domain().clone(), pu: recorder.clone() },
        presence: Presence::Online,
        device_key: device.public_key,
        rights: Rights(rights.collect()),
        ..camera
    };
    Ok((device, camera))
}

/// An operator learns nothing here about which cameras exist: without being the owner the answer
/// is always the same.
async fn find(
    app: &AppState,
    caller: &Caller,
    id: &CameraId,
) -> Result<(DeviceRow, Camera), ApiError> {
    match own_camera(app, caller, id).await {
        Err(error) if error.kind() == ProblemKind::NotFound && caller.0.account.is_operator => {
            let detail =
                "Watching needs a grant by the camera's owner, for the operator's staff too.";
            Err(ApiError::new(ProblemKind::Forbidden, detail))
        }
        result => result,
    }
}

struct Ticket {
    session: MediaSessionId,
    token: SessionToken,
    expires_at: UnixMicros,
}

fn sign(
    app: &AppState,
    caller: &Caller,
    camera: &Camera,
    request: &PlayRequest,
) -> Result<(PlayClaims, Ticket), ApiError> {
    let sign_in = &caller.0;
    let now = app.now();
    let expires_at = now.plus(Duration::from_secs(app.config.tokens.play_s.into()));
    let cnf = match request.player {
        Player::Client => Some(sign_in.client_key),
        Player::Rtsp => None,
    };
    let claims = PlayClaims {
        iss: app.config.domain.clone(),
        aud: camera.id.pu.clone(),
        sub: sign_in.account.id.clone(),
        jti: TokenId::from_random(random::id_bits()?),
        exp: expires_at.as_secs(),
        iat: now.as_secs(),
        ch: camera.id.channel,
        sid: MediaSessionId::from_random(random::id_bits()?),
        rights: camera.rights.clone(),
        cnf,
        client: Some(sign_in.client.clone()),
        nvr: None,
    };
    let token = app.keys.sign_play(&claims).map_err(|error| {
        tracing::error!(%error, "a play token could not be signed");
        ApiError::internal()
    })?;
    let ticket = Ticket { session: claims.sid.clone(), token, expires_at };
    Ok((claims, ticket))
}

/// Into the books, where the device's question about the token will be answered from.
async fn enter(
    app: &AppState,
    caller: &Caller,
    claims: &PlayClaims,
    ticket: &Ticket,
    request: &PlayRequest,
    (viewer_network, pu_network): &(String, String),
) -> Result<(), ApiError> {
    let camera = CameraId { pu: claims.aud.clone(), channel: claims.ch };
    let bearer = claims.cnf.map(|client| play::bearer_text(&TokenBearer::Key { client }));
    let new = NewPlayToken {
        hash: &ticket.token.hash(),
        jti: &claims.jti,
        session: &claims.sid,
        user: &claims.sub,
        sign_in: Some(&caller.0.id),
        nvr: None,
        camera: &camera,
        rights: &claims.rights,
        capabilities: &request.capabilities,
        viewer_network,
        pu_network,
        bearer: bearer.as_deref(),
        now: app.now(),
        expires_at: ticket.expires_at,
    };
    app.db.play_tokens().insert(&new).await?;
    Ok(())
}

fn answer(
    device: &DeviceRow,
    camera: Camera,
    ticket: Ticket,
    ice_servers: Vec<IceServer>,
    near: bool,
    signal: &str,
) -> PlayAnswer {
    let addresses = &device.addresses;
    PlayAnswer {
        session: ticket.session,
        rtsp_urls: play::rtsp_urls(addresses, camera.id.channel.0, &ticket.token, near),
        quic: play::quic_addresses(addresses, near),
        device: camera.device,
        camera: camera.id,
        token: ticket.token,
        expires_at: ticket.expires_at,
        device_key: device.public_key,
        signal_url: format!("{}{WEBSOCKET_PATH}", signal.trim_end_matches('/')),
        ice_servers,
    }
}
