//! Measures what NATs stand before this machine (RFC 5780), with sockets of its own. NAT64 is one
//! too: there the same questions go to the servers' addresses as its network writes them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use sightline_model::NatReport;
use sightline_p2p::{NatSocket, NatTest};
use tokio::net::UdpSocket;

use crate::{
    nat64::Nat64,
    network::Surroundings,
    server::{Place, Servers},
};

/// Servers that are asked.
const MAX_SERVERS: usize = 4;
/// Longest answer of a STUN server.
const ANSWER: usize = 1_500;

/// Asks the STUN servers; takes 1.2 s where something does not answer. Everything is unknown where
/// this machine reaches no IPv4, or nobody can be asked: NATs are IPv4's.
///
/// # Errors
/// When the system gives no socket.
pub async fn measure(servers: &Servers, nat64: Option<Nat64>) -> io::Result<NatReport> {
    let place = Surroundings::look(false);
    let (own, nat64) = match (place.outward_v4, place.outward_v6, nat64) {
        (Some(own), _, _) => (IpAddr::V4(own), None),
        (None, Some(own), Some(nat64)) => (IpAddr::V6(own), Some(nat64.prefix())),
        (None, _, _) => return Ok(NatReport::default()),
    };
    let addresses = resolve(&servers.stun).await;
    if addresses.is_empty() {
        return Ok(NatReport::default());
    }
    let mapping = UdpSocket::bind((own, 0)).await?;
    let filtering = UdpSocket::bind((own, 0)).await?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let now = Instant::now();
    // Behind NAT64 it has none of IPv4, and so none that a server could see.
    let local = match nat64 {
        Some(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        None => mapping.local_addr()?,
    };
    let mut test = NatTest::new(now, seed, local, &addresses);
    let (mut a, mut b) = ([0; ANSWER], [0; ANSWER]);
    loop {
        while let Some(transmit) = test.poll_transmit() {
            let socket = match transmit.socket {
                NatSocket::Mapping => &mapping,
                NatSocket::Filtering => &filtering,
            };
            let to = nat64.map_or(transmit.to, |prefix| prefix.map(transmit.to));
            // What cannot be sent is not answered.
            let _ = socket.send_to(&transmit.bytes, to).await;
        }
        if let Some(report) = test.result() {
            return Ok(report);
        }
        let wake = test.poll_timeout().unwrap_or_else(Instant::now);
        let (socket, received) = tokio::select! {
            received = mapping.recv_from(&mut a) => (NatSocket::Mapping, received),
            received = filtering.recv_from(&mut b) => (NatSocket::Filtering, received),
            () = tokio::time::sleep_until(wake.into()) => {
                test.handle_timeout(Instant::now());
                continue;
            }
        };
        // ICMP says that somebody does not listen: no answer either.
        let Ok((length, from)) = received else { continue };
        let bytes = match socket {
            NatSocket::Mapping => &a[..length],
            NatSocket::Filtering => &b[..length],
        };
        let from = nat64.map_or(from, |prefix| prefix.unmap(from));
        test.handle_datagram(Instant::now(), socket, from, bytes);
    }
}

async fn resolve(places: &[Place]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for place in places.iter().take(MAX_SERVERS) {
        let found = place.resolve(None).await.unwrap_or_default();
        if let Some(address) = found.into_iter().find(SocketAddr::is_ipv4)
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}
