//! TCP and TLS in front of the relay: what is served, and within which bounds.

mod common;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use common::{
    Client, DENIED, SECRET, Stream, config, credentials_of, loopback, soon, start, with_identity,
};
use sightline_bus::Bus;
use sightline_protocol::{
    decode, encode,
    sd::{MtuUsage, UsageReply},
    subject,
};
use sightline_service_kit::{
    lifecycle::Lifecycle,
    tls::{Authority, client_config},
};
use stun::attributes::AttrType;
use stun::message::{
    METHOD_ALLOCATE, METHOD_CONNECT, METHOD_CONNECTION_BIND, METHOD_REFRESH, Message, Setter,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};
use turn::proto::{
    PROTO_TCP, lifetime::Lifetime, peeraddr::PeerAddress, relayaddr::RelayedAddress,
    reqtrans::RequestedTransport,
};

const CONNECTION_ID: AttrType = AttrType(0x002a);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_port_serves_tcp_and_tls() {
    let (config, authority) = with_identity(config(&["127.0.0.0/8"]));
    let (mtu, _lifecycle) = start(config).await;
    assert!(mtu.urls.iter().any(|url| url.starts_with("turns:127.0.0.1:")), "{:?}", mtu.urls);
    let peer = UdpSocket::bind(loopback(0)).await.expect("bound");
    for mut client in [Client::tcp(&mtu).await, Client::tls(&mtu, &authority).await] {
        let relayed = client.allocate().await.expect("allocated");
        client.bind(peer.local_addr().expect("bound")).await.expect("bound");
        client.channel_data(b"there").await;
        let mut buffer = [0; 64];
        let (n, from) = soon("packet", peer.recv_from(&mut buffer)).await.expect("received");
        assert_eq!((&buffer[..n], from), (&b"there"[..], relayed));
        peer.send_to(b"and back", relayed).await.expect("sent");
        assert_eq!(client.receive().await[4..], *b"and back");
    }
}

#[tokio::test]
async fn the_portals_port_serves_turn_over_tls_too() {
    let (listener, shared) = sightline_service_kit::http::bind(loopback(0)).expect("bound");
    let (config, authority) = with_identity(config(&[]));
    let identity = config.identity.clone().expect("made");
    let config = mtu::Config { shared_tls_ports: vec![shared.port()], ..config };
    let (mtu, lifecycle) = start(config).await;
    let told = format!("turns:{shared}?transport=tcp");
    assert!(mtu.urls.contains(&told), "{:?}", mtu.urls);
    let router = axum::Router::new().route("/", axum::routing::get(|| async { "the portal" }));
    let turn = std::sync::Arc::new(mtu.control.clone());
    sightline_service_kit::http::serve_shared(listener, &identity, router, turn, &lifecycle)
        .expect("served");

    let at_portal = mtu::Running { tcp_addr: Some(shared), ..mtu.clone() };
    let mut client = Client::tls(&at_portal, &authority).await;
    client.allocate().await.expect("allocated");
    let mut browser = Client::tls(&at_portal, &authority).await;
    browser.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let Stream::Tcp(stream) = &mut browser.stream else { panic!("TLS") };
    let mut page = vec![];
    soon("page", stream.read_to_end(&mut page)).await.expect("read");
    assert!(String::from_utf8_lossy(&page).ends_with("the portal"), "{page:?}");
    drop(client);
    until("end of the allocation", || mtu.control.allocations() == 0).await;
}

/// What a connection to the portal's port would be told by TLS.
async fn portal(port: std::net::SocketAddr, authority: &Authority) -> Result<(), std::io::Error> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate_pem()).expect("written");
    let tls = client_config(Some(&ca), &[]).expect("usable");
    let stream = TcpStream::connect(port).await.expect("connected");
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls));
    let name = "localhost".try_into().expect("a name");
    soon("TLS", connector.connect(name, stream)).await.map(|_| ())
}

#[tokio::test]
async fn the_portals_port_bounds_who_says_nothing_and_changes_its_certificate() {
    let (listener, shared) = sightline_service_kit::http::bind(loopback(0)).expect("bound");
    let (config, authority) = with_identity(config(&[]));
    let identity = config.identity.clone().expect("made");
    let (mtu, lifecycle) = start(config).await;
    let turn = std::sync::Arc::new(mtu.control.clone());
    let shown = sightline_service_kit::http::serve_shared(
        listener,
        &identity,
        axum::Router::new(),
        turn,
        &lifecycle,
    )
    .expect("served");
    portal(shared, &authority).await.expect("served");
    let next = Authority::create("Next").expect("made");
    let identity = next.issue(&["localhost"], &[[127, 0, 0, 1].into()]).expect("issued");
    shown.show(&identity).expect("shown");
    assert!(portal(shared, &authority).await.is_err(), "the old certificate is shown");
    portal(shared, &next).await.expect("the new one is shown");

    let mut silent = vec![];
    for _ in 0..64 {
        silent.push(TcpStream::connect(shared).await.expect("connected"));
    }
    let mut one_more = TcpStream::connect(shared).await.expect("connected");
    closes(&mut one_more).await;
    drop(silent);
    soon("room again", async {
        while portal(shared, &next).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_allocation_ends_with_its_connection() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let mut client = Client::tcp(&mtu).await;
    client.allocate().await.expect("allocated");
    assert_eq!(mtu.control.allocations(), 1);
    drop(client);
    until("end of the allocation", || mtu.control.allocations() == 0).await;
}

/// Cleanly or by a reset.
async fn closes(stream: &mut TcpStream) {
    let _ = soon("end of the connection", stream.read_to_end(&mut vec![])).await;
}

#[tokio::test]
async fn connections_of_one_subscriber_are_bounded() {
    let config = mtu::Config { connections_per_subscriber: 2, ..config(&[]) };
    let (mtu, _lifecycle) = start(config).await;
    let (mut one, mut two) = (Client::tcp(&mtu).await, Client::tcp(&mtu).await);
    one.allocate().await.expect("served");
    two.allocate().await.expect("served");
    let mut third = TcpStream::connect(mtu.tcp_addr.expect("served")).await.expect("connected");
    closes(&mut third).await;
    drop(one);
    // The place is given back before the allocation ends.
    until("end of the allocation", || mtu.control.allocations() == 1).await;
    Client::tcp(&mtu).await.allocate().await.expect("served");
}

#[tokio::test]
async fn who_speaks_something_else_is_cut_off() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let tcp = mtu.tcp_addr.expect("served");
    // TLS without a certificate among them; a length that no stranger needs.
    for foreign in [&b"\x80rubbish"[..], b"\x16\x03\x01\x00\x05hello", &[0, 1, 0xff, 0xfc, 0, 0]] {
        let mut stream = TcpStream::connect(tcp).await.expect("connected");
        stream.write_all(foreign).await.expect("sent");
        closes(&mut stream).await;
    }
    Client::tcp(&mtu).await.allocate().await.expect("others are served");
}

#[tokio::test]
async fn a_slow_reader_harms_nobody() {
    let (mtu, _lifecycle) = start(config(&["127.0.0.0/8"])).await;
    let peer = UdpSocket::bind(loopback(0)).await.expect("bound");
    let mut slow = Client::tcp(&mtu).await;
    let relayed = slow.allocate().await.expect("allocated");
    slow.bind(peer.local_addr().expect("bound")).await.expect("bound");
    for _ in 0..20_000 {
        peer.send_to(&[7; 1_200], relayed).await.expect("sent");
    }
    // Meanwhile others are served, and what the slow one gets later is whole messages.
    Client::tcp(&mtu).await.allocate().await.expect("others are served");
    for _ in 0..100 {
        let received = slow.receive().await;
        assert_eq!((received.len(), &received[..4]), (1_204, &[0x40, 0, 4, 0xb0][..]));
    }
}

struct Raw(AttrType, Vec<u8>);

impl Setter for Raw {
    fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
        message.add(self.0, &self.1);
        Ok(())
    }
}

fn peer_address(addr: std::net::SocketAddr) -> Box<dyn Setter> {
    Box::new(PeerAddress { ip: addr.ip(), port: addr.port() })
}

/// A client with a TCP allocation.
async fn tcp_client(mtu: &mtu::Running) -> (Client, std::net::SocketAddr) {
    let mut client = Client::tcp(mtu).await;
    assert!(client.allocate_once().await.is_err(), "without credentials");
    let tcp = Box::new(RequestedTransport { protocol: PROTO_TCP });
    let answer = client.request(METHOD_ALLOCATE, vec![tcp]).await.expect("a TCP relay");
    let mut relayed = RelayedAddress::default();
    stun::message::Getter::get_from(&mut relayed, &answer).expect("an address");
    (client, std::net::SocketAddr::new(relayed.ip, relayed.port))
}

#[tokio::test]
async fn rfc_6062_relays_connections_where_it_is_enabled() {
    let config = mtu::Config { tcp_relays: true, ..config(&["127.0.0.0/8"]) };
    let (mtu, _lifecycle) = start(config).await;
    let service = TcpListener::bind(loopback(0)).await.expect("bound");
    let peer = service.local_addr().expect("bound");
    let (mut client, relayed) = tcp_client(&mtu).await;
    client.permit(&[peer.ip()]).await.expect("permitted");
    let answer = client.request(METHOD_CONNECT, vec![peer_address(peer)]).await;
    let id = answer.expect("connected").get(CONNECTION_ID).expect("a number");
    let (mut accepted, from) = soon("connection", service.accept()).await.expect("accepted");
    assert_eq!(from, relayed);
    // Twice at a time is refused (446).
    let again = client.request(METHOD_CONNECT, vec![peer_address(peer)]).await;
    assert_eq!(again.map(|_| ()), Err(446));
    // The connection for data, of the same user.
    let mut data = Client::tcp(&mtu).await;
    let bind =
        |id: &[u8]| -> Vec<Box<dyn Setter>> { vec![Box::new(Raw(CONNECTION_ID, id.to_vec()))] };
    assert_eq!(data.request(METHOD_CONNECTION_BIND, bind(&id)).await.map(|_| ()), Err(401));
    assert_eq!(
        data.request(METHOD_CONNECTION_BIND, bind(&[9; 4])).await.map(|_| ()),
        Err(400),
        "an invented number was taken"
    );
    data.request(METHOD_CONNECTION_BIND, bind(&id)).await.expect("bound");
    data.send_raw(b"question").await;
    let mut heard = [0; 8];
    soon("question", accepted.read_exact(&mut heard)).await.expect("read");
    assert_eq!(&heard, b"question");
    accepted.write_all(b"answer").await.expect("sent");
    let Stream::Tcp(stream) = &mut data.stream else { panic!("TCP") };
    let mut heard = [0; 6];
    soon("answer", stream.read_exact(&mut heard)).await.expect("read");
    assert_eq!(&heard, b"answer");
}

fn connection(id: &[u8]) -> Vec<Box<dyn Setter>> {
    vec![Box::new(Raw(CONNECTION_ID, id.to_vec()))]
}

#[tokio::test]
async fn rfc_6062_a_connection_is_its_users_alone_and_ends_with_the_allocation() {
    let config = mtu::Config { tcp_relays: true, ..config(&["127.0.0.0/8"]) };
    let (mtu, _lifecycle) = start(config).await;
    let (mut client, relayed) = tcp_client(&mtu).await;
    // Without a permission a peer is closed, and nobody hears of it.
    let mut stranger = TcpStream::connect(relayed).await.expect("connected");
    closes(&mut stranger).await;
    client.permit(&[relayed.ip()]).await.expect("permitted");
    let mut peer = TcpStream::connect(relayed).await.expect("connected");
    let mut told = Message { raw: client.receive().await, ..Default::default() };
    told.decode().expect("STUN");
    let id = told.get(CONNECTION_ID).expect("a number");
    // Another user, at the same address.
    let mut thief = Client::tcp(&mtu).await;
    (thief.username, thief.password) = credentials_of("another", 600, SECRET);
    assert_eq!(thief.request(METHOD_CONNECTION_BIND, connection(&id)).await.err(), Some(401));
    assert_eq!(thief.request(METHOD_CONNECTION_BIND, connection(&id)).await.err(), Some(400));
    let mut data = Client::tcp(&mtu).await;
    assert_eq!(data.request(METHOD_CONNECTION_BIND, connection(&id)).await.err(), Some(401));
    data.request(METHOD_CONNECTION_BIND, connection(&id)).await.expect("bound");
    peer.write_all(b"question").await.expect("sent");
    let Stream::Tcp(stream) = &mut data.stream else { panic!("TCP") };
    let mut heard = [0; 8];
    soon("question", stream.read_exact(&mut heard)).await.expect("read");
    // While it runs there is no other one to the same peer.
    let again = vec![peer_address(peer.local_addr().expect("bound"))];
    assert_eq!(client.request(METHOD_CONNECT, again).await.err(), Some(446));
    let zero = Box::new(Lifetime(Duration::ZERO));
    client.request(METHOD_REFRESH, vec![zero]).await.expect("ended");
    closes(&mut peer).await;
    let _ = soon("end of the data", stream.read_to_end(&mut vec![])).await;
}

/// A peer that a client has reached by its TCP relay, and the client's connection to it.
async fn connected(mtu: &mtu::Running, client: &mut Client) -> (TcpStream, Client) {
    let service = TcpListener::bind(loopback(0)).await.expect("bound");
    let peer = service.local_addr().expect("bound");
    client.permit(&[peer.ip()]).await.expect("permitted");
    let answer = client.request(METHOD_CONNECT, vec![peer_address(peer)]).await;
    let id = answer.expect("connected").get(CONNECTION_ID).expect("a number");
    let (accepted, _) = soon("connection", service.accept()).await.expect("accepted");
    let mut data = Client::tcp(mtu).await;
    assert_eq!(data.request(METHOD_CONNECTION_BIND, connection(&id)).await.err(), Some(401));
    data.request(METHOD_CONNECTION_BIND, connection(&id)).await.expect("bound");
    (accepted, data)
}

#[tokio::test]
async fn rfc_6062_what_connections_carry_is_limited_and_accounted_for() {
    // 200,000 bytes per second, of which half may come at once.
    let user_bps = Some(1_600_000);
    let config = mtu::Config { tcp_relays: true, user_bps, ..config(&["127.0.0.0/8"]) };
    let (bus, lifecycle) = (Bus::in_process(), Lifecycle::new());
    let subject = subject::mtu_usage(&config.domain);
    let mut reports = bus.subscribe(&subject, Some("cmu")).await.expect("subscribed");
    let mtu = mtu::start(config, bus, &lifecycle).await.expect("started");
    let (mut client, _) = tcp_client(&mtu).await;
    let (mut peer, data) = connected(&mtu, &mut client).await;
    let Stream::Tcp(mut data) = data.stream else { panic!("TCP") };

    let begun = Instant::now();
    let said: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    let mut heard = vec![0; said.len()];
    let (sent, received) = soon("all of it", async {
        tokio::join!(data.write_all(&said), peer.read_exact(&mut heard))
    })
    .await;
    sent.expect("sent");
    received.expect("received");
    assert!(begun.elapsed() > Duration::from_millis(900), "nobody was slowed down");
    assert!(heard == said, "something was lost or changed");
    peer.write_all(b"answer").await.expect("sent");
    soon("answer", data.read_exact(&mut heard[..6])).await.expect("received");

    let zero = Box::new(Lifetime(Duration::ZERO));
    client.request(METHOD_REFRESH, vec![zero]).await.expect("ended");
    let report = soon("usage report", reports.next()).await.expect("open");
    let usage: MtuUsage = decode(&report.payload).expect("readable").body;
    report.reply.expect("a request").send(encode(&UsageReply::Stored, None).into()).await;
    let [entry] = &usage.entries[..] else { panic!("{usage:?}") };
    assert_eq!((entry.user.as_str(), entry.ended), ("call", true));
    assert_eq!((entry.bytes_to_peers, entry.bytes_from_peers), (300_000, 6));
    assert!(entry.packets > 0, "what carries nothing is not reported while it runs");
}

#[tokio::test]
async fn slack_turn_ssrf_tcp_relays_reach_no_inner_peer() {
    let config = mtu::Config {
        tcp_relays: true,
        public_ip: IpAddr::from([203, 0, 113, 9]).into(),
        ..config(&[])
    };
    let (mtu, _lifecycle) = start(config).await;
    let (mut client, _) = tcp_client(&mtu).await;
    // A live relay of UDP at an own address lets nobody connect to that address.
    let mut neighbour = Client::udp(&mtu).await;
    let live = neighbour.allocate().await.expect("allocated");
    let connect = vec![peer_address((live.ip(), 22).into())];
    assert_eq!(client.request(METHOD_CONNECT, connect).await.map(|_| ()), Err(403), "{live}");
    for denied in DENIED {
        let ip: IpAddr = denied.parse().expect("an address");
        assert_eq!(client.permit(&[ip]).await.map(|_| ()), Err(403), "{denied}");
        let connect = client.request(METHOD_CONNECT, vec![peer_address((ip, 80).into())]).await;
        assert_eq!(connect.map(|_| ()), Err(403), "{denied}");
    }
}
