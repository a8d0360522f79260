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

use crate::{admission::Place, cu, pu, unit::Unit, wire::Wire};

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
