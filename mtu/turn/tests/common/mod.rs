//! Clients, peers and relays of a server that has no sockets.
#![allow(dead_code, reason = "each test uses its share")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mtu_turn::{
    ClientId, Credentials, Driver, EvenPort, Extension, ExtensionRequest, Family, Fragment, Limits,
    Now, OpenError, OpenRelay, Opened, RefusedPeer, RelayId, RelayProtocol, Server, Settings,
    Shared, Shortcut, StreamMeter, Ticket, Transport, Usage, WorkerIndex, peers::PeerRules, wire,
};
use sightline_model::Secret;
use stun_rs::{
    Algorithm, AlgorithmId, HMACKey, MessageClass, MessageDecoderBuilder, MessageEncoderBuilder,
    MessageMethod, StunAttribute, StunMessage, StunMessageBuilder, TransactionId,
    attributes::{
        stun::{
            ErrorCode, MessageIntegrity, MessageIntegritySha256, Nonce, PasswordAlgorithm,
            PasswordAlgorithms, Realm, UserName,
        },
        turn::{ChannelNumber, LifeTime, RequestedTrasport, XorPeerAddress, XorRelayedAddress},
    },
    methods,
};

pub const SECRET: &str = "0123456789abcdef";
pub const OLD_SECRET: &str = "the one before it";
pub const START_UNIX_S: u64 = 1_800_000_000;

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn settings() -> Settings {
    let secrets = [SECRET, OLD_SECRET].map(|secret| Secret::new(secret.to_owned()));
    Settings {
        credentials: Credentials::new("sightline", secrets.to_vec()).unwrap(),
        peers: PeerRules { own: vec![address("192.0.2.1:0").ip()], ..Default::default() },
        limits: Limits::default(),
        listening: vec![],
        draining: false,
        alternates: vec![],
        tcp_relays: false,
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    Client(ClientId, Vec<u8>),
    Peer(RelayId, SocketAddr, Vec<u8>, Fragment),
    Worker(WorkerIndex, SocketAddr, SocketAddr, Vec<u8>),
}

/// Relays without sockets.
#[derive(Debug)]
pub struct Hands {
    pub out: VecDeque<Out>,
    pub relays: Vec<(RelayId, SocketAddr)>,
    pub held: HashSet<SocketAddr>,
    pub ended: Vec<Usage>,
    /// User, peer, and how many before were not told.
    pub refused: Vec<(String, SocketAddr, u64)>,
    pub tickets: Vec<Ticket>,
    pub lent: Vec<(WorkerIndex, SocketAddr, SocketAddr, Arc<Shortcut>)>,
    /// Of each allocation for TCP.
    pub streams: Vec<Arc<StreamMeter>>,
    pub no_v6: bool,
    next_port: u16,
    tokens: u8,
}

impl Hands {
    pub fn new() -> Self {
        Self {
            out: VecDeque::new(),
            relays: vec![],
            held: HashSet::new(),
            ended: vec![],
            refused: vec![],
            tickets: vec![],
            lent: vec![],
            streams: vec![],
            no_v6: false,
            next_port: 50_001,
            tokens: 0,
        }
    }

    /// From now on relays have ports from here on.
    pub fn open_from(&mut self, port: u16) {
        self.next_port = port;
    }
}

impl Driver for Hands {
    fn send_to_client(&mut self, client: &ClientId, head: &[u8], payload: &[u8], tail: &[u8]) {
        self.out.push_back(Out::Client(*client, [head, payload, tail].concat()));
    }

    fn send_to_peer(&mut self, relay: RelayId, peer: SocketAddr, bytes: &[u8], f: Fragment) {
        self.out.push_back(Out::Peer(relay, peer, bytes.to_vec(), f));
    }

    fn send_to_worker(&mut self, w: WorkerIndex, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.out.push_back(Out::Worker(w, from, to, bytes.to_vec()));
    }

    fn open_relay(&mut self, wanted: &OpenRelay<'_>) -> Result<Opened, OpenError> {
        if wanted.family == Family::V6 && self.no_v6 {
            return Err(OpenError::Family);
        }
        assert!(self.relays.iter().all(|(relay, _)| *relay != wanted.relay), "a number twice");
        assert_eq!(wanted.streams.is_some(), wanted.protocol == RelayProtocol::Tcp);
        self.streams.extend(wanted.streams.cloned());
        if let Some(address) = wanted.held {
            assert!(self.held.remove(&address), "not held");
            self.relays.push((wanted.relay, address));
            return Ok(Opened { address, held: None });
        }
        if wanted.even != EvenPort::Any {
            self.next_port = self.next_port.next_multiple_of(2);
        }
        let ip = match (wanted.family, wanted.protocol) {
            (Family::V4, RelayProtocol::Udp) => "192.0.2.1",
            (Family::V4, RelayProtocol::Tcp) => "192.0.2.2",
            (Family::V6, _) => "2001:db9::1",
        };
        let address = SocketAddr::new(ip.parse().unwrap(), self.next_port);
        self.next_port += 1;
        self.relays.push((wanted.relay, address));
        let held = (wanted.even == EvenPort::EvenAndHoldNext).then(|| {
            let held = SocketAddr::new(ip.parse().unwrap(), self.next_port);
            self.next_port += 1;
            self.held.insert(held);
            held
        });
        Ok(Opened { address, held })
    }

    fn close_relay(&mut self, relay: RelayId) {
        let before = self.relays.len();
        self.relays.retain(|(open, _)| *open != relay);
        assert_eq!(self.relays.len() + 1, before, "closed what was not open");
    }

    fn release_held(&mut self, address: SocketAddr) {
        assert!(self.held.remove(&address), "released what was not held");
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.tokens += 1;
        bytes.fill(self.tokens);
    }

    fn ended(&mut self, usage: Usage) {
        self.ended.push(usage);
    }

    fn peer_refused(&mut self, refused: &RefusedPeer<'_>) {
        self.refused.push((refused.user.to_owned(), refused.peer, refused.untold));
    }

    fn lend_shortcut(
        &mut self,
        w: WorkerIndex,
        from: SocketAddr,
        to: SocketAddr,
        s: Arc<Shortcut>,
    ) {
        self.lent.push((w, from, to, s));
    }

    fn extend(&mut self, request: &ExtensionRequest<'_>) -> Extension {
        if request.relay.is_none() {
            return Extension::Unknown;
        }
        self.tickets.push(request.ticket.clone());
        Extension::Later
    }
}

/// A server with its time and its relays.
pub struct World {
    pub server: Server,
    pub shared: Arc<Shared>,
    pub hands: Hands,
    pub now: Now,
}

impl World {
    pub fn new(settings: Settings) -> Self {
        let instant = Instant::now();
        let relay_ips = ["192.0.2.1", "2001:db9::1"].map(|ip| ip.parse().unwrap());
        let shared = Arc::new(Shared::new(relay_ips, &[7; 32], instant));
        Self {
            server: Server::new(WorkerIndex(0), shared.clone(), Arc::new(settings)),
            shared,
            hands: Hands::new(),
            now: Now { instant, unix_s: START_UNIX_S },
        }
    }

    pub fn set(&mut self, settings: Settings) {
        self.server.set_settings(Arc::new(settings));
    }

    /// Time goes by, and what is due is done.
    pub fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_s += time.as_secs();
        while self.server.poll_timeout().is_some_and(|due| due <= self.now.instant) {
            self.server.handle_timeout(self.now, &mut self.hands);
        }
    }

    pub fn input(&mut self, client: &ClientId, bytes: &[u8]) {
        self.server.handle_input(client, bytes, bytes.len(), self.now, &mut self.hands);
    }

    pub fn peer_input(&mut self, relayed: SocketAddr, peer: SocketAddr, bytes: &[u8]) {
        let relay = self.relay_of(relayed);
        let hands = &mut self.hands;
        self.server.handle_peer_input(relay, peer, bytes, bytes.len(), self.now, hands);
    }

    pub fn relay_of(&self, relayed: SocketAddr) -> RelayId {
        self.hands.relays.iter().find(|(_, address)| *address == relayed).unwrap().0
    }

    pub fn take(&mut self) -> Option<Out> {
        self.hands.out.pop_front()
    }

    /// The one thing that came out, for this client.
    pub fn take_for(&mut self, client: &ClientId) -> Vec<u8> {
        match self.take() {
            Some(Out::Client(to, bytes)) if to == *client => bytes,
            other => panic!("expected a message for {client:?}, not {other:?}"),
        }
    }

    pub fn assert_silent(&self) {
        assert!(self.hands.out.is_empty(), "{:?}", self.hands.out);
    }
}

/// A client that proves itself.
#[derive(Debug, Clone)]
pub struct Client {
    pub id: ClientId,
    pub user: String,
    pub password: String,
    pub realm: String,
    pub nonce: String,
    pub algorithm: AlgorithmId,
    transactions: u64,
}

/// An answer: its attributes, or its error code.
pub type Outcome = Result<StunMessage, u16>;

impl Client {
    pub fn new(from: &str, name: &str) -> Self {
        Self::with(from, &format!("{}:{name}", START_UNIX_S + 36_000), SECRET)
    }

    pub fn with(from: &str, user: &str, secret: &str) -> Self {
        let secret = Secret::new(secret.to_owned());
        Self {
            id: ClientId::new(Transport::Udp, address(from), address("192.0.2.1:3478")),
            user: user.to_owned(),
            password: Credentials::password(&secret, user).into_inner(),
            realm: "sightline".to_owned(),
            nonce: String::new(),
            algorithm: AlgorithmId::MD5,
            transactions: 0,
        }
    }

    pub fn over(mut self, transport: Transport) -> Self {
        self.id.transport = transport;
        self
    }

    pub fn transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.transactions.to_be_bytes());
        id[8..10].copy_from_slice(&self.id.address.port().to_be_bytes());
        TransactionId::from(id)
    }

    pub fn key(&self) -> HMACKey {
        let algorithm = Algorithm::from(self.algorithm);
        HMACKey::new_long_term(&self.user, &self.realm, &self.password, algorithm).unwrap()
    }

    pub fn sign(
        &self,
        method: MessageMethod,
        transaction: TransactionId,
        attributes: Vec<StunAttribute>,
    ) -> Vec<u8> {
        let mut builder = StunMessageBuilder::new(method, MessageClass::Request)
            .with_transaction_id(transaction)
            .with_attribute(UserName::new(&self.user).unwrap())
            .with_attribute(Realm::new(&self.realm).unwrap())
            .with_attribute(Nonce::new(&self.nonce).unwrap());
        for attribute in attributes {
            builder = builder.with_attribute(attribute);
        }
        if self.algorithm == AlgorithmId::SHA256 {
            let chosen = |id: AlgorithmId| PasswordAlgorithm::new(Algorithm::from(id));
            let offered = vec![chosen(AlgorithmId::SHA256), chosen(AlgorithmId::MD5)];
            builder = builder
                .with_attribute(PasswordAlgorithms::from(offered))
                .with_attribute(chosen(AlgorithmId::SHA256))
                .with_attribute(MessageIntegritySha256::new(self.key()));
        } else {
            builder = builder.with_attribute(MessageIntegrity::new(self.key()));
        }
        encode(&builder.build())
    }

    /// Asks, and once more with a nonce when the server wants one.
    pub fn ask(
        &mut self,
        world: &mut World,
        method: MessageMethod,
        attributes: Vec<StunAttribute>,
    ) -> Outcome {
        let outcome = self.ask_once(world, method, attributes.clone());
        match outcome {
            Err(401 | 438) => self.ask_once(world, method, attributes),
            other => other,
        }
    }

    pub fn ask_once(
        &mut self,
        world: &mut World,
        method: MessageMethod,
        attributes: Vec<StunAttribute>,
    ) -> Outcome {
        let transaction = self.transaction();
        let request = if self.nonce.is_empty() {
            let mut builder = StunMessageBuilder::new(method, MessageClass::Request)
                .with_transaction_id(transaction);
            for attribute in attributes {
                builder = builder.with_attribute(attribute);
            }
            encode(&builder.build())
        } else {
            self.sign(method, transaction, attributes)
        };
        world.input(&self.id, &request);
        let answer = world.take_for(&self.id);
        self.understand(&answer, transaction)
    }

    pub fn understand(&mut self, answer: &[u8], transaction: TransactionId) -> Outcome {
        let (answer, _) = MessageDecoderBuilder::default().build().decode(answer).unwrap();
        assert_eq!(*answer.transaction_id(), transaction);
        if let Some(nonce) = answer.get::<Nonce>() {
            self.nonce = nonce.as_nonce().unwrap().as_str().to_owned();
        }
        if answer.class() == MessageClass::SuccessResponse {
            return Ok(answer);
        }
        let code = answer.get::<ErrorCode>().unwrap().as_error_code().unwrap();
        Err(code.error_code().error_code())
    }

    pub fn allocate(&mut self, world: &mut World) -> Result<SocketAddr, u16> {
        self.allocate_with(world, vec![]).map(|answer| relayed(&answer)[0])
    }

    pub fn allocate_with(&mut self, world: &mut World, more: Vec<StunAttribute>) -> Outcome {
        let mut attributes = vec![RequestedTrasport::default().into()];
        attributes.extend(more);
        self.ask(world, methods::ALLOCATE, attributes)
    }

    pub fn refresh(&mut self, world: &mut World, lifetime_s: u32) -> Outcome {
        let lifetime = vec![LifeTime::from(lifetime_s).into()];
        self.ask(world, methods::REFRESH, lifetime)
    }

    pub fn permit(&mut self, world: &mut World, peers: &[SocketAddr]) -> Outcome {
        let peers = peers.iter().map(|peer| XorPeerAddress::from(*peer).into()).collect();
        self.ask(world, methods::CREATE_PERMMISSION, peers)
    }

    pub fn bind(&mut self, world: &mut World, number: u16, peer: SocketAddr) -> Outcome {
        let channel = ChannelNumber::new(number).into();
        let attributes = vec![channel, XorPeerAddress::from(peer).into()];
        self.ask(world, methods::CHANNEL_BIND, attributes)
    }

    pub fn send_channel(&self, world: &mut World, number: u16, payload: &[u8]) {
        let head = wire::channel_header(number, payload.len());
        world.input(&self.id, &[&head, payload].concat());
    }

    pub fn send(&mut self, world: &mut World, peer: SocketAddr, payload: &[u8]) {
        let indication = self.send_indication(peer, payload);
        world.input(&self.id, &indication);
    }

    pub fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let builder = StunMessageBuilder::new(methods::SEND, MessageClass::Indication)
            .with_transaction_id(self.transaction())
            .with_attribute(XorPeerAddress::from(peer))
            .with_attribute(stun_rs::attributes::turn::Data::new(payload));
        encode(&builder.build())
    }
}

pub fn udp() -> StunAttribute {
    RequestedTrasport::default().into()
}

pub fn protocol(number: u8) -> StunAttribute {
    // `stun-rs` makes no other than UDP's, but reads them.
    let attribute = [0, 0x19, 0, 4, number, 0, 0, 0];
    let message = [&[0, 3, 0, 8][..], &wire::MAGIC_COOKIE, &[0; 12], &attribute].concat();
    let (message, _) = MessageDecoderBuilder::default().build().decode(&message).unwrap();
    message.attributes()[0].clone()
}

pub fn encode(message: &StunMessage) -> Vec<u8> {
    let mut bytes = vec![0; 4_096];
    let length = MessageEncoderBuilder::default().build().encode(&mut bytes, message).unwrap();
    bytes.truncate(length);
    bytes
}

pub fn relayed(answer: &StunMessage) -> Vec<SocketAddr> {
    let all = answer.attributes().iter();
    all.filter_map(|a| a.as_xor_relayed_address().ok())
        .map(|a: &XorRelayedAddress| *a.socket_address())
        .collect()
}

pub fn lifetime(answer: &StunMessage) -> u32 {
    answer.get::<LifeTime>().unwrap().as_life_time().unwrap().as_u32()
}
