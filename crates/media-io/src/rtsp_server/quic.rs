//! RTSP inside QUIC (RFC 9000): every bidirectional stream that the CU opens is one RTSP
//! connection with interleaved media. Both ends are known by their Ed25519 keys
//! (`pinned_tls`). Any key opens a connection, since the token comes later: so connections are
//! bounded, and those on which no good token is shown are closed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use quinn::{
    Connection, Endpoint, Incoming, MtuDiscoveryConfig, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::pki_types::CertificateDer;
use sightline_model::PublicKey;
use sightline_protocol::{
    pc::{MediaTransport, QUIC_ALPN},
    ps::TokenBearer,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    Peer, RtspServer,
    pinned_tls::{self, PinnedTlsError},
    places::Admitted,
};

/// Dialogues in one QUIC connection.
const MAX_STREAMS: u32 = 4;
/// Unacknowledged bytes of one viewer that are kept: the queue of a slow one.
const SEND_WINDOW: u64 = 1 << 20;
/// Most bytes that a viewer may have under way to us: requests and RTCP are small.
const RECEIVE_WINDOW: u32 = 128 << 10;
/// Connections above which a new address must prove itself first (RFC 9000 section 8.1.2).
const CALM: usize = 16;
/// Longest QUIC packet: 1,500 bytes without the headers of IPv6, UDP and a TURN channel, a
/// translation to IPv6, and PPPoE.
const MAX_PACKET: u16 = 1_380;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Why we close a connection: the client has shown no key.
const NO_KEY: u8 = 1;
/// Why we close a connection: nobody on it has shown a good token for too long.
const NO_TOKEN: u8 = 2;
/// Why we close a connection: its session belongs to another key.
const WRONG_KEY: u8 = 3;

/// What can go wrong before media flows.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// Own key.
    #[error(transparent)]
    Tls(#[from] PinnedTlsError),
    /// The cipher suites lack what QUIC needs.
    #[error("TLS cannot carry QUIC: {0}")]
    NoInitialSuite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The socket.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The address cannot be dialled.
    #[error("cannot dial: {0}")]
    Connect(#[from] quinn::ConnectError),
    /// The peer is away, or does not hold the key that it must.
    #[error("connection: {0}")]
    Connection(#[from] quinn::ConnectionError),
}

/// `receive_window` bounds what the peer may have under way to us.
fn transport(receive_window: VarInt) -> Arc<TransportConfig> {
    // A path may change below a connection, to one with headers of a relay and of IPv6: packets
    // that were found to fit must go on fitting.
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MAX_PACKET);
    let mut transport = TransportConfig::default();
    transport
        .mtu_discovery_config(Some(discovery))
        .max_concurrent_bidi_streams(MAX_STREAMS.into())
        .max_concurrent_uni_streams(0_u8.into())
        .send_window(SEND_WINDOW)
        .receive_window(receive_window)
        .keep_alive_interval(Some(Duration::from_secs(5)))
        .max_idle_timeout(Some(VarInt::from_u32(15_000).into()));
    Arc::new(transport)
}

/// QUIC's side of a PU; `key_pkcs8` is the PU's own Ed25519 key.
///
/// # Errors
/// When the key cannot be used.
pub fn server_config(key_pkcs8: &[u8]) -> Result<quinn::ServerConfig, QuicError> {
    let tls = pinned_tls::server_config(key_pkcs8, QUIC_ALPN)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport(RECEIVE_WINDOW.into()));
    Ok(config)
}

/// An endpoint for [`RtspServer::serve_quic`] on a socket of its own.
///
/// # Errors
/// When the key cannot be used or the address cannot be bound.
pub fn server_endpoint(bind: SocketAddr, key_pkcs8: &[u8]) -> Result<Endpoint, QuicError> {
    Ok(Endpoint::server(server_config(key_pkcs8)?, bind)?)
}

/// QUIC's side of a CU that talks to the holder of `pu` alone.
///
/// # Errors
/// When `key_pkcs8`, the CU's Ed25519 key, cannot be used.
pub fn client_config(key_pkcs8: &[u8], pu: PublicKey) -> Result<quinn::ClientConfig, QuicError> {
    let tls = pinned_tls::client_config(key_pkcs8, pu, QUIC_ALPN)?;
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    // Media comes this way.
    config.transport_config(transport(VarInt::from_u32(8 << 20)));
    Ok(config)
}

/// Connects a CU to the PU that holds `pu`. Then `open_bi` and speak RTSP.
///
/// # Errors
/// When the PU is away or another answers in its place.
pub async fn connect(
    endpoint: &Endpoint,
    address: SocketAddr,
    key_pkcs8: &[u8],
    pu: PublicKey,
) -> Result<Connection, QuicError> {
    let config = client_config(key_pkcs8, pu)?;
    // The name is sent in clear and means nothing: the key does.
    Ok(endpoint.connect_with(config, address, "sightline.invalid")?.await?)
}

/// The key that the other end has proved to hold.
#[must_use]
pub fn peer_key(connection: &Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    pinned_tls::key_of(chain.first()?)
}

/// Whose a connection is, by the address that the endpoint's socket gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    /// Anybody's, who dialled the unit's own port.
    Plain,
    /// Of a session that was offered through the centre and admitted, over whatever path.
    Session {
        /// The only key that may be at the other end.
        client: PublicKey,
        /// Where its packets come from now.
        from: SocketAddr,
        /// Stands for the session where places are counted.
        account: IpAddr,
    },
    /// Of a session that is over.
    Over,
}

/// The sessions that a socket below the endpoint carries.
pub trait Carrier: Send + Sync + 'static {
    /// Whose a connection from this address is.
    fn carriage(&self, remote: SocketAddr) -> Carriage;
    /// Such a connection has shown the right key.
    fn connected(&self, remote: SocketAddr);
    /// It has ended.
    fn ended(&self, remote: SocketAddr);
}

/// A socket that carries no sessions.
struct Bare;

impl Carrier for Bare {
    fn carriage(&self, _remote: SocketAddr) -> Carriage {
        Carriage::Plain
    }

    fn connected(&self, _remote: SocketAddr) {}

    fn ended(&self, _remote: SocketAddr) {}
}

impl RtspServer {
    /// Accepts CUs over QUIC, on a socket that carries plain dials alone.
    pub async fn serve_quic(
        &self,
        endpoint: Endpoint,
        token: CancellationToken,
        tasks: TaskTracker,
    ) {
        self.serve_quic_carried(endpoint, Arc::new(Bare), token, tasks).await;
    }

    /// Accepts CUs over QUIC until `token` is cancelled; every connection is a task in `tasks`.
    pub async fn serve_quic_carried(
        &self,
        endpoint: Endpoint,
        carrier: Arc<dyn Carrier>,
        token: CancellationToken,
        tasks: TaskTracker,
    ) {
        let carriers = &self.shared.carriers;
        // A forger of addresses must not fill the places of a small unit either.
        let calm = CALM.min(carriers.max() / 2);
        loop {
            let incoming = tokio::select! {
                () = token.cancelled() => break,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            let remote = incoming.remote_address();
            let carriage = carrier.carriage(remote);
            let account = match carriage {
                Carriage::Plain => remote.ip(),
                Carriage::Session { account, .. } => account,
                Carriage::Over => {
                    incoming.refuse();
                    continue;
                }
            };
            let open = carriers.taken().max(endpoint.open_connections());
            // The checks of a session's path have proven its address.
            let proven = incoming.remote_address_validated() || carriage != Carriage::Plain;
            if !proven && open >= calm {
                if let Err(error) = incoming.retry() {
                    debug!(%error, "QUIC retry");
                }
                continue;
            }
            let Some(place) = carriers.take(account) else {
                debug!("too many QUIC connections");
                incoming.refuse();
                continue;
            };
            let local = endpoint.local_addr().ok();
            let (server, token, streams) = (self.clone(), token.child_token(), tasks.clone());
            let carrier = Arc::clone(&carrier);
            tasks.spawn(async move {
                let _place = place;
                let known = AtomicBool::new(false);
                let carried = Carried { carrier: carrier.as_ref(), carriage, remote, local, known };
                let result = server.quic_connection(incoming, &carried, token, streams).await;
                if let Err(error) = result {
                    debug!(%error, "QUIC connection ended");
                }
                if carried.known.load(Relaxed) {
                    carrier.ended(remote);
                }
            });
        }
        endpoint.close(0_u8.into(), b"going away");
    }

    async fn quic_connection(
        &self,
        incoming: Incoming,
        carried: &Carried<'_>,
        token: CancellationToken,
        tasks: TaskTracker,
    ) -> Result<(), QuicError> {
        let handshake = tokio::time::timeout(HANDSHAKE, incoming.accept()?);
        let connection = tokio::select! {
            () = token.cancelled() => return Ok(()),
            done = handshake => done.map_err(|_| quinn::ConnectionError::TimedOut)??,
        };
        let Some(client) = peer_key(&connection) else {
            connection.close(NO_KEY.into(), b"no key");
            return Ok(());
        };
        let Some(peer) = carried.peer(&connection, client) else {
            connection.close(WRONG_KEY.into(), b"another's session");
            return Ok(());
        };
        let admitted = Admitted::default();
        let idle = admitted.none_for(self.shared.options.admission_timeout);
        tokio::pin!(idle);
        loop {
            let (send, receive) = tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = &mut idle => {
                    debug!("nobody has shown a good token on a QUIC connection");
                    connection.close(NO_TOKEN.into(), b"no token");
                    return Ok(());
                }
                stream = connection.accept_bi() => stream?,
            };
            let (stream, token) = (tokio::io::join(receive, send), token.child_token());
            tasks.spawn(self.serve_counted(stream, peer.clone(), token, admitted.clone()));
        }
    }
}

/// A connection and what is known of it from below.
struct Carried<'a> {
    carrier: &'a dyn Carrier,
    carriage: Carriage,
    remote: SocketAddr,
    local: Option<SocketAddr>,
    /// Whether the carrier was told of it.
    known: AtomicBool,
}

impl Carried<'_> {
    /// Who is there; `None` when it is another than the one that the session was offered by.
    fn peer(&self, connection: &Connection, client: PublicKey) -> Option<Peer> {
        let (remote, account, path_is_told) = match self.carriage {
            Carriage::Plain => (connection.remote_address(), self.remote.ip(), false),
            Carriage::Session { client: expected, .. } if expected != client => return None,
            Carriage::Session { from, account, .. } => {
                self.known.store(true, Relaxed);
                self.carrier.connected(self.remote);
                (from, account, true)
            }
            Carriage::Over => return None,
        };
        let local_ip = connection.local_ip().or(self.local.map(|l| l.ip())).unwrap_or(remote.ip());
        Some(Peer {
            remote,
            local: SocketAddr::new(local_ip, self.local.map_or(0, |l| l.port())),
            bearer: TokenBearer::Key { client },
            transport: MediaTransport::Quic,
            account,
            path_is_told,
        })
    }
}
