//! Two allocations of different workers: the short way from one to the other's client.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use common::{Client, Out, World, relayed, settings};
use mtu_turn::{Server, Settings, Transport, WorkerIndex, wire};
use stun_rs::{
    AddressFamily,
    attributes::turn::{AdditionalAddressFamily, LifeTime, RequestedAddressFamily},
    methods,
};

/// A client of worker 0 and one of worker 1, who may send to each other.
struct Pair {
    near: World,
    far: World,
    a: Client,
    b: Client,
    a_relayed: SocketAddr,
    b_relayed: SocketAddr,
    /// By which the first one sends to the other.
    channel: u16,
}

const CHANNEL: u16 = 0x4000;
const BACK: u16 = 0x4001;

impl Pair {
    fn new(settings: &dyn Fn() -> Settings, transport: Transport) -> Self {
        let mut near = World::new(settings());
        let mut far = World::new(settings());
        far.shared = near.shared.clone();
        far.server = Server::new(WorkerIndex(1), near.shared.clone(), Arc::new(settings()));
        far.now = near.now;
        far.hands.open_from(51_000);
        let mut a = Client::new("198.51.100.7:40000", "one");
        let mut b = Client::new("198.51.100.8:40000", "other").over(transport);
        let a_relayed = a.allocate(&mut near).unwrap();
        let b_relayed = b.allocate(&mut far).unwrap();
        a.bind(&mut near, CHANNEL, b_relayed).unwrap();
        Self { near, far, a, b, a_relayed, b_relayed, channel: CHANNEL }
    }

    fn bound() -> Self {
        let mut pair = Self::new(&settings, Transport::Udp);
        pair.b.bind(&mut pair.far, BACK, pair.a_relayed).unwrap();
        pair
    }

    /// What the near worker does with a packet: what its client's ChannelData became.
    fn send(&mut self, payload: &[u8]) -> Option<Out> {
        self.a.send_channel(&mut self.near, self.channel, payload);
        self.near.take()
    }

    /// The packet takes the long way, and what was lent comes back.
    fn long_way(&mut self, payload: &[u8]) {
        let expected = Out::Worker(WorkerIndex(1), self.a_relayed, self.b_relayed, payload.into());
        assert_eq!(self.send(payload), Some(expected));
        let (from, to, now) = (self.a_relayed, self.b_relayed, self.far.now);
        self.far.server.handle_relayed(from, to, payload, now, &mut self.far.hands);
        assert!(matches!(self.far.take(), Some(Out::Client(client, _)) if client == self.b.id));
        for (worker, from, to, shortcut) in std::mem::take(&mut self.far.hands.lent) {
            assert_eq!(worker, WorkerIndex(0));
            self.near.server.handle_shortcut(from, to, shortcut, self.near.now);
        }
    }

    fn short_way(&mut self, payload: &[u8]) -> bool {
        let message = [&wire::channel_header(BACK, payload.len())[..], payload].concat();
        match self.send(payload) {
            Some(Out::Client(client, bytes)) => {
                assert_eq!((client, bytes), (self.b.id, message));
                true
            }
            Some(Out::Worker(..)) => false,
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.near.pass(time);
        self.far.pass(time);
    }
}

#[test]
fn after_one_packet_the_others_go_straight_to_the_client() {
    let mut pair = Pair::bound();
    pair.long_way(b"first");
    for n in 0..10u8 {
        assert!(pair.short_way(&[n; 100]));
    }
    let [usage] = pair.far.server.usage(pair.far.now).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((usage.bytes_to_client, usage.packets), (1_005, 11), "counted for its owner");
    let near = pair.near.server.counters();
    assert_eq!((near.packets_to_clients, near.packets_between_own), (10, 11));
}

#[test]
fn what_was_lent_ends_with_the_permission_and_comes_again_with_the_next_one() {
    let mut pair = Pair::bound();
    pair.long_way(b"first");
    pair.pass(Duration::from_secs(299));
    assert!(pair.short_way(b"still"));
    pair.pass(Duration::from_secs(1));
    assert!(!pair.short_way(b"the owner knows better"));
    let (from, to, now) = (pair.a_relayed, pair.b_relayed, pair.far.now);
    pair.far.server.handle_relayed(from, to, b"no", now, &mut pair.far.hands);
    pair.far.assert_silent();
    assert!(pair.far.hands.lent.is_empty(), "nothing is lent without a permission");
    pair.b.bind(&mut pair.far, BACK, pair.a_relayed).unwrap();
    pair.long_way(b"again");
    assert!(pair.short_way(b"short"));
}

#[test]
fn an_ended_allocation_is_not_sent_to() {
    let mut pair = Pair::bound();
    pair.long_way(b"first");
    assert!(pair.short_way(b"short"));
    pair.b.refresh(&mut pair.far, 0).unwrap();
    assert_eq!(pair.far.hands.ended[0].packets, 2);
    pair.a.send_channel(&mut pair.near, CHANNEL, b"nobody there");
    pair.near.assert_silent();
    // Somebody else gets the address.
    let mut c = Client::new("198.51.100.9:40000", "third");
    pair.far.hands.open_from(pair.b_relayed.port());
    assert_eq!(c.allocate(&mut pair.far), Ok(pair.b_relayed));
    assert!(!pair.short_way(b"not for the one who had it before"));
}

#[test]
fn an_address_that_was_given_up_alone_is_not_sent_to() {
    let mut pair = Pair::new(&settings, Transport::Udp);
    pair.b.refresh(&mut pair.far, 0).unwrap();
    let also = AdditionalAddressFamily::new(AddressFamily::IPv6).into();
    let answer = pair.b.allocate_with(&mut pair.far, vec![also]).unwrap();
    (pair.b_relayed, pair.channel) = (relayed(&answer)[0], CHANNEL + 2);
    pair.a.bind(&mut pair.near, pair.channel, pair.b_relayed).unwrap();
    pair.b.bind(&mut pair.far, BACK, pair.a_relayed).unwrap();
    pair.long_way(b"first");
    let only = RequestedAddressFamily::new(AddressFamily::IPv4).into();
    let none = LifeTime::from(0).into();
    pair.b.ask(&mut pair.far, methods::REFRESH, vec![none, only]).unwrap();
    assert_eq!(pair.far.server.allocations(), 1, "the other address is still there");
    let mut c = Client::new("198.51.100.9:40000", "third");
    pair.far.hands.open_from(pair.b_relayed.port());
    assert_eq!(c.allocate(&mut pair.far), Ok(pair.b_relayed));
    assert!(!pair.short_way(b"not for the one who had it before"));
}

#[test]
fn renewals_keep_the_short_way_open() {
    let mut pair = Pair::bound();
    pair.long_way(b"first");
    for _ in 0..8 {
        pair.pass(Duration::from_secs(240));
        pair.a.refresh(&mut pair.near, 600).unwrap();
        pair.b.refresh(&mut pair.far, 600).unwrap();
        pair.a.bind(&mut pair.near, CHANNEL, pair.b_relayed).unwrap();
        pair.b.bind(&mut pair.far, BACK, pair.a_relayed).unwrap();
        assert!(pair.short_way(b"no packet overtakes another"));
    }
}

#[test]
fn new_settings_are_judged_by_the_owner() {
    let mut pair = Pair::bound();
    pair.long_way(b"first");
    let mut strict = settings();
    strict.peers.denied = vec!["192.0.2.0/24".parse().unwrap()];
    pair.far.set(strict);
    assert!(!pair.short_way(b"judged anew"), "revoked, though the near worker knows nothing yet");
}

#[test]
fn the_limits_of_the_far_end_hold() {
    let limited = || {
        let mut settings = settings();
        settings.limits.user_bytes_per_s = Some(10_000);
        settings
    };
    let mut pair = Pair::new(&limited, Transport::Udp);
    pair.b.bind(&mut pair.far, BACK, pair.a_relayed).unwrap();
    pair.long_way(b"first");
    assert!(pair.short_way(b"short"));
    for _ in 0..100 {
        pair.b.send_channel(&mut pair.far, BACK, &[0; 1_000]);
    }
    assert_eq!(pair.send(b"the far user has had its share"), None);
    assert_eq!(pair.near.server.counters().over_bandwidth, 1);
    pair.pass(Duration::from_secs(3));
    assert!(pair.short_way(b"and has some again"));
}

#[test]
fn without_a_channel_or_to_a_stream_packets_go_the_long_way() {
    let mut pair = Pair::new(&settings, Transport::Udp);
    pair.b.permit(&mut pair.far, &[pair.a_relayed]).unwrap();
    pair.long_way(b"a Data indication");
    pair.long_way(b"and another");
    let mut pair = Pair::new(&settings, Transport::Tcp);
    pair.b.bind(&mut pair.far, BACK, pair.a_relayed).unwrap();
    pair.long_way(b"a stream");
    pair.long_way(b"belongs to its worker");
}

#[test]
fn who_lost_what_was_lent_gets_it_again_but_not_with_every_packet() {
    let mut pair = Pair::bound();
    let (from, to) = (pair.a_relayed, pair.b_relayed);
    for _ in 0..10 {
        let now = pair.far.now;
        pair.far.server.handle_relayed(from, to, b"lost", now, &mut pair.far.hands);
    }
    assert_eq!(pair.far.hands.lent.len(), 1);
    pair.pass(Duration::from_secs(1));
    let now = pair.far.now;
    pair.far.server.handle_relayed(from, to, b"lost", now, &mut pair.far.hands);
    assert_eq!(pair.far.hands.lent.len(), 2);
    let (_, from, to, old) = pair.far.hands.lent.remove(0);
    pair.near.server.handle_shortcut(from, to, old, pair.near.now);
    assert!(!pair.short_way(b"the old one was revoked"));
    let strangers = common::address("192.0.2.1:1");
    let (_, _, to, fresh) = pair.far.hands.lent.remove(0);
    pair.near.server.handle_shortcut(strangers, to, fresh, pair.near.now);
    assert!(!pair.short_way(b"it was for another relay"));
}
