//! The leg between this side and the server.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest},
    net::{TcpStream, UdpSocket},
    sync::mpsc,
};

use super::{RelayError, RelayOptions, framing::next_message};
use crate::server::{RelayServer, RelayTransport};

/// How long TCP and TLS may take to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Transmissions that may wait for a stream; then the sender is told to wait.
const STREAM_QUEUE: usize = 64;
/// One datagram train.
const TRAIN: usize = 64 << 10;

type Reading = Box<dyn AsyncRead + Send + Unpin>;
type Writing = Box<dyn AsyncWrite + Send + Unpin>;

/// A leg that nobody uses yet.
pub(super) struct Wire {
    pub(super) local: SocketAddr,
    pub(super) server: SocketAddr,
    kind: Kind,
}

enum Kind {
    Udp(UdpSocket),
    Stream(Reading, Writing),
}

impl Wire {
    pub(super) async fn open(
        address: SocketAddr,
        server: &RelayServer,
        options: &RelayOptions,
    ) -> Result<Self, RelayError> {
        let unreachable = |e: io::Error| RelayError::Unreachable(e.to_string());
        if server.transport == RelayTransport::Udp {
            return Self::udp(address).await.map_err(unreachable);
        }
        let connect = tokio::time::timeout(CONNECT, TcpStream::connect(address));
        let stream = connect.await.map_err(|_| RelayError::Silent)?.map_err(unreachable)?;
        let local = stream.local_addr().map_err(unreachable)?;
        // Small packets must not wait for one another.
        stream.set_nodelay(true).map_err(unreachable)?;
        let kind = if server.transport == RelayTransport::Tls {
            tls(stream, &server.place.host, options).await?
        } else {
            let (reading, writing) = stream.into_split();
            Kind::Stream(Box::new(reading), Box::new(writing))
        };
        Ok(Self { local, server: address, kind })
    }

    async fn udp(address: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        // Only the server is heard, and its absence is told by ICMP.
        socket.connect(address).await?;
        Ok(Self { local: socket.local_addr()?, server: address, kind: Kind::Udp(socket) })
    }

    /// The two directions; the second ends when every [`Io`] is gone.
    pub(super) fn split(self) -> io::Result<(Arc<Io>, Reader, Option<Writer>)> {
        let (local, server) = (self.local, self.server);
        let refused = AtomicBool::new(false);
        match self.kind {
            Kind::Udp(socket) => {
                let state = UdpSocketState::new((&socket).into())?;
                let io = Arc::new(Io { local, server, way: Way::Udp(socket, state), refused });
                let reader = Reader::Udp(Arc::clone(&io), vec![0; TRAIN].into());
                Ok((io, reader, None))
            }
            Kind::Stream(reading, writing) => {
                let (sender, queue) = mpsc::channel(STREAM_QUEUE);
                let io = Arc::new(Io { local, server, way: Way::Stream(sender), refused });
                let reader = Reader::Stream(reading, BytesMut::new());
                Ok((io, reader, Some(Writer { writing, queue })))
            }
        }
    }
}

async fn tls(stream: TcpStream, host: &str, options: &RelayOptions) -> Result<Kind, RelayError> {
    let failed = |e: &dyn std::fmt::Display| RelayError::Tls(e.to_string());
    let Some(config) = &options.tls else { return Err(failed(&"nobody is trusted")) };
    let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(&e))?;
    let connecting = tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream);
    let stream = tokio::time::timeout(CONNECT, connecting)
        .await
        .map_err(|_| RelayError::Silent)?
        .map_err(|e| failed(&e))?;
    let (reading, writing) = tokio::io::split(stream);
    Ok(Kind::Stream(Box::new(reading), Box::new(writing)))
}

/// The direction to the server.
pub(super) struct Io {
    local: SocketAddr,
    server: SocketAddr,
    way: Way,
    refused: AtomicBool,
}

enum Way {
    Udp(UdpSocket, UdpSocketState),
    Stream(mpsc::Sender<Bytes>),
}

impl Io {
    pub(super) const fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) const fn server(&self) -> SocketAddr {
        self.server
    }

    pub(super) const fn is_stream(&self) -> bool {
        matches!(self.way, Way::Stream(_))
    }

    /// Sends messages; over UDP those of a train have the same length, the last maybe a shorter.
    pub(super) fn send(&self, messages: &[u8], segment_size: Option<usize>) -> io::Result<()> {
        match &self.way {
            Way::Udp(socket, state) => {
                let most = state.max_gso_segments().max(1);
                let size = segment_size.unwrap_or(messages.len()).max(1);
                // A train must fit into the length field of UDP.
                let most = most.min((60_000 / size).max(1));
                for train in messages.chunks(size * most) {
                    let transmit = Transmit {
                        destination: self.server,
                        ecn: None,
                        contents: train,
                        segment_size: (train.len() > size).then_some(size),
                        src_ip: None,
                    };
                    let sent = socket
                        .try_io(Interest::WRITABLE, || state.try_send(socket.into(), &transmit));
                    self.heed(sent)?;
                }
                Ok(())
            }
            Way::Stream(queue) => match queue.try_send(Bytes::copy_from_slice(messages)) {
                Ok(()) => Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    Err(io::ErrorKind::NotConnected.into())
                }
            },
        }
    }

    /// What a lost datagram cannot tell is let pass; that nobody listens is kept.
    fn heed(&self, sent: io::Result<()>) -> io::Result<()> {
        match sent {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(e),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                self.refused.store(true, Relaxed);
                Err(e)
            }
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// An error alone does not make a socket readable: it is asked for.
    pub(super) fn look_for_errors(&self) {
        if let Way::Udp(socket, _) = &self.way
            && let Ok(Some(error)) = socket.take_error()
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            self.refused.store(true, Relaxed);
        }
    }

    /// Whether the server's machine has said that nobody listens there (ICMP).
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    pub(super) async fn writable(&self) {
        // An error shows with the next transmission.
        match &self.way {
            Way::Udp(socket, _) => drop(socket.writable().await),
            Way::Stream(queue) => drop(queue.reserve().await),
        }
    }
}

/// The direction from the server.
pub(super) enum Reader {
    Udp(Arc<Io>, Box<[u8]>),
    Stream(Reading, BytesMut),
}

impl Reader {
    /// The next messages. Cancel-safe.
    pub(super) async fn read(&mut self, take: &mut impl FnMut(Bytes)) -> io::Result<()> {
        match self {
            Self::Udp(io, buffer) => {
                let Way::Udp(socket, state) = &io.way else { return Ok(()) };
                socket.readable().await?;
                let mut meta = [RecvMeta::default()];
                let mut slices = [io::IoSliceMut::new(buffer)];
                let received = socket.try_io(Interest::READABLE, || {
                    state.recv(socket.into(), &mut slices, &mut meta)
                });
                match received {
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(e) => return Err(e),
                }
                let RecvMeta { len, stride, .. } = meta[0];
                let mut train = Bytes::copy_from_slice(&buffer[..len]);
                while !train.is_empty() {
                    take(train.split_to(stride.clamp(1, train.len())));
                }
                Ok(())
            }
            Self::Stream(reading, buffer) => {
                buffer.reserve(16 << 10);
                if reading.read_buf(buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                while let Some(message) = next_message(buffer)? {
                    take(message);
                }
                Ok(())
            }
        }
    }
}

/// Writes to a stream what [`Io::send`] queues.
pub(super) struct Writer {
    writing: Writing,
    queue: mpsc::Receiver<Bytes>,
}

impl Writer {
    /// Until the queue is closed or the stream fails.
    pub(super) async fn run(mut self) -> io::Result<()> {
        while let Some(messages) = self.queue.recv().await {
            self.writing.write_all(&messages).await?;
            if self.queue.is_empty() {
                self.writing.flush().await?;
            }
        }
        self.writing.shutdown().await
    }
}
