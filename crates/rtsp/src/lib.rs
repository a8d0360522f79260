//! RTSP 1.0 (RFC 2326) and the parts of RTSP 2.0 (RFC 7826) that players use, without I/O.
//!
//! - [`client::Client`]: DESCRIBE, SETUP of every track, PLAY, keepalive, TEARDOWN; gives a
//!   [`sightline_media::StreamDescription`] and [`sightline_media::AccessUnit`]s.
//! - [`server::Server`]: one connection of a player, from OPTIONS to TEARDOWN.
//! - [`replay`]: what a player asks for when recordings are played.
//! - [`sdp`], [`rtp`], [`depacketize`], [`transport`], [`wire`]: the parts both are made of.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: the caller hands in bytes,
//! the time and seeds. Bytes from outside never panic; they give an error or an error response.
//!
//! Contract of both cores: after every call that takes `&mut self`, drain `poll_output` until it
//! gives `None`.

pub mod client;
pub mod depacketize;
pub mod replay;
pub mod rtp;
pub mod sdp;
pub mod server;
pub mod transport;
pub mod wire;

pub use rtsp_types;
pub use url::Url;

/// Name of a track in a stream: what the last part of a control URL says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackKind {
    /// The picture.
    Video,
    /// The sound.
    Audio,
}

impl TrackKind {
    /// As in control URLs and `m=` lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}
