//! What one relay of connections has, and who has how many.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use mtu_turn::Direction;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::carry::Carrier;

/// Connections of one relay: being made, waiting for the client, or running.
const MAX_OF_RELAY: usize = 16;
/// The same of one user, over all of its relays.
const MAX_OF_USER: usize = 64;

/// How many connections each user has.
pub(super) type Users = Arc<Mutex<HashMap<Box<str>, usize>>>;

/// One relay, as long as its allocation lasts.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) bind: SocketAddr,
    /// Whose it is.
    pub(super) user: Box<str>,
    /// Ends with the allocation, and every connection with it.
    pub(super) closed: CancellationToken,
    carrier: Carrier,
    peers: Mutex<HashSet<SocketAddr>>,
    users: Users,
}

/// Why there may not be another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// There is one to this peer (446).
    Exists,
    /// The relay, or its user, has as many as it may (486).
    Full,
}

impl Open {
    pub(super) fn new(
        bind: SocketAddr,
        user: &str,
        closed: CancellationToken,
        carrier: Carrier,
        users: Users,
    ) -> Arc<Self> {
        let (user, peers) = (user.into(), Mutex::default());
        Arc::new(Self { bind, user, closed, carrier, peers, users })
    }

    /// Room for a connection to this peer.
    pub(super) fn slot(self: &Arc<Self>, peer: SocketAddr) -> Result<Slot, NoSlot> {
        let mut peers = self.peers.lock();
        if peers.contains(&peer) {
            return Err(NoSlot::Exists);
        }
        let mut users = self.users.lock();
        let theirs = users.get(&self.user).copied().unwrap_or(0);
        if peers.len() >= MAX_OF_RELAY || theirs >= MAX_OF_USER {
            return Err(NoSlot::Full);
        }
        users.insert(self.user.clone(), theirs + 1);
        peers.insert(peer);
        drop((peers, users));
        Ok(Slot { open: self.clone(), peer })
    }
}

/// Room for one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) open: Arc<Open>,
    peer: SocketAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.peers.lock().remove(&self.peer);
        let mut users = self.open.users.lock();
        if let Some(theirs) = users.get_mut(&self.open.user) {
            *theirs -= 1;
            if *theirs == 0 {
                users.remove(&self.open.user);
            }
        }
    }
}

/// A connection to a peer.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    slot: Slot,
}

impl Connection {
    pub(super) const fn new(stream: TcpStream, slot: Slot) -> Self {
        Self { stream, slot }
    }

    /// Whose relay it came through.
    pub(super) const fn open(&self) -> &Arc<Open> {
        &self.slot.open
    }

    /// From now on what one side says is heard by the other (RFC 6062 section 5.4), until both have
    /// ended or the allocation does.
    pub(crate) async fn join(self, client: impl AsyncRead + AsyncWrite) {
        let Self { stream, slot } = self;
        let (from_client, to_client) = tokio::io::split(client);
        let (from_peer, to_peer) = stream.into_split();
        let carrier = &slot.open.carrier;
        let joined = async {
            tokio::try_join!(
                carrier.carry(Direction::ToPeer, from_client, to_peer),
                carrier.carry(Direction::ToClient, from_peer, to_client),
            )
        };
        tokio::select! {
            joined = joined => {
                if let Err(error) = joined {
                    tracing::debug!(%error, "a relayed connection has ended");
                }
            }
            () = slot.open.closed.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp_relays::carry::tests::carrier;

    fn relay(user: &str, users: &Users) -> Arc<Open> {
        let bind = SocketAddr::from(([192, 0, 2, 1], 50_000));
        Open::new(bind, user, CancellationToken::new(), carrier(None), users.clone())
    }

    fn peer(port: u16) -> SocketAddr {
        ([203, 0, 113, 1], port).into()
    }

    #[test]
    fn connections_are_bounded_for_a_relay_and_for_its_user() {
        let users = Users::default();
        let relays: Vec<_> = (0..5).map(|_| relay("one", &users)).collect();
        let mut slots = vec![];
        for relay in &relays[..4] {
            slots.extend((1..=16).map(|port| relay.slot(peer(port)).expect("room")));
            assert_eq!(relay.slot(peer(17)).err(), Some(NoSlot::Full));
            assert_eq!(relay.slot(peer(1)).err(), Some(NoSlot::Exists));
        }
        assert_eq!(relays[4].slot(peer(1)).err(), Some(NoSlot::Full), "more than a user may have");
        let _other = relay("another", &users).slot(peer(1)).expect("others are not touched");
        slots.pop();
        slots.push(relays[4].slot(peer(1)).expect("given back"));
        drop(slots);
        assert_eq!(users.lock().get("one"), None);
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_allocation() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (dialled, _peer) = (dialled.expect("connected"), accepted.expect("accepted"));
        let users = Users::default();
        let relay = relay("one", &users);
        let connection = Connection::new(dialled, relay.slot(peer(1)).expect("room"));
        let (client, _theirs) = tokio::io::duplex(64);
        relay.closed.cancel();
        tokio::time::timeout(std::time::Duration::from_secs(20), connection.join(client))
            .await
            .expect("ended");
        assert!(users.lock().is_empty());
    }
}
