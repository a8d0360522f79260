//! What a [`Server`](crate::Server) asks of whoever drives it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use stun_rs::{MessageMethod, TransactionId};

use crate::{ClientId, Shortcut, StreamMeter, answer::RawAttribute, answer::Seal};

/// Which of the MTU's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerIndex(pub u16);

/// One relayed address of one server; the number is used again once the relay is closed. Small and
/// dense: meant as an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u32);

impl RelayId {
    pub(crate) fn new(allocation: usize, family: Family) -> Self {
        // A slab never holds 2^31 allocations.
        Self((allocation as u32) << 1 | u32::from(family == Family::V6))
    }

    pub(crate) const fn allocation(self) -> usize {
        (self.0 >> 1) as usize
    }
}

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Whether a packet to a peer may be fragmented on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// It may.
    Allowed,
    /// DONT-FRAGMENT was asked for (RFC 8656 section 11.2).
    Forbidden,
}

/// Which ports will do (RFC 8656 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvenPort {
    /// Any.
    Any,
    /// An even one.
    Even,
    /// An even one; the next one is held for a later allocation.
    EvenAndHoldNext,
}

/// What is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelayProtocol {
    /// Datagrams (RFC 8656).
    Udp,
    /// Connections (RFC 6062).
    Tcp,
}

/// A relayed address that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct OpenRelay<'a> {
    /// How it will be called.
    pub relay: RelayId,
    /// For whom; one client's relays should share an address.
    pub client: ClientId,
    /// The part of the user name after the expiry.
    pub user: &'a str,
    /// Its address family.
    pub family: Family,
    /// What is relayed.
    pub protocol: RelayProtocol,
    /// Which ports will do.
    pub even: EvenPort,
    /// Take exactly this one, which was held.
    pub held: Option<SocketAddr>,
    /// By whose leave bytes pass through its connections; for TCP only.
    pub streams: Option<&'a Arc<StreamMeter>>,
}

/// A relayed address that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// As peers see it.
    pub address: SocketAddr,
    /// The next one, now held, if that was asked for.
    pub held: Option<SocketAddr>,
}

/// No relayed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// None of this family here (440).
    #[error("no relayed addresses of this family")]
    Family,
    /// Nothing of this kind is relayed (442).
    #[error("this protocol is not relayed")]
    Protocol,
    /// None is free now (508).
    #[error("no relayed address is free")]
    Exhausted,
}

/// An ICMP error that came back for a packet to a peer (RFC 8656 section 11.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// For "fragmentation needed" and "packet too big" the MTU, otherwise 0.
    pub data: u32,
}

/// What an allocation has carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Which: a number that no other allocation of this run has.
    pub allocation: u64,
    /// The part of the user name after the expiry.
    pub user: Box<str>,
    /// What lay between client and server.
    pub transport: crate::Transport,
    /// How long it lasted.
    pub lasted: std::time::Duration,
    /// Payload to peers.
    pub bytes_to_peers: u64,
    /// Payload to the client.
    pub bytes_to_client: u64,
    /// Packets in both directions; of connections (RFC 6062), pieces.
    pub packets: u64,
}

/// A peer that a user may not have (403).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedPeer<'a> {
    /// The part of the user name after the expiry.
    pub user: &'a str,
    /// What was asked for.
    pub peer: SocketAddr,
    /// How many others were refused since the last one that was told.
    pub untold: u64,
}

/// A request that the core has authenticated but does not know: for RFC 6062.
#[derive(Debug)]
pub struct ExtensionRequest<'a> {
    /// What is asked.
    pub method: MessageMethod,
    /// Who asks.
    pub client: &'a ClientId,
    /// The part of the user name after the expiry.
    pub user: &'a str,
    /// The relay of this client's TCP allocation and its address, if it has one.
    pub relay: Option<(RelayId, SocketAddr)>,
    /// XOR-PEER-ADDRESS, which the filter allows.
    pub peer: Option<SocketAddr>,
    /// CONNECTION-ID (RFC 6062 section 6.2.1).
    pub connection: Option<u32>,
    /// With which the answer can be given later.
    pub ticket: &'a Ticket,
}

/// What it takes to answer a request later; see [`Server::answer`](crate::Server::answer).
#[derive(Debug, Clone)]
pub struct Ticket {
    pub(crate) client: ClientId,
    pub(crate) method: MessageMethod,
    pub(crate) transaction: TransactionId,
    pub(crate) seal: Seal,
}

impl Ticket {
    /// Who waits for the answer.
    #[must_use]
    pub const fn client(&self) -> &ClientId {
        &self.client
    }
}

/// What became of an [`ExtensionRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// Nobody knows this method (400).
    Unknown,
    /// Done; these attributes go into the answer.
    Done(Vec<RawAttribute>),
    /// Refused with this error code and reason.
    Refused(u16, &'static str),
    /// The answer comes later.
    Later,
}

/// Takes what is to be sent, and opens relayed addresses.
///
/// Payloads are borrowed from what was handed in: who keeps them copies them.
pub trait Driver {
    /// Bytes to a client, in three parts that make one message, from `client.local`. `tail` is
    /// padding; it is there already for clients of streams.
    fn send_to_client(&mut self, client: &ClientId, head: &[u8], payload: &[u8], tail: &[u8]);

    /// A datagram from a relayed address to a peer.
    fn send_to_peer(
        &mut self,
        relay: RelayId,
        peer: SocketAddr,
        payload: &[u8],
        fragment: Fragment,
    );

    /// A datagram from one relayed address of this MTU to another one, which the named worker
    /// owns. It comes to that one's [`handle_relayed`](crate::Server::handle_relayed).
    fn send_to_worker(
        &mut self,
        worker: WorkerIndex,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    );

    /// Hands the named worker a shorter way from its relayed address `from` to this worker's `to`,
    /// for its [`handle_shortcut`](crate::Server::handle_shortcut). If it gets lost, packets go on
    /// the long way. Who takes shortcuts can send to the clients of all workers.
    fn lend_shortcut(
        &mut self,
        worker: WorkerIndex,
        from: SocketAddr,
        to: SocketAddr,
        shortcut: Arc<Shortcut>,
    ) {
        let _ = (worker, from, to, shortcut);
    }

    /// Opens a relayed address, at a port that strangers cannot guess.
    ///
    /// # Errors
    /// [`OpenError`].
    fn open_relay(&mut self, wanted: &OpenRelay<'_>) -> Result<Opened, OpenError>;

    /// Closes it.
    fn close_relay(&mut self, relay: RelayId);

    /// Gives up an address that was held.
    fn release_held(&mut self, address: SocketAddr);

    /// Fills with bytes from a cryptographic generator.
    fn random(&mut self, bytes: &mut [u8]);

    /// An allocation has ended.
    fn ended(&mut self, usage: Usage);

    /// A peer was refused to a user: for the log. What comes too often is not told, but counted.
    fn peer_refused(&mut self, refused: &RefusedPeer<'_>) {
        let _ = refused;
    }

    /// This client has no allocation any more.
    fn released(&mut self, client: &ClientId) {
        let _ = client;
    }

    /// A method that the core does not know.
    fn extend(&mut self, request: &ExtensionRequest<'_>) -> Extension {
        let _ = request;
        Extension::Unknown
    }
}
