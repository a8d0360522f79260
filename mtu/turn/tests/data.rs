//! Packets: to whom they go, from whom they are taken (RFC 8656 sections 9 to 12).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{sync::Arc, time::Duration};

use common::*;
use mtu_turn::{Direction, Fragment, IcmpError, Server, Transport, WorkerIndex, wire};
use stun_rs::{
    MessageDecoderBuilder,
    attributes::turn::{Data, DontFragment, Icmp, XorPeerAddress},
    methods,
};

const CLIENT: &str = "198.51.100.7:40000";
const PEER: &str = "203.0.113.5:7000";

fn allocated(settings: mtu_turn::Settings) -> (World, Client, std::net::SocketAddr) {
    let mut world = World::new(settings);
    let mut client = Client::new(CLIENT, "call");
    let relayed = client.allocate(&mut world).unwrap();
    (world, client, relayed)
}

/// Peer and payload of a Data indication.
fn data(bytes: &[u8]) -> (std::net::SocketAddr, Vec<u8>) {
    let (message, size) = MessageDecoderBuilder::default().build().decode(bytes).unwrap();
    assert_eq!(size, bytes.len());
    assert_eq!(message.method(), methods::DATA);
    let peer = *message.get::<XorPeerAddress>().unwrap().as_xor_peer_address().unwrap().as_ref();
    (peer, message.get::<Data>().unwrap().as_data().unwrap().as_bytes().to_vec())
}

#[test]
fn indications_go_both_ways_while_there_is_a_permission() {
    let (mut world, mut client, relayed) = allocated(settings());
    let peer = address(PEER);
    client.send(&mut world, peer, b"too early");
    world.peer_input(relayed, peer, b"too early");
    world.assert_silent();
    client.permit(&mut world, &[peer]).unwrap();
    for payload in [&b""[..], b"a", b"four", b"hello, peer", &[7; 1_200]] {
        client.send(&mut world, peer, payload);
        let relay = world.relay_of(relayed);
        let expected = Out::Peer(relay, peer, payload.to_vec(), Fragment::Allowed);
        assert_eq!(world.take(), Some(expected));
        world.peer_input(relayed, peer, payload);
        assert_eq!(data(&world.take_for(&client.id)), (peer, payload.to_vec()));
    }
    // A permission is for an address, whatever the port.
    world.peer_input(relayed, address("203.0.113.5:7001"), b"other port");
    assert_eq!(data(&world.take_for(&client.id)).0, address("203.0.113.5:7001"));
    world.peer_input(relayed, address("203.0.113.6:7000"), b"other host");
    world.assert_silent();
    world.pass(Duration::from_secs(300));
    client.send(&mut world, peer, b"too late");
    world.peer_input(relayed, peer, b"too late");
    world.assert_silent();
    assert_eq!(world.server.counters().packets_to_peers, 5);
}

#[test]
fn channels_go_both_ways_until_they_end() {
    let (mut world, mut client, relayed) = allocated(settings());
    let peer = address(PEER);
    client.send_channel(&mut world, 0x4000, b"too early");
    world.assert_silent();
    client.bind(&mut world, 0x4000, peer).unwrap();
    client.send_channel(&mut world, 0x4000, b"hello");
    let relay = world.relay_of(relayed);
    let expected = Out::Peer(relay, peer, b"hello".to_vec(), Fragment::Allowed);
    assert_eq!(world.take(), Some(expected));
    world.peer_input(relayed, peer, b"hello");
    assert_eq!(world.take_for(&client.id), [&[0x40, 0, 0, 5][..], b"hello"].concat());
    // A peer without a channel, at the same address: an indication.
    world.peer_input(relayed, address("203.0.113.5:7001"), b"hello");
    assert_eq!(data(&world.take_for(&client.id)).1, b"hello");
    // The permission ends before the channel (RFC 8656 section 12).
    world.pass(Duration::from_secs(301));
    world.peer_input(relayed, peer, b"too late");
    world.assert_silent();
    client.bind(&mut world, 0x4000, peer).unwrap();
    world.peer_input(relayed, peer, b"hello");
    assert_eq!(world.take_for(&client.id)[..2], [0x40, 0]);
    client.refresh(&mut world, 3_600).unwrap();
    world.pass(Duration::from_secs(600));
    client.send_channel(&mut world, 0x4000, b"too late");
    world.assert_silent();
}

#[test]
fn a_channel_is_one_peer_and_a_peer_is_one_channel() {
    let (mut world, mut client, _) = allocated(settings());
    let (peer, other) = (address(PEER), address("203.0.113.6:7000"));
    client.bind(&mut world, 0x4001, peer).unwrap();
    assert!(client.bind(&mut world, 0x4001, peer).is_ok(), "the same again");
    assert_eq!(client.bind(&mut world, 0x4001, other).err(), Some(400));
    assert_eq!(client.bind(&mut world, 0x4002, peer).err(), Some(400));
    for number in [0x0000, 0x3fff, 0x7fff, 0x8000, 0xffff] {
        assert_eq!(client.bind(&mut world, number, other).err(), Some(400), "{number:#x}");
    }
    assert_eq!(client.bind(&mut world, 0x4002, address("203.0.113.6:0")).err(), Some(400));
    assert!(client.bind(&mut world, 0x4002, other).is_ok());
}

#[test]
fn a_refused_channel_permits_nobody() {
    let mut few = settings();
    few.limits.channels = 1;
    let (mut world, mut client, relayed) = allocated(few);
    let peer = |n: u8| address(&format!("203.0.113.{n}:7000"));
    client.bind(&mut world, 0x4000, peer(1)).unwrap();
    // The number is another peer's (400); there are too many (508).
    assert_eq!(client.bind(&mut world, 0x4000, peer(2)).err(), Some(400));
    assert_eq!(client.bind(&mut world, 0x4001, peer(3)).err(), Some(508));
    for refused in [peer(2), peer(3)] {
        client.send(&mut world, refused, b"hello");
        world.peer_input(relayed, refused, b"hello");
        world.assert_silent();
    }
}

#[test]
fn permissions_and_channels_are_bounded() {
    let mut few = settings();
    (few.limits.permissions, few.limits.channels) = (3, 2);
    let (mut world, mut client, _) = allocated(few);
    let peer = |n: u8| address(&format!("203.0.113.{n}:7000"));
    assert!(client.permit(&mut world, &[peer(1), peer(2)]).is_ok());
    assert_eq!(client.permit(&mut world, &[peer(3), peer(4)]).err(), Some(508));
    client.send(&mut world, peer(3), b"not half of them");
    world.assert_silent();
    assert!(client.bind(&mut world, 0x4000, peer(1)).is_ok());
    assert!(client.bind(&mut world, 0x4001, peer(3)).is_ok());
    assert_eq!(client.bind(&mut world, 0x4002, peer(2)).err(), Some(508));
    world.pass(Duration::from_secs(599));
    client.refresh(&mut world, 600).unwrap();
    assert!(client.permit(&mut world, &[peer(7), peer(8), peer(9)]).is_ok(), "never freed");
}

#[test]
fn denied_peers_are_denied_everywhere() {
    let mut own = settings();
    own.peers.own.push(address("203.0.113.9:0").ip());
    let (mut world, mut client, relayed) = allocated(own);
    for denied in [
        "127.0.0.1:22",
        "10.0.0.1:22",
        "169.254.169.254:80",
        "192.168.1.1:80",
        "0.0.0.0:22",
        "203.0.113.9:22",
        "[::ffff:127.0.0.1]:22",
        "[::1]:22",
        "[::]:22",
        "[fd00::1]:22",
    ] {
        let denied = address(denied);
        assert_eq!(client.permit(&mut world, &[denied]).err(), Some(403), "{denied}");
        assert_eq!(client.permit(&mut world, &[address(PEER), denied]).err(), Some(403));
        assert_eq!(client.bind(&mut world, 0x4000, denied).err(), Some(403), "{denied}");
        client.send(&mut world, denied, b"hello");
        world.peer_input(relayed, denied, b"hello");
        world.assert_silent();
    }
    // A refused request permits none of its peers.
    client.send(&mut world, address(PEER), b"hello");
    world.assert_silent();
    assert_eq!(client.permit(&mut world, &[address("[2606:4700::1]:9")]).err(), Some(443));
}

#[test]
fn changed_rules_hold_for_permissions_that_stand() {
    let (mut world, mut client, relayed) = allocated(settings());
    let peer = address(PEER);
    client.bind(&mut world, 0x4000, peer).unwrap();
    let mut changed = settings();
    changed.peers.denied = vec!["203.0.113.0/24".parse().unwrap()];
    world.set(changed);
    client.send_channel(&mut world, 0x4000, b"hello");
    client.send(&mut world, peer, b"hello");
    world.peer_input(relayed, peer, b"hello");
    world.assert_silent();
}

#[test]
fn both_ends_relayed_here_meet_without_a_socket() {
    let (mut world, mut a, a_relayed) = allocated(settings());
    let mut b = Client::new("198.51.100.8:40000", "call");
    let b_relayed = b.allocate(&mut world).unwrap();
    a.bind(&mut world, 0x4000, b_relayed).unwrap();
    a.send_channel(&mut world, 0x4000, b"no permission there yet");
    world.assert_silent();
    b.bind(&mut world, 0x4005, a_relayed).unwrap();
    a.send_channel(&mut world, 0x4000, b"hello");
    assert_eq!(world.take_for(&b.id), [&[0x40, 5, 0, 5][..], b"hello"].concat());
    b.send(&mut world, a_relayed, b"hello yourself");
    let channel = world.take_for(&a.id);
    assert_eq!(channel[4..], *b"hello yourself");
    // Ports of ours where nobody is relayed stay closed.
    let mut elsewhere = a_relayed;
    elsewhere.set_port(22);
    a.send(&mut world, elsewhere, b"hello");
    world.assert_silent();
    b.refresh(&mut world, 0).unwrap();
    a.send_channel(&mut world, 0x4000, b"nobody there");
    world.assert_silent();
    assert_eq!(world.server.counters().packets_between_own, 3);
}

#[test]
fn both_ends_relayed_by_two_workers_meet_too() {
    let (mut world, mut a, a_relayed) = allocated(settings());
    let mut other = World::new(settings());
    other.shared = world.shared.clone();
    let settings = Arc::new(settings());
    other.server = Server::new(WorkerIndex(1), world.shared.clone(), settings);
    let mut b = Client::new("198.51.100.8:40000", "call");
    other.hands.open_from(51_000);
    let b_relayed = b.allocate(&mut other).unwrap();
    a.bind(&mut world, 0x4000, b_relayed).unwrap();
    b.permit(&mut other, &[a_relayed]).unwrap();
    a.send_channel(&mut world, 0x4000, b"hello");
    let expected = Out::Worker(WorkerIndex(1), a_relayed, b_relayed, b"hello".to_vec());
    assert_eq!(world.take(), Some(expected));
    other.server.handle_relayed(a_relayed, b_relayed, b"hello", other.now, &mut other.hands);
    assert_eq!(data(&other.take_for(&b.id)), (a_relayed, b"hello".to_vec()));
    let nowhere = address("192.0.2.1:9");
    other.server.handle_relayed(a_relayed, nowhere, b"hello", other.now, &mut other.hands);
    other.assert_silent();
}

#[test]
fn trains_come_apart_in_order() {
    let (mut world, mut client, relayed) = allocated(settings());
    let (peer, other) = (address(PEER), address("203.0.113.6:7000"));
    client.bind(&mut world, 0x4000, peer).unwrap();
    client.bind(&mut world, 0x4001, other).unwrap();
    let packet = |number: u16, fill: u8, length: usize| {
        [&wire::channel_header(number, length)[..], &vec![fill; length]].concat()
    };
    // Three of one size, the last one shorter; two channels; one that nobody has.
    let parts = [(0x4000, 1, 96), (0x4001, 2, 96), (0x4002, 3, 96), (0x4000, 4, 40)];
    let train: Vec<u8> = parts.iter().flat_map(|&(n, f, l)| packet(n, f, l)).collect();
    world.server.handle_input(&client.id, &train, 100, world.now, &mut world.hands);
    for (to, fill, length) in [(peer, 1, 96), (other, 2, 96), (peer, 4, 40)] {
        match world.take() {
            Some(Out::Peer(_, went, bytes, _)) => {
                assert_eq!((went, bytes), (to, vec![fill; length]));
            }
            other => panic!("{other:?}"),
        }
    }
    let relay = world.relay_of(relayed);
    let train = [[1; 50], [2; 50]].concat();
    let hands = &mut world.hands;
    world.server.handle_peer_input(relay, peer, &train[..90], 50, world.now, hands);
    assert_eq!(world.take_for(&client.id), packet(0x4000, 1, 50));
    assert_eq!(world.take_for(&client.id), packet(0x4000, 2, 40));
    // Indications and ChannelData in one train, as sizes happen to agree.
    let indication = client.send_indication(other, &[9; 60]);
    let mut train = indication.clone();
    train.extend(packet(0x4000, 5, indication.len() - 4));
    let (now, hands) = (world.now, &mut world.hands);
    world.server.handle_input(&client.id, &train, indication.len(), now, hands);
    assert!(matches!(world.take(), Some(Out::Peer(_, to, ..)) if to == other));
    assert!(matches!(world.take(), Some(Out::Peer(_, to, ..)) if to == peer));
}

#[test]
fn malformed_data_is_dropped() {
    let (mut world, mut client, _) = allocated(settings());
    let peer = address(PEER);
    client.bind(&mut world, 0x4000, peer).unwrap();
    let good = client.send_indication(peer, b"hello");
    for bad in [
        vec![],
        vec![0x40],
        vec![0x40, 0, 0],
        // Longer than the datagram.
        vec![0x40, 0, 0, 9, 1, 2, 3],
        vec![0x80; 40],
        good[..good.len() - 4].to_vec(),
        good[..20].to_vec(),
        [&good[..], &[0; 4]].concat(),
    ] {
        world.input(&client.id, &bad);
        world.assert_silent();
    }
    // Padding after ChannelData is not payload, and nothing to complain about.
    world.input(&client.id, &[0x40, 0, 0, 1, 7, 0, 0, 0]);
    assert!(matches!(world.take(), Some(Out::Peer(_, _, bytes, _)) if bytes == [7]));
}

#[test]
fn streams_get_padding() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call").over(Transport::Tcp);
    let relayed = client.allocate(&mut world).unwrap();
    client.bind(&mut world, 0x4000, address(PEER)).unwrap();
    world.peer_input(relayed, address(PEER), b"hello");
    assert_eq!(world.take_for(&client.id), [&[0x40, 0, 0, 5][..], b"hello\0\0\0"].concat());
}

#[test]
fn dont_fragment_is_passed_on() {
    let (mut world, mut client, _) = allocated(settings());
    let peer = address(PEER);
    client.permit(&mut world, &[peer]).unwrap();
    let builder =
        stun_rs::StunMessageBuilder::new(methods::SEND, stun_rs::MessageClass::Indication)
            .with_attribute(XorPeerAddress::from(peer))
            .with_attribute(DontFragment::default())
            .with_attribute(Data::new(b"hello"));
    world.input(&client.id, &encode(&builder.build()));
    assert!(matches!(world.take(), Some(Out::Peer(_, _, _, Fragment::Forbidden))));
}

#[test]
fn icmp_errors_reach_the_client_of_a_permitted_peer() {
    let (mut world, mut client, relayed) = allocated(settings());
    let peer = address(PEER);
    let relay = world.relay_of(relayed);
    let error = IcmpError { kind: 3, code: 4, data: 1_280 };
    world.server.handle_icmp(relay, peer, error, world.now, &mut world.hands);
    world.assert_silent();
    client.permit(&mut world, &[peer]).unwrap();
    world.server.handle_icmp(relay, peer, error, world.now, &mut world.hands);
    let told = world.take_for(&client.id);
    let (told, _) = MessageDecoderBuilder::default().build().decode(&told).unwrap();
    let icmp = told.get::<Icmp>().unwrap().as_icmp().unwrap();
    assert_eq!((icmp.icmp_type().get(), icmp.icmp_code().get()), (3, 4));
    assert_eq!(icmp.error_data(), 1_280u32.to_be_bytes());
    assert!(told.get::<Data>().is_none());
}

#[test]
fn bandwidth_is_limited_for_allocation_user_and_server() {
    for which in 0..3 {
        let mut limited = settings();
        match which {
            0 => limited.limits.allocation_bytes_per_s = Some(100_000),
            1 => limited.limits.user_bytes_per_s = Some(100_000),
            _ => limited.limits.server_bytes_per_s = Some(100_000),
        }
        let (mut world, mut client, relayed) = allocated(limited);
        let mut second = Client::new("198.51.100.8:40000", "call");
        second.allocate(&mut world).unwrap();
        let peer = address(PEER);
        client.bind(&mut world, 0x4000, peer).unwrap();
        second.bind(&mut world, 0x4000, peer).unwrap();
        for _ in 0..10_000 {
            client.send_channel(&mut world, 0x4000, &[0; 1_000]);
            second.send_channel(&mut world, 0x4000, &[0; 1_000]);
            world.peer_input(relayed, peer, &[0; 1_000]);
            world.pass(Duration::from_millis(1));
        }
        let counters = world.server.counters();
        let bytes = counters.bytes_to_peers + counters.bytes_to_clients;
        let allocations = if which == 0 { 2 } else { 1 };
        let (least, most) = (1_000_000 * allocations, 1_120_000 * allocations);
        assert!((least..=most).contains(&bytes), "limit {which}: {bytes} bytes in 10 s");
        assert!(counters.over_bandwidth > 20_000);
    }
}

#[test]
fn what_was_carried_is_accounted_for() {
    let (mut world, mut client, relayed) = allocated(settings());
    let peer = address(PEER);
    client.bind(&mut world, 0x4000, peer).unwrap();
    for _ in 0..10 {
        client.send_channel(&mut world, 0x4000, &[0; 100]);
        world.peer_input(relayed, peer, &[0; 30]);
    }
    let usage = world.server.usage(world.now).next().unwrap();
    let carried = (&*usage.user, usage.bytes_to_peers, usage.bytes_to_client);
    assert_eq!(carried, ("call", 1_000, 300));
    world.server.close(world.now, &mut world.hands);
    assert_eq!((world.shared.users(), world.server.usage(world.now).count()), (0, 0));
    let ended = &world.hands.ended[0];
    assert_eq!((&*ended.user, ended.bytes_to_peers, ended.bytes_to_client), ("call", 1_000, 300));
}

#[test]
fn connections_are_held_to_the_limits_and_accounted_for() {
    for which in 0..3 {
        let mut limited = mtu_turn::Settings { tcp_relays: true, ..settings() };
        match which {
            0 => limited.limits.allocation_bytes_per_s = Some(100_000),
            1 => limited.limits.user_bytes_per_s = Some(100_000),
            _ => limited.limits.server_bytes_per_s = Some(100_000),
        }
        let limits = limited.limits.clone();
        let mut world = World::new(limited);
        for from in [CLIENT, "198.51.100.8:40000"] {
            let mut client = Client::new(from, "call").over(Transport::Tcp);
            client.ask(&mut world, methods::ALLOCATE, vec![protocol(6)]).unwrap();
        }
        let meters = world.hands.streams.clone();
        assert_eq!(meters.len(), 2);
        let mut bytes = 0;
        for _ in 0..10_000 {
            for (meter, way) in meters.iter().zip([Direction::ToPeer, Direction::ToClient]) {
                let piece = meter.piece(8_192, &limits);
                if meter.wait(&limits, world.now.instant).is_none() {
                    assert!(meter.pass(way, piece, &limits, world.now.instant));
                    bytes += piece as u64;
                }
            }
            world.pass(Duration::from_millis(1));
        }
        let allocations = if which == 0 { 2 } else { 1 };
        let (least, most) = (1_000_000 * allocations, 1_080_000 * allocations);
        assert!((least..=most).contains(&bytes), "limit {which}: {bytes} bytes in 10 s");

        assert_eq!(world.shared.streamed_bytes(), bytes);
        let carried = |usage: &mtu_turn::Usage| usage.bytes_to_peers + usage.bytes_to_client;
        let running: Vec<_> = world.server.usage(world.now).collect();
        assert_eq!(running.iter().map(carried).sum::<u64>(), bytes);
        assert!(running[0].bytes_to_client == 0 && running[1].bytes_to_peers == 0);
        assert!(running.iter().all(|usage| usage.packets > 0), "nobody would be told");
        world.server.close(world.now, &mut world.hands);
        assert_eq!(world.hands.ended.iter().map(carried).sum::<u64>(), bytes);
        let late = meters[0].pass(Direction::ToPeer, 1, &limits, world.now.instant);
        assert!(!late, "passed although it has been accounted for");
    }
}

#[test]
fn a_connection_leaves_room_for_datagrams() {
    let mut limited = mtu_turn::Settings { tcp_relays: true, ..settings() };
    limited.limits.user_bytes_per_s = Some(100_000);
    let limits = limited.limits.clone();
    let (mut world, mut client, _) = allocated(limited);
    client.bind(&mut world, 0x4000, address(PEER)).unwrap();
    let mut other = Client::new("198.51.100.8:40000", "call").over(Transport::Tcp);
    other.ask(&mut world, methods::ALLOCATE, vec![protocol(6)]).unwrap();
    let meter = world.hands.streams[0].clone();
    for ms in 0..10_000 {
        let piece = meter.piece(65_536, &limits);
        if meter.wait(&limits, world.now.instant).is_none() {
            assert!(meter.pass(Direction::ToPeer, piece, &limits, world.now.instant));
        }
        if ms % 20 == 0 {
            client.send_channel(&mut world, 0x4000, &[0; 1_000]);
        }
        world.pass(Duration::from_millis(1));
    }
    assert_eq!(world.server.counters().over_bandwidth, 0);
    let streamed = world.shared.streamed_bytes();
    assert!((480_000..=580_000).contains(&streamed), "{streamed}: what datagrams leave");
}
