//! Interface Ps, between SCU and PU or NVR (H.626.4 clause 9.11; flows A8.1, A8.3, A8.4).
//!
//! The PU opens the connection. The SCU speaks first with a [`ScuToPu::Challenge`].

mod recording;
mod relation;

use serde::{Deserialize, Serialize};
use sightline_model::{
    AudioCodec, CameraId, Capabilities, ChannelId, ClaimHash, ClientId, DeviceKind, DomainName,
    KeyId, MediaSessionId, NatReport, PuId, PublicKey, ScuId, SessionToken, Signature, StreamInfo,
    TokenHash, UnixMicros, UserId,
};
use std::net::SocketAddr;

use crate::{
    Problem,
    cm::{IceServer, PlayAnswer},
    cp::{CloudAnswer, CloudCall},
    pc::PathReport,
    sc::TokenGrant,
};

pub use recording::*;
pub use relation::*;

/// ALPN of Ps over QUIC.
pub const ALPN: &[u8] = b"sightline-ps/1";
/// Path of Ps over WebSocket, for networks that block UDP.
pub const WEBSOCKET_PATH: &str = "/ps/v1";

/// From SCU to PU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ScuToPu {
    /// First message of a connection: what the PU must sign.
    Challenge {
        /// The SCU that asks.
        scu: ScuId,
        /// Random, used once, base64url.
        nonce: String,
    },
    /// A8.1 step 4, A8.3 step 7: the PU is registered.
    Registered {
        /// The domain that the device now belongs to.
        domain: DomainName,
        /// Number of this lease; a higher one fences this one.
        epoch: u64,
        /// How often the PU must send [`PuToScu::KeepAlive`].
        keep_alive_ms: u32,
        /// Clock of the SCU (A7.2, clock synchronization).
        server_time: UnixMicros,
        /// Where the SCU sees the PU.
        observed: SocketAddr,
        /// Keys that sign play tokens.
        token_keys: Vec<TokenKey>,
        /// STUN and TURN servers for the PU itself.
        ice_servers: Vec<IceServer>,
        /// Whose device it is, if anybody's.
        owner: Option<UserId>,
        /// All its relations; absent: nothing is said of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relations: Option<Relations>,
    },
    /// The registration or a later request is refused; the connection ends.
    Refused {
        /// Why.
        problem: Problem,
    },
    /// Answer to [`PuToScu::KeepAlive`].
    KeepAliveAck {
        /// The PU's own time, as it came.
        pu_time: UnixMicros,
        /// Clock of the SCU.
        server_time: UnixMicros,
    },
    /// Capabilities of a CU that is about to ask for media (clause 7).
    PrepareMedia {
        /// The session to come.
        session: MediaSessionId,
        /// Which camera.
        channel: ChannelId,
        /// What the CU can take.
        capabilities: Capabilities,
    },
    /// A8.4 step 4 for a CU that cannot reach the PU before: the CU's offer.
    MediaOffer {
        /// The session.
        session: MediaSessionId,
        /// The CU's offer and token.
        offer: Box<crate::cs::MediaOffer>,
    },
    /// A candidate of the CU (RFC 8838).
    Candidate {
        /// The session.
        session: MediaSessionId,
        /// The `candidate:` line; empty at the end of candidates.
        candidate: String,
    },
    /// A8.4 step 9: what became of a [`PuToScu::TokenCheck`].
    TokenResult {
        /// The number from the request.
        request: u64,
        /// What the token grants.
        result: Result<TokenGrant, Problem>,
    },
    /// What became of a [`PuToScu::TicketRequest`].
    Ticket {
        /// The number from the request.
        request: u64,
        /// How to take the camera's stream.
        result: Result<Box<PlayAnswer>, Problem>,
    },
    /// End a session now: torn down by the CU, or its right was taken away.
    EndSession {
        /// The session.
        session: MediaSessionId,
        /// Why.
        problem: Option<Problem>,
    },
    /// End every session and forget every token of this user, or of everybody.
    RevokeUser {
        /// Whose; `None` for everybody's.
        user: Option<UserId>,
    },
    /// The device has a new owner, or none: then its claim code works again.
    OwnerChanged {
        /// Whose device it is now.
        owner: Option<UserId>,
    },
    /// Something about recordings (A8.7.2 step 11, A8.7.3 step 3, and playback step 3).
    Recording(RecordingCall),
    /// What became of a [`PuToScu::Cloud`] (A8.7.1 steps 8 to 11).
    Cloud(CloudAnswer),
    /// The SCU is going away; reconnect elsewhere.
    Goodbye,
}

/// A key that signs play tokens (RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// Its name in the token's header.
    pub kid: KeyId,
    /// The key.
    pub public_key: PublicKey,
}

/// From PU to SCU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PuToScu {
    /// A8.1 step 1, A8.3 step 3.
    Register(Box<Registration>),
    /// Sent at the rate that the SCU named.
    KeepAlive {
        /// Clock of the PU.
        pu_time: UnixMicros,
    },
    /// The PU's addresses have changed (A8.3).
    Addresses(Addresses),
    /// The PU's cameras have changed.
    Channels {
        /// All of them.
        channels: Vec<ChannelStatus>,
    },
    /// A8.4 step 5.
    TokenCheck {
        /// Number that the answer repeats.
        request: u64,
        /// The token by its hash.
        token: TokenHash,
        /// Who shows it.
        presented_by: TokenBearer,
    },
    /// From an NVR, before A8.7.2 step 16: how to take the stream of a camera that is related to it.
    TicketRequest {
        /// Number that the answer repeats.
        request: u64,
        /// The camera.
        camera: CameraId,
    },
    /// A8.4 step 10 for [`ScuToPu::MediaOffer`].
    MediaAnswer {
        /// The session.
        session: MediaSessionId,
        /// The answer, or why there is none.
        result: Result<MediaAnswer, Problem>,
    },
    /// A candidate of the PU.
    Candidate {
        /// The session.
        session: MediaSessionId,
        /// The `candidate:` line.
        candidate: String,
    },
    /// Media flows, has changed its path, or has ended.
    SessionReport {
        /// The session.
        session: MediaSessionId,
        /// Which path, or `None` when the session is over.
        path: Option<PathReport>,
    },
    /// What the PU has measured of the NATs in front of it (RFC 5780), after every measurement.
    Nat {
        /// The measurement.
        nat: NatReport,
    },
    /// What became of a [`ScuToPu::Recording`] (A8.7.2 step 13, A8.7.3 step 4).
    Recorded(RecordingAnswer),
    /// How the storage is and what the chains have come to.
    RecorderReport(Box<RecorderReport>),
    /// Something for the cloud storage (A8.7.1 steps 7 to 10).
    Cloud(CloudCall),
}

/// What a PU says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// Its id, derived from its key.
    pub pu: PuId,
    /// Its key.
    pub public_key: PublicKey,
    /// Over [`registration_bytes`].
    pub signature: Signature,
    /// What a claim code must hash to.
    pub claim: ClaimHash,
    /// Set after the button on the device was held: the claim code works even though bound.
    #[serde(default)]
    pub claim_unlocked: bool,
    /// Where it can be reached.
    pub addresses: Addresses,
    /// Its cameras.
    pub channels: Vec<ChannelStatus>,
    /// Maker, model and version, for people.
    pub agent: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "DeviceKind::is_pu")]
    pub kind: DeviceKind,
}

/// Where a PU can be reached (A8.3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// RTSP (Pc') on its own interfaces.
    #[serde(default)]
    pub rtsp: Vec<SocketAddr>,
    /// QUIC (Pc') on its own interfaces.
    #[serde(default)]
    pub quic: Vec<SocketAddr>,
    /// Mapped by its gateways, by the service that is behind them.
    #[serde(default)]
    pub nat_rtsp: Vec<SocketAddr>,
    /// QUIC as mapped by gateways.
    #[serde(default)]
    pub nat_quic: Vec<SocketAddr>,
}

/// One camera of a PU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Which.
    pub channel: ChannelId,
    /// What the PU calls it.
    pub name: String,
    /// Whether it gives a picture.
    pub online: bool,
    /// Why not, in words; absent as long as it is only starting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Its encodings.
    pub streams: Vec<StreamInfo>,
    /// Its microphone's coding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioCodec>,
}

/// Who shows a play token: the same bearer may show it again, another may not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum TokenBearer {
    /// A CU that has proved to hold this key.
    Key {
        /// The key.
        client: PublicKey,
    },
    /// A player without a key (plain RTSP), at this address.
    Address {
        /// Its address, without the port.
        ip: std::net::IpAddr,
    },
}

/// The PU's answer to an offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediaAnswer {
    /// SDP answer.
    pub sdp: String,
    /// The PU's key.
    pub public_key: PublicKey,
    /// By that key over [`answer_bytes`]: a centre that swaps certificates is found out.
    pub signature: Signature,
}

/// The bytes that a registering PU signs.
#[must_use]
pub fn registration_bytes(scu: &ScuId, nonce: &str, pu: &PuId) -> Vec<u8> {
    format!("sightline-register-v1\0{scu}\0{nonce}\0{pu}").into_bytes()
}

/// The bytes that a PU signs for an answer: the session and both DTLS fingerprints.
///
/// A fingerprint is the value of the SDP line `a=fingerprint:sha-256`, in upper case.
#[must_use]
pub fn answer_bytes(session: &MediaSessionId, offered: &str, answered: &str) -> Vec<u8> {
    format!("sightline-answer-v1\0{session}\0{offered}\0{answered}").into_bytes()
}

/// The bytes that a CU signs for an offer: the session, the token and its DTLS fingerprint.
#[must_use]
pub fn offer_bytes(session: &MediaSessionId, token: &SessionToken, offered: &str) -> Vec<u8> {
    let token = token.hash();
    format!("sightline-offer-v1\0{session}\0{}\0{offered}", token.as_str()).into_bytes()
}

/// The value of the first `a=fingerprint:sha-256` line of an SDP, in upper case.
///
/// `None` when there is none, or when two lines differ: then nobody could say which was signed.
#[must_use]
pub fn dtls_fingerprint(sdp: &str) -> Option<String> {
    let mut values = sdp.lines().filter_map(|line| {
        let value = line.trim_end().strip_prefix("a=fingerprint:")?;
        let (algorithm, value) = value.split_once(' ')?;
        algorithm.eq_ignore_ascii_case("sha-256").then(|| value.trim().to_ascii_uppercase())
    });
    let other_algorithm = sdp.lines().any(|line| {
        line.strip_prefix("a=fingerprint:")
            .is_some_and(|v| !v.get(..8).is_some_and(|a| a.eq_ignore_ascii_case("sha-256 ")))
    });
    let first = values.next()?;
    (!other_algorithm && values.all(|other| other == first)).then_some(first)
}

/// Claims of a play token: a JWT (RFC 7519) signed with EdDSA by the CMU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlayClaims {
    /// The domain that vouches for it.
    pub iss: DomainName,
    /// The device that it is for.
    pub aud: PuId,
    /// The user.
    pub sub: UserId,
    /// The token's own id.
    pub jti: sightline_model::TokenId,
    /// Expiry, seconds since 1970.
    pub exp: i64,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// The camera.
    pub ch: ChannelId,
    /// The session that it opens.
    pub sid: MediaSessionId,
    /// What it allows.
    pub rights: sightline_model::Rights,
    /// The only client key that may use it (RFC 7800); absent for players without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<PublicKey>,
    /// The client, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The NVR that takes the stream by its relation to the camera; absent: a CU watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nvr: Option<PuId>,
}
