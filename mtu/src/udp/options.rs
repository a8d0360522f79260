//! What cannot change while the workers run.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use super::TcpRelays;

/// How the workers start.
#[derive(Clone)]
pub struct Options {
    /// Where clients are served; port 0 for any.
    pub listen: Vec<SocketAddr>,
    /// Where relays are opened.
    pub relays: Vec<RelayAddress>,
    /// At which ports.
    pub ports: RangeInclusive<u16>,
    /// Threads.
    pub workers: NonZeroUsize,
    /// Under load, packets wait so long for others of their kind. Zero: never.
    pub coalesce: Duration,
    /// Whether to send several packets at once where the system can.
    pub gso: bool,
    /// Who relays TCP, if anybody (RFC 6062).
    pub tcp_relays: Option<Arc<dyn TcpRelays>>,
}

/// One address of relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayAddress {
    /// Where sockets are bound.
    pub bind: IpAddr,
    /// What peers are told: another one behind a one-to-one NAT.
    pub announced: IpAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: vec![],
            relays: vec![],
            // RFC 8656 section 7.2
            ports: 49_152..=65_535,
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            coalesce: Duration::from_micros(500),
            gso: true,
            tcp_relays: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("relays", &self.relays)
            .field("ports", &self.ports)
            .field("workers", &self.workers)
            .field("coalesce", &self.coalesce)
            .field("gso", &self.gso)
            .field("tcp_relays", &self.tcp_relays.is_some())
            .finish()
    }
}
