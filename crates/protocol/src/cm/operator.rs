//! What the operator's staff see and change.

use serde::{Deserialize, Serialize};
use sightline_model::{MediaSessionId, MtuId, Rung, UnixMicros, UserId};

use super::Subscription;

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
    /// Why those that are relayed have no direct way, the most frequent cause first.
    pub relay_causes: Vec<CauseCount>,
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

/// Why a session is relayed, as far as what both ends have measured of their NATs tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RelayCause {
    /// No UDP passes at the viewer's end.
    ViewerUdpBlocked,
    /// No UDP passes at the device's end.
    PuUdpBlocked,
    /// Both NATs use another port for every destination, so neither can be foretold.
    BothSymmetric,
    /// The viewer's NAT does, and the device's lets only expected ports in.
    ViewerSymmetric,
    /// The device's NAT does, and the viewer's lets only expected ports in.
    PuSymmetric,
    /// The viewer reaches IPv4 through NAT64 only, which a browser does not use, and the device has
    /// nothing else.
    ViewerNat64,
    /// What is known of the NATs would let a direct way through, but none answered.
    NoAnswer,
    /// Too little is known of the NATs.
    Unknown,
}

impl RelayCause {
    /// Every cause.
    pub const ALL: [Self; 8] = [
        Self::ViewerUdpBlocked,
        Self::PuUdpBlocked,
        Self::BothSymmetric,
        Self::ViewerSymmetric,
        Self::PuSymmetric,
        Self::ViewerNat64,
        Self::NoAnswer,
        Self::Unknown,
    ];

    /// Its word, as it is stored, counted and sent.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ViewerUdpBlocked => "viewer_udp_blocked",
            Self::PuUdpBlocked => "pu_udp_blocked",
            Self::BothSymmetric => "both_symmetric",
            Self::ViewerSymmetric => "viewer_symmetric",
            Self::PuSymmetric => "pu_symmetric",
            Self::ViewerNat64 => "viewer_nat64",
            Self::NoAnswer => "no_answer",
            Self::Unknown => "unknown",
        }
    }
}

/// Sessions that are relayed for one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CauseCount {
    /// The cause.
    pub cause: RelayCause,
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
    /// All of the same time by relay, those that relayed most first.
    pub mtus: Vec<MtuShare>,
}

/// What one relay has relayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MtuShare {
    /// Which.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub mtu: MtuId,
    /// Bytes in both directions, payload only.
    pub bytes: u64,
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
