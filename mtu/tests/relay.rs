//! The relay as its clients see it: who gets in, and to whom it sends.

mod common;

use std::{net::SocketAddr, time::Duration};

use common::{Client, SECRET, Stream, config, credentials, loopback, soon, start};
use sightline_bus::Bus;
use sightline_protocol::{
    sd::{MtuStatus, RollCall},
    subject,
};
use sightline_service_kit::lifecycle::Lifecycle;
use stun::{
    message::{BINDING_REQUEST, Getter, METHOD_REFRESH, Message, Setter},
    xoraddr::XorMappedAddress,
};
use tokio::net::UdpSocket;
use turn::proto::{data::Data, lifetime::Lifetime};

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
    let roll_call = subject::mtu_roll_call(&config.domain);
    let mtu = mtu::start(config, bus.clone(), &lifecycle).await.expect("started");
    let message = soon("announcement", heard.next()).await.expect("open");
    let status: MtuStatus = sightline_protocol::decode(&message.payload).expect("readable").body;
    assert_eq!((status.mtu, status.accepting), (mtu.mtu.clone(), true));
    assert_eq!(status.urls.len(), 3);
    assert!(status.urls[0].starts_with("stun:127.0.0.1:"), "{:?}", status.urls);
    // An SCU that starts later does not wait for the next turn: so many of them would take minutes.
    let question = sightline_protocol::encode(&RollCall::default(), None);
    let answers = async {
        for _ in 0..100 {
            bus.publish(&roll_call, question.clone().into()).await.expect("bus");
            heard.next().await.expect("open");
        }
    };
    soon("answers to a hundred questions", answers).await;
    assert!(lifecycle.shutdown().await, "a task did not end");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_in_words() {
    type Spoil = fn(&mut mtu::Config);
    let cases: [(&str, Spoil); 4] = [
        ("secret_file", |c| c.secret = None),
        ("public_ip", |c| c.udp_listen = SocketAddr::from(([0, 0, 0, 0], 0)).into()),
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

#[test]
fn the_sample_configuration_has_every_key_in_its_place() {
    let sample = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("mtu.sample.toml");
    let config = mtu::Config::load(Some(&sample)).expect("reads");
    assert_eq!(config.relay_ports, Some((49_152, 65_535)));
}
