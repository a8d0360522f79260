//! What messages are made of.

use std::sync::LazyLock;

use sightline_model::{
    ChannelId, ClaimCode, ClaimHash, ClaimSecret, DeviceId, MediaSessionId, PuId, PublicKey,
    SessionToken, Signature, UnixMicros,
};
use sightline_protocol::{
    Problem, ProblemKind,
    cs::MediaOffer,
    pc::{MediaTransport, PathReport},
    ps::{Addresses, ChannelStatus, PuToScu, Registration},
    sc::Lease,
};

use super::{DEVICES, SESSIONS};
use crate::Choices;

pub fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

/// Made once: hashing keys is not what is tested here.
pub static DEVICE_IDS: LazyLock<[PuId; DEVICES as usize]> =
    LazyLock::new(|| [0, 1, 2].map(|n| PuId::from_public_key(&key(n))));
static SESSION_IDS: LazyLock<[MediaSessionId; SESSIONS as usize]> =
    LazyLock::new(|| [0, 1, 2, 3].map(|n| format!("s-{n}").parse().expect("a valid id")));
static CLAIM: LazyLock<ClaimHash> =
    LazyLock::new(|| ClaimCode::new(device(0), ClaimSecret::from_bytes([1; 10])).hash());

pub fn device(n: u8) -> PuId {
    DEVICE_IDS[usize::from(n)].clone()
}

pub fn session(n: u8) -> MediaSessionId {
    SESSION_IDS[usize::from(n)].clone()
}

pub fn problem() -> Problem {
    Problem::new(ProblemKind::Busy, "no")
}

pub fn channels(n: u8) -> Vec<ChannelStatus> {
    let one = |channel| ChannelStatus {
        channel: ChannelId(channel),
        name: "Yard".to_owned(),
        online: n & 1 == 1,
        fault: None,
        streams: vec![],
        audio: None,
    };
    (0..u16::from(n % 4)).map(one).collect()
}

pub fn registration(n: u8) -> PuToScu {
    let pu = device(n);
    PuToScu::Register(Box::new(Registration {
        claim: CLAIM.clone(),
        pu,
        public_key: key(n),
        signature: Signature::from_bytes([0; 64]),
        claim_unlocked: false,
        addresses: Addresses::default(),
        channels: channels(n),
        agent: "fuzz".to_owned(),
        kind: sightline_model::DeviceKind::Pu,
    }))
}

/// Where media runs, or that it has ended.
pub fn path(choices: &mut Choices<'_>) -> Option<PathReport> {
    let (running, relayed) = (choices.flag(), choices.flag());
    let transport = MediaTransport::Webrtc;
    running.then(|| PathReport::new(transport, relayed, ""))
}

pub fn offer() -> Box<MediaOffer> {
    Box::new(MediaOffer {
        sdp: String::new(),
        token: SessionToken::new(String::new()),
        client_key: key(200),
        signature: Signature::from_bytes([0; 64]),
        ice_servers: vec![],
    })
}

pub fn lease(pu: PuId, epoch: u64) -> Lease {
    Lease {
        device: DeviceId { domain: "d".parse().expect("a valid name"), pu },
        epoch,
        ttl_ms: 1,
        owner: None,
        token_keys: vec![],
        server_time: UnixMicros(0),
        relations: None,
    }
}
