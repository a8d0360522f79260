//! Which addresses are this machine's own: none of them is a peer, however late it came.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use mtu_turn::{Settings, peers::PeerRules};

/// How often the interfaces are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Addresses of all interfaces; `None` when the system does not tell.
pub(crate) fn interfaces() -> Option<Vec<IpAddr>> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => Some(interfaces.into_iter().map(|interface| interface.ip()).collect()),
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses");
            None
        }
    }
}

/// Those of the configuration and those of the interfaces, each once.
pub(crate) fn all(configured: &[IpAddr], interfaces: &[IpAddr]) -> Vec<IpAddr> {
    let mut own = [configured, interfaces].concat();
    own.sort_unstable();
    own.dedup();
    own
}

/// Keeps the settings' own addresses true for as long as it is polled. What cannot be listed stays
/// as it was.
pub(crate) async fn watch(
    settings: Arc<ArcSwap<Settings>>,
    configured: Vec<IpAddr>,
    list: impl Fn() -> Option<Vec<IpAddr>> + Clone + Send + 'static,
) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let Ok(Some(interfaces)) = tokio::task::spawn_blocking(list.clone()).await else {
            continue;
        };
        let own = all(&configured, &interfaces);
        if own == settings.load().peers.own {
            continue;
        }
        tracing::info!(addresses = own.len(), "this machine's addresses have changed");
        settings.rcu(|settings| {
            let peers = PeerRules { own: own.clone(), ..settings.peers.clone() };
            Settings { peers, ..(**settings).clone() }
        });
    }
}
