//! Who gets in (RFC 8489 section 9.2), and what a nonce is good for.

mod common;

use std::time::Duration;

use common::*;
use mtu_turn::{Credentials, Transport};
use sightline_model::Secret;
use stun_rs::{AlgorithmId, MessageDecoderBuilder, attributes::stun::PasswordAlgorithms, methods};

const CLIENT: &str = "198.51.100.7:40000";

#[test]
fn without_proof_a_client_is_asked_for_it() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    assert_eq!(client.ask_once(&mut world, methods::ALLOCATE, vec![udp()]).err(), Some(401));
    assert!(client.nonce.starts_with("obMatJos2"), "{} has no cookie", client.nonce);
    assert!(client.ask_once(&mut world, methods::ALLOCATE, vec![udp()]).is_ok());
    world.assert_silent();
}

#[test]
fn every_good_way_to_sign_is_taken() {
    for (algorithm, secret) in
        [(AlgorithmId::MD5, SECRET), (AlgorithmId::SHA256, SECRET), (AlgorithmId::MD5, OLD_SECRET)]
    {
        let mut world = World::new(settings());
        let user = format!("{}:call", START_UNIX_S + 600);
        let mut client = Client::with(CLIENT, &user, secret);
        client.algorithm = algorithm;
        let answer = client.allocate_with(&mut world, vec![]).unwrap();
        // Signed as the request was (RFC 8489 section 9.2.4), with the same key.
        let signed = |kind| answer.attributes().iter().any(|a| a.attribute_type().as_u16() == kind);
        let sha256 = algorithm == AlgorithmId::SHA256;
        assert_eq!((signed(0x0008), signed(0x001c)), (!sha256, sha256));
    }
}

#[test]
fn answers_prove_that_they_come_from_the_server() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    client.allocate(&mut world).unwrap();
    for algorithm in [AlgorithmId::MD5, AlgorithmId::SHA256] {
        client.algorithm = algorithm;
        let transaction = client.transaction();
        let request = client.sign(methods::REFRESH, transaction, vec![]);
        world.input(&client.id, &request);
        let answer = world.take_for(&client.id);
        let context = stun_rs::DecoderContextBuilder::default().with_key(client.key());
        let context = context.with_validation().build();
        let decoder = MessageDecoderBuilder::default().with_context(context).build();
        assert!(decoder.decode(&answer).is_ok(), "{algorithm:?}: not signed well");
    }
}

#[test]
fn bad_proof_is_no_proof() {
    let good = format!("{}:call", START_UNIX_S + 600);
    for (user, secret) in [
        (good.as_str(), "another secret"),
        (&format!("{}:call", START_UNIX_S - 1), SECRET),
        ("call", SECRET),
        ("99999999999999999999:call", SECRET),
    ] {
        let mut world = World::new(settings());
        let mut client = Client::with(CLIENT, user, secret);
        assert_eq!(client.allocate(&mut world), Err(401), "{user} was let in");
        assert_eq!(world.server.allocations(), 0);
    }
}

#[test]
fn a_changed_request_is_refused() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    client.allocate(&mut world).unwrap();
    for algorithm in [AlgorithmId::MD5, AlgorithmId::SHA256] {
        client.algorithm = algorithm;
        let transaction = client.transaction();
        let good = client.sign(methods::REFRESH, transaction, vec![]);
        // The last byte is one of the integrity attribute, the 8th one of the transaction.
        for at in [good.len() - 1, 8] {
            let mut request = good.clone();
            request[at] ^= 1;
            world.input(&client.id, &request);
            let answer = world.take_for(&client.id);
            let (answer, _) = MessageDecoderBuilder::default().build().decode(&answer).unwrap();
            let code = answer.get::<stun_rs::attributes::stun::ErrorCode>().unwrap();
            assert_eq!(code.as_error_code().unwrap().error_code().error_code(), 401);
        }
    }
}

#[test]
fn a_nonce_is_bound_to_its_client() {
    let mut world = World::new(settings());
    let mut first = Client::new(CLIENT, "call");
    first.allocate(&mut world).unwrap();
    for other in ["198.51.100.7:40001", "198.51.100.8:40000"] {
        let mut thief = Client::new(other, "call");
        thief.nonce = first.nonce.clone();
        let stolen = thief.ask_once(&mut world, methods::ALLOCATE, vec![udp()]);
        assert_eq!(stolen.err(), Some(438), "{other} may use another client's nonce");
        assert!(thief.ask_once(&mut world, methods::ALLOCATE, vec![udp()]).is_ok());
    }
    let mut thief = Client::new(CLIENT, "call").over(Transport::Tcp);
    thief.nonce = first.nonce.clone();
    let stolen = thief.ask_once(&mut world, methods::ALLOCATE, vec![udp()]);
    assert_eq!(stolen.err(), Some(438));
}

#[test]
fn a_nonce_ends() {
    let mut settings = settings();
    settings.limits.nonce_lifetime = Duration::from_secs(100);
    let mut world = World::new(settings);
    let mut client = Client::new(CLIENT, "call");
    client.allocate(&mut world).unwrap();
    world.pass(Duration::from_secs(99));
    assert!(client.ask_once(&mut world, methods::REFRESH, vec![]).is_ok());
    world.pass(Duration::from_secs(1));
    let old = client.nonce.clone();
    assert_eq!(client.ask_once(&mut world, methods::REFRESH, vec![]).err(), Some(438));
    assert_ne!(client.nonce, old);
    assert!(client.ask_once(&mut world, methods::REFRESH, vec![]).is_ok());
}

#[test]
fn a_made_up_nonce_is_stale() {
    let mut world = World::new(settings());
    for nonce in ["f//499k954d6OL34oL9FSTvy64sA", "obMatJos2gAAA", "obMatJos2AAAA0000"] {
        let mut client = Client::new(CLIENT, "call");
        client.nonce = nonce.to_owned();
        let refused = client.ask_once(&mut world, methods::ALLOCATE, vec![udp()]);
        assert_eq!(refused.err(), Some(438), "{nonce} was taken");
    }
}

#[test]
fn nobody_can_be_talked_into_a_weaker_algorithm() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    client.allocate(&mut world).unwrap();
    client.algorithm = AlgorithmId::SHA256;
    let transaction = client.transaction();
    let request = client.sign(methods::REFRESH, transaction, vec![]);
    // Somebody on the way leaves only MD5 in the list of what is offered.
    let at = request.windows(4).position(|w| w == [0x80, 0x02, 0, 8]).unwrap();
    let mut changed = request.clone();
    changed[at + 5] = 1;
    world.input(&client.id, &changed);
    let answer = world.take_for(&client.id);
    assert_eq!(client.understand(&answer, transaction).err(), Some(400));
}

#[test]
fn the_challenge_offers_both_algorithms() {
    let mut world = World::new(settings());
    let mut client = Client::new(CLIENT, "call");
    let transaction = client.transaction();
    let builder =
        stun_rs::StunMessageBuilder::new(methods::ALLOCATE, stun_rs::MessageClass::Request);
    world.input(&client.id, &encode(&builder.with_transaction_id(transaction).build()));
    let answer = world.take_for(&client.id);
    let (answer, _) = MessageDecoderBuilder::default().build().decode(&answer).unwrap();
    let offered = answer.get::<PasswordAlgorithms>().unwrap().as_password_algorithms().unwrap();
    let offered: Vec<_> = offered.iter().map(|algorithm| algorithm.algorithm()).collect();
    assert_eq!(offered, [AlgorithmId::SHA256, AlgorithmId::MD5]);
}

#[test]
fn a_withdrawn_secret_no_longer_opens_anything() {
    let mut world = World::new(settings());
    let user = format!("{}:call", START_UNIX_S + 6_000);
    let mut client = Client::with(CLIENT, &user, OLD_SECRET);
    client.allocate(&mut world).unwrap();
    let mut changed = settings();
    let secrets = vec![Secret::new(SECRET.to_owned())];
    changed.credentials = Credentials::new("sightline", secrets).unwrap();
    world.set(changed);
    assert_eq!(client.refresh(&mut world, 600).err(), Some(401));
}

#[test]
fn an_allocation_does_not_outlive_its_credentials() {
    let mut world = World::new(settings());
    let user = format!("{}:call", START_UNIX_S + 100);
    let mut client = Client::with(CLIENT, &user, SECRET);
    let answer = client.allocate_with(&mut world, vec![]).unwrap();
    assert_eq!(lifetime(&answer), 100);
    world.pass(Duration::from_secs(60));
    assert_eq!(lifetime(&client.refresh(&mut world, 600).unwrap()), 40);
    world.pass(Duration::from_secs(40));
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn renewed_credentials_of_the_same_session_go_on() {
    let mut world = World::new(settings());
    let user = format!("{}:call", START_UNIX_S + 700);
    let mut client = Client::with(CLIENT, &user, SECRET);
    client.allocate(&mut world).unwrap();
    let user = format!("{}:call", START_UNIX_S + 7_000);
    let mut renewed = Client::with(CLIENT, &user, SECRET);
    assert_eq!(lifetime(&renewed.refresh(&mut world, 3_600).unwrap()), 3_600);
}
