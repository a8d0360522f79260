//! What those get who have not proved themselves: little, and it costs no memory.

mod common;

use std::{net::Ipv4Addr, time::Duration};

use common::*;
use mtu_turn::{ClientId, Listening, Transport, wire};
use stun_rs::{
    MessageClass, MessageDecoderBuilder, StunMessageBuilder,
    attributes::{
        discovery::{ChangeRequest, ChangeRequestFlags, OtherAddress, ResponseOrigin},
        stun::{Fingerprint, XorMappedAddress},
    },
    methods,
};

fn request(method: stun_rs::MessageMethod) -> Vec<u8> {
    encode(&StunMessageBuilder::new(method, MessageClass::Request).with_attribute(udp()).build())
}

fn binding() -> Vec<u8> {
    encode(&StunMessageBuilder::new(methods::BINDING, MessageClass::Request).build())
}

/// All that a process has on its heap is what the allocator gave it.
#[test]
fn twenty_thousand_spoofed_sources_leave_no_trace() {
    let mut world = World::new(settings());
    let before = format!("{:?}", world.server).len();
    for n in 0..20_000u32 {
        let source = (Ipv4Addr::from_bits(0x0b00_0000 + n * 7), 1_000 + (n % 60_000) as u16);
        let client = ClientId::new(Transport::Udp, source.into(), address("192.0.2.1:3478"));
        for bytes in [&request(methods::ALLOCATE), &request(methods::REFRESH), &binding()] {
            world.input(&client, bytes);
        }
        world.hands.out.clear();
        if n % 10 == 0 {
            world.pass(Duration::from_millis(1));
        }
    }
    assert_eq!((world.server.allocations(), world.shared.allocations()), (0, 0));
    assert!(world.shared.users() == 0 && world.hands.relays.is_empty());
    assert_eq!(world.server.poll_timeout(), None);
    // Everything that the server has is in what it shows: only numbers in tables of fixed size
    // have become longer.
    let after = format!("{:?}", world.server).len();
    assert!(after < before + 8_192 * 4 * 20, "grew from {before} to {after}");
}

#[test]
fn answers_to_one_subscriber_are_limited_and_others_are_not_touched() {
    let mut world = World::new(settings());
    let client =
        |from: &str| ClientId::new(Transport::Udp, address(from), address("192.0.2.1:3478"));
    let mut answers = 0;
    for n in 0..1_000 {
        world.input(&client(&format!("198.51.100.7:{}", 1_000 + n)), &request(methods::ALLOCATE));
        answers += world.hands.out.len();
        world.hands.out.clear();
    }
    assert_eq!(answers, 50);
    world.input(&client("198.51.100.8:1"), &request(methods::ALLOCATE));
    assert!(world.take().is_some());
    // An IPv6 subscriber is its /64.
    for n in 0..1_000 {
        world.input(&client(&format!("[2001:db8::{n:x}]:1")), &request(methods::ALLOCATE));
    }
    assert_eq!(world.hands.out.len(), 50);
    world.hands.out.clear();
    world.input(&client("[2001:db8:0:1::1]:1"), &request(methods::ALLOCATE));
    assert!(world.take().is_some());
    world.pass(Duration::from_secs(1));
    world.input(&client("198.51.100.7:1"), &request(methods::ALLOCATE));
    assert!(world.take().is_some(), "limited for ever");
}

#[test]
fn who_has_proved_itself_is_not_limited() {
    let mut world = World::new(settings());
    let mut client = Client::new("198.51.100.7:40000", "call");
    client.allocate(&mut world).unwrap();
    for n in 0..200 {
        let stranger =
            ClientId { address: address(&format!("198.51.100.7:{}", n + 1)), ..client.id };
        world.input(&stranger, &request(methods::ALLOCATE));
    }
    world.hands.out.clear();
    for _ in 0..200 {
        assert!(client.ask_once(&mut world, methods::REFRESH, vec![]).is_ok());
    }
}

#[test]
fn binding_tells_the_address() {
    let mut world = World::new(settings());
    for from in ["198.51.100.7:40000", "[2001:db8::7]:40000", "[::ffff:198.51.100.7]:40000"] {
        let client = ClientId::new(Transport::Udp, address(from), address("192.0.2.1:3478"));
        world.input(&client, &binding());
        let answer = world.take_for(&client);
        let (answer, _) = MessageDecoderBuilder::default().build().decode(&answer).unwrap();
        let mapped = answer.get::<XorMappedAddress>().unwrap().as_xor_mapped_address().unwrap();
        let canonical = address(from).ip().to_canonical();
        assert_eq!(
            (mapped.socket_address().ip(), mapped.socket_address().port()),
            (canonical, 40_000)
        );
    }
}

#[test]
fn a_request_with_a_fingerprint_gets_an_answer_with_one() {
    let mut world = World::new(settings());
    let client = Client::new("198.51.100.7:40000", "call").id;
    let builder = StunMessageBuilder::new(methods::BINDING, MessageClass::Request);
    let mut request = encode(&builder.with_attribute(Fingerprint::default()).build());
    world.input(&client, &request);
    let answer = world.take_for(&client);
    let context = stun_rs::DecoderContextBuilder::default().with_validation().build();
    let decoder = MessageDecoderBuilder::default().with_context(context).build();
    let (answer, _) = decoder.decode(&answer).unwrap();
    assert!(answer.get::<Fingerprint>().is_some());
    *request.last_mut().unwrap() ^= 1;
    world.input(&client, &request);
    world.assert_silent();
}

#[test]
fn nat_behaviour_can_be_measured() {
    let at = |text: &str| Listening { local: address(text), announced: address(text) };
    let mut four = settings();
    four.listening = vec![
        at("192.0.2.1:3478"),
        at("192.0.2.1:3479"),
        at("192.0.2.2:3478"),
        at("192.0.2.2:3479"),
    ];
    let mut world = World::new(four.clone());
    let client = Client::new("198.51.100.7:40000", "call").id;
    let (ip, port) = (ChangeRequestFlags::ChangeIp, ChangeRequestFlags::ChangePort);
    for (flags, from) in [
        (None, "192.0.2.1:3478"),
        (Some(ip.into()), "192.0.2.2:3478"),
        (Some(port.into()), "192.0.2.1:3479"),
        (Some(ip | port), "192.0.2.2:3479"),
    ] {
        let builder = StunMessageBuilder::new(methods::BINDING, MessageClass::Request);
        world.input(&client, &encode(&builder.with_attribute(ChangeRequest::new(flags)).build()));
        let Some(Out::Client(to, answer)) = world.take() else { panic!("no answer") };
        assert_eq!((to.local, to.address), (address(from), client.address));
        let (answer, _) = MessageDecoderBuilder::default().build().decode(&answer).unwrap();
        let origin = answer.get::<ResponseOrigin>().unwrap().as_response_origin().unwrap();
        assert_eq!(*origin.socket_address(), address(from));
        if flags.is_none() {
            let other = answer.get::<OtherAddress>().unwrap().as_other_address().unwrap();
            assert_eq!(*other.socket_address(), address("192.0.2.2:3479"));
        }
    }
    // With one address, what cannot be done is refused.
    four.listening.truncate(2);
    world.set(four);
    for (flags, answered) in [(port, true), (ip, false)] {
        let builder = StunMessageBuilder::new(methods::BINDING, MessageClass::Request);
        let change = ChangeRequest::new(Some(flags.into()));
        world.input(&client, &encode(&builder.with_attribute(change).build()));
        let Some(Out::Client(_, answer)) = world.take() else { panic!("no answer") };
        assert_eq!(answer[..2] == [0x01, 0x01], answered);
    }
}

#[test]
fn answers_and_garbage_are_not_answered() {
    let mut world = World::new(settings());
    let client = Client::new("198.51.100.7:40000", "call").id;
    let mut answer = binding();
    answer[0] = 1;
    let mut indication = binding();
    indication[1] = 0x11;
    for bytes in [&answer[..], &indication, b"GET / HTTP/1.1\r\n\r\n", &[0; 20], &[]] {
        world.input(&client, bytes);
        world.assert_silent();
    }
}

/// A long list of them costs the server no more than a short one.
#[test]
fn of_many_unknown_attributes_the_first_are_named() {
    let mut world = World::new(settings());
    let client = Client::new("198.51.100.7:40000", "call").id;
    let mut request = binding();
    for kind in 0x7000..0x71f0_u16 {
        request.extend([kind.to_be_bytes(), [0, 0]].concat());
    }
    let length = u16::try_from(request.len() - wire::HEADER).unwrap();
    request[2..4].copy_from_slice(&length.to_be_bytes());
    world.input(&client, &request);
    let answer = world.take_for(&client);
    let first: Vec<u8> = (0x7000..0x7010_u16).flat_map(u16::to_be_bytes).collect();
    // UNKNOWN-ATTRIBUTES
    let named = [&[0, 0x0a, 0, 32][..], &first[..]].concat();
    assert!(answer.windows(named.len()).any(|w| w == named), "{answer:?}");
}

#[test]
fn a_malformed_request_is_refused() {
    let mut world = World::new(settings());
    let client = Client::new("198.51.100.7:40000", "call").id;
    // XOR-PEER-ADDRESS of no family.
    let mut request = request(methods::CREATE_PERMMISSION);
    request.extend([0, 0x12, 0, 8, 0, 9, 0, 0, 0, 0, 0, 0]);
    request[3] += 12;
    world.input(&client, &request);
    let answer = world.take_for(&client);
    assert!(answer.windows(4).any(|w| w == [0, 0, 4, 0]), "not 400: {answer:?}");
}
