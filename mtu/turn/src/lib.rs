//! STUN and TURN server (RFC 8489, RFC 8656, RFC 5780): bytes in, bytes out.
//!
//! One [`Server`] is what one thread of the MTU owns: its clients, their allocations, permissions
//! and channels. It has no socket, clock or random number of its own. Whoever drives it hands in
//! what arrived, together with [`Now`], and a [`Driver`] that takes what is to be sent and opens
//! relayed addresses. What all threads have in common ([`Shared`]) is atomics, and a lock that is
//! taken when an allocation comes or goes, never for a packet; and what one lends another
//! ([`Shortcut`]).
//!
//! It is neutral to transports: a client is a [`ClientId`]. Datagrams go in as they came; of a
//! stream, one whole message at a time, without the padding that follows ChannelData (RFC 8656
//! section 12.5). What goes out to a stream has its padding.
//!
//! # The single-mutation invariant
//! Every `handle_*` hands all its output to the driver before it returns, so there is nothing to
//! drain and no order of calls to get wrong. Afterwards [`Server::poll_timeout`] says when
//! [`Server::handle_timeout`] is due. The driver never calls back into the server.
//!
//! # What it promises
//! - Nothing is kept for a client that has not proved itself: nonces are computed, not stored, and
//!   the table that limits answers to strangers ([`limits`]) has a fixed size.
//! - A relay sends to, and takes from, allowed peers only ([`peers`]).
//! - No input panics; a panic is our bug.
//! - The data path (ChannelData, Send and Data indications) allocates nothing and takes no lock.
//!   Connections (RFC 6062) are copied by whoever drives the server, by leave of a [`StreamMeter`].

mod allocation;
mod answer;
mod auth;
mod client;
mod counters;
mod data;
mod driver;
pub mod limits;
mod live;
mod nonce;
pub mod peers;
mod request;
mod requests;
mod server;
mod settings;
mod shared;
mod shortcut;
mod streams;
mod users;
pub mod wire;

pub use answer::RawAttribute;
pub use auth::{Credentials, PasswordAlgorithm};
pub use client::{ClientId, Transport};
pub use counters::Counters;
pub use driver::{
    Driver, EvenPort, Extension, ExtensionRequest, Family, Fragment, IcmpError, OpenError,
    OpenRelay, Opened, RefusedPeer, RelayId, RelayProtocol, Ticket, Usage, WorkerIndex,
};
pub use live::LiveRelays;
pub use server::{Now, Server};
pub use settings::{Limits, Listening, Settings};
pub use shared::Shared;
pub use shortcut::Shortcut;
pub use streams::{Direction, StreamMeter};
