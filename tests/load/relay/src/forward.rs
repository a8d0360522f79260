//! The words by which a client tells the bare forwarder what to do: one datagram each way.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::Context;

/// What no packet of the traffic begins with.
pub const PREFIX: &[u8] = b"forwarder: ";

/// Asks for a relayed address.
///
/// # Errors
/// The forwarder does not answer.
pub fn open(socket: &UdpSocket, server: SocketAddr) -> anyhow::Result<SocketAddr> {
    ask(socket, server, "open")?.parse().context("the forwarder gave no address")
}

/// Says to whom everything goes from now on.
///
/// # Errors
/// The forwarder does not answer.
pub fn target(socket: &UdpSocket, server: SocketAddr, peer: SocketAddr) -> anyhow::Result<()> {
    ask(socket, server, &format!("to {peer}")).map(drop)
}

fn ask(socket: &UdpSocket, server: SocketAddr, words: &str) -> anyhow::Result<String> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send_to(&[PREFIX, words.as_bytes()].concat(), server)?;
    let mut answer = [0; 200];
    let (size, _) = socket.recv_from(&mut answer).context("the forwarder does not answer")?;
    Ok(String::from_utf8_lossy(&answer[..size]).into_owned())
}
