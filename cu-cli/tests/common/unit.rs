//! A PU in the test's process: a synthetic camera behind the real servers, and an SCU that does
//! nothing but carry the messages of one session.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
    routing::any,
};
use ed25519_dalek::{Signer, SigningKey};
use sightline_media::ring::Limits;
use sightline_media_io::{
    camera::{Camera, Cameras},
    gate::{Admission, BoxFuture, Gate},
    hub::Hub,
    rtsp_server::{Options, RtspServer, pinned_tls, quic},
    source::synthetic::{self, SyntheticConfig},
    webrtc::{self, Engine, LocalCandidates, NoTranscoder, OfferRequest, Sources, WebrtcConfig},
};
use sightline_model::{
    AudioCodec, Capabilities, ChannelId, PublicKey, Rights, SessionToken, UnixMicros,
};
use sightline_protocol::{
    Problem, ProblemKind,
    cs::{CuToScu, ScuToCu, WEBSOCKET_PATH},
    decode, encode,
    ps::{MediaAnswer, TokenBearer, answer_bytes, dtls_fingerprint, offer_bytes},
    sc::TokenGrant,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Admits the test's play token, shown by whoever holds a key.
struct Door {
    ended: watch::Sender<Option<Problem>>,
}

impl Door {
    fn admission(&self) -> Admission {
        let grant = TokenGrant {
            domain: "home".parse().expect("valid"),
            user: "user1".parse().expect("valid"),
            session: "session1".parse().expect("valid"),
            channel: ChannelId(0),
            rights: Rights::owner(),
            capabilities: Capabilities::default(),
            expires_at: UnixMicros(i64::MAX),
        };
        Admission { grant, ended: self.ended.subscribe(), path: watch::Sender::new(None) }
    }
}

impl Gate for Door {
    fn admit<'a>(
        &'a self,
        token: &'a SessionToken,
        bearer: TokenBearer,
    ) -> BoxFuture<'a, Result<Admission, Problem>> {
        Box::pin(async move {
            match bearer {
                TokenBearer::Key { .. } if token.expose() == "play-token" => Ok(self.admission()),
                _ => Err(Problem::new(ProblemKind::InvalidToken, "this token opens nothing here")),
            }
        })
    }
}

pub struct Unit {
    pub quic: SocketAddr,
    pub signal_url: String,
    /// The SCU swaps the fingerprint in the answer.
    pub hostile: Arc<AtomicBool>,
    _token: tokio_util::sync::DropGuard,
}

#[derive(Clone)]
struct Scu {
    key: SigningKey,
    engine: Engine,
    door: Arc<Door>,
    hostile: Arc<AtomicBool>,
}

/// A unit that holds `key`.
pub async fn unit(key: SigningKey) -> Unit {
    // Several crates bring a provider; the process must say which.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (publisher, hub) = Hub::new(Limits::default());
    let config = SyntheticConfig {
        gop_s: 1.0,
        audio: AudioCodec::Pcmu,
        width: 320,
        height: 180,
        ..SyntheticConfig::default()
    };
    let stop = token.clone();
    tasks.spawn(
        async move { synthetic::run(config, publisher, stop).await.expect("configuration") },
    );
    let camera = Camera { channel: ChannelId(0), name: "Garden".into(), main: hub, sub: None };
    let cameras = Cameras::from(BTreeMap::from([(ChannelId(0), camera)]));
    let door = Arc::new(Door { ended: watch::Sender::new(None) });
    let server =
        RtspServer::new(cameras.clone(), Arc::clone(&door) as Arc<dyn Gate>, Options::default());
    let endpoint = quic::server_endpoint(
        "127.0.0.1:0".parse().expect("address"),
        &pinned_tls::pkcs8(key.as_bytes()),
    )
    .expect("endpoint");
    let quic = endpoint.local_addr().expect("address");
    let (stop, spawned) = (token.clone(), tasks.clone());
    tasks.spawn(async move { server.serve_quic(endpoint, stop, spawned).await });
    let loopback: SocketAddr = "127.0.0.1:0".parse().expect("address");
    let engine = webrtc::start(
        WebrtcConfig { bind: vec![loopback], ..WebrtcConfig::default() },
        LocalCandidates { host: vec![loopback], ..LocalCandidates::default() },
        Sources { cameras, quality: Arc::new(NoTranscoder), archive: None },
        token.clone(),
        &tasks,
    )
    .expect("engine");
    let hostile = Arc::new(AtomicBool::new(false));
    let scu = Scu { key, engine, door, hostile: Arc::clone(&hostile) };
    let router = Router::new().route(WEBSOCKET_PATH, any(upgrade)).with_state(scu);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let signal_url = format!("ws://{}{WEBSOCKET_PATH}", listener.local_addr().expect("address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Unit { quic, signal_url, hostile, _token: token.drop_guard() }
}

async fn upgrade(State(scu): State<Scu>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| relay(scu, socket))
}

async fn relay(scu: Scu, mut socket: WebSocket) {
    let (candidate_tx, mut candidates) = mpsc::channel(64);
    let session = "session1".parse().expect("valid");
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            Some(candidate) = candidates.recv() => {
                let message = ScuToCu::Candidate { session: "session1".parse().expect("valid"), candidate };
                send(&mut socket, &message).await;
                continue;
            }
        };
        let Some(Ok(Message::Text(text))) = message else { return };
        match decode::<CuToScu>(text.as_bytes()).expect("a message").body {
            CuToScu::Offer { session, offer, .. } => {
                let offered = dtls_fingerprint(&offer.sdp).expect("fingerprint");
                let signed = offer_bytes(&session, &offer.token, &offered);
                assert!(offer.client_key.verify(&signed, &offer.signature), "the offer is signed");
                let answer = scu.engine.offer(OfferRequest {
                    ice_servers: Vec::new(),
                    session: session.clone(),
                    sdp: offer.sdp,
                    admission: scu.door.admission(),
                    candidate_tx: candidate_tx.clone(),
                });
                let answer = match answer.await {
                    Ok(answer) => answer,
                    Err(problem) => {
                        send(&mut socket, &ScuToCu::Refused { session, problem }).await;
                        continue;
                    }
                };
                let signed = answer_bytes(
                    &session,
                    &answer.offered_fingerprint,
                    &answer.answered_fingerprint,
                );
                let public_key: PublicKey = scu.key.verifying_key().into();
                let signature = scu.key.sign(&signed).into();
                let mut sdp = answer.sdp;
                if scu.hostile.load(Ordering::Relaxed) {
                    let other = answer.answered_fingerprint.replace(['A', 'B', 'C'], "0");
                    assert_ne!(other, answer.answered_fingerprint);
                    sdp = sdp.to_uppercase().replace(&answer.answered_fingerprint, &other);
                    sdp = sdp.replace("A=FINGERPRINT:SHA-256", "a=fingerprint:sha-256");
                }
                let answer = MediaAnswer { sdp, public_key, signature };
                send(&mut socket, &ScuToCu::Answer { session, answer }).await;
            }
            CuToScu::Candidate { candidate, .. } => {
                let session: sightline_model::MediaSessionId = Clone::clone(&session);
                scu.engine.candidate(session, candidate).await;
            }
            CuToScu::End { session } => scu.engine.end(session, None).await,
            CuToScu::KeepAlive { .. } | CuToScu::PathReport { .. } => {}
        }
    }
}

async fn send(socket: &mut WebSocket, message: &ScuToCu) {
    let text = String::from_utf8(encode(message, None)).expect("utf-8");
    let _ = socket.send(Message::text(text)).await;
}
