//! The many sockets of one side of port probing.

use std::{net::SocketAddr, sync::Arc};

use sightline_p2p::{MAX_PROBE_SOCKETS, SocketId};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::mux::Mux;

/// Opens as many as the system and the budget of all sessions give, each bound to that address. It
/// goes back to the budget with its permit. Half of what is left stays there: a session that comes
/// later has fewer chances, but some.
pub(super) fn open(
    mux: &Arc<Mux>,
    bind: SocketAddr,
    count: usize,
    token: &CancellationToken,
    tasks: &TaskTracker,
) -> Vec<(SocketId, OwnedSemaphorePermit)> {
    let most = mux.probes_left().div_ceil(2).min(MAX_PROBE_SOCKETS);
    (0..count.min(most))
        .map_while(|_| {
            let permit = mux.permit_probe()?;
            let (id, _) = mux.open(bind, token, tasks).ok()?;
            Some((id, permit))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;
    use crate::mux::MAX_PROBE_SOCKETS_OF_ALL;

    #[tokio::test]
    async fn all_sessions_together_have_so_many_sockets_that_probe() {
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let main = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let mux = Mux::new(main).expect("it works");
        let bind = (Ipv4Addr::LOCALHOST, 0).into();
        let ask = || open(&mux, bind, MAX_PROBE_SOCKETS, &token, &tasks);
        let rounds: Vec<_> = (0..64).map(|_| ask()).collect();
        // Whoever comes second and third has some, too.
        assert_eq!([1, 2].map(|at| rounds[at].len()), [128, 64]);
        let all: usize = rounds.iter().map(Vec::len).sum();
        assert_eq!((all, rounds[0].len()), (MAX_PROBE_SOCKETS_OF_ALL, MAX_PROBE_SOCKETS));
        for (id, _) in rounds.iter().flatten() {
            mux.close(*id);
        }
        drop(rounds);
        assert_eq!(ask().len(), MAX_PROBE_SOCKETS, "what was given back is there for others");
        token.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
