//! What may change while the server runs.

use std::{net::SocketAddr, time::Duration};

use crate::{Credentials, peers::PeerRules};

/// A snapshot; a new one is handed in as a whole ([`Server::set_settings`](crate::Server)).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Realm and secrets.
    pub credentials: Credentials,
    /// To whom relays may send.
    pub peers: PeerRules,
    /// Bounds.
    pub limits: Limits,
    /// Where clients come in: needed for RFC 5780, which answers from another one of them.
    pub listening: Vec<Listening>,
    /// No new allocations: clients are sent to one of `alternates` (300), or away (508).
    pub draining: bool,
    /// Other servers, for clients that are sent away.
    pub alternates: Vec<SocketAddr>,
    /// Whether TCP is relayed (RFC 6062); the driver has to open such relays.
    pub tcp_relays: bool,
}

/// One address at which clients come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// As [`ClientId::local`](crate::ClientId) names it.
    pub local: SocketAddr,
    /// As clients see it: another one behind a one-to-one NAT.
    pub announced: SocketAddr,
}

/// Bounds of everything; a rate of `None` is unlimited.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Allocations of all workers.
    pub allocations: u32,
    /// Allocations of one user (486).
    pub allocations_per_user: u32,
    /// Permissions of one allocation (508).
    pub permissions: usize,
    /// Channels of one allocation (508).
    pub channels: usize,
    /// Payload of one allocation, both directions together. Beyond a rate datagrams are dropped, and
    /// connections (RFC 6062) slowed down.
    pub allocation_bytes_per_s: Option<u64>,
    /// Payload of one user.
    pub user_bytes_per_s: Option<u64>,
    /// Payload of the whole server.
    pub server_bytes_per_s: Option<u64>,
    /// Error answers to one subscriber (address or /64) that has not proved itself, by each worker.
    pub refusals_per_s: u32,
    /// Binding answers to one subscriber, by each worker.
    pub bindings_per_s: u32,
    /// Lifetime of an allocation when none is asked for; the shortest too.
    pub lifetime: Duration,
    /// Longest lifetime that is granted.
    pub max_lifetime: Duration,
    /// How long a nonce is good for.
    pub nonce_lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allocations: 10_000,
            allocations_per_user: 32,
            permissions: 256,
            channels: 256,
            allocation_bytes_per_s: None,
            user_bytes_per_s: None,
            server_bytes_per_s: None,
            refusals_per_s: 50,
            bindings_per_s: 200,
            // RFC 8656 section 3.2, section 7.2
            lifetime: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(3_600),
            nonce_lifetime: Duration::from_secs(3_600),
        }
    }
}
