//! ICMP errors that came back for packets to peers.

use std::{io::IoSliceMut, net::SocketAddr, os::fd::AsRawFd};

use mtu_turn::IcmpError;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

use super::sockets::Udp;

/// SO_EE_ORIGIN_LOCAL, SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6 (linux/errqueue.h).
const LOCAL: u8 = 1;
const ICMP: u8 = 2;
const ICMP6: u8 = 3;
/// What is taken at a time.
const MAX: usize = 32;

/// Takes errors from the socket's error queue: to whom the packet had gone, and what happened. Of
/// a packet that did not leave this machine the port is not known: it is 0.
pub(super) fn take(udp: &Udp) -> Vec<(SocketAddr, IcmpError)> {
    let mut errors = vec![];
    let mut space = nix::cmsg_space!([u8; 256]);
    for _ in 0..MAX {
        // Linux wants room for the packet that caused it, or at least for some of it.
        let mut payload = [0; 16];
        let mut slices = [IoSliceMut::new(&mut payload)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let fd = udp.socket.as_raw_fd();
        let Ok(message) = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut space), flags)
        else {
            break;
        };
        let Some(peer) = message.address.as_ref().and_then(address) else { continue };
        let Ok(control) = message.cmsgs() else { continue };
        for control in control {
            let error = match control {
                ControlMessageOwned::Ipv4RecvErr(error, _) => error,
                ControlMessageOwned::Ipv6RecvErr(error, _) => error,
                _ => continue,
            };
            let (kind, code, mtu) = (error.ee_type, error.ee_code, error.ee_info);
            let too_big = error.ee_errno == Errno::EMSGSIZE as u32;
            // Which there are: RFC 8656 section 11.5.
            let (kind, code, data) = match (error.ee_origin, kind, code) {
                (ICMP, 3, 4) | (ICMP6, 2, _) => (kind, code, mtu),
                (ICMP, 3 | 11, _) | (ICMP6, 1 | 3, _) => (kind, code, 0),
                // Our own link is the first one of the path.
                (LOCAL, ..) if too_big && peer.is_ipv4() => (3, 4, mtu),
                (LOCAL, ..) if too_big => (2, 0, mtu),
                _ => continue,
            };
            let error = (peer, IcmpError { kind, code, data });
            // A packet that was tried twice fails twice.
            if errors.last() != Some(&error) {
                errors.push(error);
            }
        }
    }
    errors
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port())))
}
