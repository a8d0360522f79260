//! Relayed connections (RFC 6062): off unless enabled, since they are a way for strangers to reach
//! services. Peers are judged by the core, by the same rules as for datagrams.
//!
//! Bounds: connections of one relay, of one user, and those that wait for their clients over all
//! relays; each waits for [`PATIENCE`] at most. Every connection ends with its allocation.
//!
//! What passes through such a connection is counted for the user of its allocation, and held to the
//! limits of bandwidth as datagrams are; who says too much is slowed down.

mod carry;
mod connection;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use carry::Carrier;
use connection::{NoSlot, Open, Slot, Users};
use mtu_turn::{
    Extension, ExtensionRequest, Family, OpenError, OpenRelay, Opened, RawAttribute, RelayId,
    Settings, Ticket, WorkerIndex,
};
use parking_lot::Mutex;
use sightline_service_kit::{accept::accept, config::ConfigError, lifecycle::Lifecycle};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{
    Config,
    config::RelayAddress,
    streams::Streams,
    udp::{self, Options, WorkerHandle},
};

pub(crate) use connection::Connection;

/// RFC 6062 section 4.3, section 5.2: how long a connection waits for its client, and a client
/// for a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that wait for their clients, over all relays.
pub(crate) const MAX_PENDING: usize = 1_024;
/// How many ports are tried for one relay.
const TRIES: usize = 64;
/// RFC 6062 section 6.2.1.
const CONNECTION_ID: u16 = 0x002a;
/// RFC 6062 section 6.1.
const CONNECT: u16 = 0x000a;
const CONNECTION_BIND: u16 = 0x000b;

type Key = (WorkerIndex, RelayId);

/// All relays of connections.
pub(crate) struct TcpRelays {
    addresses: Vec<RelayAddress>,
    ports: RangeInclusive<u16>,
    settings: Arc<ArcSwap<Settings>>,
    lifecycle: Lifecycle,
    runtime: tokio::runtime::Handle,
    streams: OnceLock<Weak<Streams>>,
    me: Weak<Self>,
    users: Users,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    relays: HashMap<Key, Arc<Open>>,
    /// Connections that wait for their clients.
    pending: HashMap<u32, Connection>,
}

impl TcpRelays {
    pub(crate) fn new(
        config: &Config,
        settings: Arc<ArcSwap<Settings>>,
        lifecycle: &Lifecycle,
    ) -> Result<Arc<Self>, ConfigError> {
        let addresses = config.relays()?;
        let ports = config.ports()?.unwrap_or(Options::default().ports);
        Ok(Arc::new_cyclic(|me| Self {
            addresses,
            ports,
            settings,
            lifecycle: lifecycle.clone(),
            runtime: tokio::runtime::Handle::current(),
            streams: OnceLock::new(),
            me: me.clone(),
            users: Users::default(),
            state: Mutex::default(),
        }))
    }

    /// Where clients' connections are.
    pub(crate) fn attach(&self, streams: &Arc<Streams>) {
        // Only the first time counts, and there is only one.
        let _ = self.streams.set(Arc::downgrade(streams));
    }

    fn listener(&self, state: &State, bind: IpAddr) -> Option<std::net::TcpListener> {
        (0..TRIES).find_map(|_| {
            let port = rand::random_range(self.ports.clone());
            let address = SocketAddr::new(bind, port);
            // The system would let two relays share a port that is bound for reuse.
            if state.relays.values().any(|relay| relay.bind == address) {
                return None;
            }
            let kind = Type::STREAM.nonblocking();
            let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP));
            let socket = socket.ok()?;
            // Connections that the client asks for leave from the same port.
            socket.set_reuse_port(true).ok()?;
            socket.bind(&address.into()).and_then(|()| socket.listen(8)).ok()?;
            Some(socket.into())
        })
    }

    /// Takes peers that connect by themselves.
    async fn accept(
        self: Arc<Self>,
        listener: std::net::TcpListener,
        worker: WorkerHandle,
        relay: RelayId,
        open: Arc<Open>,
    ) {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        let accepting = async {
            loop {
                let (stream, peer) = accept(&listener).await;
                self.offer(&worker, relay, &open, stream, peer).await;
            }
        };
        tokio::select! {
            () = accepting => {}
            () = open.closed.cancelled() => {}
        }
    }

    /// RFC 6062 section 5.3: who has no permission is closed before it takes anybody's room.
    async fn offer(
        &self,
        worker: &WorkerHandle,
        relay: RelayId,
        open: &Arc<Open>,
        stream: TcpStream,
        peer: SocketAddr,
    ) {
        if worker.may_connect(relay, peer).await != Ok(true) {
            return;
        }
        let Ok(slot) = open.slot(peer) else { return };
        let Some(id) = self.wait(Connection::new(stream, slot)) else { return };
        if worker.offer_connection(relay, peer, id).await != Ok(true) {
            self.state.lock().pending.remove(&id);
        }
    }

    /// Lets a connection wait for its client; its number.
    fn wait(&self, connection: Connection) -> Option<u32> {
        let closed = connection.open().closed.clone();
        let mut state = self.state.lock();
        // Once it is closed, nobody takes away what still waits.
        if state.pending.len() >= MAX_PENDING || closed.is_cancelled() {
            return None;
        }
        let mut id = rand::random();
        while state.pending.contains_key(&id) {
            id = rand::random();
        }
        state.pending.insert(id, connection);
        drop(state);
        let me = self.me.clone();
        self.lifecycle.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(PATIENCE) => {}
                () = closed.cancelled() => {}
            }
            if let Some(relays) = me.upgrade() {
                relays.state.lock().pending.remove(&id);
            }
        });
        Some(id)
    }

    /// CONNECT (RFC 6062 section 5.2).
    fn connect(&self, worker: &WorkerHandle, request: &ExtensionRequest<'_>) -> Extension {
        let Some((relay, _)) = request.relay else {
            return Extension::Refused(437, "Allocation Mismatch");
        };
        let Some(peer) = request.peer else { return Extension::Refused(400, "Bad Request") };
        let open = self.state.lock().relays.get(&(worker.index(), relay)).cloned();
        let Some(open) = open else { return Extension::Refused(437, "Allocation Mismatch") };
        if open.bind.is_ipv4() != peer.is_ipv4() {
            return Extension::Refused(443, "Peer Address Family Mismatch");
        }
        let slot = match open.slot(peer) {
            Ok(slot) => slot,
            Err(NoSlot::Exists) => return Extension::Refused(446, "Connection Already Exists"),
            Err(NoSlot::Full) => return Extension::Refused(486, "Allocation Quota Reached"),
        };
        let Some(me) = self.me.upgrade() else { return Extension::Refused(500, "Server Error") };
        let (worker, ticket) = (worker.clone(), request.ticket.clone());
        let connecting = async move { me.connected(slot, peer, worker, ticket).await };
        self.lifecycle.tasks.spawn_on(connecting, &self.runtime);
        Extension::Later
    }

    async fn connected(&self, slot: Slot, peer: SocketAddr, worker: WorkerHandle, ticket: Ticket) {
        let open = slot.open.clone();
        // Closed too when the service ends.
        let stream = tokio::select! {
            stream = tokio::time::timeout(PATIENCE, dial(open.bind, peer)) => stream.ok(),
            () = open.closed.cancelled() => None,
        };
        let connection = stream.and_then(Result::ok).map(|stream| Connection::new(stream, slot));
        let outcome = match connection.and_then(|connection| self.wait(connection)) {
            Some(id) => {
                Ok(vec![RawAttribute { kind: CONNECTION_ID, value: id.to_be_bytes().to_vec() }])
            }
            None => Err((447, "Connection Timeout or Failure")),
        };
        // A worker that has ended answers nobody.
        let _ = worker.answer(ticket, outcome).await;
    }

    /// CONNECTION-BIND (RFC 6062 section 5.4), for the user of the allocation only.
    fn bind(&self, request: &ExtensionRequest<'_>) -> Extension {
        const REFUSED: Extension = Extension::Refused(400, "Bad Request");
        let Some(id) = request.connection.filter(|_| request.client.transport.is_stream()) else {
            return REFUSED;
        };
        let mut state = self.state.lock();
        let theirs = |waiting: &Connection| *waiting.open().user == *request.user;
        if !state.pending.get(&id).is_some_and(theirs) {
            return REFUSED;
        }
        let connection = state.pending.remove(&id);
        drop(state);
        let streams = self.streams.get().and_then(Weak::upgrade);
        let joined = streams.zip(connection);
        match joined.map(|(streams, connection)| streams.pipe(request.client, connection)) {
            Some(true) => Extension::Done(vec![]),
            Some(false) | None => REFUSED,
        }
    }
}

async fn dial(bind: SocketAddr, peer: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseport(true)?;
    socket.bind(bind)?;
    let stream = socket.connect(peer).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl udp::TcpRelays for TcpRelays {
    fn open(&self, worker: &WorkerHandle, wanted: &OpenRelay<'_>) -> Result<Opened, OpenError> {
        let meter = wanted.streams.ok_or(OpenError::Protocol)?.clone();
        let v4 = wanted.family == Family::V4;
        let mut addresses = self.addresses.iter().filter(|a| a.bind().is_ipv4() == v4).peekable();
        addresses.peek().ok_or(OpenError::Family)?;
        let mut state = self.state.lock();
        let found =
            addresses.find_map(|address| Some((address, self.listener(&state, address.bind())?)));
        let (address, listener) = found.ok_or(OpenError::Exhausted)?;
        let bind = listener.local_addr().map_err(|_| OpenError::Exhausted)?;
        let me = self.me.upgrade().ok_or(OpenError::Exhausted)?;
        let closed = self.lifecycle.token.child_token();
        let carrier = Carrier::new(meter, self.settings.clone());
        let open = Open::new(bind, wanted.user, closed, carrier, self.users.clone());
        state.relays.insert((worker.index(), wanted.relay), open.clone());
        drop(state);
        let accepting = me.accept(listener, worker.clone(), wanted.relay, open);
        self.lifecycle.tasks.spawn_on(accepting, &self.runtime);
        Ok(Opened { address: SocketAddr::new(address.public(), bind.port()), held: None })
    }

    fn close(&self, worker: &WorkerHandle, relay: RelayId) {
        let key = (worker.index(), relay);
        let mut state = self.state.lock();
        let Some(open) = state.relays.remove(&key) else { return };
        open.closed.cancel();
        state.pending.retain(|_, connection| !Arc::ptr_eq(connection.open(), &open));
    }

    fn extend(&self, worker: &WorkerHandle, request: &ExtensionRequest<'_>) -> Extension {
        match request.method.as_u16() {
            CONNECT => self.connect(worker, request),
            CONNECTION_BIND => self.bind(request),
            _ => Extension::Unknown,
        }
    }
}
