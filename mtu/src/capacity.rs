//! How many allocations and connections there can be at a time, whatever `max_allocations` and
//! `max_connections` say: an allocation takes a port of a relay address and an open file, or two
//! where it has an address of each family; a client of TCP or TLS takes an open file, too.

use std::{collections::HashSet, net::IpAddr};

use sightline_service_kit::config::ConfigError;

use crate::{
    Config, tcp_relays,
    udp::{self, Options},
};

/// Open files that are not relays': listeners, the bus, the log, and what comes and goes.
const OTHER_FILES: u64 = 256;

/// What bounds allocations and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// By `max_allocations`.
    wanted: u32,
    /// By ports of relays.
    ports: u32,
    /// By the limit of open files.
    files: u32,
    /// By `max_connections`.
    wanted_connections: usize,
    /// By the limit of open files.
    connections: usize,
}

impl Capacity {
    pub(crate) fn of(config: &Config) -> Result<Self, ConfigError> {
        Self::within(config, udp::file_limit())
    }

    /// With so many open files.
    fn within(config: &Config, limit: u64) -> Result<Self, ConfigError> {
        let ports = config.ports()?.unwrap_or(Options::default().ports);
        let binds: HashSet<IpAddr> = config.relays()?.iter().map(|relay| relay.bind()).collect();
        let v4 = binds.iter().filter(|ip| ip.is_ipv4()).count();
        let has_both = v4 > 0 && v4 < binds.len();
        // Who asks for no family gets IPv4 (RFC 8656 section 7.2): once its ports are taken, those
        // of IPv6 help hardly anybody.
        let addresses = if v4 > 0 { v4 } else { binds.len() };
        let files = Files::shared(config, has_both, limit);
        Ok(Self {
            wanted: config.max_allocations,
            ports: u32::try_from(ports.len() * addresses).unwrap_or(u32::MAX),
            files: u32::try_from(files.allocations).unwrap_or(u32::MAX),
            wanted_connections: config.max_connections,
            connections: usize::try_from(files.connections).unwrap_or(usize::MAX),
        })
    }

    /// Allocations that there can be at a time; at least one.
    pub(crate) fn allocations(self) -> u32 {
        self.wanted.min(self.ports).min(self.files).max(1)
    }

    /// Clients of TCP and TLS that there can be at a time; at least one.
    pub(crate) fn connections(self) -> usize {
        self.wanted_connections.min(self.connections).max(1)
    }

    /// Why there can be fewer than `max_allocations` and `max_connections`.
    pub(crate) fn warnings(self) -> Vec<String> {
        let Self { wanted, ports, files, wanted_connections, connections } = self;
        let of_ports = (ports < wanted).then(|| {
            format!(
                "max_allocations is {wanted}, but there are ports for {ports} relays at a time: \
                 widen relay_ports, name more relay_addresses, or lower max_allocations"
            )
        });
        let of_files = (files < wanted).then(|| {
            format!(
                "max_allocations is {wanted}, but the limit of open files leaves room for {files} \
                 relays: raise it (LimitNOFILE of systemd, ulimit -Hn), or lower max_allocations \
                 or max_connections"
            )
        });
        let of_clients = (connections < wanted_connections).then(|| {
            format!(
                "max_connections is {wanted_connections}, but the limit of open files leaves room \
                 for {connections} clients of TCP and TLS: raise it (LimitNOFILE of systemd, \
                 ulimit -Hn), or lower max_connections or max_allocations"
            )
        });
        of_ports.into_iter().chain(of_files).chain(of_clients).collect()
    }
}

/// What open files are enough for.
struct Files {
    allocations: u64,
    connections: u64,
}

impl Files {
    /// Where they are not enough for all, neither kind takes more than half of them from the other:
    /// a client of TCP without a relay is served as little as a relay without its client.
    fn shared(config: &Config, has_both: bool, limit: u64) -> Self {
        let of_allocation = if has_both { 2 } else { 1 };
        // A relayed connection is one to the peer beside the client's.
        let (of_connection, pending) =
            if config.tcp_relays { (2, tcp_relays::MAX_PENDING as u64) } else { (1, 0) };
        let files = limit.saturating_sub(OTHER_FILES + pending);
        let connections = config.max_connections as u64;
        if config.tcp_listen.is_empty() && config.shared_tls_ports.is_empty() {
            return Self { allocations: files / of_allocation, connections };
        }
        let of_allocations = u64::from(config.max_allocations) * of_allocation;
        let left = files.saturating_sub(of_allocations).max(files / 2);
        let connections = connections.min(left / of_connection);
        let allocations = (files - connections * of_connection) / of_allocation;
        Self { allocations, connections }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::RelayAddress;

    fn relaying_at(relays: &[&str]) -> Config {
        let plain = |ip: &&str| RelayAddress::Plain(ip.parse().expect("an address"));
        Config {
            relay_addresses: relays.iter().map(plain).collect(),
            relay_ports: Some((50_000, 50_099)),
            ..Config::default()
        }
    }

    fn ports(relays: &[&str]) -> u32 {
        Capacity::of(&relaying_at(relays)).expect("good").ports
    }

    #[test]
    fn each_address_has_its_own_ports() {
        assert_eq!(ports(&["192.0.2.1"]), 100);
        assert_eq!(ports(&["192.0.2.1", "192.0.2.2", "192.0.2.1"]), 200);
        assert_eq!(ports(&["192.0.2.1", "2001:db8::1", "2001:db8::2"]), 100);
        assert_eq!(ports(&["2001:db8::1", "2001:db8::2"]), 200);
    }

    /// Relays and clients of TCP that so many files beside [`OTHER_FILES`] are enough for.
    fn room(config: &Config, files: u64) -> (u32, usize) {
        let capacity = Capacity::within(config, OTHER_FILES + files).expect("good");
        (capacity.files, capacity.connections)
    }

    #[test]
    fn an_allocation_of_both_families_takes_two_files() {
        assert_eq!(room(&relaying_at(&["192.0.2.1", "192.0.2.2"]), 5_000).0, 5_000);
        assert_eq!(room(&relaying_at(&["192.0.2.1", "2001:db8::1"]), 5_000).0, 2_500);
        assert_eq!(room(&relaying_at(&["2001:db8::1"]), 5_000).0, 5_000);
        let config = relaying_at(&["192.0.2.1"]);
        assert_eq!(Capacity::within(&config, 0).expect("good").files, 0);
    }

    #[test]
    fn clients_of_tcp_take_files_too() {
        let without = relaying_at(&["192.0.2.1"]);
        let served = Config {
            tcp_listen: SocketAddr::from(([192, 0, 2, 1], 3_478)).into(),
            max_allocations: 1_000,
            max_connections: 10_000,
            ..relaying_at(&["192.0.2.1"])
        };
        let shared = Config { shared_tls_ports: vec![443], ..without.clone() };
        assert_eq!(room(&without, 12_000), (12_000, 10_000), "nobody comes by TCP");
        for config in [&served, &shared] {
            assert_eq!(room(config, 12_000), (2_000, 10_000));
            assert_eq!(room(config, 8_000), (1_000, 7_000), "relays first, up to a half");
            assert_eq!(room(config, 1_000), (500, 500));
        }
        let many = Config { max_allocations: 10_000, ..served.clone() };
        assert_eq!(room(&many, 12_000), (6_000, 6_000));
        // A relayed connection is one to the peer, too.
        let relayed = Config { tcp_relays: true, ..served };
        let pending = tcp_relays::MAX_PENDING as u64;
        assert_eq!(room(&relayed, pending + 8_000), (1_000, 3_500));
    }

    #[test]
    fn what_is_scarcest_decides_and_is_named() {
        let enough = Capacity {
            wanted: 1_000,
            ports: 16_384,
            files: 10_000,
            wanted_connections: 5_000,
            connections: 5_000,
        };
        assert_eq!((enough.allocations(), enough.warnings()), (1_000, vec![]));
        assert_eq!(enough.connections(), 5_000);
        let ports = Capacity { ports: 100, ..enough };
        assert_eq!(ports.allocations(), 100);
        assert!(ports.warnings()[0].contains("relay_ports"), "{:?}", ports.warnings());
        let files = Capacity { files: 0, ..enough };
        assert_eq!(files.allocations(), 1, "a share of it can be told");
        assert!(files.warnings()[0].contains("open files"), "{:?}", files.warnings());
        let connections = Capacity { connections: 0, ..enough };
        assert_eq!(connections.connections(), 1);
        let warnings = connections.warnings();
        assert!(warnings[0].starts_with("max_connections is 5000"), "{warnings:?}");
    }
}
