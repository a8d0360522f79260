//! What a network address says about who is behind it.

use std::net::IpAddr;

use sightline_model::subscriber;

/// The network that is counted as one sender: /24 of IPv4, /64 of IPv6, in text.
#[must_use]
pub fn prefix(ip: IpAddr) -> String {
    match subscriber(ip) {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => format!("{v6}/64"),
    }
}

/// Whether two addresses are behind the same access line: the same IPv4 address (one NAT), or the
/// same IPv6 /64 (A8.2 step 2, the device is located where its owner is).
#[must_use]
pub fn same_place(a: IpAddr, b: IpAddr) -> bool {
    subscriber(a) == subscriber(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn neighbours_share_a_prefix() {
        assert_eq!(prefix(ip("192.0.2.7")), "192.0.2.0/24");
        assert_eq!(prefix(ip("::ffff:192.0.2.7")), "192.0.2.0/24");
        assert_eq!(prefix(ip("2001:db8:1:2:3::4")), prefix(ip("2001:db8:1:2:ffff::")));
    }

    #[test]
    fn a_place_is_one_line() {
        assert!(same_place(ip("::ffff:192.0.2.7"), ip("192.0.2.7")));
        assert!(!same_place(ip("192.0.2.7"), ip("192.0.2.8")));
        assert!(same_place(ip("2001:db8::1"), ip("2001:db8::2")));
        assert!(!same_place(ip("2001:db8::1"), ip("192.0.2.8")));
    }
}
