//! Interfaces Sd (SCU and MTU, clause 9.24) and Dm (CMU and MTU, clause 9.7).

use serde::{Deserialize, Serialize};
use sightline_model::{MtuId, UnixMicros};

/// Announced by every MTU on [`crate::subject::mtu_status`] every few seconds; SCUs choose among
/// those that they have heard from lately.
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
}
