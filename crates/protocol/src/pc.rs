//! Interfaces Pc and Pc', between PU and CU (H.626.4 clauses 9.1, 9.2): what they say to each
//! other on the WebRTC data channel [`CONTROL_CHANNEL`]. Media itself is RTP; requests of players
//! are RTSP.

mod replay;

use serde::{Deserialize, Serialize};
use sightline_model::{QualityChoice, Rung, ServedStream, UnixMicros};

pub use replay::*;

/// Label of the data channel, opened by the CU in its first offer.
pub const CONTROL_CHANNEL: &str = "sightline-control/1";

/// ALPN of RTSP inside QUIC.
pub const QUIC_ALPN: &[u8] = b"sightline-rtsp/1";

/// From CU to PU. Sent as JSON text without an envelope: both ends agreed on the version by the
/// channel's label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CuToPu {
    /// What to send from now on.
    SetQuality {
        /// The choice.
        quality: QualityChoice,
    },
    /// Measures the way and the clocks.
    Ping {
        /// Clock of the CU.
        cu_time: UnixMicros,
    },
}

/// From PU to CU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PuToCu {
    /// What is being sent, after every change.
    Serving {
        /// The stream.
        stream: ServedStream,
    },
    /// The camera has gone or come back; the session stays.
    Camera {
        /// Whether it gives a picture.
        online: bool,
        /// Why not, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// Answer to [`CuToPu::Ping`].
    Pong {
        /// The CU's own time, as it came.
        cu_time: UnixMicros,
        /// Clock of the PU.
        pu_time: UnixMicros,
    },
    /// When the frame with this RTP timestamp entered the PU, once a second: the CU derives
    /// latency from it.
    FrameTime {
        /// RTP timestamp as sent, 90 kHz.
        rtp_timestamp_90k: u32,
        /// Clock of the PU when the frame's first packet came in.
        captured_at: UnixMicros,
    },
    /// What the PU measured of the path, once a second.
    Path {
        /// Estimated capacity, bits per second; absent while unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        estimate_bps: Option<u64>,
        /// Bits per second sent in the last second.
        sent_bps: u64,
        /// Packets that the CU reported lost, per mille.
        loss_permille: u16,
    },
    /// The session ends.
    Ended {
        /// Why.
        problem: crate::Problem,
    },
}

/// How media travels, as far as the PU can tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathReport {
    /// Which protocol carries it.
    pub transport: MediaTransport,
    /// Whether a relay is in the path.
    pub relayed: bool,
    /// Why it is what it is, in words.
    pub reason: String,
    /// Which rung of the ladder it stands on, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// For each better rung that was tried, why it is not this one, in plain words, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why_not_better: Vec<String>,
}

/// Most reasons of one [`PathReport`] that are kept.
pub const MAX_REASONS: usize = 8;
/// Longest text of a [`PathReport`] that is kept, in characters.
pub const MAX_REASON_CHARS: usize = 240;

impl PathReport {
    /// A path of which the rung is not known.
    #[must_use]
    pub fn new(transport: MediaTransport, relayed: bool, reason: impl Into<String>) -> Self {
        Self { transport, relayed, reason: reason.into(), rung: None, why_not_better: Vec::new() }
    }

    /// A path on this rung.
    #[must_use]
    pub fn on(transport: MediaTransport, rung: Rung, reason: impl Into<String>) -> Self {
        Self { rung: Some(rung), ..Self::new(transport, rung.is_relayed(), reason) }
    }

    /// The same path, and why it is not better.
    #[must_use]
    pub fn not_better(self, why: Vec<String>) -> Self {
        Self { why_not_better: why, ..self }
    }

    /// What is kept of a report that came from outside: texts and their count bounded, without
    /// control characters, and `relayed` as its rung says.
    #[must_use]
    pub fn bounded(self) -> Self {
        let text = |text: String| -> String {
            text.chars().filter(|c| !c.is_control()).take(MAX_REASON_CHARS).collect()
        };
        Self {
            transport: self.transport,
            relayed: self.rung.map_or(self.relayed, Rung::is_relayed),
            reason: text(self.reason),
            rung: self.rung,
            why_not_better: self.why_not_better.into_iter().take(MAX_REASONS).map(text).collect(),
        }
    }
}

/// What carries media from PU to CU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaTransport {
    /// SRTP after ICE and DTLS.
    Webrtc,
    /// RTSP inside QUIC.
    Quic,
    /// RTSP with RTP over UDP.
    RtspUdp,
    /// RTSP with RTP interleaved in TCP.
    RtspTcp,
}
