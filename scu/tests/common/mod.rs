//! A centre in one process: SCUs with a CMU that keeps its books in a map, and clients for both
//! sides of an SCU.

#![allow(dead_code, reason = "each test binary uses its part of this module")]

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use sightline_bus::Bus;
use sightline_model::{
    Capabilities, ChannelId, ClaimCode, ClaimSecret, DeviceId, DomainName, MediaSessionId, PuId,
    PublicKey, Secret, SessionToken, Signature, UnixMicros, UserId,
};
use sightline_protocol::{
    Problem, ProblemKind,
    cp::CloudReply,
    cs::{CuToScu, MediaOffer, ScuToCu},
    decode, encode,
    ps::{self, Addresses, ChannelStatus, MediaAnswer, PuToScu, Registration, ScuToPu},
    sc::{Lease, ScReply, ScRequest, TokenGrant},
    sd::MtuStatus,
    sm::{LeaseGranted, SmOrder, SmReply, SmRequest},
    subject,
};
use sightline_service_kit::{lifecycle::Lifecycle, tls::Authority};
use tokio_tungstenite::tungstenite;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn domain() -> DomainName {
    "test.example".parse().expect("valid name")
}

pub fn session(name: &str) -> MediaSessionId {
    name.parse().expect("valid id")
}

/// Waits, with an end: a test that hangs says where.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no {what}"))
}

/// The CMU's part: leases by device, tokens by hash.
#[derive(Default)]
pub struct Books {
    pub epochs: HashMap<PuId, u64>,
    pub tokens: Vec<String>,
    pub seen: Vec<ScRequest>,
    pub unknown: Vec<PuId>,
}

pub struct Centre {
    pub bus: Bus,
    pub books: Arc<Mutex<Books>>,
    pub lifecycle: Lifecycle,
    authority: Authority,
}

impl Centre {
    pub async fn start() -> Self {
        Self::over(Bus::in_process()).await
    }

    pub async fn over(bus: Bus) -> Self {
        sightline_service_kit::tls::install_provider();
        let lifecycle = Lifecycle::new();
        let books = Arc::new(Mutex::new(Books::default()));
        let mut requests = bus.subscribe(&subject::cmu(&domain()), Some("cmu")).await.expect("bus");
        let (cmu_bus, cmu_books) = (bus.clone(), books.clone());
        lifecycle.spawn(async move {
            while let Some(message) = requests.next().await {
                let request = decode::<ScRequest>(&message.payload).expect("readable").body;
                let reply = answer(&cmu_bus, &cmu_books, request).await;
                if let Some(to) = message.reply {
                    to.send(encode(&reply, None).into()).await;
                }
            }
        });
        Self { bus, books, lifecycle, authority: Authority::create("Test").expect("made") }
    }

    pub fn config(&self) -> scu::Config {
        let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
        let identity = self.authority.issue(&["localhost"], &[loopback.ip()]).expect("issued");
        scu::Config {
            domain: domain(),
            quic_listen: loopback,
            http_listen: Some(loopback),
            tls: scu::Tls { http: false, identity: Some(identity), ..Default::default() },
            turn: scu::Turn {
                secret: Some(Secret::new("0123456789abcdef".to_owned())),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    pub async fn scu(&self) -> scu::Running {
        scu::start(self.config(), self.bus.clone(), &self.lifecycle).await.expect("started")
    }

    pub fn quic(&self) -> quinn::Endpoint {
        let dir = tempfile::tempdir().expect("temporary folder");
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, self.authority.certificate_pem()).expect("written");
        let tls = sightline_service_kit::tls::client_config(Some(&ca), &[ps::ALPN]).expect("tls");
        let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("usable");
        let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("bound");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
        endpoint
    }

    pub async fn sm(
        &self,
        pu: &PuId,
        request: SmRequest,
    ) -> Result<SmReply, sightline_bus::BusError> {
        let subject = subject::device(&domain(), pu);
        let reply = self.bus.request(&subject, encode(&request, None).into(), PATIENCE).await?;
        Ok(decode(&reply).expect("readable").body)
    }

    pub async fn announce_mtu(&self) {
        let payload = encode(&mtu_status("mtu-1"), None).into();
        self.bus.publish(&subject::mtu_status(&domain()), payload).await.expect("bus");
    }

    /// Gives an order to whichever SCU takes it, as a CMU does.
    pub async fn order(&self, order: &SmOrder) -> SmReply {
        let payload = encode(order, None).into();
        let reply = self.bus.request(&subject::scu(&domain()), payload, PATIENCE).await;
        decode(&reply.expect("an SCU answers")).expect("readable").body
    }

    /// What an MTU is commanded.
    pub async fn mtu_commands(&self, mtu: &str) -> sightline_bus::Subscription {
        let subject = subject::mtu(&domain(), &mtu.parse().expect("valid id"));
        self.bus.subscribe(&subject, None).await.expect("bus")
    }

    /// What CUs have reported so far.
    pub fn viewer_reports(&self) -> Vec<ScRequest> {
        let is = |r: &&ScRequest| matches!(r, ScRequest::ViewerReport { .. });
        self.books.lock().seen.iter().filter(is).cloned().collect()
    }

    /// Waits until the CMU has had a request that fits.
    pub async fn saw(&self, what: &str, fits: impl Fn(&ScRequest) -> bool) {
        soon(what, async {
            while !self.books.lock().seen.iter().any(&fits) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

pub fn mtu_status(mtu: &str) -> MtuStatus {
    let urls = vec!["stun:192.0.2.1:3478".to_owned(), "turn:192.0.2.1:3478".to_owned()];
    MtuStatus::new(mtu.parse().expect("valid id"), urls, 0.0, true, UnixMicros(0))
}

async fn answer(bus: &Bus, books: &Mutex<Books>, request: ScRequest) -> ScReply {
    let refused = |kind| ScReply::Refused { problem: Problem::new(kind, "refused") };
    books.lock().seen.push(request.clone());
    match request {
        ScRequest::Register { scu, nonce, registration, .. } => {
            let Registration { pu, public_key, signature, .. } = *registration;
            let signed = ps::registration_bytes(&scu, &nonce, &pu);
            if !pu.matches(&public_key) || !public_key.verify(&signed, &signature) {
                return refused(ProblemKind::WrongKey);
            }
            if books.lock().unknown.contains(&pu) {
                return refused(ProblemKind::UnknownDevice);
            }
            let epoch = {
                let mut books = books.lock();
                let epoch = books.epochs.entry(pu.clone()).or_insert(0);
                *epoch += 1;
                *epoch
            };
            let granted = LeaseGranted { device: pu.clone(), epoch, scu };
            let subject = subject::lease_events(&domain());
            bus.publish(&subject, encode(&granted, None).into()).await.expect("bus");
            ScReply::Registered(Box::new(Lease {
                device: DeviceId { domain: domain(), pu },
                epoch,
                ttl_ms: 30_000,
                owner: None,
                token_keys: vec![],
                server_time: UnixMicros(0),
                relations: None,
            }))
        }
        ScRequest::RenewLeases { leases, .. } => {
            let books = books.lock();
            let lost = leases
                .into_iter()
                .filter(|(pu, epoch)| books.epochs.get(pu) != Some(epoch))
                .map(|(pu, _)| pu)
                .collect();
            ScReply::LeasesRenewed { lost }
        }
        ScRequest::TokenCheck { token, .. } => {
            if !books.lock().tokens.iter().any(|known| known == token.as_str()) {
                return refused(ProblemKind::InvalidToken);
            }
            ScReply::TokenGranted(Box::new(TokenGrant {
                domain: domain(),
                user: UserId::from_random([1; 16]),
                session: session("call"),
                channel: ChannelId(0),
                rights: sightline_model::Rights::owner(),
                capabilities: Capabilities::default(),
                expires_at: UnixMicros(i64::MAX),
            }))
        }
        ScRequest::Ticket { .. } => refused(ProblemKind::NotFound),
        ScRequest::Release { .. }
        | ScRequest::Addresses { .. }
        | ScRequest::Channels { .. }
        | ScRequest::SessionReport { .. }
        | ScRequest::ViewerReport { .. }
        | ScRequest::Nat { .. }
        | ScRequest::RecorderReport { .. } => ScReply::Done,
        ScRequest::Cloud { .. } => ScReply::Cloud { answer: Box::new(CloudReply::Opened) },
    }
}

/// The PU's side of Ps over QUIC.
pub struct Pu {
    pub key: SigningKey,
    pub id: PuId,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    _connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub fn id_of(key: &SigningKey) -> PuId {
    PuId::from_public_key(&PublicKey::from(key.verifying_key()))
}

pub fn registration(signer: &SigningKey, pu: &PuId, challenge: &ScuToPu) -> PuToScu {
    let ScuToPu::Challenge { scu, nonce } = challenge else { panic!("{challenge:?}") };
    let signature = Signature::from(signer.sign(&ps::registration_bytes(scu, nonce, pu)));
    PuToScu::Register(Box::new(Registration {
        pu: pu.clone(),
        public_key: signer.verifying_key().into(),
        signature,
        claim: ClaimCode::new(pu.clone(), ClaimSecret::from_bytes([1; 10])).hash(),
        claim_unlocked: false,
        addresses: Addresses::default(),
        channels: vec![ChannelStatus {
            channel: ChannelId(0),
            name: "Door".to_owned(),
            online: true,
            fault: None,
            streams: vec![],
            audio: None,
        }],
        agent: "test".to_owned(),
        kind: sightline_model::DeviceKind::Pu,
    }))
}

impl Pu {
    /// Connects and says hello.
    pub async fn connect(centre: &Centre, scu: &scu::Running, key: SigningKey) -> Self {
        let endpoint = centre.quic();
        let connection =
            endpoint.connect(scu.quic_addr, "localhost").expect("valid").await.expect("connected");
        let (send, recv) = connection.open_bi().await.expect("opened");
        let id = id_of(&key);
        let mut pu = Self { key, id, send, recv, _connection: connection, _endpoint: endpoint };
        pu.send(&PuToScu::KeepAlive { pu_time: UnixMicros(0) }).await;
        pu
    }

    pub async fn registered(centre: &Centre, scu: &scu::Running, key: SigningKey) -> Self {
        let mut pu = Self::connect(centre, scu, key).await;
        let challenge = pu.next().await;
        let registration = registration(&pu.key, &pu.id, &challenge);
        pu.send(&registration).await;
        let reply = pu.next().await;
        assert!(matches!(reply, ScuToPu::Registered { .. }), "{reply:?}");
        pu
    }

    pub async fn send(&mut self, message: &PuToScu) {
        self.send_raw(&encode(message, None)).await;
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("short");
        self.send.write_all(&length.to_be_bytes()).await.expect("sent");
        self.send.write_all(bytes).await.expect("sent");
    }

    pub async fn send_length(&mut self, length: u32) {
        self.send.write_all(&length.to_be_bytes()).await.expect("sent");
    }

    pub async fn try_next(&mut self) -> Option<ScuToPu> {
        soon("message of the SCU", async {
            let mut length = [0; 4];
            self.recv.read_exact(&mut length).await.ok()?;
            let mut message = vec![0; u32::from_be_bytes(length) as usize];
            self.recv.read_exact(&mut message).await.ok()?;
            Some(decode(&message).expect("readable").body)
        })
        .await
    }

    pub async fn next(&mut self) -> ScuToPu {
        self.try_next().await.expect("the connection stands")
    }

    /// That the connection is refused for this reason, and ends.
    pub async fn is_refused(&mut self, kind: ProblemKind) {
        match self.next().await {
            ScuToPu::Refused { problem } => assert_eq!(problem.kind, kind, "{problem}"),
            other => panic!("{other:?} in place of a refusal"),
        }
        assert!(self.try_next().await.is_none());
    }

    /// That the connection lives and is answered.
    pub async fn is_alive(&mut self) {
        let pu_time = UnixMicros(7);
        self.send(&PuToScu::KeepAlive { pu_time }).await;
        let reply = self.next().await;
        let ScuToPu::KeepAliveAck { pu_time: echo, server_time } = reply else {
            panic!("{reply:?}")
        };
        assert!(echo == pu_time && server_time.0 > 0);
    }

    pub async fn answers(&mut self, session: &MediaSessionId) {
        let answer = MediaAnswer {
            sdp: "v=0".to_owned(),
            public_key: self.key.verifying_key().into(),
            signature: Signature::from_bytes([0; 64]),
        };
        let session = session.clone();
        self.send(&PuToScu::MediaAnswer { session, result: Ok(answer) }).await;
    }
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Either side of a WebSocket of the SCU.
pub struct Ws(Socket);

impl Ws {
    pub async fn connect(scu: &scu::Running, path: &str) -> Self {
        let address = scu.http_addr.expect("bound");
        let url = format!("ws://{address}{path}");
        Self(tokio_tungstenite::connect_async(url).await.expect("connected").0)
    }

    pub async fn send<T: serde::Serialize>(&mut self, message: &T) {
        self.send_text(String::from_utf8(encode(message, None)).expect("text")).await;
    }

    pub async fn send_text(&mut self, text: String) {
        self.0.send(tungstenite::Message::text(text)).await.expect("sent");
    }

    pub async fn try_next<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        soon("message of the SCU", async {
            loop {
                match self.0.next().await?.ok()? {
                    tungstenite::Message::Text(text) => {
                        return Some(decode(text.as_bytes()).expect("readable").body);
                    }
                    tungstenite::Message::Close(_) => return None,
                    _ => {}
                }
            }
        })
        .await
    }

    pub async fn next<T: serde::de::DeserializeOwned>(&mut self) -> T {
        self.try_next().await.expect("the connection stands")
    }

    pub async fn close(mut self) {
        self.0.close(None).await.expect("closed");
    }

    pub async fn offer(&mut self, name: &str, device: &PuId) {
        let device = DeviceId { domain: domain(), pu: device.clone() };
        let offer = Box::new(MediaOffer {
            sdp: "v=0".to_owned(),
            token: SessionToken::new("token".to_owned()),
            client_key: PublicKey::from_bytes([9; 32]),
            signature: Signature::from_bytes([0; 64]),
            ice_servers: vec![],
        });
        self.send(&CuToScu::Offer { session: session(name), device, offer }).await;
    }

    pub async fn is_refused(&mut self, kind: ProblemKind) {
        match self.next().await {
            ScuToCu::Refused { problem, .. } => assert_eq!(problem.kind, kind, "{problem}"),
            other => panic!("{other:?} in place of a refusal"),
        }
    }
}

pub fn bytes<T: serde::Serialize>(message: &T) -> Bytes {
    encode(message, None).into()
}
