//! This end's sockets and allocations, with what they look like from outside.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::types::{NetworkId, SocketId};
use crate::candidate::{Candidate, CandidateKind, Leg, is_private, priority};

#[derive(Debug)]
pub(super) struct Socket {
    pub id: SocketId,
    pub network: NetworkId,
    /// Through a relay, with this leg.
    pub leg: Option<Leg>,
    /// Its own addresses; of an allocation the relayed one.
    pub hosts: Vec<SocketAddr>,
    pub mapped: Vec<SocketAddr>,
    pub reflexive: Vec<SocketAddr>,
    /// When its mapping was made.
    pub since: Option<Instant>,
    pub generation: u8,
    pub replaces: Option<SocketId>,
    /// When the caller was asked for its successor.
    pub asked: Option<Instant>,
    /// When it goes, unless it comes into use again.
    pub over: Option<Instant>,
    /// Opened for probing.
    pub probe: bool,
    /// A death that its mapping may have caused: its age then.
    pub suspicion: Option<Duration>,
    /// When the other end last said that it sees it elsewhere.
    pub doubted: Option<Instant>,
}

impl Socket {
    pub fn new(id: SocketId, network: NetworkId) -> Self {
        Self {
            id,
            network,
            leg: None,
            hosts: Vec::new(),
            mapped: Vec::new(),
            reflexive: Vec::new(),
            since: None,
            generation: 0,
            replaces: None,
            asked: None,
            over: None,
            probe: false,
            suspicion: None,
            doubted: None,
        }
    }

    /// Whether a check from here to there makes sense.
    pub fn reaches(&self, remote: SocketAddr) -> bool {
        self.hosts.iter().any(|host| {
            let same_kind = host.is_ipv6() == remote.is_ipv6()
                && host.ip().is_loopback() == remote.ip().is_loopback();
            // A relay on the Internet refuses peers in somebody's home.
            let refused = self.leg.is_some() && is_private(remote.ip()) && !is_private(host.ip());
            same_kind && !refused
        })
    }

    /// As what the other end sees it, if it sees this address.
    pub fn kind_seen_as(&self, seen: SocketAddr) -> CandidateKind {
        if let Some(leg) = self.leg {
            CandidateKind::Relayed(leg)
        } else if self.hosts.contains(&seen) {
            CandidateKind::Host
        } else if self.mapped.contains(&seen) {
            CandidateKind::Mapped
        } else {
            CandidateKind::PeerReflexive
        }
    }

    /// For the priority of its checks.
    pub fn host(&self) -> Option<SocketAddr> {
        self.hosts.first().copied()
    }

    /// Whether a NAT's mapping of UDP stands behind it, where the other end sees this address.
    pub fn depends_on_mapping(&self, seen: SocketAddr) -> bool {
        match self.leg {
            None => !self.hosts.contains(&seen) && !self.mapped.contains(&seen),
            Some(Leg::Udp) => true,
            Some(Leg::Tcp | Leg::Tls) => false,
        }
    }

    /// Whether it is in the same network and speaks all that the other one speaks.
    pub fn covers(&self, other: &Self) -> bool {
        let speaks = |v6: bool| self.hosts.iter().any(|host| host.is_ipv6() == v6);
        let all = other.hosts.iter().all(|host| speaks(host.is_ipv6()));
        self.id != other.id && self.network == other.network && all
    }

    /// The line for the other end.
    pub fn candidate(&self, kind: CandidateKind, address: SocketAddr) -> Candidate {
        let priority = priority(kind, self.generation, address.ip());
        // Only equality matters: the kind and the base.
        let foundation = format!("{}{}", kind.code(), self.id.0 % 1_000_000);
        Candidate { foundation, priority, address, kind }
    }

    /// Everything that the other end is told of it.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        let own = self.leg.map_or(CandidateKind::Host, CandidateKind::Relayed);
        let hosts = self.hosts.iter().map(move |a| (own, *a));
        let mapped = self.mapped.iter().map(|a| (CandidateKind::Mapped, *a));
        let fresh = self.reflexive.iter().filter(|a| !self.hosts.contains(a));
        let reflexive = fresh.map(|a| (CandidateKind::ServerReflexive, *a));
        let all = hosts.chain(mapped).chain(reflexive);
        all.filter(|_| !self.probe).map(|(kind, address)| self.candidate(kind, address))
    }
}
