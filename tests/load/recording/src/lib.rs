//! Load for recorders, for `cargo xtask bench record`.
//!
//! - `load-recording cameras` serves one clip of H.264 as many cameras over RTSP: nothing is encoded while
//!   something else is measured, and every recorder gets the very same stream;
//! - `load-recording put` stores files in an S3 store with nothing between: what the store takes at most.
//!
//! It shares no code with what is measured.

pub mod camera;
pub mod clip;
pub mod put;
pub mod server;
