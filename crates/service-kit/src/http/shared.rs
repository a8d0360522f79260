//! One TLS port for HTTP and something else, told apart by the first decrypted byte.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum_server::{
    accept::{Accept, NoDelayAcceptor},
    tls_rustls::RustlsAcceptor,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

/// A browser may open a connection before it has anything to say.
const FIRST_BYTE: Duration = Duration::from_secs(75);

/// A connection whose first bytes have been looked at.
pub type SharedStream = BufReader<TlsStream<TcpStream>>;

/// Takes connections that do not speak HTTP.
pub trait OtherProtocol: Send + Sync {
    /// Its name in TLS (RFC 7301).
    fn alpn(&self) -> &'static [u8];

    /// Whether a connection that begins with this byte is for it.
    fn is_for(&self, first: u8) -> bool;

    /// Serves a connection, in a task of its own.
    fn serve(&self, stream: SharedStream, remote: SocketAddr, local: SocketAddr);
}

#[derive(Clone)]
pub(super) struct SharedAcceptor {
    tls: RustlsAcceptor<NoDelayAcceptor>,
    other: Arc<dyn OtherProtocol>,
}

impl SharedAcceptor {
    pub(super) fn new(tls: RustlsAcceptor<NoDelayAcceptor>, other: Arc<dyn OtherProtocol>) -> Self {
        Self { tls, other }
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for SharedAcceptor {
    type Stream = SharedStream;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(SharedStream, S)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let addresses = stream.peer_addr().and_then(|remote| Ok((remote, stream.local_addr()?)));
        let handshake = self.tls.accept(stream, service);
        let other = self.other.clone();
        Box::pin(async move {
            let (remote, local) = addresses?;
            let (stream, service) = handshake.await?;
            let mut stream = BufReader::new(stream);
            let first = timeout(FIRST_BYTE, stream.fill_buf()).await??.first().copied();
            if first.is_some_and(|first| other.is_for(first)) {
                other.serve(stream, remote, local);
                return Err(io::Error::other("handed over"));
            }
            Ok((stream, service))
        })
    }
}
