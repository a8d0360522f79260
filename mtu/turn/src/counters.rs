//! What a server has done, for metrics.

/// Ever-growing numbers of one [`Server`](crate::Server).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets and payload from clients to peers.
    pub packets_to_peers: u64,
    /// Its payload.
    pub bytes_to_peers: u64,
    /// Packets from peers to clients.
    pub packets_to_clients: u64,
    /// Its payload.
    pub bytes_to_clients: u64,
    /// Of those, packets that never left this MTU.
    pub packets_between_own: u64,
    /// Packets and requests for peers that are denied.
    pub denied_peers: u64,
    /// Packets of peers without permission.
    pub unpermitted: u64,
    /// Packets from clients without an allocation, a permission or a channel for it.
    pub undeliverable: u64,
    /// Packets beyond a limit of bandwidth.
    pub over_bandwidth: u64,
    /// What is neither STUN nor ChannelData.
    pub garbage: u64,
    /// Binding answers.
    pub bindings: u64,
    /// Requests that proved themselves.
    pub authenticated: u64,
    /// 401 and 438 answers.
    pub challenges: u64,
    /// Answers withheld, since their subscriber has had enough.
    pub limited: u64,
    /// Allocations made.
    pub allocations: u64,
    /// Allocations refused: 486, 508, 300.
    pub refused_allocations: u64,
}
