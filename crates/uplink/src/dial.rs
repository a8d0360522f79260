//! Opening a connection to an SCU: QUIC first, WebSocket where QUIC gives nothing.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use quinn::crypto::rustls::QuicClientConfig;
use sightline_protocol::{MAX_MESSAGE_BYTES, ps};
use sightline_service_kit::tls::{self, TlsError};
use tokio::net::TcpStream;
use tokio_tungstenite::{Connector, tungstenite::protocol::WebSocketConfig};
use tokio_util::task::TaskTracker;
use url::Url;

use super::link::Link;

/// How long QUIC may try alone before WebSocket joins.
const HEAD_START: Duration = Duration::from_millis(1_500);
/// Between the first packets to the several addresses of one name (RFC 8305 clause 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 6;
/// All of one try.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The link asks for a sign of life after so long without one, and counts as dead after
/// [`IDLE_TIMEOUT`] more: an SCU that has vanished is noticed within 3 s. One that is back answers
/// with a stateless reset (RFC 9000 section 10.3).
const PING_INTERVAL: Duration = Duration::from_millis(1_200);
const IDLE_TIMEOUT: Duration = Duration::from_millis(1_800);

/// Where one SCU can be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// `host:port` of QUIC.
    pub quic: Option<String>,
    /// `wss://…`; `ws://…` on the same machine only.
    pub websocket: Option<Url>,
}

/// No connection came about. The peer's or the network's fault, except for [`DialError::Local`].
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// A name cannot be resolved.
    #[error("the name of the service cannot be resolved: {0}")]
    Name(std::io::Error),
    /// QUIC: refused, no answer, or not the certificate that we trust.
    #[error("QUIC: {0}")]
    Quic(#[from] quinn::ConnectionError),
    /// WebSocket: refused, no answer, or not the certificate that we trust.
    #[error("WebSocket: {0}")]
    WebSocket(Box<tokio_tungstenite::tungstenite::Error>),
    /// TCP does not come through.
    #[error("TCP: {0}")]
    Tcp(std::io::Error),
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// Both ways failed.
    #[error("{0}; {1}")]
    Both(Box<DialError>, Box<DialError>),
    /// This machine gives no socket, or the address is unusable.
    #[error("on this machine: {0}")]
    Local(String),
}

/// Opens links.
#[derive(Debug, Clone)]
pub struct Dialer {
    quic: quinn::ClientConfig,
    tls: Arc<rustls::ClientConfig>,
    tasks: TaskTracker,
}

impl Dialer {
    /// A dialer that trusts the authority in `ca` (PEM), or the public ones. Links run on `tasks`.
    ///
    /// # Errors
    /// [`TlsError`] when `ca` cannot be used.
    pub fn new(ca: Option<&Path>, tasks: TaskTracker) -> Result<Self, TlsError> {
        let quic_tls = tls::client_config(ca, &[ps::ALPN])?;
        let quic_tls = QuicClientConfig::try_from(quic_tls)
            .map_err(|_| TlsError::Refused(rustls::Error::General("no TLS 1.3".into())))?;
        let mut quic = quinn::ClientConfig::new(Arc::new(quic_tls));
        let mut transport = quinn::TransportConfig::default();
        transport
            .keep_alive_interval(Some(PING_INTERVAL))
            .max_idle_timeout(IDLE_TIMEOUT.try_into().ok())
            .initial_rtt(Duration::from_millis(100))
            .max_concurrent_bidi_streams(0u32.into())
            .max_concurrent_uni_streams(0u32.into());
        quic.transport_config(Arc::new(transport));
        Ok(Self { quic, tls: Arc::new(tls::client_config(ca, &[])?), tasks })
    }

    /// Whom this dialer trusts over TLS; relays are trusted by the same.
    #[must_use]
    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// Opens a link to `server`, by QUIC if that comes through.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, server: &Server) -> Result<Link, DialError> {
        let race = async {
            match (&server.quic, &server.websocket) {
                (Some(quic), None) => self.dial_quic(quic).await,
                (None, Some(url)) => self.dial_websocket(url).await,
                (Some(quic), Some(url)) => self.race(quic, url).await,
                (None, None) => Err(DialError::Local("the SCU has no address".into())),
            }
        };
        tokio::time::timeout(TIMEOUT, race).await.unwrap_or(Err(DialError::Timeout))
    }

    async fn race(&self, quic: &str, url: &Url) -> Result<Link, DialError> {
        let both = |a, b| DialError::Both(Box::new(a), Box::new(b));
        let quic = self.dial_quic(quic);
        let websocket = self.dial_websocket(url);
        tokio::pin!(quic, websocket);
        match tokio::time::timeout(HEAD_START, &mut quic).await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(first)) => return websocket.await.map_err(|second| both(first, second)),
            Err(_) => {}
        }
        tokio::select! {
            result = &mut quic => match result {
                Ok(link) => Ok(link),
                Err(first) => websocket.await.map_err(|second| both(first, second)),
            },
            result = &mut websocket => match result {
                Ok(link) => Ok(link),
                Err(second) => quic.await.map_err(|first| both(first, second)),
            },
        }
    }

    /// Opens a link by QUIC alone.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial_quic(&self, server: &str) -> Result<Link, DialError> {
        let (name, _) = server
            .rsplit_once(':')
            .ok_or_else(|| DialError::Local("the QUIC address has no port".into()))?;
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let addresses = resolve(server).await?;
        let connection = first_of(addresses, |address| self.connect_quic(address, name)).await?;
        Ok(Link::quic(connection, &self.tasks).await?)
    }

    async fn connect_quic(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> Result<quinn::Connection, DialError> {
        let local = |what: &dyn std::fmt::Display| DialError::Local(what.to_string());
        // Bound to no address of its own, so that the connection survives a change of ours
        // (RFC 9000 clause 9).
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = quinn::Endpoint::client(any).map_err(|e| local(&e))?;
        let connecting = endpoint.connect_with(self.quic.clone(), address, name);
        Ok(connecting.map_err(|e| local(&e))?.await?)
    }

    async fn dial_websocket(&self, url: &Url) -> Result<Link, DialError> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(443);
        let addresses = resolve(&format!("{host}:{port}")).await?;
        let tcp = first_of(addresses, |address| async move {
            TcpStream::connect(address).await.map_err(DialError::Tcp)
        });
        let tcp = tcp.await?;
        tcp.set_nodelay(true).map_err(DialError::Tcp)?;
        let connector = match url.scheme() {
            "ws" => Connector::Plain,
            _ => Connector::Rustls(Arc::clone(&self.tls)),
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let (stream, _) = tokio_tungstenite::client_async_tls_with_config(
            url.as_str(),
            tcp,
            Some(config),
            Some(connector),
        )
        .await
        .map_err(|e| DialError::WebSocket(Box::new(e)))?;
        Ok(Link::websocket(stream, &self.tasks))
    }
}

async fn resolve(server: &str) -> Result<Vec<SocketAddr>, DialError> {
    let found = tokio::net::lookup_host(server).await.map_err(DialError::Name)?;
    Ok(found.take(MAX_ADDRESSES).collect())
}

/// The first address that works; each starts a little after the one before it.
async fn first_of<T, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, DialError>
where
    F: Future<Output = Result<T, DialError>>,
{
    let mut tries: FuturesUnordered<_> = addresses
        .into_iter()
        .zip(0u32..)
        .map(|(address, i)| {
            let attempt = connect(address);
            async move {
                tokio::time::sleep(STAGGER * i).await;
                attempt.await
            }
        })
        .collect();
    let mut last = DialError::Local("the name has no address".into());
    while let Some(result) = tries.next().await {
        match result {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}
