//! Relayed addresses: opened within bounds, and filtered in both directions.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use turn::relay::RelayAddressGenerator;
use webrtc_util::Conn;

use crate::peers::PeerFilter;

/// How many ports of the range are tried for one allocation.
const TRIES: usize = 32;

/// Opens relayed addresses for one family.
#[derive(Debug, Clone)]
pub(crate) struct Relays {
    pub(crate) shared: Arc<Shared>,
}

/// What all relays of this MTU have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where sockets are bound.
    pub(crate) bind: IpAddr,
    /// What peers are told: another address than `bind` behind a one-to-one NAT.
    pub(crate) announce: IpAddr,
    /// Ports; the system chooses among its own when absent.
    pub(crate) ports: Option<RangeInclusive<u16>>,
    pub(crate) max: u32,
    pub(crate) open: AtomicU32,
    pub(crate) filter: PeerFilter,
}

impl Shared {
    /// Share of the capacity in use.
    pub(crate) fn load(&self) -> f32 {
        self.open.load(Ordering::Relaxed) as f32 / self.max as f32
    }

    async fn bind(&self, port: u16) -> std::io::Result<UdpSocket> {
        let Some(ports) = self.ports.clone().filter(|_| port == 0) else {
            return UdpSocket::bind((self.bind, port)).await;
        };
        let mut result = Err(std::io::ErrorKind::AddrInUse.into());
        for _ in 0..TRIES {
            // Random, so that a stranger cannot guess where a relay is (CVE-2025-69217).
            let port = rand::random_range(ports.clone());
            result = UdpSocket::bind((self.bind, port)).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

fn failed(error: impl std::fmt::Display) -> turn::Error {
    turn::Error::Other(error.to_string())
}

#[async_trait]
impl RelayAddressGenerator for Relays {
    fn validate(&self) -> Result<(), turn::Error> {
        Ok(())
    }

    async fn allocate_conn(
        &self,
        use_ipv4: bool,
        requested_port: u16,
    ) -> Result<(Arc<dyn Conn + Send + Sync>, SocketAddr), turn::Error> {
        if use_ipv4 != self.shared.announce.is_ipv4() {
            return Err(failed("no relay of this address family"));
        }
        let taken = self
            .shared
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < self.shared.max).then_some(n + 1)
            })
            .is_ok();
        if !taken {
            return Err(failed("all relays are taken"));
        }
        // From here on, dropping `place` gives the place back.
        let mut place = Place { shared: self.shared.clone(), relayed: None };
        let socket = self.shared.bind(requested_port).await.map_err(failed)?;
        let port = socket.local_addr().map_err(failed)?.port();
        let relayed = SocketAddr::new(self.shared.announce, port);
        place.relayed = Some(relayed);
        self.shared.filter.opened(relayed);
        metrics::gauge!("sightline_mtu_allocations").increment(1);
        let relay = Relay { socket, closed: CancellationToken::new(), place };
        Ok((Arc::new(relay), relayed))
    }
}

#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    relayed: Option<SocketAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(relayed) = self.relayed {
            self.shared.filter.closed(relayed);
            metrics::gauge!("sightline_mtu_allocations").decrement(1);
        }
    }
}

/// One relayed address.
#[derive(Debug)]
struct Relay {
    socket: UdpSocket,
    closed: CancellationToken,
    place: Place,
}

impl Relay {
    fn allows(&self, peer: SocketAddr) -> bool {
        let allowed = self.place.shared.filter.allows(peer);
        if !allowed {
            metrics::counter!("sightline_mtu_denied_packets_total").increment(1);
        }
        allowed
    }
}

fn count(direction: &'static str, bytes: usize) {
    metrics::counter!("sightline_mtu_relayed_bytes_total", "direction" => direction)
        .increment(bytes as u64);
}

#[async_trait]
impl Conn for Relay {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Err(std::io::Error::from(std::io::ErrorKind::Unsupported).into())
    }

    async fn recv(&self, buf: &mut [u8]) -> webrtc_util::Result<usize> {
        self.recv_from(buf).await.map(|(n, _)| n)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        loop {
            let received = tokio::select! {
                received = self.socket.recv_from(buf) => received,
                () = self.closed.cancelled() => {
                    return Err(webrtc_util::Error::ErrUseClosedNetworkConn);
                }
            };
            match received {
                Ok((n, peer)) if self.allows(peer) => {
                    count("from_peer", n);
                    return Ok((n, peer));
                }
                Ok(_) => {}
                // An ICMP error about an earlier packet says nothing about the next one.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    async fn send(&self, _: &[u8]) -> webrtc_util::Result<usize> {
        Err(webrtc_util::Error::ErrNoRemAddr)
    }

    /// A packet for a peer that is denied is dropped, and passes for sent: RFC 8656 knows no
    /// error for it.
    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> webrtc_util::Result<usize> {
        if !self.allows(target) {
            return Ok(buf.len());
        }
        count("to_peer", buf.len());
        Ok(self.socket.send_to(buf, target).await?)
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        self.closed.cancel();
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}
