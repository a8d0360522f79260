//! Interfaces Pc and Pc', between PU and CU (H.626.4 clauses 9.1, 9.2): what they say to each
//! other on the WebRTC data channel [`CONTROL_CHANNEL`]. Media itself is RTP; requests of players
//! are RTSP.

use serde::{Deserialize, Serialize};
use sightline_model::{QualityChoice, ServedStream, UnixMicros};

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
