//! Addresses: those by which quinn knows sessions, and both ways to write one of IPv4.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The address by which quinn knows a session.
#[must_use]
pub fn session_address(session: u64) -> SocketAddr {
    let prefix = 0x0100_u128 << 112;
    SocketAddr::new(Ipv6Addr::from(prefix | u128::from(session)).into(), 9)
}

/// The number of the session that quinn knows by this address.
#[must_use]
pub fn session_of(address: SocketAddr) -> Option<u64> {
    let IpAddr::V6(ip) = address.ip() else { return None };
    let bits = u128::from(ip);
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the number")]
    (bits >> 64 == 0x0100_u128 << 48).then_some(bits as u64)
}

pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// As a socket of both families sees it.
pub(super) fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_have_addresses_of_the_discard_prefix() {
        assert_eq!(session_address(7), "[100::7]:9".parse().expect("address"));
        assert_eq!(session_of(session_address(u64::MAX)), Some(u64::MAX));
        for other in ["[101::7]:9", "[100:0:0:1::7]:9", "1.2.3.4:9", "[::ffff:1.2.3.4]:9"] {
            assert_eq!(session_of(other.parse().expect("address")), None, "{other}");
        }
    }
}
