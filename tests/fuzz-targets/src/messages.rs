//! JSON of every interface, and the texts that people type.

#[path = "../../../crates/media-io/src/webrtc/control/message.rs"]
mod control_message;

use std::net::IpAddr;

use cmu_domain::{
    address::{prefix, same_place},
    code::OneTimeCode,
    text::is_name,
};
use serde::{Serialize, de::DeserializeOwned};
use sightline_model::{CameraId, ClaimCode, PhoneNumber, PuId, PublicKey, Signature, UserId};
use sightline_protocol::{
    DecodeError, Envelope, MAX_MESSAGE_BYTES, Problem, VERSION, cm, cs, decode, encode, pc, ps, sc,
    sd, sm,
};

/// What is read can be written and read again.
fn round_trip<M: Serialize + DeserializeOwned>(data: &[u8]) -> bool {
    let Ok(Envelope { body, traceparent, .. }) = decode::<M>(data) else { return false };
    let bytes = encode(&body, traceparent);
    assert!(bytes.len() > MAX_MESSAGE_BYTES || decode::<M>(&bytes).is_ok());
    true
}

/// Every message that comes from another unit. The first byte chooses the interface, so that one
/// input costs one parse.
pub fn protocol(data: &[u8]) {
    let Some((interface, data)) = data.split_first() else { return };
    let read = match interface % 16 {
        0 => round_trip::<ps::ScuToPu>(data),
        1 => round_trip::<ps::PuToScu>(data),
        2 => round_trip::<cs::CuToScu>(data),
        3 => round_trip::<cs::ScuToCu>(data),
        4 => round_trip::<cs::CsRequest>(data),
        5 => round_trip::<sc::ScRequest>(data),
        6 => round_trip::<sc::ScReply>(data),
        7 => round_trip::<sm::SmRequest>(data),
        8 => round_trip::<sm::SmReply>(data),
        9 => round_trip::<sd::MtuStatus>(data),
        10 => round_trip::<pc::PuToCu>(data),
        11 => round_trip::<Problem>(data),
        12 => serde_json::from_slice::<cm::PlayRequest>(data).is_ok(),
        13 => serde_json::from_slice::<cm::PlayAnswer>(data).is_ok(),
        14 => serde_json::from_slice::<ps::PlayClaims>(data).is_ok(),
        _ => std::str::from_utf8(data).is_ok_and(|sdp| ps::dtls_fingerprint(sdp).is_some()),
    };
    // What anything reads is JSON of this version and no other.
    if read && interface % 16 < 12 {
        let version = decode::<serde_json::Value>(data);
        assert!(version.is_ok_and(|e| e.v == VERSION), "a foreign version was read");
    } else if let Err(DecodeError::Version(v)) = decode::<serde_json::Value>(data) {
        assert_ne!(v, VERSION);
    }
}

/// What a viewer says on the data channel: nothing that is taken is out of bounds.
pub fn control(data: &[u8]) {
    let Some(message) = control_message::read(data) else { return };
    let again = serde_json::to_vec(&message).expect("a message serializes");
    assert_eq!(control_message::read(&again).expect("its own spelling"), message);
}

/// Claim codes and ids as people type them: what is taken has one spelling.
pub fn claim_code(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(code) = text.parse::<ClaimCode>() {
        let again: ClaimCode = code.to_string().parse().expect("its own spelling");
        assert_eq!(again.pu_id(), code.pu_id());
    }
    if let Ok(id) = text.parse::<CameraId>() {
        assert_eq!(id.to_string().parse::<CameraId>().expect("its own spelling"), id);
    }
    if let Ok(id) = text.parse::<PuId>() {
        assert_eq!(id.to_string(), text);
    }
    let _ = text.parse::<UserId>();
    let _ = text.parse::<PublicKey>();
    let _ = text.parse::<Signature>();
    if let Ok(number) = text.parse::<PhoneNumber>() {
        assert!(!number.masked().is_empty());
        assert!(!format!("{number:?}").contains(number.expose()), "a number in a log");
    }
}

/// What people type into the portal's forms: codes, numbers, names.
pub fn rest_fields(data: &[u8]) {
    let Some((length, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(code) = OneTimeCode::from_typed(text) {
        assert!(code.expose().len() == 6 && code.expose().bytes().all(|b| b.is_ascii_digit()));
    }
    if is_name(text, usize::from(*length)) {
        assert!(!text.contains(['\n', '\r', '\0']) && text.chars().count() <= usize::from(*length));
    }
    if let Ok(number) = text.parse::<PhoneNumber>() {
        // The numbering plans of the world are another crate's, and take milliseconds each.
        assert!(
            number.expose().starts_with('+')
                && number.expose()[1..].bytes().all(|b| b.is_ascii_digit())
        );
    }
    if let Some((ip, other)) = addresses(text) {
        assert_eq!(prefix(ip), prefix(ip.to_canonical()));
        assert!(!same_place(ip, other) || prefix(ip) == prefix(other));
    }
}

/// The two addresses in a text such as `192.0.2.1 2001:db8::1`.
fn addresses(text: &str) -> Option<(IpAddr, IpAddr)> {
    let (one, other) = text.split_once(' ')?;
    Some((one.parse().ok()?, other.parse().ok()?))
}
