//! Media without I/O: access units, RTP payloads, the hub's ring, the choice of stream.
//!
//! Nothing here opens a socket, reads a clock or draws a random number; `sightline-media-io` does.
//!
//! An [`AccessUnit`] is held once and shared by every viewer. Its RTP payloads are slices of it
//! ([`packetize`]), which a sink copies into the packets that it sends.

mod access_unit;
pub mod adapt;
pub mod mp4;
pub mod packetize;
pub mod ring;
mod track;

pub use access_unit::AccessUnit;
pub use track::{AudioTrack, ParameterSets, StreamDescription, VideoTrack};

/// Clock of every video track, in Hz (RFC 6184, RFC 7798).
pub const VIDEO_CLOCK_HZ: u32 = 90_000;

/// Longest RTP payload that is made, in bytes: with SRTP, UDP and IPv6 headers it stays below the
/// 1,280 bytes that every IPv6 path carries.
pub const MAX_RTP_PAYLOAD: usize = 1_180;
