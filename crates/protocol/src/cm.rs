//! Interface Cm, between CMU and CU (H.626.4 clause 9.10): bodies of the REST API under
//! [`PREFIX`], and of its event stream. Paths and status codes are in the OpenAPI document that
//! the CMU serves.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sightline_model::{
    AudioCodec, CameraId, Capabilities, ClientId, DeviceId, MediaSessionId, MtuId, PhoneNumber,
    Presence, PuId, PublicKey, Rights, Rung, SessionToken, StreamInfo, UnixMicros, UserId,
};

/// Where the API lives.
pub const PREFIX: &str = "/api/v1";

/// `GET /info`: what a CU must know before anybody signs in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Info {
    /// The operator's name, for people.
    pub operator: String,
    /// The home domain.
    pub domain: sightline_model::DomainName,
    /// Version of the centre.
    pub version: String,
    /// Whether a new account waits for the operator.
    pub approval: Approval,
}

/// How new subscriptions are approved (A6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Approval {
    /// At once.
    Automatic,
    /// By a person at the operator.
    Operator,
}

/// `POST /sms-codes`: send a one-time code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SmsCodeRequest {
    /// Where to.
    pub phone: PhoneNumber,
}

/// The code is on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SmsCodeSent {
    /// How long the code works.
    pub expires_in_s: u32,
    /// When another may be asked for.
    pub retry_after_s: u32,
}

/// `POST /sessions`: sign in; the first time makes the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignInRequest {
    /// Whose account.
    pub phone: PhoneNumber,
    /// The code from the SMS.
    pub code: String,
    /// The client's own key; play tokens will be bound to it.
    pub client_key: PublicKey,
    /// What the person calls this client, such as "Chrome on Windows".
    #[serde(default)]
    pub client_name: String,
    /// Where the refresh token goes: a cookie that scripts cannot read, or the body.
    #[serde(default)]
    pub refresh_in: RefreshIn,
}

/// Where a refresh token travels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RefreshIn {
    /// `HttpOnly`, `SameSite=Strict` cookie.
    #[default]
    Cookie,
    /// JSON body, for programs.
    Body,
}

/// `POST /sessions/refresh`; the body may be empty when a cookie is sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefreshRequest {
    /// The refresh token, when it did not come in a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub refresh_token: Option<SessionToken>,
}

/// Signed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedIn {
    /// Bearer token for the API.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub access_token: SessionToken,
    /// How long it works.
    pub expires_in_s: u32,
    /// Only with [`RefreshIn::Body`]. Each use gives a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub refresh_token: Option<SessionToken>,
    /// Who.
    pub user: User,
    /// Which client.
    pub client: ClientId,
}

/// `GET /me`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// The account.
    pub id: UserId,
    /// The number with its middle hidden.
    pub phone_masked: String,
    /// Whether the operator has approved the subscription.
    pub subscription: Subscription,
    /// Whether the person works for the operator.
    pub is_operator: bool,
}

/// State of an account (A6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Subscription {
    /// Waits for the operator.
    Pending,
    /// In use.
    Active,
    /// Refused or suspended by the operator.
    Suspended,
}

/// `POST /bindings` (A8.2 step 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BindRequest {
    /// As typed or scanned.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub claim_code: SessionToken,
}

/// A8.2 step 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Bound {
    /// The device.
    pub device: DeviceId,
    /// Its cameras, now in the list.
    pub cameras: Vec<Camera>,
}

/// `GET /cameras`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CameraList {
    /// The caller's cameras, by name.
    pub cameras: Vec<Camera>,
}

/// A camera as its user sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Camera {
    /// Its id.
    pub id: CameraId,
    /// Its device.
    pub device: DeviceId,
    /// What the user calls it.
    pub name: String,
    /// Whether it can be watched.
    pub presence: Presence,
    /// Why not, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Its encodings.
    pub streams: Vec<StreamInfo>,
    /// Its microphone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioCodec>,
    /// The device's key, whose hash is the device id.
    pub device_key: PublicKey,
    /// What the caller may do with it.
    pub rights: Rights,
}

/// `PATCH /cameras/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CameraChange {
    /// New name, 1 to 64 characters.
    pub name: String,
}

/// `POST /cameras/{id}/play` (A8.4 step 1).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlayRequest {
    /// What the CU can take.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// For which kind of player.
    #[serde(default)]
    pub player: Player,
}

/// Who will show the play token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Player {
    /// The CU itself, which proves its key (WebRTC, QUIC).
    #[default]
    Client,
    /// Any RTSP player; the token is bound to the first address that shows it.
    Rtsp,
}

/// A8.4 step 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlayAnswer {
    /// The session.
    pub session: MediaSessionId,
    /// The device.
    pub device: DeviceId,
    /// The camera.
    pub camera: CameraId,
    /// The play token.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub token: SessionToken,
    /// No new use after this.
    pub expires_at: UnixMicros,
    /// The device's key; compare it with what the QR code said.
    pub device_key: PublicKey,
    /// RTSP URLs with the token in them, best first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub rtsp_urls: Vec<SessionToken>,
    /// Where the device answers RTSP inside QUIC, best first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub quic: Vec<SocketAddr>,
    /// WebSocket of the SCU, for WebRTC; a path alone is relative to the portal's address.
    pub signal_url: String,
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
}

/// As in the W3C's `RTCIceServer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IceServer {
    /// RFC 7064 and RFC 7065 URLs.
    pub urls: Vec<String>,
    /// Time-limited user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub credential: Option<SessionToken>,
}

/// `GET /events`: server-sent events, each the JSON of one of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Event {
    /// A camera's state has changed.
    Camera {
        /// As it is now.
        camera: Box<Camera>,
    },
    /// A camera is no longer in the list.
    CameraGone {
        /// Which.
        id: CameraId,
    },
    /// The subscription has changed.
    Subscription {
        /// To what.
        subscription: Subscription,
    },
    /// Something has happened around a device that its owner should know of.
    Alert {
        /// Which device.
        device: DeviceId,
        /// Its cameras, for showing their names.
        cameras: Vec<CameraId>,
        /// What has happened.
        kind: AlertKind,
        /// The same in words, in English; a CU that knows the kind uses words of its own.
        text: String,
    },
    /// Events may have been missed: fetch the list again.
    Resync,
}

/// What owners are alerted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Somebody without the device's key has tried to register as the device; it was refused.
    WrongKey,
}

impl AlertKind {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::WrongKey => {
                "Somebody has tried to pass for this camera's device and was refused. Your camera \
                 is safe and goes on working."
            }
        }
    }
}

/// What a CMU tells the other CMUs so that each can tell its own CUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice {
    /// Something about a device has changed.
    Device {
        /// Which.
        device: PuId,
        /// Users who lost it with this change.
        #[serde(default)]
        lost_by: Vec<UserId>,
    },
    /// The owner of a device is to be alerted.
    Alert {
        /// Which device.
        device: PuId,
        /// Of what.
        kind: AlertKind,
    },
    /// Something about a user has changed.
    User {
        /// Who.
        user: UserId,
    },
}

/// `GET /operator/subscriptions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubscriptionList {
    /// Oldest first.
    pub subscriptions: Vec<SubscriptionRow>,
}

/// One subscription as the operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubscriptionRow {
    /// The account.
    pub user: UserId,
    /// The number with its middle hidden.
    pub phone_masked: String,
    /// Its state.
    pub subscription: Subscription,
    /// When the person signed up.
    pub since: UnixMicros,
}

/// `PUT /operator/subscriptions/{user}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubscriptionChange {
    /// The new state.
    pub subscription: Subscription,
}

/// `GET /operator/audit`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditList {
    /// At most 200.
    pub entries: Vec<AuditEntry>,
}

/// One thing that somebody did or was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// When.
    pub at: UnixMicros,
    /// Who, if known.
    pub user: Option<UserId>,
    /// What, such as `binding.create`.
    pub action: String,
    /// To what.
    pub target: String,
    /// `ok`, or the problem's type.
    pub outcome: String,
}

/// `GET /operator/mtus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MtuList {
    /// By name.
    pub mtus: Vec<MtuRow>,
}

/// A relay (MTU) as the operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MtuRow {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub mtu: MtuId,
    /// Share of its capacity in use, 0 to 1.
    pub load: f32,
    /// Whether it takes new sessions.
    pub accepting: bool,
    /// Whether it was told to drain.
    pub draining: bool,
    /// What it can relay in all, bits per second; absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bps: Option<u64>,
    /// What it relayed lately, bits per second.
    pub relayed_bps: u64,
    /// Allocations that it holds; an MTU that drains can be stopped when there are none.
    pub allocations: u32,
    /// When it was heard last.
    pub heard_at: UnixMicros,
}

/// `PUT /operator/mtus/{mtu}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MtuChange {
    /// Whether it is to drain: to go on with what it relays, and to take nothing new.
    pub draining: bool,
}

/// Which end's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NetworkSide {
    /// Where viewers ask from.
    Viewer,
    /// Where devices are.
    Pu,
}

/// `GET /operator/networks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkList {
    /// From when on sessions count.
    pub from: UnixMicros,
    /// Those with the most sessions first; at most 200.
    pub networks: Vec<NetworkRow>,
}

/// How sessions of one network reach their viewers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkRow {
    /// A prefix such as `203.0.113.0/24`, or `other`.
    pub network: String,
    /// Sessions of which a rung is known.
    pub sessions: u64,
    /// On which rung of the ladder they stood last, best first.
    pub rungs: Vec<RungCount>,
    /// Bytes that MTUs relayed for them.
    pub relayed_bytes: u64,
    /// From the click to the first frame: each stage, then `total`.
    pub stages: Vec<StageFigures>,
}

/// Sessions on one rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RungCount {
    /// The rung.
    pub rung: Rung,
    /// How many.
    pub sessions: u64,
}

/// How long a stage took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageFigures {
    /// Which, as in `cs::StageTimes`.
    pub stage: String,
    /// Half of the sessions took no longer; up to 9 % too long.
    pub p50_ms: u32,
    /// 95 of 100 sessions took no longer; up to 9 % too long.
    pub p95_ms: u32,
}

/// `GET /operator/usage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageList {
    /// Those that began last first; at most 500.
    pub sessions: Vec<UsageRow>,
}

/// What was relayed for one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageRow {
    /// Whose session, if it was known when the usage was reported.
    pub user: Option<UserId>,
    /// The session.
    pub session: MediaSessionId,
    /// How many MTUs had part in it.
    pub mtus: u32,
    /// Bytes in both directions, payload only.
    pub bytes: u64,
    /// Packets in both directions.
    pub packets: u64,
    /// Seconds that allocations were held, all together.
    pub allocated_s: u64,
    /// When the first allocation was made.
    pub from: UnixMicros,
    /// Until when this counts.
    pub to: UnixMicros,
}
