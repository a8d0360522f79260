//! The words by which a client tells the bare forwarder what to do: one datagram each way.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, bail};

/// What no packet of the traffic begins with.
pub const PREFIX: &[u8] = b"forwarder: ";

/// Until words are said again: it may just be starting.
const WAIT: Duration = Duration::from_millis(100);
const TRIES: u32 = 100;

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
    socket.set_read_timeout(Some(WAIT))?;
    let mut answer = [0; 200];
    for _ in 0..TRIES {
        socket.send_to(&[PREFIX, words.as_bytes()].concat(), server)?;
        if let Ok((size, _)) = socket.recv_from(&mut answer) {
            return Ok(String::from_utf8_lossy(&answer[..size]).into_owned());
        }
    }
    bail!("the forwarder does not answer")
}
