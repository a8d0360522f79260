//! Load for relays, and two servers that exist to be compared with.
//!
//! - `load-relay` makes allocations, sends paced bursts through them, counts what arrives, and reads
//!   what the server's process paid for it in processor time;
//! - `load-forwarder` only moves bytes from one socket to another: what a relay could cost at least;
//! - `load-turn-crate` is the `turn` crate's server with nothing around it. Not for production: it
//!   filters no peers.
//!
//! All of it shares no code with the MTU.

pub mod control;
pub mod credentials;
pub mod flows;
pub mod forward;
pub mod frames;
pub mod idle;
pub mod process;
pub mod traffic;
pub mod train;
