//! The UDP sockets: received and sent in batches.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

use super::StartError;

/// Buffer sizes asked of the kernel; a burst of keyframes to many viewers must fit.
const SEND_BUFFER: usize = 4 << 20;
const RECEIVE_BUFFER: usize = 1 << 20;
/// Datagrams taken from the kernel in one call.
const RECEIVE_BATCH: usize = 16;
/// Largest UDP payload, and the largest GSO or GRO train.
const MAX_TRAIN_BYTES: usize = 65_507;
/// Datagrams that wait while the kernel's buffer is full; then the newest are dropped, as a
/// router would.
const BACKLOG_TRAINS: usize = 256;

/// One datagram, or several of equal size (the last may be shorter), to one destination.
#[derive(Debug)]
struct Train {
    destination: SocketAddr,
    source: Option<IpAddr>,
    segment: usize,
    closed: bool,
    bytes: Vec<u8>,
}

/// One socket.
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    pub(super) local: SocketAddr,
    buffers: Vec<Vec<u8>>,
    current: Option<Train>,
    backlog: std::collections::VecDeque<Train>,
    spare: Vec<Vec<u8>>,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) datagrams_sent: u64,
    pub(super) sends: u64,
    pub(super) dropped: u64,
}

/// One received datagram.
pub(super) struct Datagram<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) bytes: &'a [u8],
}

impl Socket {
    pub(super) fn open(address: SocketAddr) -> Result<Self, StartError> {
        Self::try_open(address).map_err(|source| StartError::Bind { address, source })
    }

    fn try_open(address: SocketAddr) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // The kernel may grant less; then bursts wait in `backlog`.
        let _ = state.set_send_buffer_size(UdpSockRef::from(&io), SEND_BUFFER);
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&io), RECEIVE_BUFFER);
        let local = io.local_addr()?;
        let size = if state.gro_segments() > 1 { MAX_TRAIN_BYTES } else { 2_048 };
        Ok(Self {
            io,
            state,
            local,
            buffers: (0..RECEIVE_BATCH).map(|_| vec![0; size]).collect(),
            current: None,
            backlog: std::collections::VecDeque::new(),
            spare: Vec::new(),
        })
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error shows itself again, and is handled, at the receive.
        self.io.poll_recv_ready(cx).map(|_| ())
    }

    /// Whether sending has to wait for the kernel.
    pub(super) fn is_blocked(&self) -> bool {
        !self.backlog.is_empty()
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_send_ready(cx).map(|_| ())
    }

    /// Gives one batch of datagrams to `take`; false when there was none.
    pub(super) fn receive(&mut self, mut take: impl FnMut(Datagram<'_>)) -> bool {
        let mut meta = [RecvMeta::default(); RECEIVE_BATCH];
        let (io, state) = (&self.io, &self.state);
        let mut slices: Vec<IoSliceMut<'_>> =
            self.buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        let received = io.try_io(Interest::READABLE, || {
            state.recv(UdpSockRef::from(io), &mut slices, &mut meta)
        });
        let count = match received {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                // ICMP errors of earlier sends arrive here; they concern one peer at most.
                tracing::trace!(%error, "receive");
                return true;
            }
        };
        for (meta, buffer) in meta.iter().zip(&self.buffers).take(count) {
            let ip = meta.dst_ip.unwrap_or_else(|| self.local.ip());
            let destination = SocketAddr::new(ip, self.local.port());
            let data = buffer.get(..meta.len).unwrap_or_default();
            for bytes in data.chunks(meta.stride.max(1)) {
                take(Datagram { source: meta.addr, destination, bytes });
            }
        }
        true
    }

    /// Queues a datagram; it joins the one before when the kernel can send both in one call.
    pub(super) fn push(
        &mut self,
        source: Option<IpAddr>,
        destination: SocketAddr,
        bytes: &[u8],
        counts: &mut Counts,
    ) {
        counts.datagrams_sent += 1;
        let most = self.state.max_gso_segments();
        if let Some(train) = &mut self.current {
            let joins = !train.closed
                && train.destination == destination
                && train.source == source
                && bytes.len() <= train.segment
                && train.bytes.len() + bytes.len() <= MAX_TRAIN_BYTES
                && train.bytes.len() / train.segment < most;
            if joins {
                train.bytes.extend_from_slice(bytes);
                train.closed = bytes.len() < train.segment;
                return;
            }
        }
        self.flush(counts);
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.current = Some(Train {
            destination,
            source,
            segment: bytes.len().max(1),
            closed: false,
            bytes: buffer,
        });
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self, counts: &mut Counts) {
        let Some(train) = self.current.take() else { return };
        if self.is_blocked() || !self.send(&train, counts) {
            if self.backlog.len() < BACKLOG_TRAINS {
                self.backlog.push_back(train);
                return;
            }
            counts.dropped += 1;
        }
        self.recycle(train);
    }

    /// Sends what the kernel refused before.
    pub(super) fn retry(&mut self, counts: &mut Counts) {
        while let Some(train) = self.backlog.pop_front() {
            if !self.send(&train, counts) {
                self.backlog.push_front(train);
                return;
            }
            self.recycle(train);
        }
    }

    fn recycle(&mut self, train: Train) {
        if self.spare.len() < 8 {
            self.spare.push(train.bytes);
        }
    }

    /// False when the kernel's buffer is full.
    fn send(&self, train: &Train, counts: &mut Counts) -> bool {
        let many = train.bytes.len() > train.segment;
        if !many || self.state.max_gso_segments() > 1 {
            let segment_size = many.then_some(train.segment);
            match self.send_one(train, &train.bytes, segment_size, counts) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // Unreachable, no permission and the like: ICE finds out.
                Err(_) if !many => return true,
                // This path takes no GSO: one by one below.
                Err(error) => tracing::debug!(%error, "segmented send refused"),
            }
        }
        for segment in train.bytes.chunks(train.segment) {
            if let Err(error) = self.send_one(train, segment, None, counts)
                && error.kind() == io::ErrorKind::WouldBlock
            {
                // The rest of this train is lost, as in any full queue.
                counts.dropped += 1;
                return true;
            }
        }
        true
    }

    fn send_one(
        &self,
        train: &Train,
        contents: &[u8],
        segment_size: Option<usize>,
        counts: &mut Counts,
    ) -> io::Result<()> {
        counts.sends += 1;
        let transmit = Transmit {
            destination: train.destination,
            ecn: None,
            contents,
            segment_size,
            src_ip: train.source,
        };
        self.io.try_io(Interest::WRITABLE, || {
            self.state.try_send(UdpSockRef::from(&self.io), &transmit)
        })
    }
}
