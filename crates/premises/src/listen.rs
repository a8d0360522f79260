//! Sockets that viewers come to.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use tokio::net::TcpListener;

/// A listener on `address`; where IPv6 is switched off, `[::]` means every IPv4 address.
pub async fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if any_v6(address) => TcpListener::bind(any_v4(address)).await,
        result => result,
    }
}

/// Likewise for a UDP socket that serves both families.
pub fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    match UdpSocket::bind(address) {
        Err(_) if any_v6(address) => UdpSocket::bind(any_v4(address)),
        result => result,
    }
}

/// One address a family for an engine that opens a socket for each.
pub fn by_family(address: SocketAddr) -> Vec<SocketAddr> {
    if !any_v6(address) {
        return vec![address];
    }
    let v6_works = UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0)).is_ok();
    std::iter::once(any_v4(address)).chain(v6_works.then_some(address)).collect()
}

fn any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn any_v4(address: SocketAddr) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, address.port()).into()
}
