//! What recording decides, without I/O: where segments begin and end and at which time, what is
//! stated about them, when to record, what to let go, and in which order to play.
//!
//! Nothing here opens a file, reads a clock or draws a random number; `sightline-recording-store` and
//! the services do. The time model is decision 0090, segments and their chain 0091.
//!
//! - [`clock`]: the recorder's clock, and its steps.
//! - [`segmenter`]: from access units to segment files.
//! - [`statement`]: what a chain's entries say. [`chain`]: how they are made and checked.
//! - [`strategy`]: when to record. [`retention`]: what goes first.
//! - [`coverage`]: what a day looks like, its gaps and its sources.
//! - [`replay`]: the order in which pictures of a span are sent, forwards, fast, and in reverse.

pub mod chain;
pub mod clock;
pub mod coverage;
pub mod replay;
pub mod retention;
pub mod segmenter;
pub mod statement;
pub mod strategy;
