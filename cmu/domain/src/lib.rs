//! The rules of the CMU as pure functions: who may sign up, bind, watch, register and renew.
//!
//! Nothing here reads a clock, a database, a socket or a random number generator: every function
//! takes what it needs, `now` included, and returns a decision. The `cmu` crate asks, stores and
//! sends. Decisions that several CMUs could take at once (spending a one-time code, rotating a
//! refresh token, giving a lease) are additionally made atomic by the statements of `cmu-storage`.
//!
//! ```
//! use cmu_domain::limit::{Limit, Verdict};
//! use sightline_model::UnixMicros;
//! let limit = Limit { count: 1, per_s: 60 };
//! let now = UnixMicros(1_000_000);
//! let Verdict::Allowed { next } = limit.check(None, now) else { panic!("the first one passes") };
//! assert_eq!(limit.check(Some(next), now), Verdict::Refused { retry_after_s: 60 });
//! ```

pub mod address;
pub mod binding;
pub mod code;
pub mod headers;
pub mod lease;
pub mod limit;
pub mod network;
pub mod phone;
pub mod play;
pub mod presence;
pub mod registration;
pub mod sign_in;
pub mod text;
