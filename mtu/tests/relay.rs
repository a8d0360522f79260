//! The relay as its clients see it: who gets in, and to whom it sends.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    time::{Duration, SystemTime},
};

use aws_lc_rs::hmac;
use base64::Engine as _;
use sightline_bus::Bus;
use sightline_model::Secret;
use sightline_protocol::{sd::MtuStatus, subject};
use sightline_service_kit::lifecycle::Lifecycle;
use stun::{
    attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, AttrType},
    error_code::ErrorCodeAttribute,
    integrity::MessageIntegrity,
    message::{
        BINDING_REQUEST, CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter,
        METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH,
        METHOD_SEND, Message, MessageType, Method, Setter,
    },
    textattrs::TextAttribute,
    xoraddr::XorMappedAddress,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};
use turn::proto::{
    PROTO_UDP, channum::ChannelNumber, data::Data, lifetime::Lifetime, peeraddr::PeerAddress,
    relayaddr::RelayedAddress, reqtrans::RequestedTransport,
};

const SECRET: &str = "0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no {what}"))
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn config(allow: &[&str]) -> mtu::Config {
    mtu::Config {
        udp_listen: loopback(0),
        tcp_listen: Some(loopback(0)),
        secret: Some(Secret::new(SECRET.to_owned())),
        allow_peers: allow.iter().map(|net| net.parse().expect("a network")).collect(),
        ..Default::default()
    }
}

async fn start(config: mtu::Config) -> (mtu::Running, Lifecycle) {
    let lifecycle = Lifecycle::new();
    let mtu = mtu::start(config, Bus::in_process(), &lifecycle).await.expect("started");
    (mtu, lifecycle)
}

/// User name and password, good for so many seconds from now.
fn credentials(ttl_s: i64, secret: &str) -> (String, String) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let username = format!("{}:call", i64::try_from(now.as_secs()).expect("not yet") + ttl_s);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let password = base64::prelude::BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    (username, password)
}

enum Stream {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream),
}

/// A TURN client that shows every answer.
struct Client {
    stream: Stream,
    username: String,
    password: String,
    realm: String,
    nonce: String,
}

type Outcome = Result<Message, u16>;

impl Client {
    async fn udp(mtu: &mtu::Running) -> Self {
        let socket = UdpSocket::bind(loopback(0)).await.expect("bound");
        Self::over(Stream::Udp(socket, mtu.udp_addr), credentials(600, SECRET))
    }

    async fn tcp(mtu: &mtu::Running) -> Self {
        let stream = TcpStream::connect(mtu.tcp_addr.expect("served")).await.expect("connected");
        Self::over(Stream::Tcp(stream), credentials(600, SECRET))
    }

    fn over(stream: Stream, (username, password): (String, String)) -> Self {
        Self { stream, username, password, realm: String::new(), nonce: String::new() }
    }

    async fn send_raw(&mut self, bytes: &[u8]) {
        match &mut self.stream {
            Stream::Udp(socket, server) => {
                socket.send_to(bytes, *server).await.expect("sent");
            }
            Stream::Tcp(stream) => stream.write_all(bytes).await.expect("sent"),
        }
    }

    async fn receive(&mut self) -> Vec<u8> {
        soon("datagram", async {
            let mut buffer = vec![0; 2_048];
            let n = match &mut self.stream {
                Stream::Udp(socket, _) => socket.recv(&mut buffer).await.expect("received"),
                Stream::Tcp(stream) => {
                    stream.read_exact(&mut buffer[..4]).await.expect("received");
                    let length = usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
                    let rest = if buffer[0] & 0xc0 == 0 {
                        length + 16
                    } else {
                        length.next_multiple_of(4)
                    };
                    stream.read_exact(&mut buffer[4..4 + rest]).await.expect("received");
                    4 + rest
                }
            };
            buffer.truncate(n);
            buffer
        })
        .await
    }

    async fn exchange(&mut self, message: &Message) -> Outcome {
        self.send_raw(&message.raw).await;
        let mut answer = Message { raw: self.receive().await, ..Default::default() };
        answer.decode().expect("STUN");
        assert_eq!(answer.transaction_id, message.transaction_id);
        if answer.typ.class == CLASS_SUCCESS_RESPONSE {
            return Ok(answer);
        }
        let mut code = ErrorCodeAttribute::default();
        // The crate answers some failures without a code.
        let code = code.get_from(&answer).map_or(0, |()| code.code.0);
        let text = |attr| TextAttribute::get_from_as(&answer, attr).map(|t| t.text);
        if let (Ok(realm), Ok(nonce)) = (text(ATTR_REALM), text(ATTR_NONCE)) {
            (self.realm, self.nonce) = (realm, nonce);
        }
        Err(code)
    }

    /// A request with credentials.
    async fn request(&mut self, method: Method, attributes: Vec<Box<dyn Setter>>) -> Outcome {
        let mut setters: Vec<Box<dyn Setter>> = vec![
            Box::new(stun::agent::TransactionId::new()),
            Box::new(MessageType::new(method, CLASS_REQUEST)),
        ];
        setters.extend(attributes);
        if !self.nonce.is_empty() {
            let text = |attr: AttrType, text: &str| TextAttribute::new(attr, text.to_owned());
            setters.push(Box::new(text(ATTR_USERNAME, &self.username)));
            setters.push(Box::new(text(ATTR_REALM, &self.realm)));
            setters.push(Box::new(text(ATTR_NONCE, &self.nonce)));
            setters.push(Box::new(MessageIntegrity::new_long_term_integrity(
                self.username.clone(),
                self.realm.clone(),
                self.password.clone(),
            )));
        }
        let mut message = Message::new();
        message.build(&setters).expect("built");
        self.exchange(&message).await
    }

    async fn allocate_once(&mut self) -> Outcome {
        self.request(METHOD_ALLOCATE, vec![Box::new(RequestedTransport { protocol: PROTO_UDP })])
            .await
    }

    async fn allocate(&mut self) -> Result<SocketAddr, u16> {
        assert_eq!(self.allocate_once().await.map(|_| ()), Err(401), "without credentials");
        let answer = self.allocate_once().await?;
        let mut relayed = RelayedAddress::default();
        relayed.get_from(&answer).expect("an address");
        Ok(SocketAddr::new(relayed.ip, relayed.port))
    }

    async fn permit(&mut self, peers: &[IpAddr]) -> Outcome {
        let peers = peers
            .iter()
            .map(|ip| Box::new(PeerAddress { ip: *ip, port: 9 }) as Box<dyn Setter>)
            .collect();
        self.request(METHOD_CREATE_PERMISSION, peers).await
    }

    async fn bind(&mut self, peer: SocketAddr) -> Outcome {
        let peer = PeerAddress { ip: peer.ip(), port: peer.port() };
        let attributes: Vec<Box<dyn Setter>> =
            vec![Box::new(ChannelNumber(0x4000)), Box::new(peer)];
        self.request(METHOD_CHANNEL_BIND, attributes).await
    }

    async fn send_to(&mut self, peer: SocketAddr, data: &[u8]) {
        let mut message = Message::new();
        message
            .build(&[
                Box::new(stun::agent::TransactionId::new()),
                Box::new(MessageType::new(METHOD_SEND, CLASS_INDICATION)),
                Box::new(PeerAddress { ip: peer.ip(), port: peer.port() }),
                Box::new(Data(data.to_vec())),
            ])
            .expect("built");
        self.send_raw(&message.raw).await;
    }

    async fn channel_data(&mut self, data: &[u8]) {
        let length = u16::try_from(data.len()).expect("short").to_be_bytes();
        let mut message = vec![0x40, 0, length[0], length[1]];
        message.extend(data);
        if matches!(self.stream, Stream::Tcp(_)) {
            message.resize(message.len().next_multiple_of(4), 0);
        }
        self.send_raw(&message).await;
    }
}

#[tokio::test]
async fn anybody_learns_their_own_address() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let mut client = Client::udp(&mtu).await;
    let mut binding = Message::new();
    binding
        .build(&[Box::new(stun::agent::TransactionId::new()), Box::new(BINDING_REQUEST)])
        .expect("built");
    let answer = client.exchange(&binding).await.expect("answered");
    let mut seen = XorMappedAddress::default();
    seen.get_from(&answer).expect("an address");
    let Stream::Udp(socket, _) = &client.stream else { panic!("UDP") };
    assert_eq!(SocketAddr::new(seen.ip, seen.port), socket.local_addr().expect("bound"));
}

#[tokio::test]
async fn only_good_credentials_get_a_relay() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    for (name, (username, password)) in [
        ("expired", credentials(-1, SECRET)),
        ("of another secret", credentials(600, "fedcba9876543210")),
        ("without expiry", ("call".to_owned(), credentials(600, SECRET).1)),
        ("with a longer life", {
            let (_, password) = credentials(600, SECRET);
            (credentials(9_999, SECRET).0, password)
        }),
    ] {
        let mut client = Client::udp(&mtu).await;
        (client.username, client.password) = (username, password);
        assert!(client.allocate().await.is_err(), "credentials {name} were taken");
    }
    let relayed = Client::udp(&mtu).await.allocate().await.expect("good credentials");
    assert!(relayed.ip().is_loopback());
}

const DENIED: [&str; 8] = [
    "0.0.0.0",
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "255.255.255.255",
];

/// SECURITY: coturn CVE-2020-26262 and CVE-2026-27624, a relay as a way to inner addresses.
#[tokio::test]
async fn peers_inside_are_forbidden() {
    let mut config = config(&[]);
    // A relayed address of this MTU may be a peer; that it is 127.0.0.1 is this test's doing.
    config.public_ip = Some([203, 0, 113, 9].into());
    let (mtu, _lifecycle) = start(config).await;
    let mut client = Client::udp(&mtu).await;
    client.allocate().await.expect("allocated");
    for denied in DENIED {
        let ip: IpAddr = denied.parse().expect("an address");
        assert_eq!(client.permit(&[ip]).await.map(|_| ()), Err(403), "{denied}");
        let bound = client.bind(SocketAddr::new(ip, 9)).await;
        assert_eq!(bound.map(|_| ()), Err(403), "{denied}");
        // Nor behind a good one.
        let both = client.permit(&[[8, 8, 8, 8].into(), ip]).await;
        assert_eq!(both.map(|_| ()), Err(403), "{denied}");
    }
    for denied in ["::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8"] {
        let ip: IpAddr = denied.parse().expect("an address");
        assert_eq!(client.permit(&[ip]).await.map(|_| ()), Err(403), "{denied}");
    }
    assert!(client.permit(&[[8, 8, 8, 8].into()]).await.is_ok());
}

#[tokio::test]
async fn who_has_not_proved_themselves_learns_nothing_of_peers() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let mut client = Client::udp(&mtu).await;
    client.allocate().await.expect("allocated");
    client.password = "wrong".to_owned();
    let denied = client.permit(&[[10, 0, 0, 1].into()]).await.map(|_| ());
    let allowed = client.permit(&[[8, 8, 8, 8].into()]).await.map(|_| ());
    assert!(denied.is_err());
    assert_eq!(denied, allowed);
}

#[tokio::test]
async fn two_relays_of_one_mtu_reach_each_other_and_nothing_beside() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let (mut one, mut other) = (Client::udp(&mtu).await, Client::udp(&mtu).await);
    let first = one.allocate().await.expect("allocated");
    let second = other.allocate().await.expect("allocated");
    one.permit(&[second.ip()]).await.expect("a live relay");
    other.permit(&[first.ip()]).await.expect("a live relay");
    // The permission holds for the address; a service beside the relays stays out of reach.
    let service = UdpSocket::bind(loopback(0)).await.expect("bound");
    one.send_to(service.local_addr().expect("bound"), b"stray").await;
    one.send_to(second, b"hello").await;
    let mut data = Data::default();
    let mut indication = Message { raw: other.receive().await, ..Default::default() };
    indication.decode().expect("STUN");
    data.get_from(&indication).expect("data");
    assert_eq!(data.0, b"hello");
    assert!(service.try_recv(&mut [0; 16]).is_err(), "a stray packet arrived");
}

#[tokio::test]
async fn media_passes_both_ways_over_udp_and_tcp() {
    let (mtu, _lifecycle) = start(config(&["127.0.0.0/8"])).await;
    for mut client in [Client::udp(&mtu).await, Client::tcp(&mtu).await] {
        let relayed = client.allocate().await.expect("allocated");
        let peer = UdpSocket::bind(loopback(0)).await.expect("bound");
        client.bind(peer.local_addr().expect("bound")).await.expect("bound");
        // Lengths that need padding over TCP, and one that needs none.
        for length in [1, 4, 999, 1_200] {
            let sent = vec![7; length];
            client.channel_data(&sent).await;
            let mut buffer = [0; 2_048];
            let (n, from) = soon("packet", peer.recv_from(&mut buffer)).await.expect("received");
            assert_eq!((&buffer[..n], from), (&sent[..], relayed));
            peer.send_to(&sent, relayed).await.expect("sent");
            let received = client.receive().await;
            assert_eq!(received[..2], [0x40, 0]);
            assert_eq!(received[4..4 + length], sent);
        }
    }
}

#[tokio::test]
async fn relays_are_bounded_and_given_back() {
    let mut config = config(&[]);
    config.max_allocations = 1;
    let (mtu, _lifecycle) = start(config).await;
    let mut first = Client::udp(&mtu).await;
    first.allocate().await.expect("allocated");
    let mut second = Client::udp(&mtu).await;
    assert_eq!(second.allocate().await, Err(508));
    let end: Vec<Box<dyn Setter>> = vec![Box::new(Lifetime(Duration::ZERO))];
    first.request(METHOD_REFRESH, end).await.expect("ended");
    // The relay's socket is closed by a task of its own.
    soon("free relay", async {
        while second.allocate_once().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn rubbish_harms_nobody() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let mut vandal = Client::udp(&mtu).await;
    let mut header = vec![0, 3, 0, 8, 0x21, 0x12, 0xa4, 0x42];
    header.extend([0; 12]);
    for rubbish in [&b""[..], b"x", &[0xff; 1_500], &[0; 20], &header, &[0x40, 0, 0xff, 0xff]] {
        vandal.send_raw(rubbish).await;
    }
    let mut tcp = Client::tcp(&mtu).await;
    tcp.send_raw(b"GET / HTTP/1.1\r\n\r\n").await;
    Client::udp(&mtu).await.allocate().await.expect("others are served");
    Client::tcp(&mtu).await.allocate().await.expect("others are served");
}

#[tokio::test]
async fn an_mtu_announces_itself_and_ends() {
    let bus = Bus::in_process();
    let config = config(&[]);
    let mut heard =
        bus.subscribe(&subject::mtu_status(&config.domain), None).await.expect("subscribed");
    let lifecycle = Lifecycle::new();
    let mtu = mtu::start(config, bus, &lifecycle).await.expect("started");
    let message = soon("announcement", heard.next()).await.expect("open");
    let status: MtuStatus = sightline_protocol::decode(&message.payload).expect("readable").body;
    assert_eq!((status.mtu, status.accepting), (mtu.mtu.clone(), true));
    assert_eq!(status.urls.len(), 3);
    assert!(status.urls[0].starts_with("stun:127.0.0.1:"), "{:?}", status.urls);
    assert!(lifecycle.shutdown().await, "a task did not end");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_in_words() {
    type Spoil = fn(&mut mtu::Config);
    let cases: [(&str, Spoil); 4] = [
        ("secret_file", |c| c.secret = None),
        ("public_ip", |c| c.udp_listen = ([0, 0, 0, 0], 0).into()),
        ("relay_ports", |c| c.relay_ports = Some((60_000, 50_000))),
        ("realm", |c| c.realm = "a\"b".to_owned()),
    ];
    for (word, spoil) in cases {
        let mut config = config(&[]);
        spoil(&mut config);
        let error = config.check().expect_err("refused").to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// coturn's own client as an independent peer.
#[tokio::test]
async fn turnutils_uclient_is_served() {
    let program =
        std::env::var("TEST_TURNUTILS_UCLIENT").unwrap_or_else(|_| "turnutils_uclient".to_owned());
    if let Err(error) = Command::new(&program).arg("-h").output() {
        let required = std::env::var_os("TEST_REQUIRE_COTURN").is_some();
        assert!(!required, "cannot run {program}: {error}");
        eprintln!("SKIPPED with coturn's client: cannot run {program}: {error}. Install coturn.");
        return;
    }
    let (mtu, _lifecycle) = start(config(&["127.0.0.0/8"])).await;
    let (username, password) = credentials(600, SECRET);
    let tcp = mtu.tcp_addr.expect("served");
    for (transport, port) in [("-y", mtu.udp_addr.port()), ("-ty", tcp.port())] {
        let mut command = tokio::process::Command::new(&program);
        command
            .args([transport, "-c", "-n", "20", "-m", "2", "-u", &username, "-w", &password, "-p"])
            .arg(port.to_string())
            .arg("127.0.0.1")
            .kill_on_drop(true);
        let output = soon("end of the client", command.output()).await.expect("ran");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("lost packets 0"), "{transport}: {said}");
    }
}

#[test]
fn the_sample_configuration_has_every_key_in_its_place() {
    let sample = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("mtu.sample.toml");
    let config = mtu::Config::load(Some(&sample)).expect("reads");
    assert_eq!(config.relay_ports, Some((49_152, 65_535)));
}
