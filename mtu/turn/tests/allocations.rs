//! Allocate, Refresh, and what they refuse (RFC 8656 sections 7 and 8).

mod common;

use std::time::Duration;

use common::*;
use mtu_turn::Transport;
use stun_rs::{
    AddressFamily,
    attributes::{
        stun::AlternateServer,
        turn::{
            AdditionalAddressFamily, AddressErrorCode, DontFragment, EvenPort,
            RequestedAddressFamily, ReservationToken,
        },
    },
    methods,
};

const CLIENT: &str = "198.51.100.7:40000";
const OTHER: &str = "198.51.100.8:40000";

#[test]
fn an_allocation_lasts_as_long_as_it_was_granted() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    let answer = client.allocate_with(&mut world, vec![]).unwrap();
    assert_eq!(lifetime(&answer), 600);
    world.pass(Duration::from_secs(599));
    assert_eq!(lifetime(&client.refresh(&mut world, 1).unwrap()), 600, "shorter than the least");
    assert_eq!(lifetime(&client.refresh(&mut world, 100_000).unwrap()), 3_600);
    world.pass(Duration::from_secs(3_600));
    assert_eq!(client.refresh(&mut world, 600).err(), Some(437));
    assert!(world.hands.relays.is_empty() && world.shared.allocations() == 0);
    assert_eq!(world.hands.ended.len(), 1);
    assert_eq!(world.hands.ended[0].lasted, Duration::from_secs(4_199));
}

#[test]
fn refresh_with_zero_ends_it_at_once() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    client.allocate(&mut world).unwrap();
    assert_eq!(lifetime(&client.refresh(&mut world, 0).unwrap()), 0);
    assert_eq!(world.server.allocations(), 0);
    // Repeated, since the answer was lost.
    assert_eq!(lifetime(&client.refresh(&mut world, 0).unwrap()), 0);
    assert!(client.allocate(&mut world).is_ok(), "the client may begin anew");
}

#[test]
fn the_same_request_again_gets_the_same_answer_and_another_one_does_not() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    client.ask_once(&mut world, methods::ALLOCATE, vec![udp()]).unwrap_err();
    let transaction = client.transaction();
    let request = client.sign(methods::ALLOCATE, transaction, vec![udp()]);
    let mut addresses = vec![];
    for _ in 0..2 {
        world.input(&client.id, &request);
        let answer = world.take_for(&client.id);
        addresses.extend(relayed(&client.understand(&answer, transaction).unwrap()));
    }
    assert_eq!(addresses[0], addresses[1]);
    assert_eq!(client.allocate(&mut world), Err(437));
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let family = |family| RequestedAddressFamily::new(family).into();
    let also = |family| AdditionalAddressFamily::new(family).into();
    let token = || ReservationToken::from([1; 8]).into();
    let (v4, v6) = (AddressFamily::IPv4, AddressFamily::IPv6);
    for (attributes, code) in [
        (vec![], 400),
        (vec![protocol(99)], 442),
        (vec![protocol(6)], 442),
        (vec![udp(), family(v6), also(v6)], 400),
        (vec![udp(), also(v4)], 400),
        (vec![udp(), also(v6), EvenPort::new(true).into()], 400),
        (vec![udp(), token(), EvenPort::new(false).into()], 400),
        (vec![udp(), token(), family(v6)], 400),
        (vec![udp(), token()], 508),
    ] {
        let mut world = World::new(settings());
        let mut client = Client::new(CLIENT, "call");
        let outcome = client.ask(&mut world, methods::ALLOCATE, attributes.clone());
        assert_eq!(outcome.err(), Some(code), "{attributes:?}");
        assert_eq!((world.server.allocations(), world.shared.allocations()), (0, 0));
        assert!(world.hands.relays.is_empty());
    }
}

#[test]
fn attributes_that_must_be_understood_and_are_not_are_named() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    client.allocate(&mut world).unwrap();
    let transaction = client.transaction();
    let attributes = vec![stun_rs::attributes::discovery::ResponsePort::new(9).into()];
    let request = client.sign(methods::REFRESH, transaction, attributes);
    world.input(&client.id, &request);
    let answer = world.take_for(&client.id);
    assert!(answer.windows(6).any(|w| w == [0, 0x0a, 0, 2, 0, 0x27]), "not named");
    assert_eq!(client.understand(&answer, transaction).err(), Some(420));
}

#[test]
fn a_call_may_have_both_families() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    let also = AdditionalAddressFamily::new(AddressFamily::IPv6).into();
    let answer = client.allocate_with(&mut world, vec![also]).unwrap();
    let addresses = relayed(&answer);
    assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6());
    for peer in ["8.8.8.8:9", "[2606:4700::1]:9"] {
        client.permit(&mut world, &[address(peer)]).unwrap();
        client.send(&mut world, address(peer), b"hello");
        assert!(matches!(world.take(), Some(Out::Peer(_, to, ..)) if to == address(peer)));
    }
    // One of them is given up, the other stays.
    let v6 = RequestedAddressFamily::new(AddressFamily::IPv6).into();
    let zero = stun_rs::attributes::turn::LifeTime::from(0).into();
    client.ask(&mut world, methods::REFRESH, vec![v6, zero]).unwrap();
    assert_eq!(world.hands.relays.len(), 1);
    let refused = client.permit(&mut world, &[address("[2606:4700::1]:9")]);
    assert_eq!(refused.err(), Some(443));
    assert!(client.permit(&mut world, &[address("8.8.8.8:9")]).is_ok());
}

#[test]
fn where_one_family_fails_the_other_is_had_with_a_reason() {
    let mut world = World::new(settings());
    world.hands.no_v6 = true;
    let mut client = Client::new(CLIENT, "call");
    let also = AdditionalAddressFamily::new(AddressFamily::IPv6).into();
    let answer = client.allocate_with(&mut world, vec![also]).unwrap();
    assert_eq!(relayed(&answer).len(), 1);
    let error = answer.get::<AddressErrorCode>().unwrap().as_address_error_code().unwrap();
    assert_eq!(error.error_code().error_code(), 440);
    let mut other = Client::new(OTHER, "call");
    let v6 = RequestedAddressFamily::new(AddressFamily::IPv6).into();
    assert_eq!(other.allocate_with(&mut world, vec![v6]).err(), Some(440));
}

#[test]
fn a_repeated_request_hears_the_reason_again() {
    let mut world = World::new(settings());
    world.hands.no_v6 = true;
    let mut client = Client::new(CLIENT, "call");
    client.ask_once(&mut world, methods::ALLOCATE, vec![udp()]).unwrap_err();
    let transaction = client.transaction();
    let also = AdditionalAddressFamily::new(AddressFamily::IPv6).into();
    let request = client.sign(methods::ALLOCATE, transaction, vec![udp(), also]);
    for _ in 0..2 {
        world.input(&client.id, &request);
        let answer = world.take_for(&client.id);
        let answer = client.understand(&answer, transaction).unwrap();
        assert_eq!(relayed(&answer).len(), 1);
        let error = answer.get::<AddressErrorCode>().expect("a reason");
        let error = error.as_address_error_code().unwrap();
        assert_eq!(error.error_code().error_code(), 440);
    }
}

#[test]
fn the_next_port_is_held_for_half_a_minute() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    let answer = client.allocate_with(&mut world, vec![EvenPort::new(true).into()]).unwrap();
    let first = relayed(&answer)[0];
    assert_eq!(first.port() % 2, 0);
    let token = answer.get::<ReservationToken>().unwrap().as_reservation_token().unwrap().clone();
    let mut thief = Client::new("198.51.100.9:1", "another");
    assert_eq!(thief.allocate_with(&mut world, vec![token.clone().into()]).err(), Some(508));
    let mut second = Client::new(OTHER, "call");
    let answer = second.allocate_with(&mut world, vec![token.clone().into()]).unwrap();
    assert_eq!(relayed(&answer)[0].port(), first.port() + 1);
    let mut third = Client::new("198.51.100.9:2", "call");
    assert_eq!(third.allocate_with(&mut world, vec![token.into()]).err(), Some(508), "twice");

    let answer = third.allocate_with(&mut world, vec![EvenPort::new(true).into()]).unwrap();
    let token = answer.get::<ReservationToken>().unwrap().as_reservation_token().unwrap().clone();
    assert_eq!(world.hands.held.len(), 1);
    world.pass(Duration::from_secs(30));
    assert!(world.hands.held.is_empty(), "held for ever");
    let mut late = Client::new("198.51.100.9:3", "call");
    assert_eq!(late.allocate_with(&mut world, vec![token.into()]).err(), Some(508));
}

#[test]
fn a_port_that_is_held_counts_as_an_allocation() {
    let mut settings = settings();
    (settings.limits.allocations_per_user, settings.limits.allocations) = (2, 3);
    let mut world = World::new(settings);
    let hold = || vec![EvenPort::new(true).into()];
    let mut one = Client::new(CLIENT, "call");
    let answer = one.allocate_with(&mut world, hold()).unwrap();
    let token = answer.get::<ReservationToken>().unwrap().as_reservation_token().unwrap().clone();
    assert_eq!((world.shared.allocations(), world.hands.held.len()), (1, 1));
    assert_eq!(world.shared.taken(), 2, "an MTU that is full says so");
    let mut two = Client::new(OTHER, "call");
    assert_eq!(two.allocate(&mut world).err(), Some(486), "the user's two are taken");
    let mut stranger = Client::new("198.51.100.9:1", "another");
    assert_eq!(stranger.allocate_with(&mut world, hold()).err(), Some(508), "one place is left");
    assert_eq!((world.shared.users(), world.hands.held.len()), (1, 1), "something was left behind");
    // Whoever shows the token has the place already.
    two.allocate_with(&mut world, vec![token.into()]).unwrap();
    assert_eq!((world.shared.allocations(), world.shared.taken()), (2, 2));
    two.refresh(&mut world, 0).unwrap();
    one.refresh(&mut world, 0).unwrap();
    assert_eq!((world.shared.allocations(), world.shared.users()), (0, 0));
    // One that nobody takes is given back.
    one.allocate_with(&mut world, hold()).unwrap();
    world.pass(Duration::from_secs(30));
    assert!(world.hands.held.is_empty());
    two.allocate(&mut world).unwrap();
    stranger.allocate(&mut world).unwrap();
}

#[test]
fn quotas_hold_for_users_and_for_all() {
    let mut settings = settings();
    settings.limits.allocations_per_user = 2;
    settings.limits.allocations = 3;
    let mut world = World::new(settings);
    let mut clients: Vec<_> =
        (1..=3).map(|n| Client::new(&format!("198.51.100.7:{n}"), "call")).collect();
    assert!(clients[0].allocate(&mut world).is_ok() && clients[1].allocate(&mut world).is_ok());
    assert_eq!(clients[2].allocate(&mut world), Err(486));
    let mut other = Client::new(OTHER, "another");
    assert!(other.allocate(&mut world).is_ok());
    let mut more = Client::new("198.51.100.9:1", "third");
    assert_eq!(more.allocate(&mut world), Err(508));
    clients[0].refresh(&mut world, 0).unwrap();
    assert!(clients[2].allocate(&mut world).is_ok(), "room is not given back");
}

#[test]
fn two_users_do_not_touch_each_others_allocations() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    let relayed = client.allocate(&mut world).unwrap();
    let peer = address("8.8.8.8:9");
    // At the same address: somebody who has taken over the port of a NAT.
    let mut thief = Client::new(CLIENT, "another");
    for outcome in [
        thief.refresh(&mut world, 0),
        thief.permit(&mut world, &[peer]),
        thief.bind(&mut world, 0x4000, peer),
    ] {
        assert_eq!(outcome.err(), Some(441));
    }
    assert_eq!(thief.allocate(&mut world), Err(437));
    assert_eq!(world.hands.relays[0].1, relayed);
    // At another one there is nothing to touch.
    let mut thief = Client::new(OTHER, "call");
    assert_eq!(thief.permit(&mut world, &[peer]).err(), Some(437));
    assert_eq!(thief.bind(&mut world, 0x4000, peer).err(), Some(437));
    assert_eq!(thief.refresh(&mut world, 600).err(), Some(437));
}

#[test]
fn a_server_that_is_emptied_sends_newcomers_elsewhere() {
    let mut world = World::new(settings());
    let mut old = Client::new(CLIENT, "call");
    old.allocate(&mut world).unwrap();
    let mut draining = settings();
    draining.draining = true;
    draining.alternates = vec![address("203.0.113.9:3478"), address("[2001:db8::9]:3478")];
    world.set(draining.clone());
    let mut new = Client::new(OTHER, "another");
    assert_eq!(new.allocate(&mut world), Err(300));
    let transaction = new.transaction();
    let request = new.sign(methods::ALLOCATE, transaction, vec![udp()]);
    world.input(&new.id, &request);
    let answer = world.take_for(&new.id);
    let (answer, _) = stun_rs::MessageDecoderBuilder::default().build().decode(&answer).unwrap();
    let alternate = answer.get::<AlternateServer>().unwrap().as_alternate_server().unwrap();
    assert_eq!(*alternate.socket_address(), address("203.0.113.9:3478"));
    assert!(old.refresh(&mut world, 600).is_ok(), "calls go on");
    draining.alternates.clear();
    world.set(draining);
    assert_eq!(new.allocate(&mut world), Err(508));
}

#[test]
fn dont_fragment_is_understood() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    assert!(client.allocate_with(&mut world, vec![DontFragment::default().into()]).is_ok());
}

#[test]
fn a_client_that_has_gone_leaves_nothing() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call").over(Transport::Tcp);
    client.allocate(&mut world).unwrap();
    world.server.handle_gone(&client.id, world.now, &mut world.hands);
    assert_eq!((world.server.allocations(), world.shared.allocations()), (0, 0));
    assert!(world.hands.relays.is_empty());
}

#[test]
fn tcp_is_relayed_over_streams_where_it_is_wanted() {
    let mut on = settings();
    on.tcp_relays = true;
    let mut world = World::new(on);
    let mut client = Client::new(CLIENT, "call");
    let outcome = client.ask(&mut world, methods::ALLOCATE, vec![protocol(6)]);
    assert_eq!(outcome.err(), Some(400), "over UDP");
    let mut client = Client::new(CLIENT, "call").over(Transport::Tls);
    let whole = vec![protocol(6), DontFragment::default().into()];
    let outcome = client.ask(&mut world, methods::ALLOCATE, whole);
    assert_eq!(outcome.err(), Some(400), "streams have no fragments");
    let answer = client.ask(&mut world, methods::ALLOCATE, vec![protocol(6)]).unwrap();
    let relay = world.relay_of(relayed(&answer)[0]);
    let peer = address("8.8.8.8:9");
    assert!(!world.server.offer_connection(relay, peer, 5, world.now, &mut world.hands));
    client.permit(&mut world, &[peer]).unwrap();
    assert!(world.server.offer_connection(relay, peer, 5, world.now, &mut world.hands));
    let told = world.take_for(&client.id);
    assert_eq!(told[..2], [0x00, 0x1c]);
    assert!(told.windows(8).any(|w| w == [0, 0x2a, 0, 4, 0, 0, 0, 5]), "no CONNECTION-ID");
    // Connect is answered later.
    let connect = stun_rs::MessageMethod::try_from(0x000a).unwrap();
    let attribute = stun_rs::attributes::turn::XorPeerAddress::from(peer);
    let transaction = client.transaction();
    let request = client.sign(connect, transaction, vec![attribute.into()]);
    world.input(&client.id, &request);
    world.assert_silent();
    let ticket = world.hands.tickets.pop().unwrap();
    world.server.answer(&ticket, Err((447, "Connection Timeout")), &mut world.hands);
    let answer = world.take_for(&client.id);
    assert_eq!(client.understand(&answer, transaction).err(), Some(447));
    // Inner addresses are no peers here either.
    let attribute = stun_rs::attributes::turn::XorPeerAddress::from(address("127.0.0.1:22"));
    let refused = client.ask(&mut world, connect, vec![attribute.into()]);
    assert_eq!(refused.err(), Some(403));
    assert_eq!(world.hands.refused, [("call".to_owned(), address("127.0.0.1:22"), 0)]);
}

#[test]
fn refused_peers_are_told_and_a_flood_of_them_is_counted() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    client.allocate(&mut world).unwrap();
    let inner = address("10.0.0.1:22");
    assert_eq!(client.permit(&mut world, &[inner]).err(), Some(403));
    assert_eq!(world.hands.refused, [("call".to_owned(), inner, 0)]);
    for _ in 0..100 {
        assert_eq!(client.bind(&mut world, 0x4000, inner).err(), Some(403));
    }
    assert_eq!(world.hands.refused.len(), 1, "the log is flooded");
    // Another subscriber's are told meanwhile.
    let mut other = Client::new(OTHER, "another");
    other.allocate(&mut world).unwrap();
    assert_eq!(other.permit(&mut world, &[address("8.8.8.8:9"), inner]).err(), Some(403));
    assert_eq!(world.hands.refused[1..], [("another".to_owned(), inner, 100)]);
    world.pass(Duration::from_secs(1));
    assert_eq!(client.permit(&mut world, &[address("127.0.0.1:80")]).err(), Some(403));
    assert_eq!(world.hands.refused[2..], [("call".to_owned(), address("127.0.0.1:80"), 0)]);
    assert_eq!(world.server.counters().denied_peers, 103);
    // However many subscribers there are, it stays readable.
    for n in 1..=100 {
        let mut client = Client::new(&format!("203.0.113.{n}:1"), &format!("call{n}"));
        client.allocate(&mut world).unwrap();
        assert_eq!(client.permit(&mut world, &[inner]).err(), Some(403));
    }
    assert!(world.hands.refused.len() < 20, "{} lines at once", world.hands.refused.len());
}

#[test]
fn unknown_methods_are_refused() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    let method = stun_rs::MessageMethod::try_from(0x0055).unwrap();
    assert_eq!(client.ask(&mut world, method, vec![]).err(), Some(400));
}
