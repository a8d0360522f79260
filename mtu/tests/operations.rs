//! The MTU as its operator, the SCUs and the CMU see it: drain, reload, accounting.

mod common;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use common::{Client, SECRET, config, credentials, loopback, soon};
use sightline_bus::{Bus, Message};
use sightline_model::MtuId;
use sightline_protocol::{
    decode, encode,
    sd::{MtuCommand, MtuReply, MtuStatus, MtuUsage, UsageEntry, UsageReply},
    subject,
};
use sightline_service_kit::{lifecycle::Lifecycle, tls::Authority};
use stun::message::METHOD_REFRESH;
use tokio::net::UdpSocket;
use turn::proto::lifetime::Lifetime;

async fn reply_to(bus: &Bus, mtu: &MtuId, order: MtuCommand) -> MtuReply {
    let subject = subject::mtu(&mtu::Config::default().domain, mtu);
    let reply = bus.request(&subject, encode(&order, None).into(), Duration::from_secs(10)).await;
    decode(&reply.expect("answered")).expect("readable").body
}

async fn order(bus: &Bus, mtu: &MtuId, order: MtuCommand) -> MtuStatus {
    match reply_to(bus, mtu, order).await {
        MtuReply::Done { status } => *status,
        MtuReply::Refused { problem } => panic!("{problem:?}"),
    }
}

#[tokio::test]
async fn an_scu_drains_an_mtu_and_lets_it_serve_again() {
    let bus = Bus::in_process();
    let lifecycle = Lifecycle::new();
    let mtu = mtu::start(config(&["127.0.0.0/8"]), bus.clone(), &lifecycle).await.expect("started");
    let mut old = Client::udp(&mtu).await;
    let relayed = old.allocate().await.expect("allocated");
    let peer = UdpSocket::bind(loopback(0)).await.expect("bound");
    old.bind(peer.local_addr().expect("bound")).await.expect("bound");

    let status = order(&bus, &mtu.mtu, MtuCommand::Drain).await;
    assert_eq!((status.draining, status.accepting, status.allocations), (true, false, 1));
    let mut new = Client::udp(&mtu).await;
    // The workers see it with their next packet.
    soon("refusal", async { while !matches!(new.allocate_once().await, Err(508)) {} }).await;
    peer.send_to(b"goes on", relayed).await.expect("sent");
    assert_eq!(old.receive().await[4..], *b"goes on");
    old.request(METHOD_REFRESH, vec![]).await.expect("may stay");

    let status = order(&bus, &mtu.mtu, MtuCommand::Undrain).await;
    assert_eq!((status.draining, status.accepting), (false, true));
    soon("service", async { while new.allocate_once().await.is_err() {} }).await;
}

#[tokio::test]
async fn no_order_keeps_an_mtu_from_stopping() {
    let bus = Bus::in_process();
    let lifecycle = Lifecycle::new();
    let mtu = mtu::start(config(&[]), bus.clone(), &lifecycle).await.expect("started");
    let mut client = Client::udp(&mtu).await;
    client.allocate().await.expect("allocated");
    let mut stopping = Box::pin(mtu.control.drained(Duration::from_secs(60)));
    tokio::select! {
        biased;
        () = &mut stopping => panic!("an allocation is left"),
        () = std::future::ready(()) => {}
    }

    let reply = reply_to(&bus, &mtu.mtu, MtuCommand::Undrain).await;
    assert!(matches!(reply, MtuReply::Refused { .. }), "{reply:?}");
    assert!(order(&bus, &mtu.mtu, MtuCommand::Drain).await.draining);
    mtu.control.undrain();
    let mut new = Client::udp(&mtu).await;
    soon("refusal", async { while !matches!(new.allocate_once().await, Err(508)) {} }).await;
}

#[tokio::test]
async fn a_drained_mtu_names_another_one() {
    let elsewhere: SocketAddr = ([192, 0, 2, 7], 3_478).into();
    let config = mtu::Config { alternates: vec![elsewhere], ..config(&[]) };
    let (mtu, _lifecycle) = common::start(config).await;
    mtu.control.drain();
    let mut client = Client::udp(&mtu).await;
    soon("refusal", async { while !matches!(client.allocate_once().await, Err(300)) {} }).await;
    soon("emptiness", mtu.control.drained(Duration::from_secs(60))).await;
}

#[tokio::test]
async fn an_mtu_whose_ports_are_taken_is_full() {
    let bus = Bus::in_process();
    let lifecycle = Lifecycle::new();
    let config = mtu::Config {
        // No other test has relays there.
        relay_addresses: mtu::RelayAddress::Plain(IpAddr::from([127, 0, 0, 77])).into(),
        relay_ports: Some((24_001, 24_002)),
        ..config(&[])
    };
    let warnings = config.warnings().expect("good");
    assert!(warnings.iter().any(|warning| warning.contains("relay_ports")), "{warnings:?}");
    let mtu = mtu::start(config, bus.clone(), &lifecycle).await.expect("started");
    let mut clients = [Client::udp(&mtu).await, Client::udp(&mtu).await];
    for client in &mut clients {
        client.allocate().await.expect("allocated");
    }
    assert_eq!(Client::udp(&mtu).await.allocate().await, Err(508));
    let status = order(&bus, &mtu.mtu, MtuCommand::Undrain).await;
    assert_eq!((status.load, status.accepting, status.allocations), (1.0, false, 2));
}

async fn next_usage(reports: &mut sightline_bus::Subscription) -> Vec<UsageEntry> {
    let Message { payload, reply, .. } = soon("usage report", reports.next()).await.expect("open");
    let usage: MtuUsage = decode(&payload).expect("readable").body;
    reply.expect("a request").send(encode(&UsageReply::Stored, None).into()).await;
    usage.entries
}

#[tokio::test]
async fn the_cmu_is_told_what_an_allocation_carried() {
    let bus = Bus::in_process();
    let config = config(&["127.0.0.0/8"]);
    let subject = subject::mtu_usage(&config.domain);
    let mut reports = bus.subscribe(&subject, Some("cmu")).await.expect("subscribed");
    let lifecycle = Lifecycle::new();
    let mtu = mtu::start(config, bus, &lifecycle).await.expect("started");
    let mut client = Client::udp(&mtu).await;
    let relayed = client.allocate().await.expect("allocated");
    let peer = UdpSocket::bind(loopback(0)).await.expect("bound");
    client.bind(peer.local_addr().expect("bound")).await.expect("bound");
    for _ in 0..3 {
        client.channel_data(&[1; 100]).await;
        soon("packet", peer.recv(&mut [0; 200])).await.expect("received");
    }
    peer.send_to(&[2; 50], relayed).await.expect("sent");
    client.receive().await;
    let end: Vec<Box<dyn stun::message::Setter>> = vec![Box::new(Lifetime(Duration::ZERO))];
    client.request(METHOD_REFRESH, end).await.expect("ended");

    let entries = next_usage(&mut reports).await;
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.user.as_str(), entry.ended, entry.packets), ("call", true, 4));
    assert_eq!((entry.bytes_to_peers, entry.bytes_from_peers), (300, 50));

    // What still runs is accounted for when the MTU ends.
    client.allocate_once().await.expect("allocated again");
    let (entries, ended) = tokio::join!(next_usage(&mut reports), lifecycle.shutdown());
    assert!(ended, "a task did not end");
    assert!(entries.len() == 1 && entries[0].ended, "{entries:?}");
}

#[tokio::test]
async fn a_report_that_nobody_stores_is_repeated() {
    let bus = Bus::in_process();
    let config = config(&[]);
    let subject = subject::mtu_usage(&config.domain);
    let lifecycle = Lifecycle::new();
    let mtu = mtu::start(config, bus.clone(), &lifecycle).await.expect("started");
    let mut client = Client::tcp(&mtu).await;
    client.allocate().await.expect("allocated");
    drop(client);
    // No CMU was there when it ended.
    let mut reports = bus.subscribe(&subject, Some("cmu")).await.expect("subscribed");
    assert_eq!(next_usage(&mut reports).await.len(), 1);
}

#[tokio::test]
async fn secrets_change_without_a_gap() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (current, before) = (folder.path().join("current"), folder.path().join("before"));
    let next = "fedcba9876543210";
    std::fs::write(&current, SECRET).expect("written");
    std::fs::write(&before, SECRET).expect("written");
    let config = mtu::Config {
        secret: None,
        secret_file: Some(current.clone()),
        more_secret_files: vec![before.clone()],
        newcomers_per_s: 10_000,
        ..config(&[])
    };
    let (mtu, _lifecycle) = common::start(config).await;
    let with = async |secret| {
        let mut client = Client::udp(&mtu).await;
        (client.username, client.password) = credentials(600, secret);
        client.allocate().await.is_ok()
    };
    assert!(with(SECRET).await && !with(next).await);
    // A file that cannot be used changes nothing.
    std::fs::write(&current, "short").expect("written");
    assert!(mtu.control.reload().is_err());
    assert!(with(SECRET).await);
    // Seen without being told.
    std::fs::write(&current, next).expect("written");
    soon("the new secret", async {
        while !with(next).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(with(SECRET).await, "the old one was forgotten too soon");
    std::fs::write(&before, next).expect("written");
    mtu.control.reload().expect("good");
    soon("the end of the old secret", async {
        while with(SECRET).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn certificates_change_while_connections_go_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let first = put(&chain, &key);
    let config = mtu::Config {
        certificate_file: Some(chain.clone()),
        key_file: Some(key.clone()),
        ..config(&[])
    };
    let (mtu, _lifecycle) = common::start(config).await;
    let mut old = Client::tls(&mtu, &first).await;
    old.allocate().await.expect("allocated");
    let second = put(&chain, &key);
    mtu.control.reload().expect("good");
    let mut new = Client::tls(&mtu, &second).await;
    new.allocate().await.expect("allocated");
    old.request(METHOD_REFRESH, vec![]).await.expect("goes on");
}

fn put(chain: &std::path::Path, key: &std::path::Path) -> Authority {
    let authority = Authority::create("Test").expect("made");
    let identity = authority.issue(&["localhost"], &[]).expect("issued");
    let pem = |label: &str, der: &[u8]| {
        let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    std::fs::write(chain, pem("CERTIFICATE", &identity.chain[0])).expect("written");
    std::fs::write(key, pem("PRIVATE KEY", identity.key.secret_der())).expect("written");
    authority
}

/// The workers share their ports; another process must not have a part of them.
#[tokio::test]
async fn a_port_that_another_mtu_has_is_refused() {
    let (first, _lifecycle) = common::start(config(&[])).await;
    let second = mtu::Config { udp_listen: first.udp_addr.into(), ..config(&[]) };
    let error = mtu::start(second, Bus::in_process(), &Lifecycle::new()).await;
    let error = error.expect_err("refused").to_string();
    assert!(error.contains(&first.udp_addr.to_string()), "{error}");
}
