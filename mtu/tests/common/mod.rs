//! A TURN client that shows every answer, made of another implementation than the server's.
#![allow(dead_code, reason = "each test program uses another part of it")]

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use aws_lc_rs::hmac;
use base64::Engine as _;
use sightline_bus::Bus;
use sightline_model::Secret;
use sightline_service_kit::{
    lifecycle::Lifecycle,
    tls::{Authority, client_config},
};
use stun::{
    attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, AttrType},
    error_code::ErrorCodeAttribute,
    integrity::MessageIntegrity,
    message::{
        CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE,
        METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_SEND, Message, MessageType, Method,
        Setter,
    },
    textattrs::TextAttribute,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};
use turn::proto::{
    PROTO_UDP, channum::ChannelNumber, data::Data, peeraddr::PeerAddress,
    relayaddr::RelayedAddress, reqtrans::RequestedTransport,
};

pub const SECRET: &str = "0123456789abcdef";
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Of each kind of address that is no business of a client's: inner ones of IPv4, with those of
/// carrier NATs, groups and everybody; the same of IPv6; and those that carry one of IPv4 within.
pub const DENIED: &[&str] = &[
    "0.0.0.0",
    "127.0.0.1",
    "127.1.2.3",
    "10.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.254",
    "255.255.255.255",
    "224.0.0.1",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "fe80::1",
    "fd00::1",
    "ff02::1",
];

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no {what}"))
}

pub fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

pub fn config(allow: &[&str]) -> mtu::Config {
    mtu::Config {
        udp_listen: loopback(0).into(),
        tcp_listen: loopback(0).into(),
        secret: Some(Secret::new(SECRET.to_owned())),
        allow_peers: allow.iter().map(|net| net.parse().expect("a network")).collect(),
        ..Default::default()
    }
}

/// With TLS and DTLS for localhost, under an authority of its own.
pub fn with_identity(config: mtu::Config) -> (mtu::Config, Authority) {
    let authority = Authority::create("Test").expect("made");
    let identity = authority.issue(&["localhost"], &[[127, 0, 0, 1].into()]).expect("issued");
    (mtu::Config { identity: Some(identity), ..config }, authority)
}

pub async fn start(config: mtu::Config) -> (mtu::Running, Lifecycle) {
    let lifecycle = Lifecycle::new();
    let mtu = mtu::start(config, Bus::in_process(), &lifecycle).await.expect("started");
    (mtu, lifecycle)
}

/// User name and password, good for so many seconds from now.
pub fn credentials(ttl_s: i64, secret: &str) -> (String, String) {
    credentials_of("call", ttl_s, secret)
}

pub fn credentials_of(session: &str, ttl_s: i64, secret: &str) -> (String, String) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let username = format!("{}:{session}", i64::try_from(now.as_secs()).expect("not yet") + ttl_s);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let password = base64::prelude::BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    (username, password)
}

/// A byte stream, with or without TLS.
pub trait Pipe: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Pipe for T {}

pub enum Stream {
    Udp(UdpSocket, SocketAddr),
    Tcp(Box<dyn Pipe>),
}

/// A TURN client that shows every answer.
pub struct Client {
    pub stream: Stream,
    pub username: String,
    pub password: String,
    pub realm: String,
    pub nonce: String,
}

pub type Outcome = Result<Message, u16>;

impl Client {
    pub async fn udp(mtu: &mtu::Running) -> Self {
        let socket = UdpSocket::bind(loopback(0)).await.expect("bound");
        Self::over(Stream::Udp(socket, mtu.udp_addr), credentials(600, SECRET))
    }

    pub async fn tcp(mtu: &mtu::Running) -> Self {
        let stream = TcpStream::connect(mtu.tcp_addr.expect("served")).await.expect("connected");
        Self::over(Stream::Tcp(Box::new(stream)), credentials(600, SECRET))
    }

    pub async fn tls(mtu: &mtu::Running, authority: &Authority) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.certificate_pem()).expect("written");
        let tls = client_config(Some(&ca), &[]).expect("usable");
        let stream = TcpStream::connect(mtu.tcp_addr.expect("served")).await.expect("connected");
        let name = "localhost".try_into().expect("a name");
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls));
        let stream = soon("TLS", connector.connect(name, stream)).await.expect("trusted");
        Self::over(Stream::Tcp(Box::new(stream)), credentials(600, SECRET))
    }

    pub fn over(stream: Stream, (username, password): (String, String)) -> Self {
        Self { stream, username, password, realm: String::new(), nonce: String::new() }
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        match &mut self.stream {
            Stream::Udp(socket, server) => {
                socket.send_to(bytes, *server).await.expect("sent");
            }
            Stream::Tcp(stream) => stream.write_all(bytes).await.expect("sent"),
        }
    }

    pub async fn receive(&mut self) -> Vec<u8> {
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

    pub async fn exchange(&mut self, message: &Message) -> Outcome {
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
    pub async fn request(&mut self, method: Method, attributes: Vec<Box<dyn Setter>>) -> Outcome {
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

    pub async fn allocate_once(&mut self) -> Outcome {
        self.request(METHOD_ALLOCATE, vec![Box::new(RequestedTransport { protocol: PROTO_UDP })])
            .await
    }

    pub async fn allocate(&mut self) -> Result<SocketAddr, u16> {
        assert_eq!(self.allocate_once().await.map(|_| ()), Err(401), "without credentials");
        let answer = self.allocate_once().await?;
        let mut relayed = RelayedAddress::default();
        relayed.get_from(&answer).expect("an address");
        Ok(SocketAddr::new(relayed.ip, relayed.port))
    }

    pub async fn permit(&mut self, peers: &[IpAddr]) -> Outcome {
        let peers = peers
            .iter()
            .map(|ip| Box::new(PeerAddress { ip: *ip, port: 9 }) as Box<dyn Setter>)
            .collect();
        self.request(METHOD_CREATE_PERMISSION, peers).await
    }

    pub async fn bind(&mut self, peer: SocketAddr) -> Outcome {
        let peer = PeerAddress { ip: peer.ip(), port: peer.port() };
        let attributes: Vec<Box<dyn Setter>> =
            vec![Box::new(ChannelNumber(0x4000)), Box::new(peer)];
        self.request(METHOD_CHANNEL_BIND, attributes).await
    }

    pub async fn send_to(&mut self, peer: SocketAddr, data: &[u8]) {
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

    pub async fn channel_data(&mut self, data: &[u8]) {
        let length = u16::try_from(data.len()).expect("short").to_be_bytes();
        let mut message = vec![0x40, 0, length[0], length[1]];
        message.extend(data);
        if matches!(self.stream, Stream::Tcp(_)) {
            message.resize(message.len().next_multiple_of(4), 0);
        }
        self.send_raw(&message).await;
    }
}
