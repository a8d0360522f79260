//! Values that messages are made of.

use sightline_model::*;
use sightline_protocol::{pc::*, *};

pub fn key(byte: u8) -> PublicKey {
    PublicKey::from_bytes([byte; 32])
}
pub fn pu() -> PuId {
    PuId::from_public_key(&key(1))
}
pub fn device() -> DeviceId {
    DeviceId { domain: id("home.example"), pu: pu() }
}
pub fn id<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a valid id")
}
pub fn signature() -> Signature {
    Signature::from_bytes([7; 64])
}
pub fn token() -> SessionToken {
    SessionToken::new("header.claims.signature".into())
}
pub fn problem() -> Problem {
    Problem::new(ProblemKind::TokenExpired, "the play token is too old; ask for a new one")
}
pub fn claim() -> ClaimHash {
    ClaimCode::new(pu(), ClaimSecret::from_bytes([3; 10])).hash()
}
pub fn ice() -> Vec<cm::IceServer> {
    vec![cm::IceServer {
        urls: vec!["turn:192.0.2.1:3478?transport=udp".into()],
        username: Some("1700000600:s1".into()),
        credential: Some(SessionToken::new("secret".into())),
    }]
}
pub fn stream() -> StreamInfo {
    StreamInfo {
        tier: StreamTier::Main,
        codec: VideoCodec::H264,
        width: 1280,
        height: 720,
        fps: 25.0,
    }
}
pub fn channels() -> Vec<ps::ChannelStatus> {
    vec![ps::ChannelStatus {
        channel: ChannelId(0),
        name: "Yard".into(),
        online: true,
        fault: None,
        streams: vec![stream()],
        audio: Some(AudioCodec::Pcmu),
    }]
}
pub fn addresses() -> ps::Addresses {
    ps::Addresses {
        rtsp: vec![id("192.0.2.9:8554")],
        quic: vec![id("192.0.2.9:8555")],
        nat_rtsp: vec![],
        nat_quic: vec![id("203.0.113.4:40001")],
    }
}
pub fn capabilities() -> Capabilities {
    Capabilities { max_width: Some(1920), max_bitrate_bps: Some(4_000_000), ..Default::default() }
}
pub fn registration() -> Box<ps::Registration> {
    Box::new(ps::Registration {
        pu: pu(),
        public_key: key(1),
        signature: signature(),
        claim: claim(),
        claim_unlocked: false,
        addresses: addresses(),
        channels: channels(),
        agent: "Sightline pu-agent 0.1.0".into(),
    })
}
pub fn token_keys() -> Vec<ps::TokenKey> {
    vec![ps::TokenKey { kid: id("k1"), public_key: key(2) }]
}
pub fn grant() -> sc::TokenGrant {
    sc::TokenGrant {
        domain: id("home.example"),
        user: id("u1"),
        session: id("s1"),
        channel: ChannelId(0),
        rights: Rights::owner(),
        capabilities: capabilities(),
        expires_at: UnixMicros(1_700_000_600_000_000),
    }
}
pub fn path() -> PathReport {
    PathReport::new(MediaTransport::Webrtc, false, "same network")
}
pub fn relayed() -> PathReport {
    let why = vec!["both routers give every destination another port (symmetric)".into()];
    PathReport::on(MediaTransport::Quic, Rung::RelayUdp, "over mtu1").not_better(why)
}
pub fn nat() -> NatReport {
    NatReport {
        udp: Some(true),
        translated: Some(true),
        mapping: Some(NatDependence::AddressAndPortDependent),
        filtering: Some(NatDependence::AddressDependent),
        mapping_lifetime_ms: Some(50_000),
        nat64: None,
    }
}
pub fn stages() -> cs::StageTimes {
    cs::StageTimes::from_ends([80, 95, 130, 150, 170, 190, 220])
}
pub fn offer() -> Box<cs::MediaOffer> {
    Box::new(cs::MediaOffer {
        sdp: "v=0\r\n".into(),
        token: token(),
        client_key: key(4),
        signature: signature(),
        ice_servers: ice(),
    })
}
pub fn answer() -> ps::MediaAnswer {
    ps::MediaAnswer { sdp: "v=0\r\n".into(), public_key: key(1), signature: signature() }
}
pub const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);
