//! The many sockets of one side of port probing.

use std::{net::Ipv4Addr, sync::Arc};

use sightline_p2p::{MAX_PROBE_SOCKETS, SocketId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::mux::Mux;

/// Opens as many as the system gives; symmetric NATs are IPv4's.
pub(super) fn open(
    mux: &Arc<Mux>,
    count: usize,
    token: &CancellationToken,
    tasks: &TaskTracker,
) -> Vec<SocketId> {
    (0..count.min(MAX_PROBE_SOCKETS))
        .map_while(|_| mux.open((Ipv4Addr::UNSPECIFIED, 0).into(), token, tasks).ok())
        .map(|(id, _)| id)
        .collect()
}
