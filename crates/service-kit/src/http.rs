//! HTTP listeners: plain or over TLS, ended by the lifecycle.

mod shared;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use axum_server::{
    Handle,
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};

use crate::{
    lifecycle::Lifecycle,
    tls::{Identity, TlsError},
};

pub use shared::{OtherProtocol, SharedStream};

/// How long requests get to finish when the service ends. Event streams and WebSockets never
/// finish by themselves, so they are cut off then.
const DRAIN: Duration = Duration::from_secs(1);

/// A listener cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate or key are refused.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Binds an address, without serving it yet.
///
/// # Errors
/// [`ListenError::Bind`].
pub fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let failed = |source| ListenError::Bind { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves `router` over TLS until the lifecycle ends, as [`serve`] does, and hands over connections
/// that speak something else, by their first decrypted byte. What comes back changes the
/// certificate.
///
/// # Errors
/// [`ListenError`].
pub fn serve_shared(
    listener: TcpListener,
    identity: &Identity,
    router: Router,
    other: Arc<dyn OtherProtocol>,
    lifecycle: &Lifecycle,
) -> Result<ShownIdentity, ListenError> {
    let address = listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let shown = ShownIdentity::new(identity, vec![b"http/1.1", other.alpn()])?;
    let tls = RustlsAcceptor::new(shown.config.clone());
    let acceptor = shared::SharedAcceptor::new(tls.acceptor(NoDelayAcceptor::new()), other);
    let server = axum_server::from_tcp(listener)
        .map_err(|source| ListenError::Bind { address, source })?
        .acceptor(acceptor);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = server.handle(stopped_with(lifecycle)).serve(service);
    lifecycle.tasks.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, %address, "an HTTP listener failed");
        }
    });
    Ok(shown)
}

/// What a listener shows to new connections.
#[derive(Debug, Clone)]
pub struct ShownIdentity {
    config: RustlsConfig,
    alpn: Vec<&'static [u8]>,
}

impl ShownIdentity {
    fn new(identity: &Identity, alpn: Vec<&'static [u8]>) -> Result<Self, TlsError> {
        let config = RustlsConfig::from_config(Arc::new(identity.server_config(&alpn)?));
        Ok(Self { config, alpn })
    }

    /// From now on another one is shown; connections that stand go on.
    ///
    /// # Errors
    /// [`TlsError`]; then everything stays as it was.
    pub fn show(&self, identity: &Identity) -> Result<(), TlsError> {
        self.config.reload_from_config(Arc::new(identity.server_config(&self.alpn)?));
        Ok(())
    }
}

/// Serves `router`, over TLS when there is an identity, until the lifecycle ends. Handlers see the
/// peer's address as `ConnectInfo<SocketAddr>`. Small messages go out at once: an answer and the
/// candidates after it would else wait for each other's acknowledgement (RFC 9293, 3.7.4).
///
/// # Errors
/// [`ListenError`].
pub fn serve(
    listener: TcpListener,
    identity: Option<&Identity>,
    router: Router,
    lifecycle: &Lifecycle,
) -> Result<(), ListenError> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let handle = stopped_with(lifecycle);
    let address = listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let failed = |source| ListenError::Bind { address, source };
    let ended = move |result: std::io::Result<()>| {
        if let Err(error) = result {
            tracing::error!(%error, %address, "an HTTP listener failed");
        }
    };
    match identity {
        Some(identity) => {
            let config = identity.server_config(&[b"http/1.1"])?;
            let config = RustlsConfig::from_config(Arc::new(config));
            let server = axum_server::from_tcp_rustls(listener, config).map_err(failed)?;
            let server = server.map(|tls| tls.acceptor(NoDelayAcceptor::new()));
            let serving = server.handle(handle).serve(service);
            lifecycle.tasks.spawn(async move { ended(serving.await) });
        }
        None => {
            let server = axum_server::from_tcp(listener).map_err(failed)?;
            let server = server.acceptor(NoDelayAcceptor::new());
            let serving = server.handle(handle).serve(service);
            lifecycle.tasks.spawn(async move { ended(serving.await) });
        }
    }
    Ok(())
}

fn stopped_with(lifecycle: &Lifecycle) -> Handle<SocketAddr> {
    let handle = Handle::new();
    let stopping = handle.clone();
    lifecycle.spawn_graceful(|token| async move {
        token.cancelled().await;
        stopping.graceful_shutdown(Some(DRAIN));
    });
    handle
}
