use bytes::Bytes;
use sightline_model::{AudioCodec, VideoCodec};

/// What a stream consists of. A change of it mid-stream is announced by a new description before
/// the next keyframe.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamDescription {
    /// Its picture.
    pub video: Option<VideoTrack>,
    /// Its sound.
    pub audio: Option<AudioTrack>,
}

/// A picture track.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoTrack {
    /// Width in pixels, after cropping.
    pub width: u32,
    /// Height in pixels, after cropping.
    pub height: u32,
    /// Pictures per second as the source states, 0 when it does not.
    pub fps: f32,
    /// What a decoder needs first; also tells the coding.
    pub parameter_sets: ParameterSets,
}

impl VideoTrack {
    /// Its coding.
    #[must_use]
    pub const fn codec(&self) -> VideoCodec {
        match self.parameter_sets {
            ParameterSets::H264 { .. } => VideoCodec::H264,
            ParameterSets::H265 { .. } => VideoCodec::H265,
        }
    }
}

/// Parameter sets, without start codes or lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterSets {
    /// ITU-T H.264.
    H264 {
        /// Sequence parameter set.
        sps: Bytes,
        /// Picture parameter set.
        pps: Bytes,
    },
    /// ITU-T H.265.
    H265 {
        /// Video parameter set.
        vps: Bytes,
        /// Sequence parameter set.
        sps: Bytes,
        /// Picture parameter set.
        pps: Bytes,
    },
}

impl ParameterSets {
    /// The sequence parameter set.
    #[must_use]
    pub const fn sps(&self) -> &Bytes {
        match self {
            Self::H264 { sps, .. } | Self::H265 { sps, .. } => sps,
        }
    }

    /// All of them, in the order in which a decoder needs them.
    pub fn nal_units(&self) -> impl Iterator<Item = &Bytes> {
        let (vps, sps, pps) = match self {
            Self::H264 { sps, pps } => (None, sps, pps),
            Self::H265 { vps, sps, pps } => (Some(vps), sps, pps),
        };
        vps.into_iter().chain([sps, pps])
    }
}

/// A sound track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioTrack {
    /// Its coding.
    pub codec: AudioCodec,
    /// RTP clock in Hz: 8,000 for G.711 and, by RFC 3551's mistake, for G.722; 48,000 for Opus; the sample rate for AAC.
    pub clock_hz: u32,
    /// 1 or 2.
    pub channels: u16,
    /// `AudioSpecificConfig` of AAC (ISO/IEC 14496-3), else empty.
    pub config: Bytes,
}
