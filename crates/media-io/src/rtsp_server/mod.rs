//! RTSP to players and CUs (Pc'): over TCP, with RTP inside the connection or over UDP, and inside
//! QUIC ([`quic`]).
//!
//! Every connection is one task that reads its own place in the hub, so a slow player holds up
//! nobody: it stops reading the hub while its socket is full, and goes on at a keyframe.

mod connection;
mod first_words;
pub mod pinned_tls;
mod places;
mod playback;
pub mod quic;
mod udp;
mod waiting;

use std::{
    io::{self, Cursor},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use sightline_model::{ChannelId, DeviceKind, StreamTier};
use sightline_protocol::{pc::MediaTransport, ps::TokenBearer};
use sightline_rtsp::server::{Directory, Lookup};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use self::places::Places;
pub(crate) use self::places::{Admitted, AdmittedOne};
use crate::{
    archive::Archive,
    camera::Cameras,
    files::{Caller, Files},
    gate::Gate,
    hub::SourceState,
};

/// How long the last words of a connection may take.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Most bytes of a peer that are read unseen while it reads our last words.
const MAX_IGNORED: u64 = 256 << 10;
/// Most refused connections that are held open for that at once.
const MAX_LINGERING: usize = 64;
/// When no connection can be accepted and none of ours ends, it is tried again after this.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Bounds and times.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most connections at once; more are answered 503. QUIC connections, which carry them, are
    /// bounded by the same number for themselves; more are refused.
    pub max_connections: usize,
    /// Most of either of one IPv4 address or one IPv6 /64.
    pub max_connections_per_address: usize,
    /// A QUIC connection on which nobody has shown a good token for so long is closed.
    pub admission_timeout: Duration,
    /// Ports for RTP over UDP, first and last; ports that the system chooses when absent.
    pub udp_ports: Option<(u16, u16)>,
    /// Whether RTP over UDP is offered at all.
    pub udp: bool,
    /// Silence after which a session ends that does not show its end by itself.
    pub session_timeout: Duration,
    /// A player whose connection takes nothing for so long is given up.
    pub write_stall: Duration,
    /// A player that is behind by more goes on at the newest keyframe.
    pub max_lag: Duration,
    /// Between two sender reports.
    pub report_interval: Duration,
    /// What serves, for traces.
    pub device: DeviceKind,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 128,
            max_connections_per_address: 32,
            admission_timeout: Duration::from_secs(10),
            udp_ports: None,
            udp: true,
            session_timeout: Duration::from_secs(60),
            write_stall: Duration::from_secs(10),
            max_lag: Duration::from_secs(2),
            report_interval: Duration::from_secs(3),
            device: DeviceKind::Pu,
        }
    }
}

/// Who is at the other end of a connection, and what carries it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub remote: SocketAddr,
    /// Our address, as the peer sees it.
    pub local: SocketAddr,
    /// In whose name tokens are shown.
    pub bearer: TokenBearer,
    /// What carries the connection; RTP over UDP is offered for [`MediaTransport::RtspTcp`] alone.
    pub transport: MediaTransport,
    /// Whose places its connections take: its own address, where nothing better is known.
    pub account: IpAddr,
    /// Whether somebody else says which path the media takes.
    pub path_is_told: bool,
}

/// Serves the cameras of one unit; cheap to clone.
#[derive(Clone)]
pub struct RtspServer {
    shared: Arc<Shared>,
    /// Serves who speaks HTTP instead.
    files: Option<Arc<dyn Files>>,
}

struct Shared {
    cameras: Cameras,
    gate: Arc<dyn Gate>,
    archive: Option<Arc<dyn Archive>>,
    options: Options,
    udp: udp::Pool,
    /// Dialogues, whatever carries them.
    connections: Arc<Places>,
    /// QUIC connections, with a dialogue or without.
    carriers: Arc<Places>,
    /// Refused connections whose peer may still read why.
    lingering: Semaphore,
}

impl RtspServer {
    /// A server that `gate` guards.
    #[must_use]
    pub fn new(cameras: Cameras, gate: Arc<dyn Gate>, options: Options) -> Self {
        Self::with_recordings(cameras, gate, None, options)
    }

    /// The same, for players that look back into `archive` as well, if there is one.
    #[must_use]
    pub fn with_recordings(
        cameras: Cameras,
        gate: Arc<dyn Gate>,
        archive: Option<Arc<dyn Archive>>,
        options: Options,
    ) -> Self {
        let udp = udp::Pool::new(options.udp_ports);
        let (max, max_of_one) = (options.max_connections, options.max_connections_per_address);
        let connections = Places::new(max, max_of_one);
        let carriers = Places::new(max, max_of_one);
        let lingering = Semaphore::new(MAX_LINGERING);
        let shared =
            Shared { cameras, gate, archive, options, udp, connections, carriers, lingering };
        Self { shared: Arc::new(shared), files: None }
    }

    /// The same; who begins with HTTP's `GET` is served by `files`.
    #[must_use]
    pub fn with_files(self, files: Arc<dyn Files>) -> Self {
        Self { files: Some(files), ..self }
    }

    /// Accepts players until `token` is cancelled; every connection is a task in `tasks`.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve_tcp(
        &self,
        listener: TcpListener,
        token: CancellationToken,
        tasks: TaskTracker,
    ) -> io::Result<()> {
        loop {
            let accepted = tokio::select! {
                () = token.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            let (socket, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if gone_already(&error) => {
                    debug!(%error, "a player went away before it was accepted");
                    continue;
                }
                Err(error) => {
                    // Out of descriptors: one comes free when a connection ends, here or elsewhere.
                    warn!(%error, "could not accept an RTSP connection");
                    tokio::select! {
                        () = token.cancelled() => return Ok(()),
                        () = self.shared.connections.freed() => {}
                        () = tokio::time::sleep(ACCEPT_AGAIN) => {}
                    }
                    continue;
                }
            };
            let Ok(local) = socket.local_addr() else { continue };
            if let Err(error) = socket.set_nodelay(true) {
                debug!(%error, "TCP_NODELAY");
            }
            let bearer = TokenBearer::Address { ip: remote.ip().to_canonical() };
            let peer = Peer {
                remote,
                local,
                bearer,
                transport: MediaTransport::RtspTcp,
                account: remote.ip(),
                path_is_told: false,
            };
            tasks.spawn(self.serve_stream(socket, peer, token.child_token()));
        }
    }

    /// The whole dialogue over one ordered stream of bytes, until either side ends it.
    ///
    /// The connection counts from this call on, so that those who came first are served.
    pub fn serve_stream<S>(
        &self,
        io: S,
        peer: Peer,
        token: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.serve_counted(io, peer, token, Admitted::default())
    }

    /// The same; `admitted` learns whether the peer may watch.
    fn serve_counted<S>(
        &self,
        io: S,
        peer: Peer,
        token: CancellationToken,
        admitted: Admitted,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let place = self.shared.connections.take(peer.account);
        let (shared, files) = (Arc::clone(&self.shared), self.files.clone());
        async move {
            let (mut reader, writer) = tokio::io::split(io);
            let Some(_place) = place else { return refuse(&shared, reader, writer).await };
            let mut early = BytesMut::new();
            if let Some(files) = files
                && first_words::are_http(&mut reader, &mut early, &token).await
            {
                let caller = Caller::new(Arc::clone(&shared.gate), &peer, admitted);
                let io = tokio::io::join(Cursor::new(early).chain(reader), writer);
                tokio::select! {
                    () = token.cancelled() => {}
                    () = files.serve(Box::new(io), caller) => {}
                }
                return;
            }
            let io = (reader, writer, early);
            connection::Connection::new(shared, peer, admitted, io).run(token).await;
        }
    }

    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.taken()
    }
}

/// What accept(2) tells of the peer rather than of us.
fn gone_already(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Tells a peer that there are too many.
async fn refuse<S>(shared: &Shared, reader: ReadHalf<S>, mut writer: WriteHalf<S>)
where
    S: AsyncRead + AsyncWrite,
{
    debug!("too many RTSP connections");
    let refusal = b"RTSP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n";
    let _ = tokio::time::timeout(LAST_WORDS, writer.write_all(refusal)).await;
    // Who floods is not waited for.
    if let Ok(_lingering) = shared.lingering.try_acquire() {
        close(reader, writer).await;
    }
}

/// Ends a connection so that the peer gets our last words: closing a TCP socket with unread input
/// resets it, and the reset overtakes what was written (RFC 1122 4.2.2.13).
async fn close<S: AsyncRead + AsyncWrite>(reader: ReadHalf<S>, mut writer: WriteHalf<S>) {
    let farewell = async {
        writer.shutdown().await?;
        tokio::io::copy(&mut reader.take(MAX_IGNORED), &mut tokio::io::sink()).await
    };
    // Best effort: the peer may be gone.
    let _ = tokio::time::timeout(LAST_WORDS, farewell).await;
}

/// Cameras as the protocol core sees them.
struct CameraDirectory<'a>(&'a Cameras);

impl Directory for CameraDirectory<'_> {
    fn look_up(&self, channel: ChannelId, tier: StreamTier) -> Lookup {
        let Some(camera) = self.0.get(&channel) else { return Lookup::Unknown };
        match camera.hub(tier).state() {
            SourceState::Offline(reason) => Lookup::Offline(reason),
            SourceState::Online(stream) => {
                Lookup::Online { name: Arc::clone(&camera.name), stream }
            }
        }
    }
}
