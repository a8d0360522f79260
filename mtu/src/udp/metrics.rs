//! What a worker tells Prometheus, once a second.

use mtu_turn::Counters;

use super::{io::Losses, transmit::Sent};

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Reported {
    counters: Counters,
    sent: Sent,
    losses: Losses,
}

impl Reported {
    /// Says how many bytes were relayed since the last time.
    pub(super) fn report(&mut self, counters: Counters, sent: Sent, losses: Losses) -> u64 {
        let (last, now) = (self.counters, counters);
        macro_rules! count {
            ($name:literal $(, $label:literal => $value:literal)? ; $last:expr, $now:expr) => {
                let delta = $now - $last;
                if delta > 0 {
                    metrics::counter!($name $(, $label => $value)?).increment(delta);
                }
            };
        }
        count!("sightline_mtu_relayed_bytes_total", "direction" => "to_peer";
            last.bytes_to_peers, now.bytes_to_peers);
        count!("sightline_mtu_relayed_bytes_total", "direction" => "from_peer";
            last.bytes_to_clients, now.bytes_to_clients);
        count!("sightline_mtu_relayed_packets_total", "direction" => "to_peer";
            last.packets_to_peers, now.packets_to_peers);
        count!("sightline_mtu_relayed_packets_total", "direction" => "from_peer";
            last.packets_to_clients, now.packets_to_clients);
        count!("sightline_mtu_relayed_between_own_total";
            last.packets_between_own, now.packets_between_own);
        count!("sightline_mtu_denied_peers_total"; last.denied_peers, now.denied_peers);
        count!("sightline_mtu_unpermitted_packets_total"; last.unpermitted, now.unpermitted);
        count!("sightline_mtu_undeliverable_packets_total"; last.undeliverable, now.undeliverable);
        count!("sightline_mtu_over_bandwidth_total"; last.over_bandwidth, now.over_bandwidth);
        count!("sightline_mtu_garbage_dropped_total"; last.garbage, now.garbage);
        count!("sightline_mtu_bindings_total"; last.bindings, now.bindings);
        count!("sightline_mtu_authenticated_total"; last.authenticated, now.authenticated);
        count!("sightline_mtu_credentials_refused_total"; last.challenges, now.challenges);
        count!("sightline_mtu_flood_dropped_total"; last.limited, now.limited);
        count!("sightline_mtu_allocations_total"; last.allocations, now.allocations);
        count!("sightline_mtu_allocations_refused_total";
            last.refused_allocations, now.refused_allocations);
        count!("sightline_mtu_sends_total"; self.sent.calls, sent.calls);
        count!("sightline_mtu_sent_packets_total"; self.sent.packets, sent.packets);
        count!("sightline_mtu_unsent_packets_total"; self.sent.dropped, sent.dropped);
        count!("sightline_mtu_gso_refused_total"; self.sent.refused, sent.refused);
        count!("sightline_mtu_between_workers_dropped_total";
            self.losses.between_workers, losses.between_workers);
        count!("sightline_mtu_usage_lost_total"; self.losses.usages, losses.usages);
        *self = Self { counters, sent, losses };
        (now.bytes_to_peers - last.bytes_to_peers) + (now.bytes_to_clients - last.bytes_to_clients)
    }
}
