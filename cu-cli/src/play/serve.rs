//! `--rtsp-listen`: the received stream for any RTSP player.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;
use sightline_media_io::{
    camera::Camera,
    gate::{Admission, BoxFuture, Gate},
    hub::{Hub, SourceState},
    rtsp_server::{Options, RtspServer},
};
use sightline_model::{Capabilities, ChannelId, Right, Rights, SessionToken};
use sightline_protocol::{Problem, ProblemKind, ps::TokenBearer, sc::TokenGrant};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{api::now, error::CuError, output};

/// The one channel of the local server.
const CHANNEL: ChannelId = ChannelId(0);

/// Starts to serve, and says where as soon as there is a picture.
pub(super) async fn start(
    address: SocketAddr,
    name: Arc<str>,
    hub: Hub,
    as_json: bool,
    tasks: &TaskTracker,
    token: &CancellationToken,
) -> Result<(), CuError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| CuError::other(format!("cannot listen at {address}: {e}")))?;
    let address = listener.local_addr().map_err(|e| CuError::other(e.to_string()))?;
    let gate = LocalGate::new()?;
    let url = format!("rtsp://{address}/{CHANNEL}?token={}", gate.token.expose());
    let mut state = hub.watch_state();
    let camera = Camera { channel: CHANNEL, name, main: hub, sub: None };
    let cameras = BTreeMap::from([(CHANNEL, camera)]).into();
    let server = RtspServer::new(cameras, Arc::new(gate), Options::default());
    let (stop, connections) = (token.clone(), tasks.clone());
    tasks.spawn(async move {
        if let Err(e) = server.serve_tcp(listener, stop, connections).await {
            output::complain(&format!("players can no longer connect: {e}"));
        }
    });
    let stop = token.clone();
    tasks.spawn(async move {
        // A player that came before the first picture would be sent away.
        let online = state.wait_for(|state| matches!(state, SourceState::Online(_)));
        if !matches!(stop.run_until_cancelled(online).await, Some(Ok(_))) {
            return;
        }
        if as_json {
            output::json(&json!({"listening": {"url": url, "address": address}}));
        } else {
            output::line(&format!("Open in any player: {url}"));
        }
    });
    Ok(())
}

/// Lets in who shows the token that was printed, and everybody on this machine.
struct LocalGate {
    token: SessionToken,
    /// Never says anything; its loss would end the sessions.
    ended: watch::Sender<Option<Problem>>,
}

impl LocalGate {
    fn new() -> Result<Self, CuError> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)
            .map_err(|e| CuError::other(format!("no random numbers to be had: {e}")))?;
        let text = sightline_model::TokenId::from_random(bits).to_string();
        Ok(Self { token: SessionToken::new(text), ended: watch::Sender::new(None) })
    }

    fn check(&self, token: &SessionToken, bearer: &TokenBearer) -> Result<Admission, Problem> {
        let local = matches!(bearer, TokenBearer::Address { ip } if ip.is_loopback());
        // Hashes are compared, so that timing says nothing of the token.
        if !local && token.hash() != self.token.hash() {
            return Err(Problem::new(
                ProblemKind::InvalidToken,
                "the token is not the one that cu printed",
            ));
        }
        let bad = |_| Problem::new(ProblemKind::Internal, "an id is malformed");
        let grant = TokenGrant {
            domain: "local".parse().map_err(bad)?,
            user: "local".parse().map_err(bad)?,
            session: "local".parse().map_err(bad)?,
            channel: CHANNEL,
            rights: Rights([Right::View, Right::Listen].into()),
            capabilities: Capabilities::default(),
            expires_at: now().plus(Duration::from_secs(24 * 3_600)),
        };
        Ok(Admission { grant, ended: self.ended.subscribe(), path: watch::Sender::new(None) })
    }
}

impl Gate for LocalGate {
    fn admit<'a>(
        &'a self,
        token: &'a SessionToken,
        bearer: TokenBearer,
    ) -> BoxFuture<'a, Result<Admission, Problem>> {
        Box::pin(async move { self.check(token, &bearer) })
    }
}
