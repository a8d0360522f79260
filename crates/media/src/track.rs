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

    /// The coding as decoders are asked for it (RFC 6381 section 3.3; ISO/IEC 14496-15 annex E).
    #[must_use]
    pub fn codecs(&self) -> String {
        match self {
            Self::H264 { sps, .. } => {
                let at = |index| sps.get(index).copied().unwrap_or_default();
                format!("avc1.{:02x}{:02x}{:02x}", at(1), at(2), at(3))
            }
            Self::H265 { sps, .. } => h265_codecs(sps),
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

/// From `profile_tier_level` of the sequence parameter set (ITU-T H.265 clauses 7.3.2.2, 7.3.3).
fn h265_codecs(sps: &[u8]) -> String {
    // Behind the head of the NAL unit and a byte of identifiers; 12 bytes, with the bytes that
    // prevent start codes taken out.
    let mut plain = Vec::with_capacity(16);
    for byte in sps.iter().skip(2).take(24) {
        if !(*byte == 3 && plain.ends_with(&[0, 0])) {
            plain.push(*byte);
        }
    }
    let at = |index: usize| plain.get(1 + index).copied().unwrap_or_default();
    let space = ["", "A", "B", "C"][usize::from(at(0) >> 6)];
    let tier = if at(0) & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = u32::from_be_bytes([at(1), at(2), at(3), at(4)]).reverse_bits();
    let mut codecs = format!("hev1.{space}{}.{compatibility:X}.{tier}{}", at(0) & 0x1F, at(11));
    let constraints: Vec<u8> = (5..11).map(at).collect();
    let told = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..told] {
        codecs.push_str(&format!(".{byte:X}"));
    }
    codecs
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_named_as_decoders_know_them() {
        let sps = Bytes::from_static(&[0x67, 0x42, 0xc0, 0x1f, 0xd9]);
        let sets = ParameterSets::H264 { sps, pps: Bytes::new() };
        assert_eq!(sets.codecs(), "avc1.42c01f");
        // Main profile, level 3.1, progressive, as x265 states it.
        let sps = [
            0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00,
            0x00, 0x03, 0x00, 0x5d, 0xa0,
        ];
        let sps = Bytes::copy_from_slice(&sps);
        let sets = ParameterSets::H265 { vps: Bytes::new(), sps, pps: Bytes::new() };
        assert_eq!(sets.codecs(), "hev1.1.6.L93.90");
        let short = ParameterSets::H265 { vps: Bytes::new(), sps: Bytes::new(), pps: Bytes::new() };
        assert_eq!(short.codecs(), "hev1.0.0.L0");
    }
}
