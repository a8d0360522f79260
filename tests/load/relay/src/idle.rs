//! Allocations that do nothing: what their number costs.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
};

use anyhow::{Context, anyhow};

use crate::{control::Allocation, credentials::Credentials};

/// Clients that ask at the same time.
const THREADS: u32 = 4;
/// Clients per source address.
const PER_ADDRESS: u32 = 100;
/// Below the ports that systems give out by themselves, so that none is taken.
const FIRST_PORT: u16 = 20_000;

/// Makes `count` allocations, each for another client, which then says nothing more. They last for
/// the server's default lifetime (RFC 8656: ten minutes).
///
/// # Errors
/// The server refuses one.
pub fn allocate(server: SocketAddr, secret: &str, count: u32) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let all: Vec<_> = (0..THREADS)
            .map(|first| {
                scope.spawn(move || {
                    let mut numbers = (first..count).step_by(THREADS as usize);
                    numbers.try_for_each(|number| one(server, secret, number))
                })
            })
            .collect();
        all.into_iter().try_for_each(|t| t.join().map_err(|_| anyhow!("a client panicked"))?)
    })
}

fn one(server: SocketAddr, secret: &str, number: u32) -> anyhow::Result<()> {
    // Loopback is 127.0.0.0/8: clients come from many networks, as they do in life.
    let network = number / PER_ADDRESS;
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 16, 0, 1)) + (network << 8));
    let port = FIRST_PORT + (number % PER_ADDRESS) as u16;
    let socket = UdpSocket::bind((address, port)).context("a socket for an idle client")?;
    let credentials = Credentials::new(secret, &format!("idle-{number}"));
    let allocation = Allocation::new(&socket, server, credentials);
    allocation.with_context(|| format!("idle allocation {number}")).map(drop)
}
