//! Where the unit can be reached (A8.3), as its interfaces say.

use std::net::{IpAddr, SocketAddr};

/// More than these are of no use to a viewer that races them.
const MAX_ADDRESSES: usize = 16;

/// Lists the machine's own addresses that a viewer may try.
#[derive(Debug, Clone, Copy)]
pub struct Interfaces {
    /// Whether loopback counts.
    pub loopback: bool,
}

impl Interfaces {
    /// The addresses now, in a steady order; empty when the system does not say.
    #[must_use]
    pub fn list(self) -> Vec<IpAddr> {
        let interfaces = match if_addrs::get_if_addrs() {
            Ok(interfaces) => interfaces,
            Err(error) => {
                tracing::warn!(%error, "cannot list the network interfaces");
                return Vec::new();
            }
        };
        let mut found: Vec<IpAddr> = interfaces
            .iter()
            .filter(|interface| interface.is_oper_up() || interface.is_loopback())
            .map(if_addrs::Interface::ip)
            .filter(|ip| self.useful(*ip))
            .collect();
        found.sort_unstable();
        found.dedup();
        found.truncate(MAX_ADDRESSES);
        found
    }

    fn useful(self, ip: IpAddr) -> bool {
        let link_local_v6 = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        (self.loopback || !ip.is_loopback()) && !ip.is_unspecified() && !link_local_v6
    }

    /// What of `machine` reaches a socket that is bound to `bound`.
    #[must_use]
    pub fn of_socket(self, bound: SocketAddr, machine: &[IpAddr]) -> Vec<SocketAddr> {
        let ip = bound.ip();
        if !ip.is_unspecified() {
            return if self.useful(ip) { vec![bound] } else { Vec::new() };
        }
        let reached = machine.iter().filter(|m| ip.is_ipv6() || m.is_ipv4());
        reached.map(|ip| SocketAddr::new(*ip, bound.port())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_only_where_it_was_asked_for() {
        let machine: Vec<IpAddr> =
            ["192.168.1.7", "2001:db8::7"].map(|ip| ip.parse().expect("address")).into();
        let quiet = Interfaces { loopback: false };
        let bound = |text: &str| text.parse::<SocketAddr>().expect("address");
        assert!(quiet.of_socket(bound("127.0.0.1:5"), &machine).is_empty());
        assert_eq!(quiet.of_socket(bound("0.0.0.0:5"), &machine), [bound("192.168.1.7:5")]);
        assert_eq!(quiet.of_socket(bound("[::]:5"), &machine).len(), 2);
        assert!(quiet.list().iter().all(|ip| !ip.is_loopback()));
        let demo = Interfaces { loopback: true };
        assert_eq!(demo.of_socket(bound("127.0.0.1:5"), &machine), [bound("127.0.0.1:5")]);
        assert!(demo.list().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
