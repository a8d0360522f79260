//! Routes of `/operator`.

pub mod list_audit;
pub mod list_mtus;
pub mod list_networks;
pub mod list_subscriptions;
pub mod list_usage;
pub mod put_mtu;
pub mod put_subscription;
