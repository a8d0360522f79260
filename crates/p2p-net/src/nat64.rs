//! Networks that have IPv6 alone and translate to IPv4 at their border (RFC 6146): the prefix in
//! which they write addresses of IPv4 is found by asking for a name that has none of IPv6
//! (RFC 7050), so that literal addresses of IPv4 can be reached too.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// The name of RFC 7050 section 8.2.
const WELL_KNOWN_NAME: &str = "ipv4only.arpa";
/// Its addresses.
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// How long asking may take.
const ASK: Duration = Duration::from_secs(2);
/// Lengths of prefixes (RFC 6052 section 2.2).
const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];

/// A network's NAT64 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64 {
    prefix: Ipv6Addr,
    length: u8,
}

impl Nat64 {
    /// Asks the network's resolver; `None` where there is no NAT64.
    pub async fn discover() -> Option<Self> {
        let looking = tokio::net::lookup_host((WELL_KNOWN_NAME, 0));
        let found = tokio::time::timeout(ASK, looking).await.ok()?.ok()?;
        let mut v6 = found.filter_map(|address| match address.ip() {
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_none() => Some(ip),
            IpAddr::V6(_) | IpAddr::V4(_) => None,
        });
        v6.find_map(Self::of_answer)
    }

    /// Reads the prefix out of the resolver's answer for the well-known name.
    fn of_answer(answer: Ipv6Addr) -> Option<Self> {
        LENGTHS.into_iter().find_map(|length| {
            let nat64 = Self { prefix: masked(answer, length), length };
            WELL_KNOWN.iter().any(|v4| nat64.synthesize(*v4) == answer).then_some(nat64)
        })
    }

    /// How this network writes `v4` (RFC 6052 section 2.2).
    #[must_use]
    pub fn synthesize(self, v4: Ipv4Addr) -> Ipv6Addr {
        let mut out = self.prefix.octets();
        // Octet 8 is left out, whatever the length.
        let places = (usize::from(self.length) / 8..16).filter(|place| *place != 8);
        for (place, octet) in places.zip(v4.octets()) {
            out[place] = octet;
        }
        out.into()
    }

    /// The address of IPv4 that this network writes as `v6`, if it is one.
    #[must_use]
    pub fn extract(self, v6: Ipv6Addr) -> Option<Ipv4Addr> {
        let octets = v6.octets();
        let mut places = (usize::from(self.length) / 8..16).filter(|place| *place != 8);
        let v4 = Ipv4Addr::from(std::array::from_fn(|_| octets[places.next().unwrap_or(15)]));
        (self.synthesize(v4) == v6).then_some(v4)
    }
}

fn masked(ip: Ipv6Addr, length: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    Ipv6Addr::from(u128::from(ip) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The examples of RFC 6052 section 2.4.
    #[test]
    fn writes_the_examples_of_rfc_6052() {
        let v4 = Ipv4Addr::new(192, 0, 2, 33);
        for (prefix, length, written) in [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::", 96, "64:ff9b::192.0.2.33"),
        ] {
            let nat64 = Nat64 { prefix: prefix.parse().expect("prefix"), length };
            let written: Ipv6Addr = written.parse().expect("address");
            assert_eq!(nat64.synthesize(v4), written, "{prefix}/{length}");
            assert_eq!(nat64.extract(written), Some(v4), "{prefix}/{length}");
            let answer = nat64.synthesize(WELL_KNOWN[0]);
            assert_eq!(Nat64::of_answer(answer), Some(nat64), "{prefix}/{length}");
        }
    }

    #[test]
    fn an_ordinary_address_is_no_prefix() {
        assert_eq!(Nat64::of_answer("2001:db8::1".parse().expect("address")), None);
        let nat64 = Nat64 { prefix: "64:ff9b::".parse().expect("prefix"), length: 96 };
        assert_eq!(nat64.extract("2001:db8::1".parse().expect("address")), None);
    }
}
