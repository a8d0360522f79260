//! Sockets as the data path needs them.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    num::NonZeroUsize,
    os::fd::AsFd,
};

use nix::sys::socket::{self as nix_socket, sockopt as nix_option};
use quinn_udp::{UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use super::StartError;

/// What waits in the kernel at a listening socket: bursts of many clients.
const LISTENER_BUFFER: usize = 4 << 20;
/// At a relay: bursts of one call.
const RELAY_BUFFER: usize = 512 << 10;
/// File descriptors for a hundred thousand relays and then some.
const FILES: u64 = 1 << 18;

/// A UDP socket, and what `quinn-udp` knows about it.
#[derive(Debug)]
pub(super) struct Udp {
    pub(super) socket: UdpSocket,
    pub(super) state: UdpSocketState,
}

impl Udp {
    fn new(socket: Socket, buffer: usize) -> io::Result<Self> {
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        enlarge(&socket, buffer);
        // `quinn-udp` forbids fragmentation, as QUIC does.
        if let Err(error) = set_fragment(&socket, true) {
            tracing::debug!(%error, "packets that are too long for their path get lost");
        }
        if let Err(error) = silence(&socket) {
            tracing::debug!(%error, "packets come with more than is needed");
        }
        Ok(Self { socket, state })
    }
}

/// What `quinn-udp` wants to know of each packet for QUIC, and a relay does not: each costs the
/// kernel something for each packet. To which address a packet came matters where there are many.
fn silence(socket: &UdpSocket) -> io::Result<()> {
    nix_socket::setsockopt(socket, nix_option::ReceiveTimestampns, &false)?;
    let local = socket.local_addr()?;
    match local.ip() {
        IpAddr::V4(ip) => {
            sockopt::set_ip_recvtos(socket, false)?;
            if !ip.is_unspecified() {
                nix_socket::setsockopt(socket, nix_option::Ipv4PacketInfo, &false)?;
            }
        }
        IpAddr::V6(ip) => {
            sockopt::set_ipv6_recvtclass(socket, false)?;
            if !ip.is_unspecified() {
                nix_socket::setsockopt(socket, nix_option::Ipv6RecvPacketInfo, &false)?;
            }
        }
    }
    Ok(())
}

/// A relay's socket. Peers' ICMP errors come to its error queue.
pub(super) fn relay(bind: SocketAddr) -> io::Result<Udp> {
    let udp = Udp::new(bound(bind, false)?, RELAY_BUFFER)?;
    udp.state.enable_transport_errors(UdpSockRef::from(&udp.socket))?;
    Ok(udp)
}

/// Packets may be fragmented, to peers unless the client forbids it, and to clients (RFC 8656
/// section 15, whose alternate behaviour this is: how a packet came does not matter). The system
/// then cuts them to what it knows of the path.
pub(super) fn set_fragment(socket: &UdpSocket, allowed: bool) -> io::Result<()> {
    match socket.local_addr()?.ip() {
        IpAddr::V4(_) => {
            let v4 = match allowed {
                true => Ipv4PathMtuDiscovery::DONT,
                false => Ipv4PathMtuDiscovery::PROBE,
            };
            sockopt::set_ip_mtu_discover(socket, v4)?;
        }
        IpAddr::V6(_) => {
            let v6 = match allowed {
                true => Ipv6PathMtuDiscovery::DONT,
                false => Ipv6PathMtuDiscovery::PROBE,
            };
            sockopt::set_ipv6_mtu_discover(socket, v6)?;
            // Without it, Linux fragments in spite of the option above; with it, never.
            nix_socket::setsockopt(socket, nix_option::Ipv6DontFrag, &!allowed)?;
        }
    }
    Ok(())
}

/// Listening sockets of all workers.
pub(super) struct Listeners {
    pub(super) addresses: Vec<SocketAddr>,
    /// For each worker, one for each address.
    pub(super) sockets: Vec<Vec<(SocketAddr, Udp)>>,
}

pub(super) fn listen(
    addresses: &[SocketAddr],
    workers: NonZeroUsize,
) -> Result<Listeners, StartError> {
    let mut listeners = Listeners { addresses: vec![], sockets: vec![] };
    listeners.sockets.resize_with(workers.get(), Vec::new);
    for &wanted in addresses {
        let failed = |source| StartError::Listen { address: wanted, source };
        let mut address = wanted;
        for sockets in &mut listeners.sockets {
            let udp = bound(address, true).and_then(|socket| Udp::new(socket, LISTENER_BUFFER));
            let udp = udp.map_err(failed)?;
            // Where any port will do, the first worker's is everybody's.
            address = udp.socket.local_addr().map_err(failed)?;
            sockets.push((address, udp));
        }
        listeners.addresses.push(address);
    }
    Ok(listeners)
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// As far as the system lets us: without the right to more, less will do.
fn enlarge(socket: &UdpSocket, buffer: usize) {
    let fd = socket.as_fd();
    let _ = sockopt::set_socket_recv_buffer_size_force(fd, buffer)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(fd, buffer));
    let _ = sockopt::set_socket_send_buffer_size(fd, buffer);
}

/// Every relayed address is a file descriptor.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum;
    limit.current = Some(hard.map_or(FILES, |hard| hard.max(FILES)));
    limit.maximum = limit.current;
    if setrlimit(Resource::Nofile, limit).is_ok() {
        return;
    }
    // Without the right to raise the hard limit.
    limit.current = hard;
    limit.maximum = hard;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// How many files this process may open at a time once it has [raised](raise_file_limit) its limit;
/// before that, how many it may at least: with the right to it, the limit is raised further.
pub(crate) fn file_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(FILES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbids_fragments(udp: &Udp) -> bool {
        match udp.socket.local_addr().expect("bound") {
            SocketAddr::V4(_) => {
                let v4 = sockopt::ip_mtu_discover(&udp.socket).expect("known");
                v4 != Ipv4PathMtuDiscovery::DONT
            }
            SocketAddr::V6(_) => {
                let v6 = sockopt::ipv6_mtu_discover(&udp.socket).expect("known");
                let never = nix_socket::getsockopt(&udp.socket, nix_option::Ipv6DontFrag);
                v6 != Ipv6PathMtuDiscovery::DONT || never.expect("known")
            }
        }
    }

    #[test]
    fn fragments_are_forbidden_only_where_a_client_asks_for_it() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let local = local.parse().expect("an address");
            let listeners = listen(&[local], NonZeroUsize::MIN).expect("bound");
            assert!(!forbids_fragments(&listeners.sockets[0][0].1), "to clients at {local}");
            let relay = relay(local).expect("bound");
            assert!(!forbids_fragments(&relay), "to peers from {local}");
            set_fragment(&relay.socket, false).expect("forbidden");
            assert!(forbids_fragments(&relay));
            set_fragment(&relay.socket, true).expect("allowed");
            assert!(!forbids_fragments(&relay), "for ever");
        }
    }
}
