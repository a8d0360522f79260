//! IPv4 addresses as an IPv6-only network with NAT64 reaches them (RFC 6052, found by RFC 7050).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The addresses of `ipv4only.arpa` (RFC 7050 section 2.2): what its AAAA records embed.
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// The lengths of prefixes that RFC 6052 section 2.2 allows, longest first.
const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];

/// A network's prefix, into which IPv4 addresses are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nat64Prefix {
    prefix: [u8; 16],
    length: u8,
}

impl Nat64Prefix {
    /// `64:ff9b::/96`.
    pub const WELL_KNOWN: Self =
        Self { prefix: [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], length: 96 };

    /// A prefix of 32, 40, 48, 56, 64 or 96 bits.
    #[must_use]
    pub fn new(prefix: Ipv6Addr, length: u8) -> Option<Self> {
        let bytes = usize::from(length / 8);
        let mut kept = prefix.octets();
        LENGTHS.contains(&length).then(|| {
            kept[bytes..].fill(0);
            Self { prefix: kept, length }
        })
    }

    /// The prefix that an AAAA answer for `ipv4only.arpa` shows; `None` when there is no NAT64.
    #[must_use]
    pub fn discover(answer: Ipv6Addr) -> Option<Self> {
        let fits = |length: &u8| {
            let prefix = Self::new(answer, *length)?;
            let found = prefix.extract(answer)?;
            (WELL_KNOWN.contains(&found) && prefix.embed(found) == answer).then_some(prefix)
        };
        LENGTHS.iter().find_map(fits)
    }

    /// Where the bytes of the IPv4 address go: byte 8 stays zero (RFC 6052 section 2.2).
    fn places(self) -> impl Iterator<Item = usize> {
        (usize::from(self.length / 8)..16).filter(|at| *at != 8).take(4)
    }

    /// The IPv6 address under which the network reaches an IPv4 address.
    #[must_use]
    pub fn embed(self, address: Ipv4Addr) -> Ipv6Addr {
        let mut bytes = self.prefix;
        for (place, byte) in self.places().zip(address.octets()) {
            bytes[place] = byte;
        }
        bytes.into()
    }

    /// The IPv4 address in an address of this prefix.
    #[must_use]
    pub fn extract(self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let bytes = address.octets();
        let length = usize::from(self.length / 8);
        let mut found = [0; 4];
        for (byte, place) in found.iter_mut().zip(self.places()) {
            *byte = bytes[place];
        }
        (bytes[..length] == self.prefix[..length]).then(|| found.into())
    }

    /// A server's or the other end's address as this network reaches it; IPv6 stays as it is.
    #[must_use]
    pub fn map(self, address: SocketAddr) -> SocketAddr {
        match address.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::new(self.embed(v4).into(), address.port()),
            IpAddr::V6(v6) => SocketAddr::new(v6.into(), address.port()),
        }
    }

    /// The address as the rest of the Internet knows it.
    #[must_use]
    pub fn unmap(self, address: SocketAddr) -> SocketAddr {
        let extracted = match address.ip() {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => self.extract(v6),
        };
        extracted.map_or(address, |v4| SocketAddr::new(v4.into(), address.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6052 section 2.4.
    #[test]
    fn the_table_of_rfc_6052() {
        let table = [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
        ];
        for (prefix, length, whole) in table {
            let prefix = Nat64Prefix::new(prefix.parse().expect("an address"), length);
            let prefix = prefix.expect("a length of the RFC");
            let (v4, v6) = (Ipv4Addr::new(192, 0, 2, 33), whole.parse().expect("an address"));
            assert_eq!(prefix.embed(v4), v6, "{length}");
            assert_eq!(prefix.extract(v6), Some(v4), "{length}");
        }
    }

    #[test]
    fn the_prefix_is_found_as_rfc_7050_has_it() {
        for length in LENGTHS {
            let prefix = Nat64Prefix::new("2001:db8:1:2:0:3:4:5".parse().expect("one"), length);
            let prefix = prefix.expect("a length of the RFC");
            assert_eq!(Nat64Prefix::discover(prefix.embed(WELL_KNOWN[0])), Some(prefix));
        }
        assert_eq!(Nat64Prefix::discover("2001:db8::1".parse().expect("one")), None);
        assert_eq!(Nat64Prefix::new(Ipv6Addr::LOCALHOST, 95), None);
        let mapped = Nat64Prefix::WELL_KNOWN.map("192.0.2.1:7".parse().expect("one"));
        assert_eq!(mapped, "[64:ff9b::c000:201]:7".parse().expect("one"));
        let back = Nat64Prefix::WELL_KNOWN.unmap(mapped);
        assert_eq!(back, "192.0.2.1:7".parse().expect("one"));
    }
}
