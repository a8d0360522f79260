//! Which relayed addresses of this MTU are in use, and by which worker: read for every packet by
//! every worker, without a lock.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
};

use crate::driver::WorkerIndex;

/// One entry for each port of each relay address. An entry publishes nothing but itself, so
/// relaxed order is enough: who reads an old one takes the longer way or loses a packet.
#[derive(Debug)]
pub struct LiveRelays(Vec<Ports>);

#[derive(Debug)]
struct Ports {
    ip: IpAddr,
    live: AtomicU32,
    /// Worker + 1; 0 is nobody.
    owners: Box<[AtomicU16]>,
}

impl Ports {
    fn new(ip: IpAddr) -> Self {
        let owners = (0..=u16::MAX).map(|_| AtomicU16::new(0)).collect();
        Self { ip, live: AtomicU32::new(0), owners }
    }
}

impl LiveRelays {
    /// For these relay addresses, as peers see them.
    #[must_use]
    pub fn new(ips: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut all: Vec<Ports> = vec![];
        for ip in ips {
            if all.iter().all(|ports| ports.ip != ip) {
                all.push(Ports::new(ip));
            }
        }
        Self(all)
    }

    fn ports(&self, ip: IpAddr) -> Option<&Ports> {
        self.0.iter().find(|ports| ports.ip == ip)
    }

    /// Whether it is a relay address.
    #[must_use]
    pub fn is_ours(&self, ip: IpAddr) -> bool {
        self.ports(ip).is_some()
    }

    /// Whether anything is relayed at this address now.
    #[must_use]
    pub fn any_at(&self, ip: IpAddr) -> bool {
        self.ports(ip).is_some_and(|ports| ports.live.load(Ordering::Relaxed) > 0)
    }

    /// Who relays there.
    #[must_use]
    pub fn owner(&self, address: SocketAddr) -> Option<WorkerIndex> {
        let ports = self.ports(address.ip())?;
        let owner = ports.owners[usize::from(address.port())].load(Ordering::Relaxed);
        owner.checked_sub(1).map(WorkerIndex)
    }

    pub(crate) fn opened(&self, address: SocketAddr, worker: WorkerIndex) {
        if let Some(ports) = self.ports(address.ip()) {
            let entry = &ports.owners[usize::from(address.port())];
            if entry.swap(worker.0 + 1, Ordering::Relaxed) == 0 {
                ports.live.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn closed(&self, address: SocketAddr) {
        if let Some(ports) = self.ports(address.ip()) {
            let entry = &ports.owners[usize::from(address.port())];
            if entry.swap(0, Ordering::Relaxed) != 0 {
                ports.live.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}
