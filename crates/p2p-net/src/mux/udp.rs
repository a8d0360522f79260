//! A UDP socket with trains in both directions (GSO, GRO), by `quinn-udp`.

use std::{
    cell::RefCell,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket, sync::Notify};

use super::mapped;

/// Errors of a socket in a row after which others get their turn.
const MAX_ERRORS: usize = 16;

thread_local! {
    /// A train is read here before it is known whose it is: hundreds of sockets need no buffer each.
    static TRAIN: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 << 10].into());
}

#[derive(Debug)]
pub(crate) struct UdpSock {
    socket: UdpSocket,
    state: UdpSocketState,
    v6: bool,
    closed: AtomicBool,
    closing: Notify,
}

impl UdpSock {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        // It also makes the socket non-blocking.
        let state = UdpSocketState::new((&socket).into())?;
        let v6 = socket.local_addr()?.is_ipv6();
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self { socket, state, v6, closed: AtomicBool::new(false), closing: Notify::new() })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(super) const fn is_v6(&self) -> bool {
        self.v6
    }

    pub(super) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    pub(super) fn receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    pub(super) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// `from` is the address of this machine that it leaves from; the system chooses otherwise.
    pub(super) fn send(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
        transmit: &Transmit<'_>,
    ) -> io::Result<()> {
        let destination = if self.v6 { mapped(to) } else { to };
        // A socket of IPv4 reaches IPv4 alone.
        if !self.v6 && destination.is_ipv6() {
            return Ok(());
        }
        let src_ip = match from.map(|ip| ip.to_canonical()) {
            Some(ip) if ip.is_ipv4() != to.ip().to_canonical().is_ipv4() => None,
            other => other,
        };
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let most = if transmit.segment_size.is_some() { self.state.max_gso_segments() } else { 1 };
        for train in transmit.contents.chunks(size * most.max(1)) {
            let transmit = Transmit {
                destination,
                ecn: transmit.ecn,
                contents: train,
                segment_size: (train.len() > size).then_some(size),
                src_ip,
            };
            self.socket
                .try_io(Interest::WRITABLE, || self.state.send((&self.socket).into(), &transmit))?;
        }
        Ok(())
    }

    pub(super) async fn writable(&self) {
        // An error shows with the next transmission.
        drop(self.socket.writable().await);
    }

    /// Waits until something came; an error when the socket was closed.
    pub(super) async fn readable(&self) -> io::Result<()> {
        let closing = self.closing.notified();
        if self.closed.load(Relaxed) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        tokio::select! {
            readable = self.socket.readable() => readable,
            () = closing => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Ends whoever waits in [`Self::readable`].
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
        self.closing.notify_waiters();
    }

    /// Gives `take` the train that came, if one did: sender, our address, length of a datagram.
    pub(super) fn receive(&self, take: impl FnOnce(SocketAddr, Option<IpAddr>, usize, &[u8])) {
        TRAIN.with_borrow_mut(|buffer| {
            let mut meta = [RecvMeta::default()];
            let received = self.socket.try_io(Interest::READABLE, || {
                let mut slices = [IoSliceMut::new(buffer)];
                self.state.recv((&self.socket).into(), &mut slices, &mut meta)
            });
            // Errors tell of packets sent before (ICMP): the ladder notices what matters.
            if received.is_ok() {
                let RecvMeta { addr, len, stride, dst_ip, .. } = meta[0];
                take(addr, dst_ip, stride, &buffer[..len]);
            }
        });
    }

    /// As quinn's own socket does it; no error ends an endpoint.
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<usize> {
        for _ in 0..MAX_ERRORS {
            if ready!(self.socket.poll_recv_ready(cx)).is_err() {
                return Poll::Pending;
            }
            let received = self.socket.try_io(Interest::READABLE, || {
                self.state.recv((&self.socket).into(), buffers, meta)
            });
            if let Ok(count) = received {
                return Poll::Ready(count);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
