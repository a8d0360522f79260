//! Where viewers find the device, and what changes of that while it runs.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use sightline_media_io::webrtc::{self, LocalCandidates};
use sightline_p2p_net::gateway::Protocol;
use sightline_protocol::{cm::IceServer, ps::Addresses};
use tokio::sync::watch;

use crate::{
    addresses::Interfaces, identity::Identity, outside::Outside, uplink::Status,
    viewers::stun_servers,
};

/// How often addresses and the button are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1_500);

/// Where viewers find the unit.
pub(crate) struct Reach {
    pub interfaces: Interfaces,
    pub rtsp: SocketAddr,
    pub quic: SocketAddr,
    pub webrtc: SocketAddr,
    pub outside: Outside,
}

impl Reach {
    /// The same with WebRTC where it was bound in the end.
    pub fn with_webrtc(self, webrtc: SocketAddr) -> Self {
        Self { webrtc, ..self }
    }

    pub fn addresses(&self, machine: &[IpAddr]) -> Addresses {
        Addresses {
            rtsp: self.interfaces.of_socket(self.rtsp, machine),
            quic: self.interfaces.of_socket(self.quic, machine),
            nat_rtsp: self.outside.of_socket(Protocol::Tcp, self.rtsp),
            nat_quic: self.outside.of_socket(Protocol::Udp, self.quic),
        }
    }

    pub fn candidates(&self, machine: &[IpAddr], stun_servers: Vec<SocketAddr>) -> LocalCandidates {
        // Port 0 stands for the engine's own.
        let host = machine.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        LocalCandidates {
            host,
            stun_servers,
            mapped: self.outside.of_socket(Protocol::Udp, self.webrtc),
            nat: self.outside.nat.borrow().clone(),
            nat64: *self.outside.nat64.borrow(),
        }
    }
}

/// Looks for what changes around the unit.
pub(crate) struct Look {
    pub reach: Reach,
    pub identity: Arc<Identity>,
    pub engine: webrtc::Engine,
}

impl Look {
    pub async fn run(
        self,
        addresses: watch::Sender<Addresses>,
        unlocked: watch::Sender<bool>,
        mut status: watch::Receiver<Status>,
        mut servers: watch::Receiver<Vec<IceServer>>,
        mut machine: Vec<IpAddr>,
    ) {
        let mut stun = Vec::new();
        let mut outside = self.reach.outside.clone();
        loop {
            tokio::select! {
                () = outside.changed() => {
                    let now = self.reach.addresses(&machine);
                    addresses.send_if_modified(|known| {
                        let changed = *known != now;
                        *known = now;
                        changed
                    });
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    unlocked.send_if_modified(|known| {
                        let now = self.identity.claim_unlocked();
                        std::mem::replace(known, now) != now
                    });
                    let now = self.reach.interfaces.list();
                    if now == machine {
                        continue;
                    }
                    tracing::info!(count = now.len(), "the machine's addresses have changed");
                    machine = now;
                    addresses.send_replace(self.reach.addresses(&machine));
                }
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let lease = status.borrow_and_update().lease.clone();
                    let Some(lease) = lease else { continue };
                    let now = stun_servers(&lease.ice_servers).await;
                    if now == stun {
                        continue;
                    }
                    stun = now;
                }
                Ok(()) = servers.changed(), if stun.is_empty() => {
                    let told = servers.borrow_and_update().clone();
                    stun = stun_servers(&told).await;
                }
            }
            self.engine.set_candidates(self.reach.candidates(&machine, stun.clone())).await;
        }
    }
}
