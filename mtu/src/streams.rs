//! TCP and TLS in front of TURN (RFC 8489 section 6.2.2, RFC 8656 section 3.1): connections in,
//! whole messages out, and back.
//!
//! One port serves both: TLS begins with a handshake record (22), STUN with a zero or a one. A
//! connection that somebody else has accepted, on the port that is shared with HTTP, is handed in
//! with [`Streams::serve`].
//!
//! Bounds: connections in all and per subscriber (more are closed at once); whoever has no
//! allocation has [`HELLO`] for the handshake and for each message however many pieces it comes
//! in, [`STRANGER`] until it has one, and may send short messages only. Who has an allocation may
//! be quiet for as long as that lasts. What waits for a slow reader is bounded (the newest is dropped), and a
//! reader that takes nothing for [`STALLED`] is cut off.

mod framing;
mod outbox;
mod places;

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::{Buf, BytesMut};
use framing::{MAX_MESSAGE, MAX_STRANGERS_MESSAGE, frame};
use mtu_turn::{ClientId, Transport};
use outbox::{Messages, Next, Outbox};
use parking_lot::RwLock;
use places::{Place, Places};
use sightline_service_kit::{accept::accept, lifecycle::Lifecycle};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    server::SharedWorkers,
    tcp_relays::Connection,
    udp::{StreamHandle, StreamOut},
};

/// How long a stranger may take for a handshake or a message.
const HELLO: Duration = Duration::from_secs(15);
/// How long a connection may be without an allocation.
const STRANGER: Duration = Duration::from_secs(60);
/// How often it is looked whether a quiet client still has its allocation.
const LOOK: Duration = Duration::from_secs(60);
/// How long a connection may take nothing of what waits for it.
const STALLED: Duration = Duration::from_secs(15);
/// First byte of a TLS handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// Room for what has arrived; grows for longer messages.
const READ_BUFFER: usize = 8 * 1_024;

/// Where TLS clients' certificates come from; nothing while TLS is not served.
pub(crate) type TlsConfig = Arc<ArcSwapOption<rustls::ServerConfig>>;

/// All clients that came over a stream.
pub(crate) struct Streams {
    clients: RwLock<HashMap<ClientId, Arc<Outbox>>>,
    places: Arc<Places>,
    tls: TlsConfig,
    workers: SharedWorkers,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("clients", &self.places.taken()).finish_non_exhaustive()
    }
}

/// How a connection ended.
enum End {
    /// With this result.
    Closed(io::Result<()>),
    /// It goes on as a connection between client and peer (RFC 6062 section 5.4).
    Pipe(Connection),
}

impl Streams {
    pub(crate) fn new(
        total: usize,
        per_subscriber: usize,
        tls: TlsConfig,
        workers: SharedWorkers,
    ) -> Arc<Self> {
        let (clients, places) = (RwLock::default(), Places::new(total, per_subscriber));
        Arc::new(Self { clients, places, tls, workers })
    }

    /// Connections now.
    pub(crate) fn len(&self) -> usize {
        self.places.taken()
    }

    /// After the next message, the client's connection is this peer's (RFC 6062 section 5.4).
    /// `false` when there is no such client.
    pub(crate) fn pipe(&self, client: &ClientId, peer: Connection) -> bool {
        match self.clients.read().get(client) {
            Some(outbox) => {
                outbox.pipe(peer);
                true
            }
            None => false,
        }
    }

    /// Accepts until the lifecycle ends.
    pub(crate) fn listen(self: &Arc<Self>, listener: TcpListener, lifecycle: &Lifecycle) {
        let (streams, owner) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move { streams.accept(listener, owner).await });
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, lifecycle: Lifecycle) {
        loop {
            let (stream, _) = accept(&listener).await;
            let streams = self.clone();
            lifecycle.spawn(async move { streams.greet(stream).await });
        }
    }

    /// Finds out what a new connection speaks.
    async fn greet(&self, stream: TcpStream) {
        let (Ok(remote), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
        let Some(place) = self.place(remote) else { return };
        let _ = stream.set_nodelay(true);
        let mut first = [0];
        if !matches!(timeout(HELLO, stream.peek(&mut first)).await, Ok(Ok(1))) {
            return;
        }
        if first[0] != TLS_HANDSHAKE {
            let client = ClientId::new(Transport::Tcp, remote, local);
            return self.run(stream, client, place).await;
        }
        let Some(tls) = self.tls.load_full() else { return };
        match timeout(HELLO, TlsAcceptor::from(tls).accept(stream)).await {
            Ok(Ok(stream)) => {
                let client = ClientId::new(Transport::Tls, remote, local);
                self.run(stream, client, place).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "no TLS with a client"),
            Err(_) => tracing::debug!("a client takes too long for TLS"),
        }
    }

    /// Serves a connection over TLS that somebody else has accepted.
    pub(crate) async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin,
        remote: SocketAddr,
        local: SocketAddr,
    ) {
        let Some(place) = self.place(remote) else { return };
        self.run(stream, ClientId::new(Transport::Tls, remote, local), place).await;
    }

    fn place(&self, remote: SocketAddr) -> Option<Place> {
        let place = self.places.take(remote.ip());
        if place.is_none() {
            metrics::counter!("sightline_mtu_refused_clients_total", "transport" => "stream")
                .increment(1);
        }
        place
    }

    async fn run(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin,
        client: ClientId,
        _place: Place,
    ) {
        let worker = self.workers.read().worker_for(&client).clone();
        let registered = Registered::new(self, client);
        let (mut read, mut write) = tokio::io::split(stream);
        let outbox = registered.outbox.clone();
        let Ok(stream) = worker.open(client, Box::new(Out(outbox.clone()))).await else { return };
        // Whichever side ends, ends both.
        let end = tokio::select! {
            read = read_all(&mut read, &outbox, &stream) => End::Closed(read),
            end = write_all(&mut write, &outbox, client.transport) => end,
        };
        drop(registered);
        let closed = stream.close().await;
        match end {
            _ if closed.is_err() => {}
            End::Closed(Ok(())) => {}
            End::Closed(Err(error)) => tracing::debug!(%error, "a client's stream has ended"),
            End::Pipe(peer) => peer.join(read.unsplit(write)).await,
        }
    }
}

/// The worker's end of an outbox.
struct Out(Arc<Outbox>);

impl StreamOut for Out {
    fn send(&mut self, head: &[u8], payload: &[u8], tail: &[u8]) {
        if !self.0.send(head, payload, tail) {
            metrics::counter!("sightline_mtu_slow_client_drops_total").increment(1);
        }
    }

    fn released(&mut self) {
        self.0.released();
    }
}

/// A client whose connection can be handed over, as long as this lives.
struct Registered<'a> {
    streams: &'a Streams,
    client: ClientId,
    outbox: Arc<Outbox>,
}

impl<'a> Registered<'a> {
    fn new(streams: &'a Streams, client: ClientId) -> Self {
        let outbox = Arc::new(Outbox::default());
        streams.clients.write().insert(client, outbox.clone());
        Self { streams, client, outbox }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let mut clients = self.streams.clients.write();
        // The client may have another connection at the same addresses by now.
        if clients.get(&self.client).is_some_and(|outbox| Arc::ptr_eq(outbox, &self.outbox)) {
            clients.remove(&self.client);
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

async fn read_all(
    read: &mut ReadHalf<impl AsyncRead>,
    outbox: &Outbox,
    stream: &StreamHandle,
) -> io::Result<()> {
    let mut arrived = BytesMut::with_capacity(READ_BUFFER);
    let mut patience = Patience::new();
    loop {
        let known = outbox.is_allocated();
        if known {
            patience = Patience::new();
        }
        let most = if known { MAX_MESSAGE } else { MAX_STRANGERS_MESSAGE };
        while let Some(next) = frame(&arrived, most).map_err(invalid)? {
            if arrived.len() < next.padded {
                arrived.reserve(next.padded - arrived.len());
                break;
            }
            let message = arrived[..next.length].to_vec();
            stream.frame(message).await.map_err(|_| io::ErrorKind::NotConnected)?;
            arrived.advance(next.padded);
            patience.message_came();
        }
        arrived.reserve(READ_BUFFER / 2);
        let until = if known { Instant::now() + LOOK } else { patience.until() };
        match timeout_at(until, read.read_buf(&mut arrived)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            // Quiet, as a relay that is kept in reserve is; it may have been allocated by what
            // came last.
            Err(_) if known || outbox.is_allocated() => {}
            Err(elapsed) => return Err(elapsed.into()),
        }
    }
}

/// For how long a stranger is listened to, however it cuts up what it says.
struct Patience {
    stranger: Instant,
    message: Instant,
}

impl Patience {
    fn new() -> Self {
        let now = Instant::now();
        Self { stranger: now + STRANGER, message: now + HELLO }
    }

    fn message_came(&mut self) {
        self.message = Instant::now() + HELLO;
    }

    fn until(&self) -> Instant {
        self.stranger.min(self.message)
    }
}

async fn write_all(
    write: &mut WriteHalf<impl AsyncWrite>,
    outbox: &Outbox,
    transport: Transport,
) -> End {
    let mut messages = Messages::default();
    loop {
        let next = outbox.take(&mut messages).await;
        let written = async {
            if transport == Transport::Tls {
                // One record for each message: coturn's client, for one, reads a record and looks
                // at its first message only.
                for message in messages.apart() {
                    write_whole(write, message).await?;
                }
            } else {
                write_whole(write, messages.together()).await?;
            }
            timeout(STALLED, write.flush()).await?
        };
        if let Err(error) = written.await {
            if error.kind() == io::ErrorKind::TimedOut {
                metrics::counter!("sightline_mtu_stalled_clients_total").increment(1);
            }
            return End::Closed(Err(error));
        }
        messages.clear();
        if let Next::Pipe(peer) = next {
            return End::Pipe(peer);
        }
    }
}

/// As long as the other side takes something now and then.
async fn write_whole(write: &mut WriteHalf<impl AsyncWrite>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = timeout(STALLED, write.write(bytes)).await??;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[n..];
    }
    Ok(())
}

#[cfg(test)]
mod tests;
