//! A CMU in the test's process, with a clock that the test moves, an SMS inbox, and a made-up SCU
//! with a device behind it.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    extract::ConnectInfo,
    http::{Method, Request, Response, StatusCode, header},
};
use cmu::{
    Cmu, Config,
    clock::ManualClock,
    sms::{SmsError, SmsGateway},
};
use ed25519_dalek::{Signer, SigningKey};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sightline_bus::Bus;
use sightline_model::{
    ChannelId, ClaimCode, ClaimSecret, DeviceKind, PhoneNumber, PuId, PublicKey, RecordedDays,
    ScuId, Timeline, UnixMicros,
};
use sightline_protocol::{
    Problem, ProblemKind,
    cm::Approval,
    decode, encode,
    ps::{
        Addresses, ChannelStatus, Locked, RecordingReply, RecordingRequest, Registration,
        registration_bytes,
    },
    sc::{Lease, ScReply, ScRequest},
    sm::{SmReply, SmRequest},
    subject,
};
use sightline_service_kit::lifecycle::Lifecycle;
use tower::ServiceExt;

#[derive(Debug, Default)]
pub struct Inbox(Mutex<Vec<(String, String)>>);

#[async_trait::async_trait]
impl SmsGateway for Inbox {
    async fn send(&self, phone: &PhoneNumber, text: &str) -> Result<(), SmsError> {
        self.0.lock().expect("lock").push((phone.expose().to_owned(), text.to_owned()));
        Ok(())
    }
}

impl Inbox {
    pub fn len(&self) -> usize {
        self.0.lock().expect("lock").len()
    }

    pub fn code(&self, phone: &str) -> String {
        let inbox = self.0.lock().expect("lock");
        let (_, text) = inbox.iter().rev().find(|(to, _)| to == phone).expect("an SMS came");
        text.split(|c: char| !c.is_ascii_digit()).find(|w| w.len() == 6).expect("a code").to_owned()
    }
}

pub struct Server {
    pub cmu: Cmu,
    pub router: Router,
    pub bus: Bus,
    pub clock: Arc<ManualClock>,
    pub inbox: Arc<Inbox>,
    pub config: Config,
    pub lifecycle: Lifecycle,
    _dir: tempfile::TempDir,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn problem(self, status: u16, kind: &str) -> Self {
        let this = self.expect(status);
        assert_eq!(this.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(this.body["type"], kind, "{}", this.text);
        assert_eq!(this.body["status"], status);
        this
    }
}

impl Server {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config {
            data_dir: dir.path().join("cmu"),
            approval: Approval::Automatic,
            ..Config::default()
        };
        config.bus.timeout_ms = 500;
        change(&mut config);
        let (bus, lifecycle) = (Bus::in_process(), Lifecycle::new());
        let clock = Arc::new(ManualClock::new(UnixMicros(1_800_000_000_000_000)));
        let inbox = Arc::new(Inbox::default());
        let cmu =
            Cmu::open_with(config.clone(), bus.clone(), &lifecycle, clock.clone(), inbox.clone())
                .await
                .expect("the CMU starts");
        let router = cmu.router().expect("routes");
        Self { cmu, router, bus, clock, inbox, config, lifecycle, _dir: dir }
    }

    pub async fn raw(&self, mut request: Request<Body>, from: &str) -> Response<Body> {
        let peer: SocketAddr = format!("{from}:40000").parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(peer));
        self.router.clone().oneshot(request).await.expect("infallible")
    }

    pub async fn call_from(
        &self,
        from: &str,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(value.to_string())
            }
            None => Body::empty(),
        };
        read(self.raw(request.body(body).expect("a request"), from).await).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.call_from("192.0.2.1", Method::GET, path, Some(token), None).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call_from("192.0.2.1", Method::POST, path, Some(token), Some(body)).await
    }

    pub async fn events(&self, token: &str) -> Events {
        let request = Request::get("/api/v1/events")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty())
            .expect("a request");
        let response = self.raw(request, "192.0.2.1").await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Events { stream: response.into_body().into_data_stream(), buffered: String::new() }
    }

    pub async fn delete(&self, path: &str, token: &str) -> Answer {
        self.call_from("192.0.2.1", Method::DELETE, path, Some(token), None).await
    }

    pub async fn ask_code(&self, phone: &str, from: &str) -> Answer {
        let body = Some(json!({ "phone": phone }));
        self.call_from(from, Method::POST, "/api/v1/sms-codes", None, body).await
    }

    pub async fn enter_code(&self, phone: &str, code: &str, from: &str) -> Answer {
        let key = client_key();
        let body = json!({
            "phone": phone, "code": code, "client_key": key.to_string(), "refresh_in": "body"
        });
        self.call_from(from, Method::POST, "/api/v1/sessions", None, Some(body)).await
    }

    /// Signs in and gives the whole answer.
    pub async fn sign_in(&self, phone: &str) -> Value {
        self.ask_code(phone, "192.0.2.1").await.expect(202);
        let code = self.inbox.code(phone);
        self.enter_code(phone, &code, "192.0.2.1").await.expect(201).body
    }

    pub async fn token(&self, phone: &str) -> String {
        self.sign_in(phone).await["access_token"].as_str().expect("a token").to_owned()
    }

    pub async fn sc(&self, request: &ScRequest) -> ScReply {
        let subject = subject::cmu(&self.config.domain);
        let bytes = encode(request, None).into();
        let reply = self.bus.request(&subject, bytes, Duration::from_secs(5)).await;
        decode(&reply.expect("the CMU answers")).expect("a reply").body
    }

    pub async fn audit_has(&self, operator: &str, action: &str, outcome: &str) -> bool {
        let list = self.get("/api/v1/operator/audit", operator).await.expect(200).body;
        let entries = list["entries"].as_array().expect("entries").clone();
        entries.iter().any(|e| e["action"] == action && e["outcome"] == outcome)
    }

    /// Signs in somebody of the operator's staff.
    pub async fn operator(&self) -> String {
        let phone: PhoneNumber = "+8613800138999".parse().expect("valid");
        self.cmu.add_operator(&phone).await.expect("added");
        self.token(phone.expose()).await
    }
}

/// An open event stream.
pub struct Events {
    stream: BodyDataStream,
    buffered: String,
}

impl Events {
    /// The next event.
    pub async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.buffered.find("\n\n") {
                let block: String = self.buffered.drain(..end + 2).collect();
                if let Some(data) = block.lines().find_map(|l| l.strip_prefix("data: ")) {
                    return serde_json::from_str(data).expect("an event");
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.stream.next());
            let chunk = chunk.await.expect("an event in time").expect("the stream is open");
            self.buffered.push_str(&String::from_utf8_lossy(&chunk.expect("data")));
        }
    }
}

pub fn client_key() -> PublicKey {
    SigningKey::from_bytes(&[77; 32]).verifying_key().into()
}

pub async fn read(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status: parts.status, headers: parts.headers, body, text }
}

/// A device and the SCU that it is connected to.
pub struct Camera {
    pub key: SigningKey,
    pub pu: PuId,
    pub code: ClaimCode,
    pub observed: String,
    pub kind: DeviceKind,
}

impl Camera {
    pub fn new(seed: u8) -> Self {
        Self::of_key([seed; 32], [seed; 10])
    }

    /// One of many.
    pub fn numbered(number: u32) -> Self {
        let (mut key, mut secret) = ([0xa5; 32], [0x5a; 10]);
        key[..4].copy_from_slice(&number.to_le_bytes());
        secret[..4].copy_from_slice(&number.to_le_bytes());
        Self::of_key(key, secret)
    }

    fn of_key(key: [u8; 32], secret: [u8; 10]) -> Self {
        let key = SigningKey::from_bytes(&key);
        let pu = PuId::from_public_key(&key.verifying_key().into());
        let code = ClaimCode::new(pu.clone(), ClaimSecret::from_bytes(secret));
        let (observed, kind) = ("192.0.2.1".into(), DeviceKind::Pu);
        Self { key, pu, code, observed, kind }
    }

    pub fn id(&self) -> String {
        format!("{}.0", self.pu)
    }

    pub fn registration(&self, scu: &ScuId, nonce: &str) -> Registration {
        let signed = registration_bytes(scu, nonce, &self.pu);
        Registration {
            pu: self.pu.clone(),
            public_key: self.key.verifying_key().into(),
            signature: self.key.sign(&signed).into(),
            claim: self.code.hash(),
            claim_unlocked: false,
            addresses: Addresses {
                rtsp: vec!["192.168.1.9:554".parse().expect("valid")],
                ..Addresses::default()
            },
            channels: vec![self.channel("Yard", true)],
            agent: "test 1".into(),
            kind: self.kind,
        }
    }

    pub fn channel(&self, name: &str, online: bool) -> ChannelStatus {
        ChannelStatus {
            channel: ChannelId(0),
            name: name.into(),
            online,
            fault: None,
            streams: Vec::new(),
            audio: None,
        }
    }

    pub fn request(&self) -> ScRequest {
        let scu: ScuId = "scu-1".parse().expect("valid");
        ScRequest::Register {
            scu_url: "wss://scu.example".into(),
            nonce: "n1".into(),
            observed: self.observed.parse().expect("an address"),
            registration: Box::new(self.registration(&scu, "n1")),
            scu,
        }
    }

    pub async fn register(&self, server: &Server) -> Lease {
        match server.sc(&self.request()).await {
            ScReply::Registered(lease) => *lease,
            other => panic!("not registered: {other:?}"),
        }
    }

    pub async fn bind(&self, server: &Server, token: &str) -> Answer {
        let body = json!({ "claim_code": self.code.to_string() });
        server.post("/api/v1/bindings", token, body).await
    }

    /// Plays the SCU: answers everything and remembers what it was asked.
    pub async fn connect(&self, server: &Server) -> Arc<Mutex<Vec<SmRequest>>> {
        let subject = subject::device(&server.config.domain, &self.pu);
        let mut asked = server.bus.subscribe(&subject, None).await.expect("subscribed");
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = log.clone();
        server.lifecycle.spawn(async move {
            while let Some(message) = asked.next().await {
                let request: SmRequest = decode(&message.payload).expect("a request").body;
                let reply = match &request {
                    SmRequest::PrepareMedia { .. } => SmReply::Prepared { ice_servers: Vec::new() },
                    SmRequest::Recording { ask, .. } => recorded(ask),
                    _ => SmReply::Done,
                };
                written.lock().expect("lock").push(request);
                if let Some(to) = message.reply {
                    to.send(encode(&reply, None).into()).await;
                }
            }
        });
        log
    }

    /// Registered, connected and bound.
    pub async fn owned_by(server: &Server, seed: u8, token: &str) -> Self {
        let camera = Self::new(seed);
        camera.register(server).await;
        camera.connect(server).await;
        camera.bind(server, token).await.expect(201);
        camera
    }

    pub async fn put(&self, server: &Server, token: &str, path: &str, body: Value) -> Answer {
        let path = format!("/api/v1/cameras/{}/{path}", self.id());
        server.call_from("192.0.2.1", Method::PUT, &path, Some(token), Some(body)).await
    }

    pub async fn ask(&self, server: &Server, token: &str, path: &str) -> Answer {
        server.get(&format!("/api/v1/cameras/{}/{path}", self.id()), token).await
    }

    pub async fn play(&self, server: &Server, token: &str, player: &str) -> Answer {
        let path = format!("/api/v1/cameras/{}/play", self.id());
        server.post(&path, token, json!({ "player": player })).await
    }
}

/// A recorder that has nothing, and obeys.
fn recorded(ask: &RecordingRequest) -> SmReply {
    let reply = match ask {
        RecordingRequest::SetPlan { plan } if plan.revision == 1 => {
            let problem = Problem::new(ProblemKind::PlanChanged, "revision 7 holds already");
            return SmReply::Refused { problem };
        }
        RecordingRequest::SetPlan { plan } => RecordingReply::PlanSet { revision: plan.revision },
        RecordingRequest::ReadPlans { .. } => RecordingReply::Plans { plans: Vec::new() },
        RecordingRequest::Manual { .. } | RecordingRequest::Status => RecordingReply::Done,
        RecordingRequest::List(query) => RecordingReply::Timeline(Box::new(Timeline {
            camera: query.camera.clone(),
            from: query.from,
            to: query.to,
            resolution_us: 20_000,
            sources: Vec::new(),
            spans: Vec::new(),
            gaps: Vec::new(),
            events: Vec::new(),
        })),
        RecordingRequest::Days { camera, zone, year, month } => {
            RecordingReply::Days(RecordedDays {
                camera: camera.clone(),
                zone: zone.clone(),
                year: *year,
                month: *month,
                days: [21].into(),
            })
        }
        RecordingRequest::Lock(_) => RecordingReply::Locked(Locked { segments: 15, bytes: 30 }),
        RecordingRequest::Relate { relations } => {
            RecordingReply::Related { revision: relations.revision }
        }
    };
    SmReply::Recorded { reply: Box::new(reply) }
}
