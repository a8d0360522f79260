//! JSON of every interface, and the texts that people type.

#[path = "../../../crates/media-io/src/webrtc/control/message.rs"]
mod control_message;

#[path = "../../../cu-cli/src/quality.rs"]
mod quality;

use std::{
    fmt::{Debug, Display},
    net::IpAddr,
    str::FromStr,
    sync::LazyLock,
};

use cmu_domain::{
    address::{prefix, same_place},
    code::OneTimeCode,
    headers::{bearer, client_address, cookie, refresh_family},
    text::{is_chosen_name, is_name},
};
use ipnet::IpNet;
use serde::{Serialize, de::DeserializeOwned};
use sightline_model::{
    CameraId, ClaimCode, DomainName, MediaSessionId, PhoneNumber, PuId, PublicKey, QualityChoice,
    Rights, SessionToken, Signature, UserId,
};
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
    let interface = interface % 21;
    let read = match interface {
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
        14 => claims(data),
        16 => round_trip::<sd::MtuCommand>(data),
        17 => round_trip::<sd::MtuReply>(data),
        18 => round_trip::<sd::MtuUsage>(data),
        19 => round_trip::<sd::UsageReply>(data),
        20 => round_trip::<sm::SmOrder>(data),
        _ => std::str::from_utf8(data).is_ok_and(fingerprint),
    };
    // What anything reads is JSON of this version and no other.
    if read && !(12..16).contains(&interface) {
        let version = decode::<serde_json::Value>(data);
        assert!(version.is_ok_and(|e| e.v == VERSION), "a foreign version was read");
    } else if let Err(DecodeError::Version(v)) = decode::<serde_json::Value>(data) {
        assert_ne!(v, VERSION);
    }
}

fn claims(data: &[u8]) -> bool {
    let Ok(claims) = serde_json::from_slice::<ps::PlayClaims>(data) else { return false };
    let theirs = claims.rights.0.iter();
    assert!(theirs.copied().all(|right| Rights::owner().allows(right)));
    true
}

/// What an offer's and an answer's maker sign: nobody can pass the one for the other.
fn fingerprint(sdp: &str) -> bool {
    let Some(value) = ps::dtls_fingerprint(sdp) else { return false };
    assert!(!value.contains('\n') && value == value.trim());
    let session = "s-1".parse().expect("a valid id");
    let token = SessionToken::new("t".to_owned());
    let offer = ps::offer_bytes(&session, &token, &value);
    assert_ne!(offer, ps::answer_bytes(&session, &value, &value));
    assert_ne!(offer, ps::offer_bytes(&session, &token, &format!("{value}0")));
    true
}

/// What a viewer says on the data channel: nothing that is taken is out of bounds.
pub fn control(data: &[u8]) {
    let Some(message) = control_message::read(data) else { return };
    let again = serde_json::to_vec(&message).expect("a message serializes");
    assert_eq!(control_message::read(&again).expect("its own spelling"), message);
}

/// Claim codes, ids, keys and numbers, as people type them and as they stand in JSON: what is taken
/// has one spelling, and what is secret shows in no log.
pub fn claim_code(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(code) = spelt_once::<ClaimCode>(text) {
        let again: ClaimCode = code.to_string().parse().expect("its own spelling");
        assert!(again == code && again.hash() == code.hash());
        assert_eq!((again.pu_id(), code.hash().as_str().len()), (code.pu_id(), 64));
        let printed = code.to_string().replace('-', "");
        let shown = format!("{code:?} {:?}", code.hash());
        assert!(!shown.contains(&printed[PuId::LEN..]), "a claim secret in a log");
    }
    if let Some(id) = in_json::<CameraId>(text) {
        assert_eq!(id.to_string().parse::<CameraId>().expect("its own spelling"), id);
    }
    if let Some(id) = in_json::<PuId>(text) {
        assert_eq!(id.to_string(), text);
        let key = PublicKey::from_bytes([0; 32]);
        assert_eq!(id.matches(&key), id == PuId::from_public_key(&key));
    }
    if let Some(id) = in_json::<UserId>(text) {
        assert!(id.as_str() == text && id.to_string() == text && format!("{id:?}").contains(text));
    }
    let (session, domain) = (in_json::<MediaSessionId>(text), in_json::<DomainName>(text));
    assert_eq!(session.is_some(), domain.is_some());
    if let Some(key) = in_json::<PublicKey>(text) {
        // Whatever the key, nobody has signed this.
        assert!(!key.verify(b"nothing", &Signature::from_bytes([0x41; 64])));
        assert_eq!(PublicKey::from_bytes(*key.as_bytes()), key);
    }
    in_json::<Signature>(text);
    if let Some(number) = in_json::<PhoneNumber>(text) {
        assert!(!number.masked().is_empty());
        assert!(!format!("{number:?}").contains(number.expose()), "a number in a log");
    }
    if let Ok(id) = text.parse::<CameraId>() {
        assert!(id.to_string().starts_with(id.pu.as_str()));
    }
    let token = SessionToken::new(text.to_owned());
    let shown = format!("{token:?} {:?}", token.hash());
    let hidden = !shown.contains(text) || "(redacted) TokenHash(".contains(text);
    assert!(hidden || text.len() < 16, "a token in a log");
}

fn spelt_once<T: FromStr + Display>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let printed = value.to_string();
    assert_eq!(printed.parse::<T>().ok().map(|v| v.to_string()), Some(printed));
    Some(value)
}

/// JSON takes what typing takes, and gives it back.
fn in_json<T: FromStr + DeserializeOwned + Serialize + Debug>(text: &str) -> Option<T> {
    let read = serde_json::from_value::<T>(serde_json::Value::from(text)).ok();
    let typed = text.parse::<T>().ok();
    assert_eq!(read.is_some(), typed.is_some());
    if let Some(value) = &read {
        let again = serde_json::to_value(value).expect("it is text");
        assert!(serde_json::from_value::<T>(again).is_ok(), "{value:?}");
        assert!(!format!("{value:?}").is_empty());
    }
    typed
}

/// The headers of requests to the CMU, one a line: nobody passes for another.
pub fn http_headers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let peer: IpAddr = [10, 1, 2, 3].into();
    let stranger: IpAddr = [192, 0, 2, 7].into();
    let ours: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a network")];
    // Whoever is no proxy of ours is who he is, whatever he writes.
    assert_eq!(client_address(stranger, text.lines(), &ours), stranger);
    let client = client_address(peer, text.lines(), &ours);
    assert!(client == peer || client == client.to_canonical());
    if let Some(value) = cookie(text.lines(), "sightline_refresh") {
        assert!(!value.contains(';') && text.contains(value));
        if let Some(family) = refresh_family(value) {
            assert!(value.starts_with(family.as_str()) && value.len() <= 200);
        }
    }
    for line in text.lines() {
        if let Some(token) = bearer(line) {
            assert!(line.len() >= token.len() + "bearer ".len() && token.trim() == token);
        }
        if let Ok(QualityChoice::Exact { width, height, fps }) = quality::quality(line) {
            assert!(width % 2 == 0 && height % 2 == 0 && (1..=60).contains(&fps));
        }
    }
}

/// What people type into the portal's forms: codes, numbers, names.
pub fn rest_fields(data: &[u8]) {
    let Some((length, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(code) = OneTimeCode::from_typed(text) {
        assert!(code.expose().len() == 6 && code.expose().bytes().all(|b| b.is_ascii_digit()));
        let (domain, phone) = (&OWNERS.0, &OWNERS.1);
        let stored = code.hash(domain, phone);
        assert!(stored.matches(&stored.0) && stored.0.len() == 64);
        let number = code.expose().parse().expect("six digits");
        assert_eq!(OneTimeCode::from_random(number), code);
    }
    let chosen = is_chosen_name(text, usize::from(*length));
    assert!(!chosen || (is_name(text, usize::from(*length)) && !text.contains("$(")));
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

/// Whose codes they are.
static OWNERS: LazyLock<(DomainName, PhoneNumber)> =
    LazyLock::new(|| ("d".parse().expect("a name"), "+8613800138000".parse().expect("a number")));

/// The two addresses in a text such as `192.0.2.1 2001:db8::1`.
fn addresses(text: &str) -> Option<(IpAddr, IpAddr)> {
    let (one, other) = text.split_once(' ')?;
    Some((one.parse().ok()?, other.parse().ok()?))
}
