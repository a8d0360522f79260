//! Sockets, gateways, relays and QUIC below the connection ladder.
//!
//! `sightline-p2p` decides; this crate has the sockets that it decides about. A [`Mux`] is the one
//! abstract socket below a QUIC endpoint, a [`Session`] the task that runs one ladder over it.

mod lifetimes;
mod mux;
mod nat64;
mod network;
pub mod relay;
pub mod server;
mod session;
pub mod stun;

pub use lifetimes::Lifetimes;
pub use mux::{Mux, session_address, session_of};
pub use nat64::Nat64;
pub use network::Surroundings;
pub use relay::{Relay, RelayError, RelayOptions};
pub use session::{Session, SessionConfig, SessionError};
