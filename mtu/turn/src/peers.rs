//! To whom a relay may send. Without this, a relay is a way into the operator's own network
//! (coturn CVE-2020-26262, CVE-2026-27624).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::live::LiveRelays;

/// Which peers are refused.
#[derive(Debug, Clone, Default)]
pub struct PeerRules {
    /// Networks that are allowed although they would be denied.
    pub allowed: Vec<IpNet>,
    /// Networks that are denied although they would be allowed; they come before `allowed`.
    pub denied: Vec<IpNet>,
    /// Addresses of this machine.
    pub own: Vec<IpAddr>,
}

impl PeerRules {
    /// Whether packets may go to and come from this peer. A live relayed address of ours may be a
    /// peer: when both ends of a call are relayed here, each is the other's.
    #[must_use]
    pub fn allows(&self, live: &LiveRelays, peer: SocketAddr) -> bool {
        self.judge(peer.ip()).unwrap_or_else(|| live.owner(peer).is_some())
    }

    /// Whether there may be a permission for this address, whatever the port will be
    /// (RFC 8656 section 9).
    #[must_use]
    pub fn allows_ip(&self, live: &LiveRelays, ip: IpAddr) -> bool {
        self.judge(ip).unwrap_or_else(|| live.any_at(ip))
    }

    /// Whether a TCP connection may be made to, or taken from, this address (RFC 6062): our own
    /// addresses have live relays of UDP alone, so they are no exception here.
    #[must_use]
    pub fn allows_connection(&self, ip: IpAddr) -> bool {
        self.judge(ip) == Some(true)
    }

    /// `None` where it depends on who is relayed there.
    fn judge(&self, ip: IpAddr) -> Option<bool> {
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&ip));
        if within(&self.denied) {
            return Some(false);
        }
        if within(&self.allowed) {
            return Some(true);
        }
        if is_denied(ip) || self.own.contains(&ip.to_canonical()) { None } else { Some(true) }
    }
}

/// Addresses that no stranger has any business with.
fn is_denied(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_denied_v4(ip),
        IpAddr::V6(ip) => is_denied_v6(ip),
    }
}

fn is_denied_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        // RFC 6598, RFC 6890, RFC 2544, RFC 7526
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 88 && c == 99)
}

fn is_denied_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || ip.is_unicast_link_local()
        || ip.is_unique_local()
        // Site-local, RFC 3879
        || segments[0] & 0xffc0 == 0xfec0
        // Whatever carries an IPv4 address within: mapped and compatible, translated (RFC 6052,
        // RFC 8215), 6to4, Teredo. Their IPv4 peers are reached as such.
        || segments[..5] == [0; 5]
        || segments[..2] == [0x64, 0xff9b]
        || segments[0] == 0x2002
        || segments[..2] == [0x2001, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkerIndex;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    const DENIED: [&str; 26] = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.8",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "fe80::1",
        "fd00::1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "ff02::1",
    ];

    #[test]
    fn inner_addresses_are_refused_and_others_are_not() {
        let rules = PeerRules { own: vec![ip("203.0.113.9")], ..Default::default() };
        let live = LiveRelays::new([]);
        for denied in DENIED {
            assert!(!rules.allows_ip(&live, ip(denied)), "{denied} was let through");
            let peer = SocketAddr::new(ip(denied), 9);
            assert!(!rules.allows(&live, peer), "{denied} was let through");
        }
        for allowed in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "203.0.113.8", "2606:4700::1"] {
            assert!(rules.allows_ip(&live, ip(allowed)), "{allowed} was refused");
        }
    }

    #[test]
    fn the_own_address_is_refused_but_for_live_relays() {
        let own = ip("203.0.113.9");
        let rules = PeerRules { own: vec![own], ..Default::default() };
        let live = LiveRelays::new([own]);
        let (relay, other) = (SocketAddr::new(own, 50_000), SocketAddr::new(own, 22));
        assert!(!rules.allows_ip(&live, own) && !rules.allows(&live, relay));
        live.opened(relay, WorkerIndex(0));
        assert!(rules.allows_ip(&live, own) && rules.allows(&live, relay));
        assert!(!rules.allows(&live, other));
        live.closed(relay);
        assert!(!rules.allows_ip(&live, own) && !rules.allows(&live, relay));
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let live = LiveRelays::new([]);
        let rules = PeerRules {
            allowed: vec!["127.0.0.0/8".parse().expect("a network")],
            denied: vec!["8.8.8.0/24".parse().expect("a network")],
            own: vec![],
        };
        assert!(rules.allows_ip(&live, ip("127.0.0.1")));
        assert!(!rules.allows_ip(&live, ip("::ffff:127.0.0.1")));
        assert!(!rules.allows_ip(&live, ip("10.0.0.1")));
        assert!(!rules.allows_ip(&live, ip("8.8.8.8")));
    }
}
