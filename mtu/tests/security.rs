//! The rows of SECURITY.md that concern the relay. Each test is named after its row.

mod common;

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use common::{Client, DENIED, Stream, config, loopback, soon, start, with_identity};
use stun::{
    agent::TransactionId,
    message::{
        BINDING_REQUEST, CLASS_REQUEST, METHOD_ALLOCATE, METHOD_CONNECT, Message, MessageType,
        Setter,
    },
};
use tokio::net::UdpSocket;
use turn::proto::{PROTO_TCP, PROTO_UDP, peeraddr::PeerAddress, reqtrans::RequestedTransport};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A relayed address of this MTU may be a peer; that it is 127.0.0.1 would be this test's doing.
fn elsewhere() -> mtu::Config {
    mtu::Config { public_ip: ip("203.0.113.9").into(), ..config(&[]) }
}

/// 403 for another address family may be 443: refused either way.
fn is_refused(outcome: Result<Message, u16>) -> bool {
    matches!(outcome.map(|_| ()), Err(403 | 443))
}

#[tokio::test]
async fn coturn_cve_2020_26262_and_cve_2026_27624_inner_peers_are_refused() {
    let (mtu, _lifecycle) = start(elsewhere()).await;
    for mut client in [Client::udp(&mtu).await, Client::tcp(&mtu).await] {
        client.allocate().await.expect("allocated");
        for denied in DENIED {
            let denied = ip(denied);
            assert!(is_refused(client.permit(&[denied]).await), "{denied}");
            assert!(is_refused(client.bind(SocketAddr::new(denied, 9)).await), "{denied}");
            // Nor behind a good one.
            assert!(is_refused(client.permit(&[ip("8.8.8.8"), denied]).await), "{denied}");
        }
        assert!(client.permit(&[ip("8.8.8.8")]).await.is_ok());
    }
}

#[tokio::test]
async fn coturn_cve_2020_26262_and_cve_2026_27624_own_address_is_refused_but_for_live_relays() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let service = UdpSocket::bind(loopback(0)).await.expect("bound");
    let (mut one, mut other) = (Client::udp(&mtu).await, Client::udp(&mtu).await);
    let first = one.allocate().await.expect("allocated");
    let second = other.allocate().await.expect("allocated");
    // With a permission for the address that both relays share.
    one.permit(&[second.ip()]).await.expect("a live relay");
    other.permit(&[first.ip()]).await.expect("a live relay");
    one.send_to(service.local_addr().expect("bound"), b"stray").await;
    one.send_to(second, b"hello").await;
    let arrived = other.receive().await;
    assert!(arrived.windows(5).any(|window| window == b"hello"));
    assert!(service.try_recv(&mut [0; 16]).is_err(), "a stray packet arrived");
    // Nor may what listens there reach a client.
    service.send_to(b"intruder", first).await.expect("sent");
    other.send_to(first, b"friend").await;
    let arrived = one.receive().await;
    assert!(arrived.windows(6).any(|window| window == b"friend"), "{arrived:?}");
}

#[tokio::test]
async fn coturn_cve_2025_69217_nonces_and_ports_are_random() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let (mut nonces, mut ports) = (HashSet::new(), Vec::new());
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = Client::udp(&mtu).await;
        ports.push(client.allocate().await.expect("allocated").port());
        assert!(client.nonce.len() >= 16, "{}", client.nonce);
        assert!(nonces.insert(client.nonce.clone()), "a nonce came twice");
        clients.push(client);
    }
    let steps: HashSet<_> = ports.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    assert!(steps.len() > 8, "relay ports follow a rule: {ports:?}");
}

#[tokio::test]
async fn coturn_cve_2025_69217_a_nonce_is_its_clients_alone() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let (mut owner, mut thief) = (Client::udp(&mtu).await, Client::udp(&mtu).await);
    assert_eq!(owner.allocate_once().await.map(|_| ()), Err(401));
    (thief.realm, thief.nonce) = (owner.realm.clone(), owner.nonce.clone());
    assert_eq!(thief.allocate_once().await.map(|_| ()), Err(438), "a foreign nonce was taken");
    // Which brings a nonce of its own, and that is good.
    thief.allocate_once().await.expect("its own nonce");
    owner.nonce = "0".repeat(owner.nonce.len());
    assert_eq!(owner.allocate_once().await.map(|_| ()), Err(438), "an invented nonce was taken");
}

/// RFC 6062 is off unless it is enabled.
#[tokio::test]
async fn slack_turn_ssrf_no_tcp_allocation_unless_enabled() {
    let (mtu, _lifecycle) = start(config(&["127.0.0.0/8"])).await;
    let mut client = Client::tcp(&mtu).await;
    assert!(client.allocate_once().await.is_err());
    let tcp = RequestedTransport { protocol: PROTO_TCP };
    let outcome = client.request(METHOD_ALLOCATE, vec![Box::new(tcp)]).await;
    assert_eq!(outcome.map(|_| ()), Err(442));
    // Nor without asking for one.
    client.allocate_once().await.expect("allocated");
    let peer = Box::new(PeerAddress { ip: ip("127.0.0.1"), port: 9 });
    assert!(client.request(METHOD_CONNECT, vec![peer]).await.is_err());
}

#[tokio::test]
async fn a_request_of_another_user_is_refused() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let mut client = Client::udp(&mtu).await;
    client.allocate().await.expect("allocated");
    (client.username, client.password) = common::credentials_of("another", 600, common::SECRET);
    assert_eq!(client.permit(&[ip("8.8.8.8")]).await.map(|_| ()), Err(441));
}

fn resident_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// One of 127.0.0.0/8, each of another /24 as long as there are some.
fn source(number: u32) -> SocketAddr {
    let [_, a, b, _] = number.to_be_bytes();
    let [_, _, _, c] = number.to_be_bytes();
    (IpAddr::from([127, 1 + b, c, 1 + a]), 0).into()
}

async fn strangers(numbers: std::ops::Range<u32>, server: SocketAddr, messages: &[Vec<u8>]) {
    for number in numbers {
        let socket = UdpSocket::bind(source(number)).await.expect("bound");
        for message in messages {
            // A full buffer is as good as a busy line: the kernel drops.
            let _ = socket.send_to(message, server).await;
        }
        // Wait for the first answer now and then, so that the server sees nearly all of them.
        if number % 64 == 0 {
            soon("answer", socket.recv(&mut [0; 1_500])).await.expect("answered");
        }
    }
}

/// A ClientHello of DTLS 1.2 without cookie (RFC 6347 section 4.2.1).
fn dtls_hello() -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend([7; 32]);
    // No session, no cookie, one cipher suite, no compression.
    body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let length = u8::try_from(body.len()).expect("short");
    let mut hello = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, length + 12];
    hello.extend([1, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length]);
    hello.extend(body);
    hello
}

#[tokio::test]
async fn a_dtls_stranger_must_show_a_cookie() {
    let (mtu, _lifecycle) = start(with_identity(config(&[])).0).await;
    let mut stranger = Client::udp(&mtu).await;
    stranger.send_raw(&dtls_hello()).await;
    let answer = stranger.receive().await;
    // HelloVerifyRequest, and shorter than the question.
    assert_eq!((answer[0], answer[13]), (22, 3));
    assert!(answer.len() <= dtls_hello().len(), "{} bytes", answer.len());
}

#[tokio::test]
async fn twenty_thousand_spoofed_sources_cost_no_memory() {
    let (mtu, _lifecycle) = start(config(&[])).await;
    let message = |setters: &[Box<dyn Setter>]| {
        let mut message = Message::new();
        message.build(setters).expect("built");
        message.raw
    };
    let allocate = message(&[
        Box::new(TransactionId::new()),
        Box::new(MessageType::new(METHOD_ALLOCATE, CLASS_REQUEST)),
        Box::new(RequestedTransport { protocol: PROTO_UDP }),
    ]);
    let binding = message(&[Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)]);
    let messages = [binding, allocate];
    // What the first ones cost is buffers and code, once.
    strangers(0..2_000, mtu.udp_addr, &messages).await;
    let before = resident_kb();
    strangers(2_000..22_000, mtu.udp_addr, &messages).await;
    let grown = resident_kb().saturating_sub(before);
    eprintln!("20,000 sources: {grown} kB more than {before} kB");
    assert!(grown < 1_024, "20,000 sources cost {grown} kB");
    let mut client = Client::udp(&mtu).await;
    client.allocate().await.expect("others are served");
    assert!(matches!(client.stream, Stream::Udp(..)));
}

/// Fewer of them: an answer costs a hundred times as much time.
#[tokio::test]
async fn spoofed_sources_of_dtls_cost_no_memory() {
    let (mtu, _lifecycle) = start(with_identity(config(&[])).0).await;
    let messages = [dtls_hello()];
    strangers(0..512, mtu.udp_addr, &messages).await;
    let before = resident_kb();
    strangers(512..2_560, mtu.udp_addr, &messages).await;
    let grown = resident_kb().saturating_sub(before);
    eprintln!("2,048 hellos: {grown} kB more than {before} kB");
    // One connection is about 10 kB.
    assert!(grown < 2_048, "2,048 hellos cost {grown} kB");
}
