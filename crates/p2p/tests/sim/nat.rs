//! Routers: address translation and filters of every behaviour, on virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};
use sightline_model::NatDependence;
use sightline_p2p::Nat64Prefix;

use NatDependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};

/// How a router behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    pub mapping: NatDependence,
    pub filtering: NatDependence,
    /// Mappings end after so long, whatever the traffic.
    pub lifetime: Option<Duration>,
    pub hairpin: bool,
    pub udp: bool,
    pub nat64: bool,
}

pub const FULL_CONE: Behaviour = Behaviour {
    mapping: EndpointIndependent,
    filtering: EndpointIndependent,
    lifetime: None,
    hairpin: true,
    udp: true,
    nat64: false,
};
pub const ADDRESS_RESTRICTED: Behaviour = Behaviour { filtering: AddressDependent, ..FULL_CONE };
pub const PORT_RESTRICTED: Behaviour =
    Behaviour { filtering: AddressAndPortDependent, ..FULL_CONE };
pub const SYMMETRIC: Behaviour =
    Behaviour { mapping: AddressAndPortDependent, hairpin: false, ..PORT_RESTRICTED };
pub const DYING: Behaviour =
    Behaviour { lifetime: Some(Duration::from_secs(50)), ..PORT_RESTRICTED };
pub const NO_UDP: Behaviour = Behaviour { udp: false, ..PORT_RESTRICTED };
pub const NAT64: Behaviour = Behaviour { nat64: true, ..PORT_RESTRICTED };

type Key = (SocketAddr, Option<IpAddr>, Option<u16>);

struct Mapping {
    inside: SocketAddr,
    key: Key,
    made: Instant,
    used: Instant,
    peers: BTreeSet<SocketAddr>,
}

pub struct Nat {
    pub behaviour: Behaviour,
    pub outside: IpAddr,
    pub inner: usize,
    pub outer: usize,
    /// Ports that the gateway maps on request.
    pub forwarded: BTreeMap<u16, SocketAddr>,
    by_key: BTreeMap<Key, u16>,
    by_port: BTreeMap<u16, Mapping>,
}

const IDLE: Duration = Duration::from_secs(60);

impl Nat {
    pub fn new(behaviour: Behaviour, outside: IpAddr, inner: usize, outer: usize) -> Self {
        let forwarded = BTreeMap::new();
        let (by_key, by_port) = (BTreeMap::new(), BTreeMap::new());
        Self { behaviour, outside, inner, outer, forwarded, by_key, by_port }
    }

    /// The destination as it is outside, for NAT64.
    pub fn real(&self, to: SocketAddr) -> Option<SocketAddr> {
        match to.ip() {
            IpAddr::V6(v6) if self.behaviour.nat64 => {
                let v4 = Nat64Prefix::WELL_KNOWN.extract(v6)?;
                Some(SocketAddr::new(v4.into(), to.port()))
            }
            _ => Some(to),
        }
    }

    /// The source that a packet gets on its way out.
    pub fn out(
        &mut self,
        now: Instant,
        rng: &mut StdRng,
        inside: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        if !self.behaviour.udp {
            return None;
        }
        if let Some((port, _)) = self.forwarded.iter().find(|(_, to)| **to == inside) {
            return Some(SocketAddr::new(self.outside, *port));
        }
        let key = match self.behaviour.mapping {
            EndpointIndependent => (inside, None, None),
            AddressDependent => (inside, Some(to.ip()), None),
            AddressAndPortDependent => (inside, Some(to.ip()), Some(to.port())),
        };
        let known = self.by_key.get(&key).copied().filter(|port| self.lives(now, *port));
        let port = known.unwrap_or_else(|| {
            let port = loop {
                let port = rng.random_range(1024..=u16::MAX);
                if !self.lives(now, port) && !self.forwarded.contains_key(&port) {
                    break port;
                }
            };
            self.by_key.insert(key, port);
            let peers = BTreeSet::new();
            self.by_port.insert(port, Mapping { inside, key, made: now, used: now, peers });
            port
        });
        let mapping = self.by_port.get_mut(&port)?;
        mapping.used = now;
        mapping.peers.insert(to);
        Some(SocketAddr::new(self.outside, port))
    }

    /// Who gets a packet that comes to a port of the outside.
    pub fn back(&self, now: Instant, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        if !self.behaviour.udp {
            return None;
        }
        if let Some(inside) = self.forwarded.get(&port) {
            return Some(*inside);
        }
        let mapping = self.by_port.get(&port).filter(|_| self.lives(now, port))?;
        let passes = match self.behaviour.filtering {
            EndpointIndependent => true,
            AddressDependent => mapping.peers.iter().any(|peer| peer.ip() == from.ip()),
            AddressAndPortDependent => mapping.peers.contains(&from),
        };
        passes.then_some(mapping.inside)
    }

    fn lives(&self, now: Instant, port: u16) -> bool {
        self.by_port.get(&port).is_some_and(|mapping| {
            let old = self.behaviour.lifetime.is_some_and(|life| now >= mapping.made + life);
            !old && now < mapping.used + IDLE && self.by_key.get(&mapping.key) == Some(&port)
        })
    }

    /// Forgets every mapping, as a router that starts anew.
    pub fn restart(&mut self) {
        self.by_key.clear();
        self.by_port.clear();
    }
}
