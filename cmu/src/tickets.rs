//! Tickets of NVRs (decision 0099): how to take the stream of a camera that is related to the NVR that
//! asks. The answer is that of `POST /cameras/{id}/play`, with a token that only this NVR can show and that
//! lives for days: it must go on recording when the centre does not.

use std::time::Duration;

use cmu_domain::{address::same_place, lease::LeaseState, limit::Limit, network, play};
use cmu_storage::{DeviceRow, NewPlayToken, RelationRow, StorageError};
use sightline_model::{
    CameraId, Capabilities, DeviceId, MediaSessionId, PuId, Right, Rights, SessionToken, TokenId,
    UnixMicros, VideoCodec,
};
use sightline_protocol::{
    Problem, ProblemKind,
    cm::PlayAnswer,
    cs::WEBSOCKET_PATH,
    ps::{PlayClaims, TokenBearer},
    sc::ScReply,
    sm::{SmReply, SmRequest},
};
use sightline_service_kit::flow;

use crate::{error::kind_word, random, sc::done_or_stale, state::App};

/// Tickets of one camera: an NVR that does not get through tries again and again.
const PER_CAMERA: Limit = Limit { count: 20, per_s: 600 };

/// Answers an NVR.
///
/// # Errors
/// [`StorageError`].
pub async fn answer(
    app: &App,
    nvr: &PuId,
    epoch: u64,
    camera: &CameraId,
) -> Result<ScReply, StorageError> {
    if !app.db.devices().is_current(nvr, epoch).await? {
        return Ok(done_or_stale(false));
    }
    match ticket(app, nvr, camera).await? {
        Ok(ticket) => {
            flow::sent("Sc", "CMU", "SCU", "ticket", ticket.session.as_str());
            Ok(ScReply::Ticket(Box::new(ticket)))
        }
        Err(problem) => {
            let outcome = kind_word(problem.kind);
            app.audit(None, "relation.ticket", &format!("{nvr} {camera}"), &outcome).await;
            Ok(ScReply::Refused { problem })
        }
    }
}

async fn ticket(
    app: &App,
    nvr: &PuId,
    camera: &CameraId,
) -> Result<Result<PlayAnswer, Problem>, StorageError> {
    let refused = |kind, why: &str| Ok(Err(Problem::new(kind, why)));
    // A camera of somebody else and one that there is not are answered alike.
    let held = app.db.relations().of_camera(camera).await?.filter(|held| held.nvr == *nvr);
    let Some(held) = held else {
        return refused(ProblemKind::Forbidden, "This recorder is not related to that camera.");
    };
    if app.limit(PER_CAMERA, &format!("ticket:{nvr}:{camera}")).await.is_err() {
        return refused(ProblemKind::RateLimited, "Too many tickets; try again in a few minutes.");
    }
    let devices = app.db.devices();
    let (Some(unit), Some(recorder)) = (devices.get(&camera.pu).await?, devices.get(nvr).await?)
    else {
        return refused(ProblemKind::DeviceOffline, "The camera's device is not known any more.");
    };
    let lease = LeaseState { epoch: unit.epoch, expires_at: unit.lease_expires_at };
    if !lease.is_live(app.now()) {
        return refused(ProblemKind::DeviceOffline, "The camera is not connected now.");
    }
    let Some((claims, token)) = sign(app, &held, &recorder) else {
        return refused(ProblemKind::Internal, "The CMU failed; try again.");
    };
    let capabilities = Capabilities {
        video_codecs: vec![VideoCodec::H264, VideoCodec::H265],
        ..Capabilities::default()
    };
    let prepare = SmRequest::PrepareMedia {
        device: camera.pu.clone(),
        session: claims.sid.clone(),
        user: held.owner.clone(),
        channel: camera.channel,
        capabilities: capabilities.clone(),
    };
    enter(app, &claims, &token, &capabilities, (&recorder, &unit)).await?;
    let ice_servers = match app.ask_scu(&camera.pu, &prepare).await {
        Ok(SmReply::Prepared { ice_servers }) => ice_servers,
        Ok(SmReply::Done | SmReply::Recorded { .. } | SmReply::Refused { .. }) => Vec::new(),
        Err(problem) => return Ok(Err(problem)),
    };
    let near = same_place(recorder.observed, unit.observed);
    let signal = [&app.config.signal_url, &unit.scu_url].into_iter().find(|url| !url.is_empty());
    let signal = signal.map_or("", String::as_str);
    Ok(Ok(PlayAnswer {
        session: claims.sid,
        device: DeviceId { domain: app.db.domain().clone(), pu: camera.pu.clone() },
        camera: camera.clone(),
        rtsp_urls: Vec::new(),
        quic: play::quic_addresses(&unit.addresses, near),
        token,
        expires_at: UnixMicros(claims.exp.saturating_mul(1_000_000)),
        device_key: unit.public_key,
        signal_url: format!("{}{WEBSOCKET_PATH}", signal.trim_end_matches('/')),
        ice_servers,
    }))
}

fn sign(app: &App, held: &RelationRow, recorder: &DeviceRow) -> Option<(PlayClaims, SessionToken)> {
    let now = app.now();
    let expires_at = now.plus(Duration::from_secs(app.config.tokens.ticket_s.into()));
    let (jti, sid) = (random::id_bits().ok()?, random::id_bits().ok()?);
    let claims = PlayClaims {
        iss: app.config.domain.clone(),
        aud: held.camera.pu.clone(),
        sub: held.owner.clone(),
        jti: TokenId::from_random(jti),
        exp: expires_at.as_secs(),
        iat: now.as_secs(),
        ch: held.camera.channel,
        sid: MediaSessionId::from_random(sid),
        rights: Rights([Right::View, Right::Listen].into()),
        cnf: Some(recorder.public_key),
        client: None,
        nvr: Some(held.nvr.clone()),
    };
    match app.keys.sign_play(&claims) {
        Ok(token) => Some((claims, token)),
        Err(error) => {
            tracing::error!(%error, "a ticket could not be signed");
            None
        }
    }
}

/// Into the books, where the PU's question about it is answered from.
async fn enter(
    app: &App,
    claims: &PlayClaims,
    token: &SessionToken,
    capabilities: &Capabilities,
    (recorder, unit): (&DeviceRow, &DeviceRow),
) -> Result<(), StorageError> {
    let bearer = play::bearer_text(&TokenBearer::Key { client: recorder.public_key });
    let new = NewPlayToken {
        hash: &token.hash(),
        jti: &claims.jti,
        session: &claims.sid,
        user: &claims.sub,
        sign_in: None,
        nvr: claims.nvr.as_ref(),
        camera: &CameraId { pu: claims.aud.clone(), channel: claims.ch },
        rights: &claims.rights,
        capabilities,
        viewer_network: &network::prefix(recorder.observed),
        pu_network: &network::prefix(unit.observed),
        bearer: Some(bearer.as_str()),
        now: app.now(),
        expires_at: UnixMicros(claims.exp.saturating_mul(1_000_000)),
    };
    app.db.play_tokens().insert(&new).await
}
