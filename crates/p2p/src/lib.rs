//! The connection ladder: candidates, checks, and the choice of the path for one media session.
//!
//! One [`Ladder`] at each end. It is told this end's addresses (sockets, what STUN servers and the
//! gateway say of them, allocations on relays) and the other's, checks all pairs with STUN as
//! RFC 8445 has it, lets the first pair that works carry media, moves to a better one without a
//! gap, keeps a spare checked, and replaces sockets before their mappings end. The viewer (CU)
//! controls; the camera (PU) follows its nominations, which come again with every switch.
//!
//! It is not ICE for browsers: that is `str0m`'s. It has no socket, clock, or random source.
//!
//! # Contract
//!
//! Every call that takes `now` is a mutation. After it, drain [`Ladder::poll_transmit`] and
//! [`Ladder::poll_event`] until both are empty, then wait until [`Ladder::poll_timeout`], which
//! every mutation may have moved. Time never goes backwards. Bad input never panics.
//!
//! # How it is driven
//!
//! ```
//! use std::{collections::BTreeMap, time::Instant};
//! use sightline_p2p::{CandidateKind, Config, Credentials, Ladder, Local, NetworkId, Role, SocketId};
//! # use rand::SeedableRng;
//! # let mut rng = rand::rngs::StdRng::from_seed([0; 32]); // the caller's, seeded by the system
//!
//! let now = Instant::now();
//! let mut ladder = Ladder::new(now, Config {
//!     role: Role::Controlling,
//!     credentials: Credentials::generate(&mut rng),
//!     seed: [0; 32], // random, too
//!     nat: Default::default(),
//!     lifetimes: BTreeMap::new(),
//!     probing: true,
//! });
//! ladder.add_local(now, &Local {
//!     socket: SocketId(1),
//!     kind: CandidateKind::Host,
//!     address: "192.0.2.1:5000".parse().unwrap(),
//!     network: NetworkId(1),
//!     replaces: None,
//!     since: Some(now),
//! });
//! let offer = ladder.description([7; 32]).to_string(); // signed, and sent to the other end
//! # let answer = offer.clone();
//! ladder.set_remote(now, &answer.parse().unwrap());
//! // Then, for ever: datagrams, timeouts, candidates in; transmits and events out.
//! while let Some(transmit) = ladder.poll_transmit() { /* send it */ }
//! while let Some(event) = ladder.poll_event() { /* see `Event` */ }
//! let wake_at = ladder.poll_timeout();
//! ```

mod candidate;
mod check;
mod description;
mod ladder;
mod nat64;
mod nat_test;

pub use candidate::{
    Candidate, CandidateError, CandidateKind, Leg, MAX_CANDIDATE_BYTES, is_usable, priority,
};
pub use check::{Role, addressee, is_stun};
pub use description::{
    Credentials, Description, DescriptionError, MAX_CANDIDATES, MAX_DESCRIPTION_BYTES, nat_line,
    read_nat_line,
};
pub use ladder::{
    Allowance, Config, Consumed, Event, Ladder, Local, MAX_PROBE_SOCKETS, NetworkId, Path,
    PathState, Report, Seekers, SocketId, Transmit,
};
pub use nat_test::{NatSocket, NatTest, NatTransmit};
pub use nat64::Nat64Prefix;
