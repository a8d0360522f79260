//! One QUIC endpoint over many sockets and relays: [`Mux`], the abstract socket below quinn.
//!
//! To quinn a session of the ladder is one fixed address out of the discard prefix 100::/64
//! (RFC 6666), with the session's number in it. Below, each packet goes over the path that the
//! ladder has chosen now, and packets from every path on which the other end has proven itself come
//! up as from that address: no path is ever quinn's business. Packets of others that come to the
//! main socket go up as they are, so that plain direct dials to its port work too.
//!
//! QUIC and STUN are told apart by the first byte (RFC 9443): both ends leave QUIC's fixed bit set.

mod address;
mod inbound;
mod poller;
mod routes;
mod transactions;
mod udp;

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use sightline_p2p::{Seekers, SocketId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::address::{session_address, session_of};
pub(crate) use self::{
    address::canonical,
    routes::{Active, In, SessionRoute},
};
use self::{
    address::mapped,
    inbound::Inbound,
    poller::Poller,
    routes::Routes,
    transactions::{Transactions, Waiter},
    udp::UdpSock,
};
use crate::{network::Lookout, relay::Relay, stun};

/// The main socket.
pub(crate) const MAIN: SocketId = SocketId(0);
/// Most sockets that probe, of every session together: processes have few descriptors.
pub(crate) const MAX_PROBE_SOCKETS_OF_ALL: usize = 512;
/// Most sessions that try ports at the same time, each with 200 packets a second.
const MAX_SEEKERS: usize = 4;

/// What packets leave through.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Udp(Arc<UdpSock>),
    Relay(Relay),
}

impl Wire {
    fn send(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
        transmit: &Transmit<'_>,
    ) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(to, from, transmit),
            Self::Relay(relay) => relay.send(to, transmit.contents, transmit.segment_size),
        }
    }

    pub(crate) async fn writable(&self) {
        match self {
            Self::Udp(socket) => socket.writable().await,
            Self::Relay(relay) => relay.writable().await,
        }
    }
}

/// The abstract socket.
pub struct Mux {
    main: Arc<UdpSock>,
    routes: Routes,
    inbound: Inbound,
    transactions: Transactions,
    lookout: Arc<Lookout>,
    probes: Arc<Semaphore>,
    seekers: Seekers,
    /// What did not fit last; quinn waits for it.
    blocked: Mutex<Option<Wire>>,
    next_socket: AtomicU64,
    next_session: AtomicU64,
}

impl Mux {
    /// Over `main`, on which it hears plain dials too. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn new(main: std::net::UdpSocket) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            main: Arc::new(UdpSock::new(main)?),
            routes: Routes::default(),
            inbound: Inbound::default(),
            transactions: Transactions::default(),
            lookout: Arc::default(),
            probes: Arc::new(Semaphore::new(MAX_PROBE_SOCKETS_OF_ALL)),
            seekers: Seekers::new(MAX_SEEKERS),
            blocked: Mutex::default(),
            next_socket: AtomicU64::new(1),
            next_session: AtomicU64::new(1),
        }))
    }

    /// quinn's endpoint above it; `server` when it accepts connections. The endpoint reads the main
    /// socket: before there is one, sessions hear nothing there.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn endpoint(
        self: &Arc<Self>,
        server: Option<quinn::ServerConfig>,
    ) -> io::Result<quinn::Endpoint> {
        let mut config = quinn::EndpointConfig::default();
        // RFC 9443 section 3: without the fixed bit QUIC cannot be told from STUN.
        config.grease_quic_bit(false);
        let runtime = Arc::new(quinn::TokioRuntime);
        let socket: Arc<dyn AsyncUdpSocket> = Arc::<Self>::clone(self);
        quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime)
    }

    /// Port and address that the main socket is bound to.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn main_addr(&self) -> io::Result<SocketAddr> {
        self.main.local_addr()
    }

    /// What a socket is bound to.
    pub(crate) fn bound(&self, id: SocketId) -> Option<SocketAddr> {
        match self.wire(id)? {
            Wire::Udp(socket) => socket.local_addr().ok(),
            Wire::Relay(_) => None,
        }
    }

    /// Whether the main socket reaches IPv6.
    pub(crate) fn main_is_v6(&self) -> bool {
        self.main.is_v6()
    }

    /// Where packets of a session go now, if anywhere.
    #[must_use]
    pub fn remote_of(&self, session: u64) -> Option<SocketAddr> {
        self.routes.session(session)?.active.lock().as_ref().map(|active| active.remote)
    }

    pub(crate) fn new_session(&self) -> u64 {
        self.next_session.fetch_add(1, Relaxed)
    }

    /// What all sessions share to see where the machine is.
    pub(crate) const fn lookout(&self) -> &Arc<Lookout> {
        &self.lookout
    }

    /// Leave for one more socket that probes, if any is left.
    pub(crate) fn permit_probe(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.probes).try_acquire_owned().ok()
    }

    /// How many more sockets may probe.
    pub(crate) fn probes_left(&self) -> usize {
        self.probes.available_permits()
    }

    /// The places of sessions that try ports.
    pub(crate) const fn seekers(&self) -> &Seekers {
        &self.seekers
    }

    pub(crate) const fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    pub(crate) const fn routes(&self) -> &Routes {
        &self.routes
    }

    pub(crate) fn new_socket_id(&self) -> SocketId {
        SocketId(self.next_socket.fetch_add(1, Relaxed))
    }

    pub(crate) fn wire(&self, id: SocketId) -> Option<Wire> {
        if id == MAIN { Some(Wire::Udp(Arc::clone(&self.main))) } else { self.routes.wire(id) }
    }

    /// Opens a further socket; its task belongs to `tasks` and ends with `token`.
    pub(crate) fn open(
        self: &Arc<Self>,
        bind: SocketAddr,
        token: &CancellationToken,
        tasks: &TaskTracker,
    ) -> io::Result<(SocketId, SocketAddr)> {
        let socket = Arc::new(UdpSock::new(std::net::UdpSocket::bind(bind)?)?);
        let (id, local) = (self.new_socket_id(), socket.local_addr()?);
        self.routes.add_wire(id, Wire::Udp(Arc::clone(&socket)));
        let (mux, token) = (Arc::downgrade(self), token.clone());
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = token.cancelled() => return,
                    readable = socket.readable() => if readable.is_err() { return },
                }
                let Some(mux) = mux.upgrade() else { return };
                // Closed meanwhile.
                if mux.routes.wire(id).is_none() {
                    return;
                }
                socket.receive(|from, local, stride, train| {
                    mux.take_train(id, from, local, stride, train);
                });
            }
        });
        Ok((id, local))
    }

    /// Adds a relay, whose sink is [`Self::relay_sink`] of the same number.
    pub(crate) fn add_relay(&self, id: SocketId, relay: Relay) {
        self.routes.add_wire(id, Wire::Relay(relay));
    }

    /// Takes what comes from a relay.
    pub(crate) fn relay_sink(self: &Arc<Self>, id: SocketId) -> crate::relay::Sink {
        let mux = Arc::downgrade(self);
        Arc::new(move |from, data| {
            if let Some(mux) = mux.upgrade() {
                let length = data.len();
                mux.take_train(id, from, None, length, &data);
            }
        })
    }

    /// Forgets a socket or relay.
    pub(crate) fn close(&self, id: SocketId) {
        if let Some(Wire::Udp(socket)) = self.routes.remove_wire(id) {
            socket.close();
        }
    }

    /// Sends one datagram of a session, or a question to a STUN server. Whether it left.
    pub(crate) fn send(
        &self,
        id: SocketId,
        to: SocketAddr,
        from: Option<IpAddr>,
        contents: &[u8],
    ) -> bool {
        let Some(wire) = self.wire(id) else { return false };
        let transmit =
            Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: None };
        wire.send(to, from, &transmit).is_ok()
    }

    /// Datagrams of one length from one sender, as another socket than the main one received them.
    fn take_train(
        &self,
        id: SocketId,
        from: SocketAddr,
        local: Option<IpAddr>,
        stride: usize,
        train: &[u8],
    ) {
        let from = canonical(from);
        let Some(first) =
            train.chunks(stride.max(1)).position(|d| !self.is_ours(id, from, local, d))
        else {
            return;
        };
        // Nobody but a session's other end has anything to say to these sockets.
        let Some(route) = self.routes.path(id, from) else { return };
        route.media_came();
        self.answer_there(id, from, local, &route);
        let stride = stride.max(1);
        let clean = train.chunks(stride).skip(first).all(|d| !stun::is_stun(d));
        if clean {
            self.inbound.push(
                route.address,
                stride,
                Bytes::copy_from_slice(&train[first * stride..]),
            );
            return;
        }
        for datagram in train.chunks(stride).skip(first) {
            if !stun::is_stun(datagram) {
                let data = Bytes::copy_from_slice(datagram);
                self.inbound.push(route.address, data.len(), data);
            } else {
                self.is_ours(id, from, local, datagram);
            }
        }
    }

    /// Takes a datagram that is STUN; says whether it was.
    fn is_ours(
        &self,
        id: SocketId,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
    ) -> bool {
        if !stun::is_stun(datagram) {
            return false;
        }
        let session = if let Some(ufrag) = sightline_p2p::addressee(datagram) {
            self.routes.by_ufrag(ufrag)
        } else if let Some(Ok(transaction)) = datagram.get(8..20).map(<[u8; 12]>::try_from) {
            match self.transactions.take(transaction) {
                Some(Waiter::Session(session)) => self.routes.session(session),
                Some(Waiter::Query(sender)) => {
                    if let Some(mapped) = stun::Answer::parse(datagram).and_then(|a| a.mapped) {
                        // Nobody waits any more.
                        let _ = sender.send(canonical(mapped));
                    }
                    None
                }
                None => None,
            }
        } else {
            None
        };
        if let Some(session) = session {
            let bytes = Bytes::copy_from_slice(datagram);
            session.tell(In::Datagram { socket: id, from, local, bytes });
        }
        true
    }

    /// Takes STUN out of what the main socket received, and gives sessions their addresses.
    fn sift(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let from = canonical(meta.addr);
        if session_of(from).is_some() {
            // Nobody has such an address (RFC 6666): it would speak for one of our sessions.
            meta.len = 0;
            return;
        }
        let (mut kept, mut begin) = (0, 0);
        while begin < meta.len {
            let end = (begin + meta.stride.max(1)).min(meta.len);
            if !self.is_ours(MAIN, from, meta.dst_ip, &buffer[begin..end]) {
                if kept != begin {
                    buffer.copy_within(begin..end, kept);
                }
                kept += end - begin;
            }
            begin = end;
        }
        meta.len = kept;
        if kept == 0 {
            return;
        }
        if let Some(route) = self.routes.path(MAIN, from) {
            route.media_came();
            self.answer_there(MAIN, from, meta.dst_ip, &route);
            meta.addr = route.address;
            meta.dst_ip = None;
        } else {
            meta.addr = mapped(from);
        }
    }

    /// The other end may send on a proven path before this end's ladder has chosen any: until then
    /// it is answered there.
    fn answer_there(
        &self,
        id: SocketId,
        from: SocketAddr,
        local: Option<IpAddr>,
        route: &routes::PathRoute,
    ) {
        let mut active = route.session.active.lock();
        if active.is_none()
            && let Some(wire) = self.wire(id)
        {
            *active = Some(Active { wire, remote: from, local });
        }
    }

    fn poll_main(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<usize> {
        loop {
            let count = ready!(self.main.poll_recv(cx, buffers, meta));
            let mut some = false;
            for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()).take(count) {
                self.sift(buffer, meta);
                some |= meta.len > 0;
            }
            if some {
                return Poll::Ready(count);
            }
        }
    }
}

impl AsyncUdpSocket for Mux {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller::new(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(session) = session_of(transmit.destination) else {
            return self.main.send(canonical(transmit.destination), transmit.src_ip, transmit);
        };
        let active = self.routes.session(session).and_then(|s| s.active.lock().clone());
        // Without a path a packet is lost, as on any path.
        let Some(active) = active else { return Ok(()) };
        match active.wire.send(active.remote, active.local, transmit) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                *self.blocked.lock() = Some(active.wire);
                Err(e)
            }
            // A dead relay loses packets until the ladder has chosen another path.
            Err(_) | Ok(()) => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // Turn by turn, so that neither starves the other.
        if self.inbound.is_first()
            && let Some(count) = self.inbound.take(buffers, meta)
        {
            return Poll::Ready(Ok(count));
        }
        if let Poll::Ready(count) = self.poll_main(cx, buffers, meta) {
            return Poll::Ready(Ok(count));
        }
        self.inbound.register(cx);
        match self.inbound.take(buffers, meta) {
            Some(count) => Poll::Ready(Ok(count)),
            None => Poll::Pending,
        }
    }

    /// As a socket of both families, whatever it is: sessions have addresses of IPv6.
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(mapped(self.main.local_addr()?))
    }

    fn max_transmit_segments(&self) -> usize {
        self.main.max_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.main.receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.main.may_fragment()
    }
}

impl std::fmt::Debug for Mux {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mux").finish_non_exhaustive()
    }
}
