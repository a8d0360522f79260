//! How many allocations there can be at a time, whatever `max_allocations` says: each takes a port
//! of a relay address, and an open file.

use std::{collections::HashSet, net::IpAddr};

use sightline_service_kit::config::ConfigError;

use crate::{
    Config,
    udp::{self, Options},
};

/// Open files that are not relays': listeners, the bus, the log, and what comes and goes.
const OTHER_FILES: u64 = 256;

/// What bounds allocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// By `max_allocations`.
    wanted: u32,
    /// By ports of relays.
    ports: u32,
    /// By the limit of open files.
    files: u32,
}

impl Capacity {
    pub(crate) fn of(config: &Config) -> Result<Self, ConfigError> {
        let ports = config.ports()?.unwrap_or(Options::default().ports);
        let binds: HashSet<IpAddr> = config.relays()?.iter().map(|relay| relay.bind()).collect();
        let v4 = binds.iter().filter(|ip| ip.is_ipv4()).count();
        // Who asks for no family gets IPv4 (RFC 8656 section 7.2): once its ports are taken, those
        // of IPv6 help hardly anybody.
        let addresses = if v4 > 0 { v4 } else { binds.len() };
        let files = udp::file_limit().saturating_sub(OTHER_FILES);
        Ok(Self {
            wanted: config.max_allocations,
            ports: u32::try_from(ports.len() * addresses).unwrap_or(u32::MAX),
            files: u32::try_from(files).unwrap_or(u32::MAX),
        })
    }

    /// Allocations that there can be at a time; at least one.
    pub(crate) fn allocations(self) -> u32 {
        self.wanted.min(self.ports).min(self.files).max(1)
    }

    /// Why there can be fewer than `max_allocations`.
    pub(crate) fn warnings(self) -> Vec<String> {
        let Self { wanted, ports, files } = self;
        let of_ports = (ports < wanted).then(|| {
            format!(
                "max_allocations is {wanted}, but there are ports for {ports} relays at a time: \
                 widen relay_ports, name more relay_addresses, or lower max_allocations"
            )
        });
        let of_files = (files < wanted).then(|| {
            format!(
                "max_allocations is {wanted}, but the limit of open files leaves room for {files} \
                 relays: raise it (LimitNOFILE of systemd, ulimit -Hn), or lower max_allocations"
            )
        });
        of_ports.into_iter().chain(of_files).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RelayAddress;

    fn ports(relays: &[&str]) -> u32 {
        let plain = |ip: &&str| RelayAddress::Plain(ip.parse().expect("an address"));
        let config = Config {
            relay_addresses: relays.iter().map(plain).collect(),
            relay_ports: Some((50_000, 50_099)),
            ..Config::default()
        };
        Capacity::of(&config).expect("good").ports
    }

    #[test]
    fn each_address_has_its_own_ports() {
        assert_eq!(ports(&["192.0.2.1"]), 100);
        assert_eq!(ports(&["192.0.2.1", "192.0.2.2", "192.0.2.1"]), 200);
        assert_eq!(ports(&["192.0.2.1", "2001:db8::1", "2001:db8::2"]), 100);
        assert_eq!(ports(&["2001:db8::1", "2001:db8::2"]), 200);
    }

    #[test]
    fn what_is_scarcest_decides_and_is_named() {
        let enough = Capacity { wanted: 1_000, ports: 16_384, files: 10_000 };
        assert_eq!((enough.allocations(), enough.warnings()), (1_000, vec![]));
        let ports = Capacity { ports: 100, ..enough };
        assert_eq!(ports.allocations(), 100);
        assert!(ports.warnings()[0].contains("relay_ports"), "{:?}", ports.warnings());
        let files = Capacity { files: 0, ..enough };
        assert_eq!(files.allocations(), 1, "a share of it can be told");
        assert!(files.warnings()[0].contains("open files"), "{:?}", files.warnings());
    }
}
