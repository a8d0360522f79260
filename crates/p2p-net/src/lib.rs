//! Sockets, gateways, relays and QUIC below the connection ladder.
//!
//! `sightline-p2p` decides; this crate has the sockets that it decides about.

mod nat64;
pub mod relay;
pub mod server;
pub mod stun;

pub use nat64::Nat64;
pub use relay::{Relay, RelayError, RelayOptions};
