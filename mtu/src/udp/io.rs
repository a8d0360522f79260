//! The hands of a worker's server: sockets, streams and the ways to other workers.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use mio::Registry;
use mtu_turn::{
    ClientId, Driver, Extension, ExtensionRequest, Fragment, IcmpError, OpenError, OpenRelay,
    Opened, RefusedPeer, RelayId, RelayProtocol, Shared, Shortcut, Transport, Usage, WorkerIndex,
};
use tokio::sync::mpsc;

use super::{
    icmp,
    inbox::{Batch, Batches, StreamNumber, WorkerHandle},
    options::Options,
    relays::{Held, Relays},
    sockets::{self, Udp},
    streams::StreamOut,
    transmit::{Groups, Key, Via},
};

/// One listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) local: SocketAddr,
    pub(super) udp: Udp,
}

/// What the core does not see.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Losses {
    /// Packets that another worker had no room for.
    pub(super) between_workers: u64,
    /// Ended allocations that nobody accounts for.
    pub(super) usages: u64,
}

pub(super) struct Io {
    pub(super) listeners: Vec<Listener>,
    pub(super) relays: Relays,
    pub(super) groups: Groups,
    /// By client: its connection's number, and the way to it.
    pub(super) streams: HashMap<ClientId, (StreamNumber, Box<dyn StreamOut>)>,
    /// What waits to be encrypted for clients under DTLS.
    pub(super) veiled: Vec<(ClientId, Vec<u8>)>,
    pub(super) losses: Losses,
    /// What became of packets to peers, to be told to their clients.
    pub(super) errors: Vec<(RelayId, SocketAddr, IcmpError)>,
    outboxes: Vec<Batch>,
    /// Shorter ways that other workers hear of once what came the long way has left.
    lent: Vec<(WorkerIndex, SocketAddr, SocketAddr, Arc<Shortcut>)>,
    batches: Batches,
    options: Arc<Options>,
    shared: Arc<Shared>,
    registry: Registry,
    usage: mpsc::Sender<Usage>,
    pub(super) me: WorkerHandle,
}

/// What an [`Io`] is made of.
pub(super) struct Parts {
    pub(super) sockets: Vec<(SocketAddr, Udp)>,
    pub(super) held: Held,
    pub(super) batches: Batches,
    pub(super) options: Arc<Options>,
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    pub(super) usage: mpsc::Sender<Usage>,
    pub(super) me: WorkerHandle,
}

impl Io {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { sockets, held, batches, options, shared, registry, usage, me } = parts;
        let listeners = sockets.into_iter().map(|(local, udp)| Listener { local, udp });
        Self {
            listeners: listeners.collect(),
            relays: Relays::new(held),
            groups: Groups::new(options.gso),
            streams: HashMap::new(),
            veiled: vec![],
            losses: Losses::default(),
            errors: vec![],
            outboxes: std::iter::repeat_with(Batch::default).take(batches.workers()).collect(),
            lent: vec![],
            batches,
            options,
            shared,
            registry,
            usage,
            me,
        }
    }

    /// Whether this is the client's connection of now.
    pub(super) fn is_current(&self, client: &ClientId, number: StreamNumber) -> bool {
        self.streams.get(client).is_some_and(|(current, _)| *current == number)
    }

    /// Sends everything that was gathered.
    pub(super) fn flush(&mut self) {
        self.flush_groups();
        for worker in 0..self.outboxes.len() {
            if !self.outboxes[worker].is_empty() {
                self.flush_outbox(worker);
            }
        }
        for (worker, from, to, shortcut) in self.lent.drain(..) {
            self.batches.lend(worker, from, to, shortcut);
        }
    }

    fn flush_groups(&mut self) {
        if self.groups.is_empty() {
            return;
        }
        let (listeners, relays) = (&self.listeners, &self.relays);
        self.groups.flush(|via| match via {
            Via::Listener(at) => listeners.get(usize::from(at)).map(|listener| &listener.udp),
            Via::Relay(relay) => relays.get(relay),
        });
    }

    fn flush_outbox(&mut self, worker: usize) {
        let batch = std::mem::replace(&mut self.outboxes[worker], self.batches.empty());
        let dropped = self.batches.send(WorkerIndex(worker as u16), batch);
        self.losses.between_workers += dropped as u64;
    }

    fn push(&mut self, key: Key, parts: [&[u8]; 3]) {
        if self.groups.is_full() {
            self.flush_groups();
        }
        self.groups.push(key, parts);
    }

    /// A datagram to a client, as it is.
    pub(super) fn send_datagram(&mut self, client: &ClientId, parts: [&[u8]; 3]) {
        if let Some((via, from)) = self.listener(client.local) {
            self.push(Key { via, to: client.address, from }, parts);
        }
    }

    /// The socket of a local address of ours and, where it has several, that address.
    fn listener(&self, local: SocketAddr) -> Option<(Via, Option<IpAddr>)> {
        let at = self.listeners.iter().position(|listener| {
            listener.local == local
                || (listener.local.ip().is_unspecified()
                    && listener.local.port() == local.port()
                    && listener.local.is_ipv4() == local.is_ipv4())
        })?;
        let from = (self.listeners[at].local != local).then(|| local.ip());
        Some((Via::Listener(at as u16), from))
    }

    /// Sends one packet that may not be fragmented: an exception, and made as one.
    fn send_unfragmented(&mut self, relay: RelayId, peer: SocketAddr, payload: &[u8]) {
        // Packets that came before it go before it.
        self.flush_groups();
        let Some(udp) = self.relays.get(relay) else { return };
        if let Err(error) = sockets::set_fragment(&udp.socket, false) {
            tracing::debug!(%error, "cannot forbid fragmentation");
            return;
        }
        let dropped = self.groups.sent.dropped;
        self.groups.push(Key { via: Via::Relay(relay), to: peer, from: None }, [payload, &[], &[]]);
        self.flush_groups();
        let Some(udp) = self.relays.get(relay) else { return };
        if let Err(error) = sockets::set_fragment(&udp.socket, true) {
            tracing::debug!(%error, "cannot allow fragmentation again");
        }
        if self.groups.sent.dropped > dropped {
            let to = |at: SocketAddr| if at.port() == 0 { peer } else { at };
            let errors = icmp::take(udp).into_iter().map(|(at, error)| (relay, to(at), error));
            self.errors.extend(errors);
        }
    }
}

impl Driver for Io {
    fn send_to_client(&mut self, client: &ClientId, head: &[u8], payload: &[u8], tail: &[u8]) {
        match client.transport {
            Transport::Udp => self.send_datagram(client, [head, payload, tail]),
            Transport::Dtls => self.veiled.push((*client, [head, payload, tail].concat())),
            Transport::Tcp | Transport::Tls => {
                if let Some((_, stream)) = self.streams.get_mut(client) {
                    stream.send(head, payload, tail);
                }
            }
        }
    }

    fn send_to_peer(
        &mut self,
        relay: RelayId,
        peer: SocketAddr,
        payload: &[u8],
        fragment: Fragment,
    ) {
        match fragment {
            Fragment::Allowed => {
                let key = Key { via: Via::Relay(relay), to: peer, from: None };
                self.push(key, [payload, &[], &[]]);
            }
            Fragment::Forbidden => self.send_unfragmented(relay, peer, payload),
        }
    }

    fn send_to_worker(
        &mut self,
        worker: WorkerIndex,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) {
        let at = usize::from(worker.0);
        let Some(outbox) = self.outboxes.get_mut(at) else { return };
        outbox.push(from, to, payload);
        if outbox.is_full() {
            self.flush_outbox(at);
        }
    }

    fn lend_shortcut(
        &mut self,
        worker: WorkerIndex,
        from: SocketAddr,
        to: SocketAddr,
        shortcut: Arc<Shortcut>,
    ) {
        self.lent.push((worker, from, to, shortcut));
    }

    fn open_relay(&mut self, wanted: &OpenRelay<'_>) -> Result<Opened, OpenError> {
        match wanted.protocol {
            RelayProtocol::Udp => {
                let live = self.shared.live();
                self.relays.open(wanted, &self.options, live, &self.registry)
            }
            RelayProtocol::Tcp => {
                let tcp = self.options.tcp_relays.as_ref().ok_or(OpenError::Protocol)?;
                let opened = tcp.open(&self.me, wanted)?;
                self.relays.put_tcp(wanted.relay);
                Ok(opened)
            }
        }
    }

    fn close_relay(&mut self, relay: RelayId) {
        // What was sent through it leaves first; its number may be used again at once.
        self.flush_groups();
        if self.relays.close(relay)
            && let Some(tcp) = &self.options.tcp_relays
        {
            tcp.close(&self.me, relay);
        }
    }

    fn release_held(&mut self, address: SocketAddr) {
        self.relays.release_held(address);
    }

    fn random(&mut self, bytes: &mut [u8]) {
        rand::fill(bytes);
    }

    fn ended(&mut self, usage: Usage) {
        if self.usage.try_send(usage).is_err() {
            self.losses.usages += 1;
        }
    }

    fn peer_refused(&mut self, refused: &RefusedPeer<'_>) {
        let RefusedPeer { user, peer, untold } = *refused;
        tracing::info!(user, untold, "a peer was refused to a client");
        tracing::debug!(user, %peer, "which peer was refused");
    }

    fn released(&mut self, client: &ClientId) {
        if let Some((_, stream)) = self.streams.get_mut(client) {
            stream.released();
        }
    }

    fn extend(&mut self, request: &ExtensionRequest<'_>) -> Extension {
        match &self.options.tcp_relays {
            Some(tcp) => tcp.extend(&self.me, request),
            None => Extension::Unknown,
        }
    }
}
