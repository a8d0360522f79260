//! Devices of this LAN, by mDNS (RFC 6762, RFC 6763; decision 0101): a PU says where it is, an NVR finds it
//! there without the centre. What answers is believed after the handshake alone: the id is the key's.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use parking_lot::Mutex;
use sightline_model::PuId;
use sightline_service_kit::lifecycle::Lifecycle;

/// What PUs announce. The instance is the id; the port is that of RTSP inside QUIC. Nothing else is told.
const SERVICE: &str = "_sightline-pu._udp.local.";
/// Devices that are remembered, and addresses of each: whoever floods the network fills no memory.
const MAX_DEVICES: usize = 1_024;
const MAX_ADDRESSES: usize = 8;

/// Says where this PU is, until the service ends. Where there is no multicast nobody hears it, and nothing
/// else is amiss.
pub fn announce(pu: &PuId, quic: SocketAddr, lifecycle: &Lifecycle) {
    if quic.ip().is_loopback() {
        return;
    }
    let announced = ServiceDaemon::new().and_then(|daemon| {
        let host = format!("sightline-{pu}.local.");
        let service = ServiceInfo::new(SERVICE, pu.as_str(), &host, "", quic.port(), None)?;
        daemon.register(service.enable_addr_auto())?;
        Ok(daemon)
    });
    match announced {
        Ok(daemon) => shut_down(daemon, lifecycle),
        Err(error) => tracing::info!(%error, "this unit is not announced on the LAN"),
    }
}

fn shut_down(daemon: ServiceDaemon, lifecycle: &Lifecycle) {
    lifecycle.spawn_graceful(|token| async move {
        token.cancelled().await;
        // It says goodbye by itself.
        if let Err(error) = daemon.shutdown() {
            tracing::debug!(%error, "mDNS has ended before");
        }
    });
}

/// PUs that have announced themselves; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lan {
    known: Arc<Mutex<HashMap<PuId, Vec<SocketAddr>>>>,
}

impl Lan {
    /// Listens until the service ends. Where there is no multicast nobody is found.
    #[must_use]
    pub fn look(lifecycle: &Lifecycle) -> Self {
        let lan = Self::default();
        let browsing = ServiceDaemon::new().and_then(|daemon| {
            let events = daemon.browse(SERVICE)?;
            Ok((daemon, events))
        });
        match browsing {
            Ok((daemon, events)) => {
                let found = lan.clone();
                lifecycle.spawn(async move {
                    while let Ok(event) = events.recv_async().await {
                        found.heard(event);
                    }
                });
                shut_down(daemon, lifecycle);
            }
            Err(error) => tracing::info!(%error, "nobody is looked for on the LAN"),
        }
        lan
    }

    /// Where a device says that it is.
    #[must_use]
    pub fn addresses_of(&self, pu: &PuId) -> Vec<SocketAddr> {
        self.known.lock().get(pu).cloned().unwrap_or_default()
    }

    fn heard(&self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(service) => self.found(&service),
            ServiceEvent::ServiceRemoved(_, fullname) => {
                if let Some(pu) = device(&fullname) {
                    self.known.lock().remove(&pu);
                }
            }
            // The daemon's own business.
            _ => {}
        }
    }

    fn found(&self, service: &ResolvedService) {
        let Some(pu) = device(&service.fullname) else { return };
        let ips = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
        self.put(pu, service.port, ips);
    }

    fn put(&self, pu: PuId, port: u16, ips: impl Iterator<Item = IpAddr>) {
        let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let usable = ips.filter(|ip| !ip.is_unspecified() && !ip.is_multicast() && !link_local(ip));
        let mut addresses: Vec<_> =
            usable.take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, port)).collect();
        addresses.sort_unstable();
        let mut known = self.known.lock();
        if port != 0 && (known.len() < MAX_DEVICES || known.contains_key(&pu)) {
            known.insert(pu, addresses);
        }
    }
}

/// The device whose announcement bears this name.
fn device(fullname: &str) -> Option<PuId> {
    fullname.strip_suffix(SERVICE)?.strip_suffix('.')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use sightline_model::PublicKey;

    use super::*;

    fn pu(n: u8) -> PuId {
        PuId::from_public_key(&PublicKey::from_bytes([n; 32]))
    }

    #[test]
    fn only_ids_of_devices_are_heard() {
        assert_eq!(device(&format!("{}.{SERVICE}", pu(1))), Some(pu(1)));
        for bad in ["", SERVICE, "yard._sightline-pu._udp.local.", "../x._sightline-pu._udp.local."]
        {
            assert_eq!(device(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_flood_of_announcements_is_bounded() {
        let lan = Lan::default();
        let ip = |n: u8| IpAddr::from([192, 168, 1, n]);
        lan.put(pu(1), 8_555, (1..=200).map(ip));
        assert_eq!(lan.addresses_of(&pu(1)).len(), MAX_ADDRESSES);
        for n in 0..2_000_u32 {
            let mut key = [9; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            let other = PuId::from_public_key(&PublicKey::from_bytes(key));
            lan.put(other, 1, std::iter::once(ip(1)));
        }
        assert_eq!(lan.known.lock().len(), MAX_DEVICES);
        // Who was known may still move.
        lan.put(pu(1), 8_555, std::iter::once(ip(7)));
        assert_eq!(lan.addresses_of(&pu(1)), [SocketAddr::new(ip(7), 8_555)]);
        lan.put(pu(1), 8_555, [IpAddr::from([0, 0, 0, 0])].into_iter());
        assert!(lan.addresses_of(&pu(1)).is_empty());
    }
}
