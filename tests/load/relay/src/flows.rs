//! Flows through a server: who sends, how the packets are wrapped, who receives.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::Context;
use clap::ValueEnum;

use crate::{control::Allocation, credentials::Credentials, forward, frames::Frame, train::Train};

/// The first channel of RFC 8656 section 12 that every server takes.
const CHANNEL: u16 = 0x4001;

/// The ways through a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Direction {
    /// ChannelData from the client, to a peer
    ChannelToPeer,
    /// From a peer, ChannelData to the client
    PeerToChannel,
    /// Send indications from the client, to a peer
    SendToPeer,
    /// From a peer, Data indications to the client
    PeerToData,
    /// ChannelData from one client, ChannelData to another: both have allocations at this server
    Relayed,
}

impl Direction {
    const fn sent_by_client(self) -> bool {
        matches!(self, Self::ChannelToPeer | Self::SendToPeer)
    }

    const fn with_channel(self) -> bool {
        !matches!(self, Self::SendToPeer | Self::PeerToData)
    }
}

/// What the server speaks.
#[derive(Clone)]
pub enum Server {
    /// TURN, with credentials made from this secret.
    Turn(SocketAddr, String),
    /// What `load-forwarder` understands.
    Forwarder(SocketAddr),
}

/// One flow.
pub struct Flow {
    /// Who sends.
    pub sender: Train,
    /// Where to.
    pub to: SocketAddr,
    /// How what is sent is wrapped.
    pub sent: Frame,
    /// Who receives.
    pub receiver: Train,
    /// How what is received is wrapped.
    pub received: Frame,
}

impl Flow {
    /// Makes what this flow needs at the server.
    ///
    /// # Errors
    /// The server refuses.
    pub fn new(server: &Server, direction: Direction, number: usize) -> anyhow::Result<Self> {
        match server {
            Server::Turn(address, secret) => {
                if direction == Direction::Relayed {
                    return relayed(*address, secret, number);
                }
                turn(*address, secret, direction, number)
            }
            Server::Forwarder(address) => forwarded(*address, direction),
        }
        .with_context(|| format!("flow {number}"))
    }
}

fn socket() -> anyhow::Result<UdpSocket> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)
}

fn turn(
    server: SocketAddr,
    secret: &str,
    direction: Direction,
    number: usize,
) -> anyhow::Result<Flow> {
    let (client, peer) = (socket()?, socket()?);
    let address = peer.local_addr()?;
    let credentials = Credentials::new(secret, &format!("bench-{number}"));
    let mut allocation = Allocation::new(&client, server, credentials)?;
    let frame = if direction.with_channel() {
        allocation.bind(&client, CHANNEL, address)?;
        Frame::Channel(CHANNEL)
    } else {
        allocation.permit(&client, address)?;
        Frame::Indication(address)
    };
    let (client, peer) = (Train::new(client)?, Train::new(peer)?);
    Ok(if direction.sent_by_client() {
        Flow { sender: client, to: server, sent: frame, receiver: peer, received: Frame::Bare }
    } else {
        let to = allocation.relayed;
        Flow { sender: peer, to, sent: Frame::Bare, receiver: client, received: frame }
    })
}

fn relayed(server: SocketAddr, secret: &str, number: usize) -> anyhow::Result<Flow> {
    let (one, other) = (socket()?, socket()?);
    let credentials = |end| Credentials::new(secret, &format!("bench-{number}-{end}"));
    let mut of_one = Allocation::new(&one, server, credentials("one"))?;
    let mut of_other = Allocation::new(&other, server, credentials("other"))?;
    of_one.bind(&one, CHANNEL, of_other.relayed)?;
    of_other.bind(&other, CHANNEL, of_one.relayed)?;
    let frame = Frame::Channel(CHANNEL);
    let (sender, receiver) = (Train::new(one)?, Train::new(other)?);
    Ok(Flow { sender, to: server, sent: frame, receiver, received: frame })
}

fn forwarded(server: SocketAddr, direction: Direction) -> anyhow::Result<Flow> {
    let (client, peer) = (socket()?, socket()?);
    let relayed = forward::open(&client, server)?;
    let mut peer_address = peer.local_addr()?;
    if direction == Direction::Relayed {
        peer_address = forward::open(&peer, server)?;
        forward::target(&peer, server, relayed)?;
    }
    forward::target(&client, server, peer_address)?;
    let (sent, received) = (Frame::Bare, Frame::Bare);
    let (client, peer) = (Train::new(client)?, Train::new(peer)?);
    Ok(if direction.sent_by_client() || direction == Direction::Relayed {
        Flow { sender: client, to: server, sent, receiver: peer, received }
    } else {
        Flow { sender: peer, to: relayed, sent, receiver: client, received }
    })
}
