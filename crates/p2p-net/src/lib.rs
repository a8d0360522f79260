//! Sockets, gateways, relays and QUIC below the connection ladder.
//!
//! `sightline-p2p` decides; this crate has the sockets that it decides about. A [`Mux`] is the one
//! abstract socket below a QUIC endpoint, a [`Session`] the task that runs one ladder over it.

mod fingerprint;
pub mod gateway;
mod lifetimes;
mod mux;
pub mod nat;
mod nat64;
mod network;
pub mod relay;
pub mod server;
mod session;
pub mod stun;
mod words;

pub use fingerprint::fingerprint;
pub use lifetimes::Lifetimes;
pub use mux::{Mux, session_address, session_of};
pub use nat64::Nat64;
pub use network::Surroundings;
pub use relay::{Relay, RelayError, RelayOptions};
pub use session::{Line, Session, SessionConfig, SessionError};
/// The ladder itself, for its types.
pub use sightline_p2p as p2p;
pub use words::path_report;
