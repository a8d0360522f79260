//! Which way media takes, and what stands in it.

use serde::{Deserialize, Serialize};

/// A rung of the connection ladder, best first: the order of the variants is the preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Rung {
    /// Between the ends' own addresses: one network, or IPv6.
    Host,
    /// Through a port that a home gateway maps (UPnP IGD, NAT-PMP, PCP; A8.3).
    Mapped,
    /// Through the NATs, by addresses that a STUN server told (RFC 8445).
    Punched,
    /// Through a symmetric NAT, by trying many ports.
    Probed,
    /// Through a relay, over UDP (RFC 8656).
    RelayUdp,
    /// Through a relay, over TCP.
    RelayTcp,
    /// Through a relay, over TLS.
    RelayTls,
}

impl Rung {
    /// Whether a relay is in the path.
    #[must_use]
    pub const fn is_relayed(self) -> bool {
        matches!(self, Self::RelayUdp | Self::RelayTcp | Self::RelayTls)
    }
}

/// On what a NAT's mapping, or its filter, depends (RFC 4787 sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NatDependence {
    /// On nothing at the other end.
    EndpointIndependent,
    /// On the other end's address.
    AddressDependent,
    /// On the other end's address and port. As a mapping: a symmetric NAT.
    AddressAndPortDependent,
}

/// What has been measured of the NATs in front of one end (RFC 5780); absent is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NatReport {
    /// Whether UDP comes through at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<bool>,
    /// Whether there is a NAT: whether a server sees another address than the end's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated: Option<bool>,
    /// How ports are mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<NatDependence>,
    /// What is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtering: Option<NatDependence>,
    /// How long a mapping lived although it was used, learned from its death.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping_lifetime_ms: Option<u64>,
    /// Whether the end has no IPv4 of its own and its program does not pass through NAT64, so that it
    /// does not reach the other end, which has IPv4 alone: that is how browsers are (RFC 8445
    /// section 6.1.2.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat64: Option<bool>,
}
