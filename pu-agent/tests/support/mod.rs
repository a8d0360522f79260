//! A small SCU for tests: it speaks Ps over QUIC and WebSocket, registers whoever proves a key,
//! and answers token checks as the test says. It runs on a runtime of its own, so that it can be
//! killed like a process.

#![allow(dead_code, reason = "every test file uses a part")]

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ed25519_dalek::SigningKey;
use futures_util::{SinkExt, StreamExt};
use pu_agent::uplink::{
    Driver, DriverSettings, Uplink, Watched,
    clock::Clock,
    dial::{Dialer, Server},
    machine::{Profile, Settings},
};
use sightline_model::{
    ChannelId, DeviceKind, MediaSessionId, PuId, PublicKey, Rights, SessionToken, TokenHash,
    UnixMicros, UserId,
};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{self, Addresses, PlayClaims, PuToScu, Registration, ScuToPu, TokenBearer, TokenKey},
    sc::TokenGrant,
};
use sightline_service_kit::{
    lifecycle::Lifecycle,
    tls::{Authority, Identity},
};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_tungstenite::tungstenite::Message;

pub const DOMAIN: &str = "test.example";
/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Answers token checks; `None` is silence.
pub type Checker =
    Arc<dyn Fn(&TokenHash, &TokenBearer) -> Option<Result<TokenGrant, Problem>> + Send + Sync>;

/// What outlives a restart of the SCU: certificates and the key that signs play tokens.
#[derive(Clone)]
pub struct Centre {
    pub dir: Arc<tempfile::TempDir>,
    identity: Identity,
    token_key: SigningKey,
    pub checker: Arc<Mutex<Checker>>,
    epoch: Arc<AtomicU64>,
    owner: Arc<Mutex<Option<UserId>>>,
    /// What registering devices are told of their relations.
    pub relations: Arc<Mutex<Option<ps::Relations>>>,
}

impl Centre {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let authority = Authority::load_or_create(dir.path(), "Test").expect("authority");
        let identity = authority.issue(&["localhost"], &[[127, 0, 0, 1].into()]).expect("issued");
        let refuse: Checker = Arc::new(|_, _| {
            Some(Err(Problem::new(ProblemKind::InvalidToken, "the test's centre knows no token")))
        });
        Self {
            dir: Arc::new(dir),
            identity,
            token_key: SigningKey::from_bytes(&[7; 32]),
            checker: Arc::new(Mutex::new(refuse)),
            epoch: Arc::default(),
            owner: Arc::default(),
            relations: Arc::default(),
        }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join(Authority::CERTIFICATE_FILE)
    }

    pub fn set_checker(
        &self,
        checker: impl Fn(&TokenHash, &TokenBearer) -> Option<Result<TokenGrant, Problem>>
        + Send
        + Sync
        + 'static,
    ) {
        *self.checker.lock().expect("not poisoned") = Arc::new(checker);
    }

    /// Whose units are, from the next registration on.
    pub fn set_owner(&self, owner: Option<&UserId>) {
        *self.owner.lock().expect("not poisoned") = owner.cloned();
    }

    /// Grants exactly `token`, to anybody.
    pub fn grant(&self, token: &SessionToken, claims: &PlayClaims) {
        let (hash, claims) = (token.hash(), claims.clone());
        self.set_checker(move |asked, _| {
            Some(if *asked == hash {
                Ok(grant(&claims))
            } else {
                Err(Problem::new(ProblemKind::InvalidToken, "unknown"))
            })
        });
    }

    pub fn claims(&self, pu: &PuId) -> PlayClaims {
        let now = UnixMicros::from(SystemTime::now()).as_secs();
        PlayClaims {
            iss: DOMAIN.parse().expect("domain"),
            aud: pu.clone(),
            sub: "anna".parse().expect("user"),
            jti: "token-1".parse().expect("token id"),
            exp: now + 60,
            iat: now,
            ch: ChannelId(0),
            sid: "session-1".parse().expect("session"),
            rights: Rights::owner(),
            cnf: None,
            client: None,
            nvr: None,
        }
    }

    pub fn sign(&self, claims: &PlayClaims) -> SessionToken {
        sign_with(&self.token_key, "key-1", claims)
    }
}

pub fn sign_with(key: &SigningKey, kid: &str, claims: &PlayClaims) -> SessionToken {
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    header.kid = Some(kid.to_owned());
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend_from_slice(key.as_bytes());
    let key = jsonwebtoken::EncodingKey::from_ed_der(&der);
    SessionToken::new(jsonwebtoken::encode(&header, claims, &key).expect("signed"))
}

pub fn grant(claims: &PlayClaims) -> TokenGrant {
    TokenGrant {
        domain: claims.iss.clone(),
        user: claims.sub.clone(),
        session: claims.sid.clone(),
        channel: claims.ch,
        rights: claims.rights.clone(),
        capabilities: sightline_model::Capabilities::default(),
        expires_at: UnixMicros(claims.exp * 1_000_000),
    }
}

/// How an SCU of a test misbehaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Checks the signature against another nonce than it sent.
    OtherNonce,
    /// Its clock is [`AHEAD_US`] ahead of ours.
    ClockAhead,
}

/// See [`Fault::ClockAhead`].
pub const AHEAD_US: i64 = 3_600_000_000;

/// A running SCU.
pub struct FakeScu {
    runtime: Option<tokio::runtime::Runtime>,
    pub quic: SocketAddr,
    pub websocket: SocketAddr,
    unblocked: Arc<tokio::sync::Notify>,
    registrations: mpsc::Receiver<(Registration, &'static str)>,
    messages: mpsc::Receiver<PuToScu>,
    to_pu: broadcast::Sender<ScuToPu>,
    /// Registrations that were refused because the signature was not over the nonce.
    pub forged: Arc<AtomicU64>,
}

struct Shared {
    centre: Centre,
    fault: Fault,
    registrations: mpsc::Sender<(Registration, &'static str)>,
    messages: mpsc::Sender<PuToScu>,
    to_pu: broadcast::Sender<ScuToPu>,
    forged: Arc<AtomicU64>,
}

impl FakeScu {
    /// Starts on the given ports; 0 takes any. `udp` false leaves QUIC unanswered.
    pub async fn start(centre: &Centre, ports: (u16, u16), udp: bool, fault: Fault) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("runtime");
        let (registered, registrations) = mpsc::channel(64);
        let (heard, messages) = mpsc::channel(1_024);
        let to_pu = broadcast::Sender::new(64);
        let forged = Arc::new(AtomicU64::new(0));
        let shared = Arc::new(Shared {
            centre: centre.clone(),
            fault,
            registrations: registered,
            messages: heard,
            to_pu: to_pu.clone(),
            forged: Arc::clone(&forged),
        });
        let unblocked = Arc::new(tokio::sync::Notify::new());
        if udp {
            unblocked.notify_one();
        }
        let bound = runtime.spawn(listen(shared, ports, Arc::clone(&unblocked)));
        let (quic, websocket) = bound.await.expect("listening");
        let runtime = Some(runtime);
        Self { runtime, quic, websocket, unblocked, registrations, messages, to_pu, forged }
    }

    pub async fn on_any_port(centre: &Centre) -> Self {
        Self::start(centre, (0, 0), true, Fault::None).await
    }

    /// Waits for the next registration, and what carried it.
    pub async fn registered(&mut self) -> (Registration, &'static str) {
        let next = tokio::time::timeout(PATIENCE, self.registrations.recv());
        next.await.expect("a registration in time").expect("the SCU runs")
    }

    /// Waits for a message.
    pub async fn heard<T>(&mut self, mut wanted: impl FnMut(PuToScu) -> Option<T>) -> T {
        let search = async {
            loop {
                let message = self.messages.recv().await.expect("the SCU runs");
                if let Some(found) = wanted(message) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the message in time")
    }

    /// Says something to every registered PU.
    pub fn say(&self, message: ScuToPu) {
        let _ = self.to_pu.send(message);
    }

    /// The firewall lets QUIC through from now on.
    pub fn unblock_udp(&self) {
        self.unblocked.notify_one();
    }

    /// Ends without a word, as by SIGKILL.
    pub async fn kill(mut self) -> (u16, u16) {
        let runtime = self.runtime.take().expect("running");
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(2)))
            .await
            .expect("ended");
        (self.quic.port(), self.websocket.port())
    }
}

impl Drop for FakeScu {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn listen(
    shared: Arc<Shared>,
    ports: (u16, u16),
    unblocked: Arc<tokio::sync::Notify>,
) -> (SocketAddr, SocketAddr) {
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let socket = std::net::UdpSocket::bind(local(ports.0)).expect("UDP port");
    let quic = socket.local_addr().expect("bound");
    let tls = shared.centre.identity.server_config(&[ps::ALPN]).expect("TLS");
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).expect("TLS 1.3");
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let over_quic = Arc::clone(&shared);
    tokio::spawn(async move {
        // Bound and silent until then: a firewall that drops.
        unblocked.notified().await;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = quinn::EndpointConfig::default();
        let endpoint = quinn::Endpoint::new(endpoint, Some(config), socket, runtime);
        accept_quic(endpoint.expect("endpoint"), over_quic).await;
    });
    let tcp = tokio::net::TcpListener::bind(local(ports.1)).await.expect("TCP port");
    let websocket = tcp.local_addr().expect("bound");
    tokio::spawn(accept_websocket(tcp, shared));
    (quic, websocket)
}

async fn accept_quic(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
            let (to_pu, mut outgoing) = mpsc::channel::<Vec<u8>>(64);
            let (incoming, from_pu) = mpsc::channel(64);
            tokio::spawn(async move {
                while let Some(bytes) = outgoing.recv().await {
                    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
                    if send.write_all(&length).await.is_err()
                        || send.write_all(&bytes).await.is_err()
                    {
                        return;
                    }
                }
                let _ = send.finish();
            });
            tokio::spawn(async move {
                let mut length = [0; 4];
                while receive.read_exact(&mut length).await.is_ok() {
                    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
                    if receive.read_exact(&mut bytes).await.is_err() {
                        return;
                    }
                    let _ = incoming.send(bytes).await;
                }
            });
            dialogue(shared, "quic", to_pu, from_pu).await;
            connection.close(0u32.into(), b"");
        });
    }
}

async fn accept_websocket(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(stream) = tokio_tungstenite::accept_async(socket).await else { return };
            let (mut sink, mut stream) = stream.split();
            let (to_pu, mut outgoing) = mpsc::channel::<Vec<u8>>(64);
            let (incoming, from_pu) = mpsc::channel(64);
            tokio::spawn(async move {
                while let Some(bytes) = outgoing.recv().await {
                    let text = String::from_utf8(bytes).expect("JSON");
                    if sink.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                let _ = sink.close().await;
            });
            tokio::spawn(async move {
                while let Some(Ok(message)) = stream.next().await {
                    let _ = incoming.send(message.into_data().to_vec()).await;
                }
            });
            dialogue(shared, "websocket", to_pu, from_pu).await;
        });
    }
}

async fn dialogue(
    shared: Arc<Shared>,
    over: &'static str,
    to_pu: mpsc::Sender<Vec<u8>>,
    mut from_pu: mpsc::Receiver<Vec<u8>>,
) {
    let mut said = shared.to_pu.subscribe();
    let say = async |message: ScuToPu| {
        let _ = to_pu.send(sightline_protocol::encode(&message, None)).await;
    };
    let scu: sightline_model::ScuId = "scu-1".parse().expect("SCU id");
    say(ScuToPu::Challenge { scu: scu.clone(), nonce: "nonce-1".into() }).await;
    let mut registered = false;
    loop {
        let bytes = tokio::select! {
            bytes = from_pu.recv() => bytes,
            message = said.recv() => {
                if registered && let Ok(message) = message {
                    say(message).await;
                }
                continue;
            }
        };
        let Some(bytes) = bytes else { return };
        let message = sightline_protocol::decode::<PuToScu>(&bytes).expect("a message").body;
        match message {
            PuToScu::Register(registration) => {
                let nonce = if shared.fault == Fault::OtherNonce { "nonce-2" } else { "nonce-1" };
                let signed = ps::registration_bytes(&scu, nonce, &registration.pu);
                let genuine = registration.pu.matches(&registration.public_key)
                    && registration.public_key.verify(&signed, &registration.signature);
                if !genuine {
                    shared.forged.fetch_add(1, Ordering::SeqCst);
                    let problem = Problem::new(ProblemKind::WrongKey, "the key is not proved");
                    say(ScuToPu::Refused { problem }).await;
                    // Until the unit has read it and goes.
                    continue;
                }
                registered = true;
                say(welcome(&shared.centre, shared.fault)).await;
                let _ = shared.registrations.send((*registration, over)).await;
            }
            PuToScu::KeepAlive { pu_time } if registered => {
                let server_time = clock(shared.fault);
                say(ScuToPu::KeepAliveAck { pu_time, server_time }).await;
            }
            PuToScu::KeepAlive { .. } => {}
            PuToScu::TokenCheck { request, token, presented_by } => {
                let checker = Arc::clone(&shared.centre.checker.lock().expect("not poisoned"));
                if let Some(result) = checker(&token, &presented_by) {
                    say(ScuToPu::TokenResult { request, result }).await;
                }
                let check = PuToScu::TokenCheck { request, token, presented_by };
                let _ = shared.messages.try_send(check);
            }
            other => {
                let _ = shared.messages.try_send(other);
            }
        }
    }
}

fn clock(fault: Fault) -> UnixMicros {
    let now = UnixMicros::from(SystemTime::now());
    if fault == Fault::ClockAhead { UnixMicros(now.0 + AHEAD_US) } else { now }
}

fn welcome(centre: &Centre, fault: Fault) -> ScuToPu {
    let public_key = PublicKey::from(centre.token_key.verifying_key());
    ScuToPu::Registered {
        domain: DOMAIN.parse().expect("domain"),
        epoch: centre.epoch.fetch_add(1, Ordering::SeqCst) + 1,
        keep_alive_ms: 5_000,
        server_time: clock(fault),
        observed: ([192, 0, 2, 1], 5).into(),
        token_keys: vec![TokenKey { kid: "key-1".parse().expect("key id"), public_key }],
        ice_servers: Vec::new(),
        owner: centre.owner.lock().expect("not poisoned").clone(),
        relations: centre.relations.lock().expect("not poisoned").clone(),
    }
}

pub fn session(name: &str) -> MediaSessionId {
    name.parse().expect("session id")
}

/// What a test may change of a unit.
pub struct Levers {
    pub addresses: watch::Sender<Addresses>,
    _unlocked: watch::Sender<bool>,
}

/// The uplink of `identity`, not yet running.
pub fn uplink(
    identity: &Arc<pu_agent::identity::Identity>,
    centre: &Centre,
    server: Server,
    clock: &Clock,
    lifecycle: &Lifecycle,
) -> (Driver, Uplink, Levers) {
    let (addresses_tx, addresses) = watch::channel(Addresses::default());
    let (unlocked, claim_unlocked) = watch::channel(false);
    let channels = watch::channel(Vec::new()).1;
    let signer = Arc::clone(identity);
    let profile = Profile {
        pu: identity.pu_id().clone(),
        public_key: identity.public_key(),
        claim: identity.claim_code().hash(),
        claim_unlocked: false,
        agent: "test".into(),
        kind: DeviceKind::Pu,
        addresses: Addresses::default(),
        channels: Vec::new(),
        sign: Box::new(move |bytes| signer.sign(bytes)),
    };
    let settings = DriverSettings {
        servers: vec![server],
        dialer: Dialer::new(Some(&centre.ca()), lifecycle.tasks.clone()).expect("dialer"),
        machine: Settings::new(1, 1),
        retry_quic: Duration::from_millis(300),
        clock: clock.clone(),
    };
    let watched = Watched { addresses, channels, claim_unlocked };
    let (driver, uplink) = Driver::new(settings, profile, watched);
    (driver, uplink, Levers { addresses: addresses_tx, _unlocked: unlocked })
}
