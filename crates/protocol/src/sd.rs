//! Interfaces Sd (SCU and MTU, clause 9.24) and Dm (CMU and MTU, clause 9.7).

use serde::{Deserialize, Serialize};
use sightline_model::{MtuId, UnixMicros};

use crate::Problem;

/// From SCU to all MTUs (Sd), on [`crate::subject::mtu_roll_call`]: each announces itself at once. An
/// SCU that has just started asks, so that its first calls have all relays to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RollCall {}

/// Announced by every MTU on [`crate::subject::mtu_status`] every two seconds, when an SCU
/// [asks](RollCall), and once more when it ends; SCUs choose among those that they have heard from
/// lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MtuStatus {
    /// The MTU.
    pub mtu: MtuId,
    /// Its STUN and TURN URLs (RFC 7064, RFC 7065), such as `turn:192.0.2.1:3478?transport=udp`.
    pub urls: Vec<String>,
    /// Share of its capacity in use, 0 to 1.
    pub load: f32,
    /// Whether it takes new sessions.
    pub accepting: bool,
    /// Its clock.
    pub at: UnixMicros,
    /// What it can relay in all, bits per second; absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bps: Option<u64>,
    /// What it relayed lately, bits per second.
    #[serde(default)]
    pub relayed_bps: u64,
    /// Allocations that it holds.
    #[serde(default)]
    pub allocations: u32,
    /// Whether it was told to drain: it goes on relaying what it relays, and takes nothing new.
    #[serde(default)]
    pub draining: bool,
}

impl MtuStatus {
    /// A status that says nothing of capacity, with no allocations.
    #[must_use]
    pub const fn new(
        mtu: MtuId,
        urls: Vec<String>,
        load: f32,
        accepting: bool,
        at: UnixMicros,
    ) -> Self {
        Self {
            mtu,
            urls,
            load,
            accepting,
            at,
            capacity_bps: None,
            relayed_bps: 0,
            allocations: 0,
            draining: false,
        }
    }
}

/// From SCU to one MTU (Sd), as a request on [`crate::subject::mtu`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MtuCommand {
    /// Take no new allocations; what runs goes on (RFC 8489 section 10: 300 with ALTERNATE-SERVER
    /// where there is another server).
    Drain,
    /// Take allocations again.
    Undrain,
}

/// The MTU's reply to a [`MtuCommand`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MtuReply {
    /// Done; this is how it stands now.
    Done {
        /// As announced next.
        status: Box<MtuStatus>,
    },
    /// Not done.
    Refused {
        /// Why.
        problem: Problem,
    },
}

/// Most entries of one [`MtuUsage`].
pub const MAX_USAGE_ENTRIES: usize = 256;

/// From MTU to any CMU (Dm), as a request on [`crate::subject::mtu_usage`], for accounting. Sent
/// about once a minute for what has relayed anything since, and when an allocation ends; repeated
/// until a [`UsageReply`] has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MtuUsage {
    /// The MTU.
    pub mtu: MtuId,
    /// Random for each start of the MTU: its allocations are numbered anew.
    pub run: String,
    /// At most [`MAX_USAGE_ENTRIES`].
    pub entries: Vec<UsageEntry>,
}

/// What one allocation has relayed since it was made: cumulative, so a report may be lost or come
/// twice without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEntry {
    /// Number of the allocation, unique in its run of the MTU.
    pub allocation: u64,
    /// The credential's user name without its expiry: the media session.
    pub user: String,
    /// Bytes from client to peers, payload only.
    pub bytes_to_peers: u64,
    /// Bytes from peers to client, payload only.
    pub bytes_from_peers: u64,
    /// Packets in both directions.
    pub packets: u64,
    /// When the allocation was made.
    pub from: UnixMicros,
    /// Until when this counts.
    pub to: UnixMicros,
    /// How long the allocation has been held.
    pub allocated_s: u32,
    /// Whether it has ended: nothing more comes of it.
    pub ended: bool,
}

/// The CMU's reply to [`MtuUsage`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UsageReply {
    /// Stored: the MTU may forget allocations that have ended.
    Stored,
    /// Not stored.
    Refused {
        /// Why; [`crate::ProblemKind::Internal`] is worth another try, anything else is not.
        problem: Problem,
    },
}
