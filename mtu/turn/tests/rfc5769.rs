//! The test vectors of RFC 5769, and of RFC 8489 appendix B.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use mtu_turn::wire::{Stun, read_xor, write_xor};
use stun_rs::{HMACKey, attributes::stun::Fingerprint};

/// RFC 5769 section 2.1.
const REQUEST: &str = "
    00 01 00 58 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86 fa 87 df ae
    80 22 00 10 53 54 55 4e 20 74 65 73 74 20 63 6c 69 65 6e 74
    00 24 00 04 6e 00 01 ff 80 29 00 08 93 2f f9 b1 51 26 3b 36
    00 06 00 09 65 76 74 6a 3a 68 36 76 59 20 20 20
    00 08 00 14 9a ea a7 0c bf d8 cb 56 78 1e f2 b5 b2 d3 f2 49 c1 b5 71 a2
    80 28 00 04 e5 7a 3b cf";

/// RFC 5769 section 2.2.
const RESPONSE_V4: &str = "
    01 01 00 3c 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86 fa 87 df ae
    80 22 00 0b 74 65 73 74 20 76 65 63 74 6f 72 20
    00 20 00 08 00 01 a1 47 e1 12 a6 43
    00 08 00 14 2b 91 f5 99 fd 9e 90 c3 8c 74 89 f9 2a f9 ba 53 f0 6b e7 d7
    80 28 00 04 c0 7d 4c 96";

/// RFC 5769 section 2.3.
const RESPONSE_V6: &str = "
    01 01 00 48 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86 fa 87 df ae
    80 22 00 0b 74 65 73 74 20 76 65 63 74 6f 72 20
    00 20 00 14 00 02 a1 47 01 13 a9 fa a5 d3 f1 79 bc 25 f4 b5 be d2 b9 d9
    00 08 00 14 a3 82 95 4e 4b e6 7b f1 17 84 c9 7c 82 92 c2 75 bf e3 ed 41
    80 28 00 04 c8 fb 0b 4c";

/// RFC 5769 section 2.4.
const LONG_TERM: &str = "
    00 01 00 60 21 12 a4 42 78 ad 34 33 c6 ad 72 c0 29 da 41 2e
    00 06 00 12 e3 83 9e e3 83 88 e3 83 aa e3 83 83 e3 82 af e3 82 b9 00 00
    00 15 00 1c 66 2f 2f 34 39 39 6b 39 35 34 64 36 4f 4c 33 34 6f 4c 39 46 53 54 76 79 36 34 73 41
    00 14 00 0b 65 78 61 6d 70 6c 65 2e 6f 72 67 00
    00 08 00 14 f6 70 24 65 6d d6 4a 3e 02 b8 e0 71 2e 85 c9 a2 8c a8 96 66";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// HMAC-SHA1 of the message up to its MESSAGE-INTEGRITY, as RFC 8489 section 14.5 says.
fn integrity_is_right(message: &[u8], key: &[u8]) -> bool {
    let stun = Stun::parse(message).unwrap();
    let attribute = stun.attributes().map(Result::unwrap).find(|a| a.kind == 0x0008).unwrap();
    let mut text = message[..attribute.at].to_vec();
    text[2..4].copy_from_slice(&((attribute.at + 24 - 20) as u16).to_be_bytes());
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    aws_lc_rs::hmac::sign(&key, &text).as_ref() == attribute.value
}

#[test]
fn messages_are_walked_and_their_integrity_is_that_of_the_rfc() {
    let short = b"VOkJxbRl1RmTxUk/WvJxBt";
    let md5 = stun_rs::Algorithm::from(stun_rs::AlgorithmId::MD5);
    let long = HMACKey::new_long_term("マトリックス", "example.org", "TheMatrIX", md5);
    let long = long.unwrap();
    for (message, key, kinds) in [
        (REQUEST, &short[..], &[0x8022, 0x0024, 0x8029, 0x0006, 0x0008, 0x8028][..]),
        (RESPONSE_V4, short, &[0x8022, 0x0020, 0x0008, 0x8028]),
        (RESPONSE_V6, short, &[0x8022, 0x0020, 0x0008, 0x8028]),
        (LONG_TERM, long.as_bytes(), &[0x0006, 0x0015, 0x0014, 0x0008]),
    ] {
        let message = bytes(message);
        let stun = Stun::parse(&message).unwrap();
        let found: Vec<u16> = stun.attributes().map(|a| a.unwrap().kind).collect();
        assert_eq!(found, kinds);
        assert!(integrity_is_right(&message, key));
    }
}

#[test]
fn xor_addresses_are_those_of_the_rfc() {
    for (message, expected) in [
        (RESPONSE_V4, "192.0.2.1:32853"),
        (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let message = bytes(message);
        let stun = Stun::parse(&message).unwrap();
        let mapped = stun.attributes().map(Result::unwrap).find(|a| a.kind == 0x0020).unwrap();
        let expected = address(expected);
        assert_eq!(read_xor(mapped.value, stun.transaction), Some(expected));
        let mut written = [0; 20];
        let length = write_xor(&mut written, expected, stun.transaction);
        assert_eq!(written[..length], *mapped.value);
    }
}

#[test]
fn the_server_takes_the_request_and_answers_as_the_rfc_does() {
    let mut world = World::new(settings());
    // The request of section 2.1 is one of ICE: what a server need not understand, it names.
    let client = Client::new("192.0.2.1:32853", "call").id;
    world.input(&client, &bytes(REQUEST));
    let answer = world.take_for(&client);
    assert_eq!(answer[..2], [0x01, 0x11]);
    assert!(answer.windows(6).any(|w| w == [0, 0x0a, 0, 2, 0, 0x24]), "PRIORITY is not named");
    let fingerprint = &answer[answer.len() - 4..];
    let fingerprint = Fingerprint::from(<&[u8; 4]>::try_from(fingerprint).unwrap());
    assert!(fingerprint.validate(&answer[..answer.len() - 8]), "no fingerprint in the answer");
    // Without ICE's attributes it is answered with the address of section 2.2.
    let mut plain = bytes(REQUEST)[..20].to_vec();
    plain[3] = 0;
    world.input(&client, &plain);
    let answer = world.take_for(&client);
    let expected = bytes(RESPONSE_V4);
    assert_eq!(answer[..2], expected[..2]);
    assert_eq!(answer[20..32], expected[36..48]);
    // One byte of a fingerprinted message changed: nobody sent that.
    let mut changed = bytes(REQUEST);
    changed[30] ^= 1;
    world.input(&client, &changed);
    world.assert_silent();
}
