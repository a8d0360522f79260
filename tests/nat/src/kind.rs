//! What may stand between a host and the Internet.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A kind of network, as people have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An own public address, no router.
    Public,
    /// A NAT that lets everybody in at a mapped port.
    FullCone,
    /// A NAT that lets in whoever's address was written to.
    AddressRestricted,
    /// A NAT that lets in whoever's address and port were written to: what most homes have.
    PortRestricted,
    /// A NAT that gives every destination a port of its own.
    Symmetric,
    /// A home's router behind a carrier's.
    DoubleNat,
    /// A carrier's NAT whose mappings end after 50 s, whatever the traffic.
    Carrier,
    /// A firewall that lets no UDP through.
    UdpBlocked,
    /// A firewall that lets nothing through but TLS to port 443.
    #[serde(rename = "only-443")]
    Only443,
    /// A home's router that maps ports when asked (UPnP IGD, NAT-PMP, PCP).
    Gateway,
    /// IPv6 alone, and the rest of the world through NAT64.
    Nat64,
    /// One home for both ends.
    OneHome,
}

/// On what something depends (RFC 4787 sections 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependence {
    /// On nothing at the other end.
    Endpoint,
    /// On the other end's address.
    Address,
    /// On its port, too.
    AddressAndPort,
}

/// What a network does with UDP, as the lab means it to; [`crate::behaviour`] measures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theory {
    /// Whether the outside sees another address.
    pub translated: bool,
    /// How ports are mapped.
    pub mapping: Dependence,
    /// What is let in.
    pub filtering: Dependence,
}

impl Kind {
    /// Those that stand at one end each; [`Kind::OneHome`] stands at both at once.
    pub const APART: [Self; 11] = [
        Self::Public,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
        Self::DoubleNat,
        Self::Carrier,
        Self::UdpBlocked,
        Self::Only443,
        Self::Gateway,
        Self::Nat64,
    ];

    /// Its name in tables and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::DoubleNat => "double-nat",
            Self::Carrier => "carrier",
            Self::UdpBlocked => "udp-blocked",
            Self::Only443 => "only-443",
            Self::Gateway => "gateway",
            Self::Nat64 => "nat64",
            Self::OneHome => "one-home",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Public => "a public IPv4 address, no router",
            Self::FullCone => "NAT: one port for all destinations, open to everybody",
            Self::AddressRestricted => "NAT: one port, open to addresses that were written to",
            Self::PortRestricted => "NAT: one port, open to addresses and ports written to",
            Self::Symmetric => "NAT: another random port for every destination",
            Self::DoubleNat => "a port-restricted NAT behind a port-restricted NAT",
            Self::Carrier => "port-restricted NAT whose mappings end after 50 s, used or not",
            Self::UdpBlocked => "NAT that drops all UDP",
            Self::Only443 => "NAT that drops all but TLS to port 443",
            Self::Gateway => "port-restricted NAT that maps ports when asked (miniupnpd)",
            Self::Nat64 => "IPv6 behind a stateful firewall; IPv4 through NAT64 (tayga)",
            Self::OneHome => "both ends behind one port-restricted NAT",
        }
    }

    /// How it treats UDP; `None` when it lets none through.
    #[must_use]
    pub const fn theory(self) -> Option<Theory> {
        use Dependence::{Address, AddressAndPort, Endpoint};
        let (translated, mapping, filtering) = match self {
            Self::Public => (false, Endpoint, Endpoint),
            Self::FullCone => (true, Endpoint, Endpoint),
            Self::AddressRestricted => (true, Endpoint, Address),
            Self::PortRestricted
            | Self::DoubleNat
            | Self::Carrier
            | Self::Gateway
            | Self::Nat64
            | Self::OneHome => (true, Endpoint, AddressAndPort),
            Self::Symmetric => (true, AddressAndPort, AddressAndPort),
            Self::UdpBlocked | Self::Only443 => return None,
        };
        Some(Theory { translated, mapping, filtering })
    }

    /// How long its mappings live, where they die of age.
    #[must_use]
    pub fn mapping_lifetime(self) -> Option<Duration> {
        (self == Self::Carrier).then_some(Duration::from_secs(50))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::APART.into_iter().chain([Self::OneHome]);
        let found = all.clone().find(|kind| kind.name() == text);
        let names = || all.map(Self::name).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("there is no network {text}; there are {}", names()))
    }
}
