//! The workers of the relay, with real sockets on this machine.

#[path = "../turn/tests/common/mod.rs"]
mod common;

use std::{
    net::{SocketAddr, UdpSocket},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use common::{Client, Outcome, SECRET};
use mtu::udp::{Options, RelayAddress, Workers};
use mtu_turn::{ClientId, Settings, Transport, Usage, wire};
use stun_rs::{
    AddressFamily, MessageClass, MessageDecoderBuilder, StunAttribute, StunMessageBuilder,
    attributes::{
        discovery::{ChangeRequest, ChangeRequestFlags, OtherAddress},
        turn::{
            ChannelNumber, Data, DontFragment, EvenPort, Icmp, LifeTime, RequestedAddressFamily,
            ReservationToken, XorPeerAddress,
        },
    },
    methods,
};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

struct Relay {
    workers: Workers,
    usages: mpsc::Receiver<Usage>,
    settings: Arc<ArcSwap<Settings>>,
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn options(workers: usize) -> Options {
    let local = |ip: &str| RelayAddress {
        bind: ip.parse().expect("an address"),
        announced: ip.parse().expect("an address"),
    };
    Options {
        listen: vec![loopback(0), loopback(0), "[::1]:0".parse().expect("an address")],
        relays: vec![local("127.0.0.1"), local("::1")],
        workers: NonZeroUsize::new(workers).expect("some"),
        ..Default::default()
    }
}

fn settings() -> Settings {
    let mut settings = common::settings();
    settings.peers.own.clear();
    // All clients of these tests are one subscriber.
    settings.limits.refusals_per_s = 1_000_000;
    for net in ["127.0.0.0/8", "::1/128"] {
        settings.peers.allowed.push(net.parse().expect("a network"));
    }
    settings
}

fn start(options: Options) -> Relay {
    let settings = Arc::new(ArcSwap::from_pointee(settings()));
    let (workers, usages) = Workers::start(options, settings.clone()).expect("started");
    Relay { workers, usages, settings }
}

fn bound(ip: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(ip.ip(), 0)).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket
}

/// A client with a socket.
struct Remote {
    socket: UdpSocket,
    server: SocketAddr,
    client: Client,
}

impl Remote {
    fn new(relay: &Relay, user: &str) -> Self {
        Self::at(relay.workers.addresses()[0], user)
    }

    fn at(server: SocketAddr, user: &str) -> Self {
        let socket = bound(server);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let user = format!("{}:{user}", unix.as_secs() + 3_600);
        let mut client = Client::with("192.0.2.9:1", &user, SECRET);
        let address = socket.local_addr().expect("bound");
        client.id = ClientId::new(Transport::Udp, address, server);
        Self { socket, server, client }
    }

    fn transmit(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).expect("sent");
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 65_536];
        let (length, from) = self.socket.recv_from(&mut buffer).expect("an answer in time");
        assert_eq!(from, self.server);
        buffer[..length].to_vec()
    }

    fn ask(&mut self, method: stun_rs::MessageMethod, more: &[StunAttribute]) -> Outcome {
        loop {
            let transaction = self.client.transaction();
            let request = self.client.sign(method, transaction, more.to_vec());
            self.transmit(&request);
            let answer = self.receive();
            let before = self.client.nonce.clone();
            match self.client.understand(&answer, transaction) {
                Err(401 | 438) if self.client.nonce != before && before.is_empty() => {}
                outcome => return outcome,
            }
        }
    }

    fn allocate(&mut self, more: &[StunAttribute]) -> SocketAddr {
        let answer = self.allocated(more).expect("allocated");
        common::relayed(&answer)[0]
    }

    fn allocated(&mut self, more: &[StunAttribute]) -> Outcome {
        // Signed without a nonce, so that the server gives one.
        if self.client.nonce.is_empty() {
            self.client.nonce = "none yet".to_owned();
            let transaction = self.client.transaction();
            let request = self.client.sign(methods::ALLOCATE, transaction, vec![]);
            self.transmit(&request);
            let answer = self.receive();
            assert_eq!(self.client.understand(&answer, transaction).err(), Some(438));
        }
        self.ask(methods::ALLOCATE, &[&[common::udp()], more].concat())
    }

    fn permit(&mut self, peer: SocketAddr) {
        let attribute = XorPeerAddress::from(peer).into();
        self.ask(methods::CREATE_PERMMISSION, &[attribute]).expect("permitted");
    }

    fn bind(&mut self, number: u16, peer: SocketAddr) {
        let channel = ChannelNumber::new(number).into();
        let peer = XorPeerAddress::from(peer).into();
        self.ask(methods::CHANNEL_BIND, &[channel, peer]).expect("bound");
    }

    fn send_channel(&self, number: u16, payload: &[u8]) {
        self.transmit(&channel(number, payload));
    }

    fn receive_data(&self) -> (SocketAddr, Vec<u8>) {
        let bytes = self.receive();
        let (message, _) = MessageDecoderBuilder::default().build().decode(&bytes).expect("STUN");
        let peer = message.get::<XorPeerAddress>().expect("a peer");
        let data = message.get::<Data>().expect("data").as_data().expect("data").as_bytes();
        (*peer.as_xor_peer_address().expect("a peer").as_ref(), data.to_vec())
    }
}

fn channel(number: u16, payload: &[u8]) -> Vec<u8> {
    [&wire::channel_header(number, payload.len())[..], payload].concat()
}

fn payload(n: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (n * 31 + at) as u8).collect()
}

#[test]
fn packets_go_both_ways() {
    let relay = start(options(2));
    for at in [0, 2] {
        let server = relay.workers.addresses()[at];
        let mut client = Remote::at(server, "call");
        let family = match server {
            SocketAddr::V4(_) => AddressFamily::IPv4,
            SocketAddr::V6(_) => AddressFamily::IPv6,
        };
        let relayed = client.allocate(&[RequestedAddressFamily::new(family).into()]);
        assert_eq!(relayed.ip(), server.ip());
        let peer = bound(server);
        let peer_address = peer.local_addr().expect("bound");
        client.permit(peer_address);
        let indication = client.client.send_indication(peer_address, b"hello, peer");
        client.transmit(&indication);
        let mut buffer = [0; 100];
        let (length, from) = peer.recv_from(&mut buffer).expect("received");
        assert_eq!((&buffer[..length], from), (&b"hello, peer"[..], relayed));
        peer.send_to(b"hello, client", relayed).expect("sent");
        assert_eq!(client.receive_data(), (peer_address, b"hello, client".to_vec()));
        client.bind(0x4000, peer_address);
        client.send_channel(0x4000, b"");
        assert_eq!(peer.recv_from(&mut buffer).expect("received"), (0, relayed));
        peer.send_to(b"again", relayed).expect("sent");
        assert_eq!(client.receive(), channel(0x4000, b"again"));
    }
}

/// Sends bursts of different sizes both ways, and says what came through in what order.
fn bursts(options: Options) {
    let relay = start(options);
    let mut client = Remote::new(&relay, "call");
    let relayed = client.allocate(&[]);
    let peer = bound(loopback(0));
    client.bind(0x4000, peer.local_addr().expect("bound"));
    let mut buffer = [0; 65_536];
    for round in 0..20 {
        let sizes: Vec<_> = (0..8).map(|n| if n < 6 { 1_200 } else { 100 * round + n }).collect();
        for (n, &size) in sizes.iter().enumerate() {
            client.send_channel(0x4000, &payload(n, size));
            peer.send_to(&payload(n, size), relayed).expect("sent");
        }
        for (n, &size) in sizes.iter().enumerate() {
            let length = peer.recv(&mut buffer).expect("received");
            assert_eq!(buffer[..length], payload(n, size)[..], "packet {n} of round {round}");
            assert_eq!(client.receive(), channel(0x4000, &payload(n, size)));
        }
    }
}

#[test]
fn bursts_arrive_whole_and_in_order() {
    bursts(options(1));
}

#[test]
fn without_gso_they_do_too() {
    bursts(Options { gso: false, coalesce: Duration::ZERO, ..options(1) });
}

#[test]
fn large_packets_pass() {
    let relay = start(options(1));
    let client = Remote::new(&relay, "call");
    pass_large_packets(client, &[], bound(loopback(0)));
}

#[test]
fn large_packets_of_ipv6_pass() {
    let relay = start(options(1));
    let v6 = relay.workers.addresses()[2];
    let family = RequestedAddressFamily::new(AddressFamily::IPv6).into();
    pass_large_packets(Remote::at(v6, "call"), &[family], bound(v6));
}

/// Where links are narrow, in fragments.
fn pass_large_packets(mut client: Remote, family: &[StunAttribute], peer: UdpSocket) {
    let relayed = client.allocate(family);
    client.bind(0x4000, peer.local_addr().expect("bound"));
    let mut buffer = [0; 65_536];
    for size in [1_452, 1_453, 9_000, 60_000] {
        client.send_channel(0x4000, &payload(1, size));
        let length = peer.recv(&mut buffer).expect("received");
        assert_eq!(buffer[..length], payload(1, size)[..]);
        peer.send_to(&payload(2, size), relayed).expect("sent");
        assert_eq!(client.receive(), channel(0x4000, &payload(2, size)));
    }
}

#[test]
fn every_client_keeps_its_worker_and_all_meet() {
    let relay = start(options(3));
    // The kernel chooses by a hash of ports: of so many, some are elsewhere and some are not.
    let users = (0..64).map(|n| format!("call{n}"));
    let mut clients: Vec<_> = users.map(|user| Remote::new(&relay, &user)).collect();
    let relayed: Vec<_> = clients.iter_mut().map(|client| client.allocate(&[])).collect();
    let owner = |n: usize| relay.workers.shared().live().owner(relayed[n]).expect("open");
    let elsewhere = (1..64).find(|&n| owner(n) != owner(0)).expect("all on one worker");
    let beside = (1..64).find(|&n| owner(n) == owner(0)).expect("none on the same worker");
    for (number, other) in [(0x4000, elsewhere), (0x4001, beside)] {
        clients[0].bind(number, relayed[other]);
        clients[other].bind(0x4010, relayed[0]);
        for n in 0..50 {
            clients[0].send_channel(number, &payload(n, 1_000));
        }
        // Each once; some of the first ones may overtake others where they change to a shorter way.
        let mut received: Vec<_> = (0..50).map(|_| clients[other].receive()).collect();
        let mut sent: Vec<_> = (0..50).map(|n| channel(0x4010, &payload(n, 1_000))).collect();
        received.sort();
        sent.sort();
        assert!(received == sent, "a packet is missing, doubled or changed");
        clients[other].send_channel(0x4010, b"and back");
        assert_eq!(clients[0].receive(), channel(number, b"and back"));
    }
}

#[test]
fn a_closed_port_of_a_peer_is_reported() {
    let relay = start(options(1));
    let mut client = Remote::new(&relay, "call");
    client.allocate(&[]);
    let gone = bound(loopback(0)).local_addr().expect("bound");
    client.permit(gone);
    let indication = client.client.send_indication(gone, b"hello?");
    client.transmit(&indication);
    let told = client.receive();
    let (told, _) = MessageDecoderBuilder::default().build().decode(&told).expect("STUN");
    let icmp = told.get::<Icmp>().expect("ICMP").as_icmp().expect("ICMP");
    assert_eq!((icmp.icmp_type().get(), icmp.icmp_code().get()), (3, 3));
    let peer = told.get::<XorPeerAddress>().expect("a peer").as_xor_peer_address();
    assert_eq!(*peer.expect("a peer").as_ref(), gone);
    // The relay still works.
    let peer = bound(loopback(0));
    client.bind(0x4000, peer.local_addr().expect("bound"));
    client.send_channel(0x4000, b"hello");
    assert_eq!(peer.recv(&mut [0; 100]).expect("received"), 5);
}

#[test]
fn even_ports_and_the_next_one() {
    let relay = start(options(3));
    let mut first = Remote::new(&relay, "call");
    let answer = first.allocated(&[EvenPort::new(true).into()]).expect("allocated");
    let relayed = common::relayed(&answer)[0];
    let token = answer.get::<ReservationToken>().expect("a token");
    let token = token.as_reservation_token().expect("a token").clone();
    assert_eq!(relayed.port() % 2, 0);
    assert!(UdpSocket::bind(loopback(relayed.port() + 1)).is_err(), "not held");
    // Wherever the kernel puts the second client, the token finds the port.
    let mut second = Remote::new(&relay, "call");
    let next = second.allocate(&[token.into()]);
    assert_eq!(next.port(), relayed.port() + 1);
    second.permit(relayed);
    first.permit(next);
    let indication = second.client.send_indication(relayed, b"RTCP");
    second.transmit(&indication);
    assert_eq!(first.receive_data(), (next, b"RTCP".to_vec()));
}

#[test]
fn dont_fragment_is_one_packet_long() {
    let relay = start(options(1));
    let mut client = Remote::new(&relay, "call");
    client.allocate(&[DontFragment::default().into()]);
    let peer = bound(loopback(0));
    let to = peer.local_addr().expect("bound");
    client.permit(to);
    for attributes in [true, false, true] {
        let mut builder = StunMessageBuilder::new(methods::SEND, MessageClass::Indication)
            .with_attribute(XorPeerAddress::from(to))
            .with_attribute(Data::new(b"hello"));
        if attributes {
            builder = builder.with_attribute(DontFragment::default());
        }
        client.transmit(&common::encode(&builder.build()));
        assert_eq!(peer.recv(&mut [0; 100]).expect("received"), 5);
    }
}

/// On a link that takes it the packet goes whole; otherwise its sender learns what would.
#[test]
fn what_is_too_long_to_go_whole_is_not_cut_but_told() {
    const LENGTH: usize = 3_000;
    let mtu = std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/mtu").expect("a loopback");
    let mtu: usize = mtu.trim().parse().expect("a number");
    let relay = start(options(1));
    let v6 = relay.workers.addresses()[2];
    let family = RequestedAddressFamily::new(AddressFamily::IPv6).into();
    let clients = [
        (Remote::new(&relay, "call"), vec![], bound(loopback(0)), (3, 4)),
        (Remote::at(v6, "call"), vec![family], bound(v6), (2, 0)),
    ];
    for (mut client, family, peer, too_big) in clients {
        client.allocate(&family);
        let to = peer.local_addr().expect("bound");
        client.permit(to);
        let builder = StunMessageBuilder::new(methods::SEND, MessageClass::Indication)
            .with_attribute(XorPeerAddress::from(to))
            .with_attribute(DontFragment::default())
            .with_attribute(Data::new(payload(1, LENGTH)));
        client.transmit(&common::encode(&builder.build()));
        if mtu > LENGTH + 48 {
            assert_eq!(peer.recv(&mut [0; 65_536]).expect("received"), LENGTH);
            continue;
        }
        let told = client.receive();
        let (told, _) = MessageDecoderBuilder::default().build().decode(&told).expect("STUN");
        let icmp = told.get::<Icmp>().expect("ICMP").as_icmp().expect("ICMP");
        assert_eq!((icmp.icmp_type().get(), icmp.icmp_code().get()), too_big);
        assert_eq!(icmp.error_data(), &(mtu as u32).to_be_bytes());
        // It was not the socket's end, and what may be cut is cut.
        client.bind(0x4000, to);
        client.send_channel(0x4000, &payload(2, LENGTH));
        assert_eq!(peer.recv(&mut [0; 65_536]).expect("received"), LENGTH);
    }
}

#[test]
fn behind_another_port_the_same_server_answers() {
    let relay = start(options(2));
    let addresses = relay.workers.addresses();
    let mut changed = settings();
    changed.listening =
        addresses.iter().map(|&at| mtu_turn::Listening { local: at, announced: at }).collect();
    relay.settings.store(Arc::new(changed));
    let socket = bound(loopback(0));
    let ask = |change: Option<ChangeRequestFlags>| {
        let change = ChangeRequest::new(change.map(Into::into));
        let builder = StunMessageBuilder::new(methods::BINDING, MessageClass::Request);
        let request = common::encode(&builder.with_attribute(change).build());
        socket.send_to(&request, addresses[0]).expect("sent");
        let mut buffer = [0; 1_500];
        let (length, from) = socket.recv_from(&mut buffer).expect("received");
        let decoder = MessageDecoderBuilder::default().build();
        (decoder.decode(&buffer[..length]).expect("STUN").0, from)
    };
    let (answer, from) = ask(None);
    assert_eq!(from, addresses[0]);
    let other = answer.get::<OtherAddress>().expect("another").as_other_address().expect("one");
    assert_eq!(*other.socket_address(), addresses[1]);
    let (answer, from) = ask(Some(ChangeRequestFlags::ChangePort));
    assert_eq!((answer.class(), from), (MessageClass::SuccessResponse, addresses[1]));
    let (answer, from) = ask(Some(ChangeRequestFlags::ChangeIp));
    assert_eq!((answer.class(), from), (MessageClass::ErrorResponse, addresses[0]));
}

#[test]
fn new_settings_hold_at_once() {
    let relay = start(options(1));
    let mut client = Remote::new(&relay, "call");
    client.allocate(&[]);
    let mut changed = settings();
    let secrets = vec![sightline_model::Secret::new("quite another one".to_owned())];
    changed.credentials = mtu_turn::Credentials::new("sightline", secrets).expect("usable");
    relay.settings.store(Arc::new(changed));
    assert_eq!(client.ask(methods::REFRESH, &[]).err(), Some(401));
    relay.settings.store(Arc::new(settings()));
    assert!(client.ask(methods::REFRESH, &[]).is_ok());
}

#[test]
fn what_ends_is_accounted_for_and_its_port_is_free() {
    let mut relay = start(options(2));
    let mut client = Remote::new(&relay, "call");
    let relayed = client.allocate(&[]);
    let peer = bound(loopback(0));
    client.bind(0x4000, peer.local_addr().expect("bound"));
    client.send_channel(0x4000, &[0; 700]);
    assert_eq!(peer.recv(&mut [0; 1_000]).expect("received"), 700);
    client.ask(methods::REFRESH, &[LifeTime::from(0).into()]).expect("refreshed");
    let usage = relay.usages.blocking_recv().expect("accounted for");
    assert_eq!((&*usage.user, usage.bytes_to_peers), ("call", 700));
    assert!(UdpSocket::bind(relayed).is_ok(), "still bound");
    client.allocate(&[]);
    relay.workers.stop();
    assert_eq!(relay.usages.blocking_recv().expect("accounted for").bytes_to_peers, 0);
}

#[test]
fn a_thousand_allocations_stand_beside_each_other() {
    let relay = start(options(2));
    let mut limits = settings();
    limits.limits.allocations_per_user = 2_000;
    relay.settings.store(Arc::new(limits));
    let mut clients: Vec<_> = (0..1_000).map(|_| Remote::new(&relay, "call")).collect();
    let mut relayed: Vec<_> = clients.iter_mut().map(|client| client.allocate(&[])).collect();
    assert_eq!(relay.workers.shared().allocations(), 1_000);
    relayed.sort_unstable();
    relayed.dedup();
    assert_eq!(relayed.len(), 1_000);
    // Ports do not follow each other.
    let neighbours = relayed.windows(2).filter(|w| w[0].port() + 1 == w[1].port()).count();
    assert!(neighbours < 300, "{neighbours} of 1000 are next to another one");
    clients[500].ask(methods::REFRESH, &[LifeTime::from(0).into()]).expect("refreshed");
    let patience = Instant::now() + PATIENCE;
    while relay.workers.shared().allocations() != 999 {
        assert!(Instant::now() < patience, "it does not end");
    }
}
