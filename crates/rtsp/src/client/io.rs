//! What the caller tells a [`Client`](super::Client) and hears from it.

use bytes::Bytes;
use sightline_media::{AccessUnit, StreamDescription};
use sightline_model::SessionToken;
use url::Url;

use crate::{TrackKind, replay::Scale, rtp::Packet, sdp, wire::FrameError};

/// How a recording is played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replay {
    /// How fast, and in which direction.
    pub scale: Scale,
    /// Whether the server keeps the pace; else it sends as fast as we take, at a scale of 1 or -1.
    pub rate_control: bool,
    /// Whether timestamps are the recording's own, and every unit tells exactly when it was taken
    /// (ONVIF). Else they are those of showing: what was not recorded takes no time. In reverse they
    /// are the recording's always.
    pub recorded_times: bool,
}

/// What to play, and how.
#[derive(Clone)]
pub struct Options {
    /// `rtsp://host:port/channel[/main|/sub]`, with or without `?token=`.
    pub url: Url,
    /// Play token; put into the URL's query of the first request.
    pub token: Option<SessionToken>,
    /// Speak RTSP 2.0 rather than 1.0.
    pub version_2: bool,
    /// Also give every RTP packet as [`Event::Packet`].
    pub raw_packets: bool,
    /// For a URL that names a span of a recording (`/0/main/20261121T170000Z-`): how it is played.
    /// In reverse units come as ONVIF's replay sends them.
    pub replay: Option<Replay>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold the token.
        f.debug_struct("Options").field("version_2", &self.version_2).finish_non_exhaustive()
    }
}

impl Options {
    /// RTSP 1.0, units only, the token from the URL if it has one.
    #[must_use]
    pub const fn new(url: Url) -> Self {
        Self { url, token: None, version_2: false, raw_packets: false, replay: None }
    }
}

/// What [`Client::poll_output`](super::Client::poll_output) gives.
#[derive(Debug)]
pub enum Output {
    /// Bytes for the server.
    Send(Bytes),
    /// News for the caller.
    Event(Event),
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The server has described the stream.
    Described(StreamDescription),
    /// The server has agreed to play; units follow.
    Playing,
    /// The server has agreed to pause.
    Paused,
    /// A whole access unit. A picture stream starts with a keyframe, and goes on with one after
    /// packets were lost. `captured_at` is the PU's clock once it has reported it, else the time
    /// that the unit came in.
    Unit(AccessUnit),
    /// An RTP packet, when [`Options::raw_packets`] is set.
    Packet(TrackKind, Packet),
    /// The session has ended in order, by either side. Close the connection.
    Ended,
    /// It cannot go on. Close the connection.
    Failed(ClientError),
}

/// Why a session failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server refused; the status is one of RTSP.
    #[error("{method} was refused: {status} {reason}")]
    Refused {
        /// Which request.
        method: &'static str,
        /// Status code.
        status: u16,
        /// Reason phrase of the server: words for the person.
        reason: String,
    },
    /// The server sent what is not RTSP.
    #[error("the server broke the protocol: {0}")]
    Frame(#[from] FrameError),
    /// The server's answer lacks something.
    #[error("the server's answer to {method} {what}")]
    Answer {
        /// Which request.
        method: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The description cannot be played.
    #[error(transparent)]
    Sdp(#[from] sdp::SdpError),
    /// No answer in time.
    #[error("the server did not answer in time")]
    Timeout,
}
