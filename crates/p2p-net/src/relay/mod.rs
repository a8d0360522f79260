//! A place at a TURN server (RFC 8656): [`Relay`].
//!
//! The protocol is `turn-client-proto`'s; here are its sockets (UDP, TCP, TLS), its clock and its
//! task. What is sent to a peer for the first time asks for a permission and waits for it; a peer
//! to which much is sent gets a channel. Both are refreshed for as long as the peer is sent to, or
//! no other one needs its place.
//!
//! What comes from peers goes to the sink that the caller gave: called by the relay's own task, it
//! must not block. A relay deletes its allocation and ends when the last handle is dropped or its
//! token is cancelled, and says so by [`Relay::dead`].

mod core;
mod framing;
mod io;
mod permissions;
mod task;

use std::{
    io as std_io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    core::Core,
    io::{Io, Wire},
};
use crate::{
    nat64::Nat64,
    server::{RelayServer, RelayTransport},
};

/// The next address of a server is tried after this (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// How long an allocation may take, its connection included.
const ALLOCATE: Duration = Duration::from_secs(8);

/// Takes what peers send: who, and one datagram.
pub type Sink = Arc<dyn Fn(SocketAddr, Bytes) + Send + Sync>;

/// How to reach relays.
#[derive(Clone, Default)]
pub struct RelayOptions {
    /// Whom to trust over TLS; without it `turns:` is not tried.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The network's NAT64, where there is one.
    pub nat64: Option<Nat64>,
    /// Ask for a relayed address of IPv6 beside the one of IPv4 (RFC 8656 section 7.1).
    pub both_families: bool,
}

/// Why there is no relay, or no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The server's name.
    #[error("the relay's name {0} is unknown here")]
    Unknown(String),
    /// The way to it.
    #[error("the relay cannot be reached: {0}")]
    Unreachable(String),
    /// Its certificate or the lack of trust.
    #[error("the relay's TLS: {0}")]
    Tls(String),
    /// What it answered.
    #[error("the relay refused: {code} {reason}")]
    Refused {
        /// Code of RFC 8656 section 18.
        code: u16,
        /// The server's words.
        reason: String,
    },
    /// It said nothing.
    #[error("the relay did not answer")]
    Silent,
    /// The allocation is over.
    #[error("the relay has ended the allocation")]
    Ended,
    /// This side has ended it.
    #[error("given up by this side")]
    Cancelled,
}

/// An allocation; cheap to clone.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
    /// The last handle ends the task.
    _alive: Arc<tokio_util::sync::DropGuard>,
}

struct Shared {
    server: SocketAddr,
    local: SocketAddr,
    transport: RelayTransport,
    relayed: Vec<SocketAddr>,
    /// Where the server sees this client; the server-reflexive address of UDP.
    mapped: Option<SocketAddr>,
    core: Arc<Core>,
    io: Arc<Io>,
    dead: watch::Receiver<Option<RelayError>>,
}

impl Relay {
    /// Asks `server` for an allocation; all its addresses are tried, the first that answers wins.
    /// The relay's task belongs to `tasks`.
    ///
    /// # Errors
    /// [`RelayError`]: the last one when there were several addresses.
    pub async fn allocate(
        server: &RelayServer,
        options: &RelayOptions,
        sink: Sink,
        token: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Self, RelayError> {
        let deadline = tokio::time::Instant::now() + ALLOCATE;
        let racing = race(server, options, sink, token, tasks);
        tokio::select! {
            () = token.cancelled() => Err(RelayError::Cancelled),
            result = tokio::time::timeout_at(deadline, racing) => {
                result.unwrap_or(Err(RelayError::Silent))
            }
        }
    }

    /// Where peers reach this relay: the first address.
    #[must_use]
    pub fn relayed_address(&self) -> SocketAddr {
        // There is at least one: `allocate` fails otherwise.
        self.shared.relayed.first().copied().unwrap_or(self.shared.server)
    }

    /// All addresses at which peers reach this relay: at most one a family.
    #[must_use]
    pub fn relayed_addresses(&self) -> &[SocketAddr] {
        &self.shared.relayed
    }

    /// Where the server sees this client.
    #[must_use]
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.shared.mapped
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.shared.server
    }

    /// This end of the leg to the server.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.shared.local
    }

    /// What carries the leg to the server.
    #[must_use]
    pub fn transport(&self) -> RelayTransport {
        self.shared.transport
    }

    /// Lets `peer` send to this relay, before anything is sent there.
    pub fn permit(&self, peer: IpAddr) {
        self.shared.core.permit(peer, Instant::now());
    }

    /// Sends one datagram to `peer`, or with `segment_size` several of that size, the last maybe
    /// shorter. What waits for a permission beyond a bound, and what finds the socket full, is
    /// lost as datagrams are.
    ///
    /// # Errors
    /// [`std_io::ErrorKind::WouldBlock`] when the socket is full, [`std_io::ErrorKind::NotConnected`]
    /// when the relay is dead.
    pub fn send(
        &self,
        peer: SocketAddr,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> std_io::Result<()> {
        if self.is_dead() {
            return Err(std_io::ErrorKind::NotConnected.into());
        }
        self.shared.core.send(&self.shared.io, peer, contents, segment_size)
    }

    /// Resolves when a datagram fits into the socket again, after [`Self::send`] would block.
    pub async fn writable(&self) {
        self.shared.io.writable().await;
    }

    /// Whether the allocation is over.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.shared.dead.borrow().is_some()
    }

    /// Becomes the reason when the allocation is over.
    #[must_use]
    pub fn dead(&self) -> watch::Receiver<Option<RelayError>> {
        self.shared.dead.clone()
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("transport", &self.shared.transport).finish_non_exhaustive()
    }
}

async fn race(
    server: &RelayServer,
    options: &RelayOptions,
    sink: Sink,
    token: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Relay, RelayError> {
    let unknown = || RelayError::Unknown(server.place.to_string());
    let addresses = server.place.resolve(options.nat64).await.map_err(|_| unknown())?;
    let mut tries: FuturesUnordered<_> = addresses
        .into_iter()
        .zip(0_u32..)
        .map(|(address, i)| {
            let sink = Arc::clone(&sink);
            async move {
                tokio::time::sleep(STAGGER * i).await;
                allocate_at(address, server, options, sink, token, tasks).await
            }
        })
        .collect();
    let mut last = unknown();
    while let Some(result) = tries.next().await {
        match result {
            Ok(relay) => return Ok(relay),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One address; follows one ALTERNATE-SERVER (RFC 8489 section 10).
async fn allocate_at(
    address: SocketAddr,
    server: &RelayServer,
    options: &RelayOptions,
    sink: Sink,
    token: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Relay, RelayError> {
    let mut address = address;
    for _ in 0..2 {
        let wire = Wire::open(address, server, options).await?;
        let asked = task::ask(wire, server, options, Arc::clone(&sink), token, tasks).await;
        match asked {
            Err(task::Refusal::Alternate(other)) => address = other,
            Err(task::Refusal::Error(error)) => return Err(error),
            Ok(relay) => return Ok(relay),
        }
    }
    Err(RelayError::Refused { code: 300, reason: "it sends us in a circle".into() })
}
