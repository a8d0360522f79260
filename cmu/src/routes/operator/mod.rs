//! Routes of `/operator`.

pub mod list_audit;
pub mod list_mtus;
pub mod list_networks;
pub mod list_subscriptions;
pub mod list_usage;
pub mod put_cloud;
pub mod put_mtu;
pub mod put_subscription;

use cmu_domain::network;
use sightline_model::UnixMicros;

/// How many days back a list goes.
struct Days {
    /// When the caller does not say.
    usual: u16,
    /// At most.
    most: u16,
}

impl Days {
    /// The first day of the list, and its beginning; today counts.
    fn back(&self, asked: Option<u16>, now: UnixMicros) -> (i64, UnixMicros) {
        let days = asked.unwrap_or(self.usual).clamp(1, self.most);
        let first = network::day(now) - i64::from(days) + 1;
        (first, network::begin_of(first))
    }
}
