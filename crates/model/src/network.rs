//! What a network address says about who is behind it.

use std::net::{IpAddr, Ipv6Addr};

/// One subscriber: an IPv4 address (one NAT), or the /64 that an IPv6 subscriber has for itself
/// (RFC 6177), since any one host there can have all of its addresses.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}
