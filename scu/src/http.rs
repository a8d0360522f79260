//! The WebSockets of Cs and Ps.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{ConnectInfo, FromRequestParts, State, WebSocketUpgrade},
    http::{StatusCode, request::Parts},
    response::Response,
    routing::any,
};
use sightline_protocol::{MAX_MESSAGE_BYTES, cs, ps};
use sightline_service_kit::tls::Identity;

use crate::{StartError, admission::Place, cu, pu, unit::Unit, wire::Wire};

/// The routes, to be served with connection info.
pub(crate) fn router(unit: Arc<Unit>) -> Router {
    Router::new()
        .route(cs::WEBSOCKET_PATH, any(cu_socket))
        .route(ps::WEBSOCKET_PATH, any(pu_socket))
        .with_state(unit)
}

/// The peer's address and its place.
struct Peer {
    address: SocketAddr,
    place: Place,
}

impl FromRequestParts<Arc<Unit>> for Peer {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(
        parts: &mut Parts,
        unit: &Arc<Unit>,
    ) -> Result<Self, Self::Rejection> {
        let Some(ConnectInfo(address)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else {
            tracing::error!("the router is mounted without connection info");
            return Err((StatusCode::INTERNAL_SERVER_ERROR, "misconfigured\n"));
        };
        let ip: IpAddr = address.ip();
        let place = unit
            .admission
            .admit(ip)
            .ok_or((StatusCode::SERVICE_UNAVAILABLE, "too many connections\n"))?;
        Ok(Self { address: *address, place })
    }
}

fn limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .read_buffer_size(4 * 1024)
        .max_write_buffer_size(4 * MAX_MESSAGE_BYTES)
        .write_buffer_size(0)
}

async fn cu_socket(
    State(unit): State<Arc<Unit>>,
    peer: Peer,
    upgrade: WebSocketUpgrade,
) -> Response {
    let tasks = unit.lifecycle.tasks.clone();
    limited(upgrade).on_upgrade(move |socket| {
        tasks.track_future(cu::serve(unit, Wire::websocket(socket), peer.place))
    })
}

async fn pu_socket(
    State(unit): State<Arc<Unit>>,
    peer: Peer,
    upgrade: WebSocketUpgrade,
) -> Response {
    let tasks = unit.lifecycle.tasks.clone();
    limited(upgrade).on_upgrade(move |socket| {
        tasks.track_future(pu::serve(unit, Wire::websocket(socket), peer.address, peer.place))
    })
}

/// A bound address that nobody serves yet: the unit has to know it before it exists.
pub(crate) fn bind(listen: SocketAddr) -> Result<(std::net::TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address: listen, source };
    let listener = std::net::TcpListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Serves the router on its own address.
pub(crate) fn start(
    unit: &Arc<Unit>,
    listener: std::net::TcpListener,
    identity: Option<&Identity>,
) -> Result<(), StartError> {
    let service = router(unit.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let handle = axum_server::Handle::new();
    let failed = |source| StartError::Listen { address: unit.config.quic_listen, source };
    let stopping = handle.clone();
    unit.lifecycle.spawn_graceful(|token| async move {
        token.cancelled().await;
        stopping.graceful_shutdown(Some(std::time::Duration::from_secs(2)));
    });
    let ended = |result: std::io::Result<()>| {
        if let Err(error) = result {
            tracing::error!(%error, "the HTTP listener failed");
        }
    };
    match identity {
        Some(identity) => {
            let tls = identity.server_config(&[b"http/1.1"])?;
            let tls = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(tls));
            let server = axum_server::from_tcp_rustls(listener, tls).map_err(failed)?;
            let serve = server.handle(handle).serve(service);
            unit.lifecycle.tasks.spawn(async move { ended(serve.await) });
        }
        None => {
            let server = axum_server::from_tcp(listener).map_err(failed)?;
            let serve = server.handle(handle).serve(service);
            unit.lifecycle.tasks.spawn(async move { ended(serve.await) });
        }
    }
    Ok(())
}
