//! What a service control unit decides, without any socket, clock, or random number of its own.
//!
//! - [`pu::PuConnection`]: one connection of a PU, from the challenge to its release.
//! - [`cu::CuConnection`]: one WebSocket of a CU, with its limits and its keep-alive.
//! - [`Switchboard`]: who is present ([`presence`]), the calls and where their media runs
//!   ([`calls`]), the viewers that wait for an answer ([`viewers`]), the MTU of each call
//!   ([`mtus`]), and the questions that wait for a recorder ([`recordings`]).
//!
//! Every machine has the same verbs: `handle_input`, `handle_timeout(now)`, `poll_output`,
//! `poll_timeout`. The owner feeds what came in, carries out every output in order, and calls
//! back at the time that `poll_timeout` names. The crate is not the place for encodings or
//! queues: those belong to the `scu` service.
//!
//! Invariants, which `tests/simulation.rs` proves over thousands of seeded runs with loss,
//! duplication, reordering and restarts:
//!
//! - at most one connection speaks for a device, the one with the highest epoch;
//! - a message of a PU reaches a viewer only if the call is with that very device;
//! - every offer ends in an answer, a refusal or an end, or its connection does;
//! - when everybody has gone, nothing is left.
//!
//! ```
//! use std::time::Instant;
//! use scu_session::{Input, Switchboard};
//! let mut board: Switchboard<()> = Switchboard::default();
//! board.handle_input(Instant::now(), Input::LeasesLost(vec![]));
//! assert!(board.poll_output().is_none() && board.poll_timeout().is_none());
//! ```

pub mod calls;
pub mod cu;
mod messages;
pub mod mtus;
pub mod presence;
pub mod pu;
pub mod recordings;
mod switchboard;
mod timers;
pub mod viewers;

pub use messages::{Answer, CuPath, Input, Output, PuMedia, Request};
pub use switchboard::Switchboard;

/// One connection of a PU or CU, as numbered by the service; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);
