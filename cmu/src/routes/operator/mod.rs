//! Routes of `/operator`.

pub mod list_audit;
pub mod list_subscriptions;
pub mod put_subscription;
