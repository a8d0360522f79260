//! A portal as small as the tests need, speaking the real types, and a way to run `cu`.

use std::{
    collections::HashSet,
    process::{Output, Stdio},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post},
};
use sightline_model::{
    CameraId, ChannelId, ClaimCode, ClaimSecret, DeviceId, Presence, PuId, PublicKey, Rights,
    SessionToken, StreamInfo, StreamTier, UnixMicros, VideoCodec,
};
use sightline_protocol::{Problem, ProblemKind, cm};
use tokio::{net::TcpListener, process::Command, sync::Mutex};

/// What the portal knows; tests change it.
pub struct Centre {
    pub access: HashSet<String>,
    pub refresh: Option<String>,
    pub refreshes: u32,
    /// A refresh token was used twice: the sign-in is dead.
    pub family_dead: bool,
    pub bound: bool,
    pub name: String,
    pub device_key: PublicKey,
    /// What `play` answers; `None` refuses as offline.
    pub play: Option<cm::PlayAnswer>,
    serial: u32,
}

pub type Shared = Arc<Mutex<Centre>>;

/// A running portal.
pub struct Portal {
    pub url: String,
    pub centre: Shared,
}

pub fn device_key() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[42; 32])
}

pub fn claim_code() -> ClaimCode {
    let key: PublicKey = device_key().verifying_key().into();
    ClaimCode::new(PuId::from_public_key(&key), ClaimSecret::from_bytes([9; 10]))
}

fn camera(centre: &Centre) -> cm::Camera {
    let pu = claim_code().pu_id().clone();
    cm::Camera {
        id: CameraId { pu: pu.clone(), channel: ChannelId(0) },
        device: DeviceId { domain: "home".parse().expect("valid"), pu },
        name: centre.name.clone(),
        presence: Presence::Online,
        fault: None,
        streams: vec![StreamInfo {
            tier: StreamTier::Main,
            codec: VideoCodec::H264,
            width: 1280,
            height: 720,
            fps: 25.0,
        }],
        audio: Some(sightline_model::AudioCodec::Pcmu),
        device_key: centre.device_key,
        rights: Rights::owner(),
    }
}

fn refuse(kind: ProblemKind, detail: &str) -> Response {
    let status = StatusCode::from_u16(kind.status()).expect("status");
    (status, Json(Problem::new(kind, detail))).into_response()
}

impl Centre {
    fn sign(&mut self, lifetime_s: u32) -> cm::SignedIn {
        self.serial += 1;
        let (access, refresh) =
            (format!("access-{}", self.serial), format!("refresh-{}", self.serial));
        self.access.insert(access.clone());
        self.refresh = Some(refresh.clone());
        cm::SignedIn {
            access_token: SessionToken::new(access),
            expires_in_s: lifetime_s,
            refresh_token: Some(SessionToken::new(refresh)),
            user: cm::User {
                id: "user1".parse().expect("valid"),
                phone_masked: "+•••••••••••00".into(),
                subscription: cm::Subscription::Active,
                is_operator: false,
            },
            client: "client1".parse().expect("valid"),
        }
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let token = headers.get("authorization").and_then(|h| h.to_str().ok());
        let token = token.and_then(|t| t.strip_prefix("Bearer "));
        !self.family_dead && token.is_some_and(|t| self.access.contains(t))
    }
}

/// Starts a portal on a free port of this machine.
pub async fn portal() -> Portal {
    portal_with(Router::new()).await
}

/// The same with more routes.
pub async fn portal_with(more: Router<Shared>) -> Portal {
    let centre = Arc::new(Mutex::new(Centre {
        access: HashSet::new(),
        refresh: None,
        refreshes: 0,
        family_dead: false,
        bound: false,
        name: "Garden".into(),
        device_key: device_key().verifying_key().into(),
        play: None,
        serial: 0,
    }));
    let api = Router::new()
        .route("/sms-codes", post(sms_code))
        .route("/sessions", post(sign_in))
        .route("/sessions/refresh", post(refresh))
        .route("/sessions/current", delete(sign_out))
        .route("/bindings", post(bind))
        .route("/devices/{pu}/binding", delete(release))
        .route("/cameras", get(cameras))
        .route("/cameras/{id}", patch(rename))
        .route("/cameras/{id}/play", post(play))
        .merge(more)
        .with_state(Arc::clone(&centre));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let router = Router::new().nest(cm::PREFIX, api);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Portal { url, centre }
}

async fn sms_code(Json(_): Json<cm::SmsCodeRequest>) -> Json<cm::SmsCodeSent> {
    Json(cm::SmsCodeSent { expires_in_s: 300, retry_after_s: 60 })
}

async fn sign_in(State(centre): State<Shared>, Json(request): Json<cm::SignInRequest>) -> Response {
    assert_eq!(request.refresh_in, cm::RefreshIn::Body);
    if request.code != "123456" {
        return refuse(ProblemKind::WrongCode, "the code is wrong");
    }
    Json(centre.lock().await.sign(600)).into_response()
}

async fn refresh(
    State(centre): State<Shared>,
    Json(request): Json<cm::RefreshRequest>,
) -> Response {
    let mut centre = centre.lock().await;
    let shown = request.refresh_token.map(SessionToken::into_inner);
    if shown.is_none() || shown != centre.refresh {
        centre.family_dead = true;
    }
    if centre.family_dead {
        return refuse(ProblemKind::Unauthenticated, "the sign-in has ended");
    }
    centre.refreshes += 1;
    centre.access.clear();
    Json(centre.sign(600)).into_response()
}

async fn sign_out(State(centre): State<Shared>, headers: HeaderMap) -> Response {
    let mut centre = centre.lock().await;
    if !centre.knows(&headers) {
        return refuse(ProblemKind::Unauthenticated, "not signed in");
    }
    centre.family_dead = true;
    StatusCode::NO_CONTENT.into_response()
}

async fn bind(
    State(centre): State<Shared>,
    headers: HeaderMap,
    Json(request): Json<cm::BindRequest>,
) -> Response {
    let mut centre = centre.lock().await;
    if !centre.knows(&headers) {
        return refuse(ProblemKind::Unauthenticated, "not signed in");
    }
    if centre.bound {
        return refuse(ProblemKind::AlreadyBound, "the device is bound to somebody else");
    }
    if request.claim_code.expose().parse() != Ok(claim_code()) {
        return refuse(ProblemKind::WrongClaimCode, "the claim code is wrong");
    }
    centre.bound = true;
    let camera = camera(&centre);
    Json(cm::Bound { device: camera.device.clone(), cameras: vec![camera] }).into_response()
}

async fn release(
    State(centre): State<Shared>,
    headers: HeaderMap,
    Path(pu): Path<PuId>,
) -> Response {
    let mut centre = centre.lock().await;
    if !centre.knows(&headers) {
        return refuse(ProblemKind::Unauthenticated, "not signed in");
    }
    if !centre.bound || pu != *claim_code().pu_id() {
        return refuse(ProblemKind::NotFound, "no such device");
    }
    centre.bound = false;
    StatusCode::NO_CONTENT.into_response()
}

async fn cameras(State(centre): State<Shared>, headers: HeaderMap) -> Response {
    let centre = centre.lock().await;
    if !centre.knows(&headers) {
        return refuse(ProblemKind::Unauthenticated, "not signed in");
    }
    let cameras = if centre.bound { vec![camera(&centre)] } else { Vec::new() };
    Json(cm::CameraList { cameras }).into_response()
}

async fn rename(
    State(centre): State<Shared>,
    Path(id): Path<CameraId>,
    Json(change): Json<cm::CameraChange>,
) -> Response {
    let mut centre = centre.lock().await;
    assert_eq!(id, camera(&centre).id);
    centre.name = change.name;
    Json(camera(&centre)).into_response()
}

async fn play(
    State(centre): State<Shared>,
    headers: HeaderMap,
    Json(_): Json<cm::PlayRequest>,
) -> Response {
    let centre = centre.lock().await;
    if !centre.knows(&headers) {
        return refuse(ProblemKind::Unauthenticated, "not signed in");
    }
    match &centre.play {
        Some(answer) => Json(answer).into_response(),
        None => refuse(ProblemKind::DeviceOffline, "the camera is not connected"),
    }
}

/// An answer for the camera, with nothing to connect to.
pub fn answer() -> cm::PlayAnswer {
    let pu = claim_code().pu_id().clone();
    cm::PlayAnswer {
        session: "session1".parse().expect("valid"),
        device: DeviceId { domain: "home".parse().expect("valid"), pu: pu.clone() },
        camera: CameraId { pu, channel: ChannelId(0) },
        token: SessionToken::new("play-token".into()),
        expires_at: UnixMicros(i64::MAX),
        device_key: device_key().verifying_key().into(),
        rtsp_urls: Vec::new(),
        quic: Vec::new(),
        signal_url: "ws://127.0.0.1:9/cs/v1".into(),
        ice_servers: Vec::new(),
    }
}

/// Runs the binary in `home`.
pub async fn cu(home: &std::path::Path, args: &[&str]) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_cu"))
        .arg("--home")
        .arg(home)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(std::time::Duration::from_secs(60), run)
        .await
        .expect("in time")
        .expect("runs")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The exit code, with everything that was said when it is another one.
pub fn expect_exit(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "out: {}\nerr: {}",
        stdout(output),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub async fn sign_in_home(home: &std::path::Path, portal: &Portal) {
    let args = ["login", "--portal", &portal.url, "--phone", "+8613800138000", "--code", "123456"];
    expect_exit(&cu(home, &args).await, 0);
}
