//! Messages of every interface of H.626.4 clause 9 that Sightline speaks, one module an interface.
//!
//! The crate says *what* is sent; how it travels (HTTP, WebSocket, QUIC, bus) is the business of
//! the services. Rules that hold for every message:
//!
//! - A message travels in an [`Envelope`], which carries the version. An unknown version is
//!   refused ([`DecodeError::Version`]); an unknown field is ignored, so fields may be added.
//! - Times are microseconds since 1970 ([`sightline_model::UnixMicros`]), durations are in the unit that the
//!   field's name ends with.
//! - A refusal is a [`Problem`] (RFC 9457).
//! - Every message has a golden file in `golden/`; a test fails when its JSON changes.
//!
//! | module | interface | between | travels over |
//! |---|---|---|---|
//! | [`cm`] | Cm | CMU and CU | HTTPS, JSON |
//! | [`cs`] | Cs | SCU and CU | WebSocket |
//! | [`ps`] | Ps | SCU and PU | QUIC, or WebSocket over TLS |
//! | [`sc`] | Sc | SCU to CMU | bus, request and reply |
//! | [`sm`] | Sm | CMU to SCU | bus |
//! | [`pc`] | Pc, Pc', Nc, Nc', Np, Pn | PU or NVR and CU, NVR and PU | data channel, RTSP |
//! | [`sd`] | Sd, Dm | SCU, CMU and MTU | bus |
//! | [`cp`] | Cp, Cp' | PU and cloud storage | within Ps and Sc; HTTPS |
//!
//! Mp, Pd, Mc, Cd, Mn and Nd are STUN and TURN (RFC 8489, RFC 8656), Su, Cc and Cc' the HTTP of an object
//! store by [`cm::CloudSegment::url`]: they have no messages of their own.

pub mod cm;
pub mod cp;
pub mod cs;
mod envelope;
pub mod flow;
mod names;
pub mod pc;
mod problem;
pub mod ps;
pub mod sc;
pub mod sd;
pub mod sm;
pub mod subject;

pub use envelope::{DecodeError, Envelope, MAX_MESSAGE_BYTES, VERSION, decode, encode};
pub use names::Named;
pub use problem::{Problem, ProblemKind};
