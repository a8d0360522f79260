//! What goes into the ladder and comes out of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use sightline_model::{NatReport, Rung};

use crate::{candidate::CandidateKind, check::Role, description::Credentials};

/// The caller's number of a local socket, or of an allocation on a relay: what a datagram goes out
/// through. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// The caller's number of a local network (an interface with its router): what lifetimes of
/// mappings are learned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkId(pub u64);

/// One way to the other end: through this socket to this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The socket, or the allocation.
    pub socket: SocketId,
    /// The other end as seen from there.
    pub remote: SocketAddr,
}

/// An address of this end that the caller has found.
#[derive(Clone, Debug)]
pub struct Local {
    /// What is sent through. One socket may have several addresses.
    pub socket: SocketId,
    /// [`Host`](CandidateKind::Host) for a plain socket and
    /// [`Relayed`](CandidateKind::Relayed) for an allocation come first; then
    /// [`ServerReflexive`](CandidateKind::ServerReflexive) and [`Mapped`](CandidateKind::Mapped)
    /// say what the socket looks like from outside.
    pub kind: CandidateKind,
    /// The address of that kind.
    pub address: SocketAddr,
    /// Where the socket is.
    pub network: NetworkId,
    /// The socket whose place this one takes, as [`Event::NeedSocket`] asked.
    pub replaces: Option<SocketId>,
    /// When the first packet went out, which made the NAT's mapping; `None` when unknown.
    pub since: Option<Instant>,
}

/// What a ladder starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The CU controls, the PU is controlled.
    pub role: Role,
    /// Of this end, for this session only.
    pub credentials: Credentials,
    /// From the caller's random source; never used twice.
    pub seed: [u8; 32],
    /// What has been measured of this end's NATs so far.
    pub nat: NatReport,
    /// What was learned before of how long mappings live.
    pub lifetimes: BTreeMap<NetworkId, Duration>,
    /// Whether ports may be probed, where a symmetric NAT stands in the way.
    pub probing: bool,
}

/// A datagram to be sent: a check or an answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Through this socket or relay.
    pub socket: SocketId,
    /// To there.
    pub to: SocketAddr,
    /// All of it.
    pub bytes: Bytes,
}

/// Whose a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// A check or an answer of this session, believed.
    Check,
    /// Not STUN, and from an end that has proven itself on this path: media of this session.
    Media(Path),
    /// Of this session by its name only, and not believed: dropped.
    Refused,
    /// Of another session, or nobody's.
    NotOurs,
}

/// What the caller has to know or to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// From now on media goes this way.
    Active {
        /// The way.
        path: Path,
        /// Its rung.
        rung: Rung,
    },
    /// No path works at the moment. Gather everything again: addresses, STUN, relays.
    Lost,
    /// The other end has proven itself on this path: packets from there belong to this session.
    PathUp(Path),
    /// No more so.
    PathDown(Path),
    /// Open a fresh socket (or make a fresh allocation, if the old one is one) in the same network,
    /// ask STUN from it, and add both with `replaces`: the mapping of the old one will end.
    NeedSocket {
        /// Whose place it takes.
        replaces: SocketId,
        /// Where.
        network: NetworkId,
    },
    /// Ask STUN servers from this socket what it looks like now, and add what they say, be it
    /// unchanged: a path of it has died, and this tells whether its mapping did; or no direct path
    /// works, and the other end may be checking an address that is none any more.
    NeedReflexive(SocketId),
    /// No relayed path works: make an allocation (another, on another server, if there is one).
    NeedRelay,
    /// Open so many sockets and hand them over with `add_probe_sockets`.
    NeedProbeSockets {
        /// At most [`MAX_PROBE_SOCKETS`](super::MAX_PROBE_SOCKETS).
        count: usize,
    },
    /// Nothing needs this socket or allocation any more; it is out of the ladder already.
    SocketDone(SocketId),
    /// How long a mapping lives in this network, though it is used. To be kept for the next
    /// session.
    LifetimeLearned {
        /// Where.
        network: NetworkId,
        /// So long.
        lifetime: Duration,
    },
}

/// A path as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathState {
    /// The way.
    pub path: Path,
    /// Its rung, or the rung that it would be.
    pub rung: Rung,
    /// Whether it works in both directions: only then may media be sent there.
    pub proven: bool,
    /// Round trip, once proven.
    pub rtt: Option<Duration>,
}

/// An honest account of where the session stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The rung of the active path.
    pub rung: Option<Rung>,
    /// The other end's address on it.
    pub remote: Option<SocketAddr>,
    /// Why no better rung: one sentence for each better one.
    pub why_not_better: Vec<String>,
    /// What stands before this end.
    pub nat_local: NatReport,
    /// What stands before the other, as it says.
    pub nat_remote: NatReport,
    /// Round trip on the active path.
    pub rtt: Option<Duration>,
    /// The rung of the spare.
    pub spare: Option<Rung>,
}
