//! What a stream is, and what a viewer can take (A7.0, capability exchange).

use serde::{Deserialize, Serialize};

/// Video coding of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VideoCodec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
}

/// Audio coding of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AudioCodec {
    /// ITU-T G.711 with µ-law.
    Pcmu,
    /// ITU-T G.711 with A-law.
    Pcma,
    /// ITU-T G.722.
    G722,
    /// RFC 6716.
    Opus,
    /// ISO/IEC 14496-3 AAC-LC.
    Aac,
}

/// Which of a camera's encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StreamTier {
    /// The camera's best encoding.
    Main,
    /// The camera's small encoding.
    Sub,
}

/// One encoding that a camera offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StreamInfo {
    /// Main or sub.
    pub tier: StreamTier,
    /// Its coding.
    pub codec: VideoCodec,
    /// Picture width in pixels.
    pub width: u32,
    /// Picture height in pixels.
    pub height: u32,
    /// Pictures per second, 0 when the camera does not say.
    pub fps: f32,
}

/// What a customer unit states about itself when it asks for media. Absent means no limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capabilities {
    /// Widest picture in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_width: Option<u32>,
    /// Highest picture in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_height: Option<u32>,
    /// Most pictures per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fps: Option<f32>,
    /// Most bits per second of video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bitrate_bps: Option<u64>,
    /// Video codings that it can decode; H.264 when nothing is stated.
    #[serde(default = "h264_only")]
    pub video_codecs: Vec<VideoCodec>,
}

fn h264_only() -> Vec<VideoCodec> {
    vec![VideoCodec::H264]
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            max_width: None,
            max_height: None,
            max_fps: None,
            max_bitrate_bps: None,
            video_codecs: h264_only(),
        }
    }
}

/// What the viewer asks the PU to send, changed at will while it watches (interface Pc').
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum QualityChoice {
    /// The PU chooses by the measured path.
    #[default]
    Auto,
    /// This encoding, whatever the path.
    Tier {
        /// Main or sub.
        tier: StreamTier,
    },
    /// Keyframes of the smallest encoding: thumbnails.
    Keyframes,
    /// Exactly this picture size and rate (A6.1.3: CIF, D1, 720p; 1 to 25 fps); the PU re-encodes
    /// when no encoding of the camera fits.
    Exact {
        /// Width in pixels, even, 16 to 3840.
        width: u32,
        /// Height in pixels, even, 16 to 2160.
        height: u32,
        /// Pictures per second, 1 to 60.
        fps: u32,
    },
}

/// What the PU sends a viewer right now, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServedStream {
    /// The encoding that it comes from.
    pub tier: StreamTier,
    /// Whether only keyframes are sent.
    pub keyframes_only: bool,
    /// Whether the PU re-encodes.
    pub transcoded: bool,
    /// Its coding.
    pub codec: VideoCodec,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Why this one, in words for the person.
    pub reason: String,
}
