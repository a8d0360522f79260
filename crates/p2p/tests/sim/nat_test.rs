//! The measurement of NATs, through every kind of router and with servers of every kind.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};
use sightline_model::{NatDependence, NatReport};
use sightline_p2p::{NatSocket, NatTest};
use stun_rs::{
    MessageClass, MessageDecoderBuilder, MessageEncoderBuilder, StunMessageBuilder,
    attributes::{
        discovery::{ChangeRequest, ChangeRequestFlags, OtherAddress},
        stun::XorMappedAddress,
    },
    methods::BINDING,
};

use crate::nat::{
    ADDRESS_RESTRICTED, Behaviour, FULL_CONE, NO_UDP, Nat, PORT_RESTRICTED, SYMMETRIC,
};

use NatDependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};

#[derive(Clone, Copy, PartialEq)]
enum Servers {
    /// One with a second address and port.
    TwoAddresses,
    /// One with a second port.
    TwoPorts,
    /// Two that have no second anything.
    TwoPlain,
    OnePlain,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// What a server answers, and from where.
fn serve(kind: Servers, at: SocketAddr, from: SocketAddr, bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    let (message, _) = MessageDecoderBuilder::default().build().decode(bytes).expect("STUN");
    let other = |a: SocketAddr| {
        let (ip, port) = (a.ip(), if a.port() == 3478 { 3479 } else { 3478 });
        let first: IpAddr = [192, 0, 2, 10].into();
        let second: IpAddr = [192, 0, 2, 11].into();
        let ip = if kind == Servers::TwoAddresses {
            if ip == first { second } else { first }
        } else {
            ip
        };
        SocketAddr::new(ip, port)
    };
    let mut answer_from = at;
    if let Some(change) = message.get::<ChangeRequest>() {
        let flags = change.expect_change_request().flags();
        if flags.contains(ChangeRequestFlags::ChangeIp) {
            answer_from.set_ip(other(at).ip());
        }
        if flags.contains(ChangeRequestFlags::ChangePort) {
            answer_from.set_port(other(at).port());
        }
    }
    let mut answer = StunMessageBuilder::new(BINDING, MessageClass::SuccessResponse)
        .with_transaction_id(*message.transaction_id())
        .with_attribute(XorMappedAddress::from(from));
    if matches!(kind, Servers::TwoAddresses | Servers::TwoPorts) {
        answer = answer.with_attribute(OtherAddress::from(other(at)));
    }
    let mut buffer = [0; 200];
    let encoder = MessageEncoderBuilder::default().build();
    let length = encoder.encode(&mut buffer, &answer.build()).expect("encodes");
    (answer_from, buffer[..length].to_vec())
}

/// Measures through a router, or without one, on virtual time.
fn measure(behaviour: Option<Behaviour>, servers: Servers, lossy: bool) -> (NatReport, Duration) {
    let start = Instant::now();
    let mut now = start;
    let mut rng = StdRng::seed_from_u64(4);
    let outside: IpAddr = [203, 0, 113, 1].into();
    let mut nat = behaviour.map(|behaviour| Nat::new(behaviour, outside, 1, 0));
    let (mapping, filtering) = (address("192.168.1.5:1000"), address("192.168.1.5:1001"));
    let mut named = vec![address("192.0.2.10:3478")];
    if servers == Servers::TwoPlain {
        named.push(address("192.0.2.20:3478"));
    }
    let mut test = NatTest::new(now, [3; 32], mapping, &named);
    let mut back: VecDeque<(NatSocket, SocketAddr, Vec<u8>)> = VecDeque::new();
    // Of a lossy network, the first packet of each question is lost.
    let mut lost = Vec::new();
    loop {
        while let Some(transmit) = test.poll_transmit() {
            if lossy && !lost.contains(&transmit) {
                lost.push(transmit);
                continue;
            }
            let own = if transmit.socket == NatSocket::Mapping { mapping } else { filtering };
            let seen = match &mut nat {
                Some(nat) => nat.out(now, &mut rng, own, transmit.to),
                None => Some(own),
            };
            let Some(seen) = seen else { continue };
            let (from, answer) = serve(servers, transmit.to, seen, &transmit.bytes);
            let reached = match &nat {
                Some(nat) => nat.back(now, from, seen.port()) == Some(own),
                None => true,
            };
            if reached {
                back.push_back((transmit.socket, from, answer));
            }
        }
        if let Some((socket, from, answer)) = back.pop_front() {
            // Others change nothing.
            assert!(!test.handle_datagram(now, socket, from, &answer[..19]));
            test.handle_datagram(now, socket, address("192.0.2.99:9"), &answer);
            assert!(test.handle_datagram(now, socket, from, &answer));
        } else if let Some(result) = test.result() {
            assert_eq!(test.poll_timeout(), None);
            return (result, now - start);
        } else {
            now = test.poll_timeout().expect("something to wait for");
            test.handle_timeout(now);
        }
    }
}

fn report(behaviour: Behaviour) -> NatReport {
    NatReport {
        udp: Some(true),
        translated: Some(true),
        mapping: Some(behaviour.mapping),
        filtering: Some(behaviour.filtering),
        mapping_lifetime_ms: None,
        nat64: None,
    }
}

#[test]
fn a_server_with_two_addresses_tells_everything() {
    let by_address = Behaviour { mapping: AddressDependent, ..PORT_RESTRICTED };
    for nat in [FULL_CONE, ADDRESS_RESTRICTED, PORT_RESTRICTED, by_address, SYMMETRIC] {
        for lossy in [false, true] {
            let (measured, took) = measure(Some(nat), Servers::TwoAddresses, lossy);
            assert_eq!(measured, report(nat));
            assert!(took < Duration::from_secs(3), "{took:?}");
        }
    }
}

#[test]
fn without_a_second_address_the_stricter_is_taken() {
    let told = |nat, servers| {
        let (measured, _) = measure(Some(nat), servers, false);
        (measured.mapping, measured.filtering)
    };
    let (endpoint, by_address, by_port) =
        (Some(EndpointIndependent), Some(AddressDependent), Some(AddressAndPortDependent));
    assert_eq!(told(FULL_CONE, Servers::TwoPorts), (endpoint, by_address));
    assert_eq!(told(PORT_RESTRICTED, Servers::TwoPorts), (endpoint, by_port));
    assert_eq!(told(SYMMETRIC, Servers::TwoPorts), (by_port, by_port));
    assert_eq!(told(PORT_RESTRICTED, Servers::TwoPlain), (endpoint, None));
    assert_eq!(told(SYMMETRIC, Servers::TwoPlain), (by_port, None));
    assert_eq!(told(SYMMETRIC, Servers::OnePlain), (None, None));
}

#[test]
fn without_a_router_and_without_udp() {
    let (open, _) = measure(None, Servers::TwoAddresses, false);
    let endpoint = Some(EndpointIndependent);
    assert_eq!((open.translated, open.mapping, open.filtering), (Some(false), endpoint, endpoint));
    let (blocked, took) = measure(Some(NO_UDP), Servers::TwoAddresses, false);
    assert_eq!(blocked, NatReport { udp: Some(false), ..NatReport::default() });
    assert!(took < Duration::from_secs(2));
    let nobody = NatTest::new(Instant::now(), [0; 32], address("192.0.2.1:1"), &[]);
    assert_eq!(nobody.result(), Some(NatReport::default()));
}
