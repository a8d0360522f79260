use bytes::Bytes;
use sightline_model::{UnixMicros, VideoCodec};

use crate::packetize::{Payloads, nal_units};

/// One coded picture, or one packet's worth of coded sound.
#[derive(Debug, Clone)]
pub enum AccessUnit {
    /// A picture.
    Video {
        /// Presentation time on the track's clock ([`crate::VIDEO_CLOCK_HZ`]); never wraps, may
        /// start anywhere.
        timestamp: i64,
        /// When its first packet entered the PU, or its picture was drawn.
        captured_at: UnixMicros,
        /// Whether decoding can start here.
        keyframe: bool,
        /// Whether no other picture refers to it (`nal_ref_idc` 0): it may be left out.
        disposable: bool,
        /// How `data` is coded.
        codec: VideoCodec,
        /// NAL units, each behind its length in four bytes, big-endian (as in fMP4). A keyframe
        /// carries its parameter sets in front.
        data: Bytes,
    },
    /// A piece of sound; also its own RTP payload, except for AAC (RFC 3640 adds a header).
    Audio {
        /// On the track's clock ([`crate::AudioTrack::clock_hz`]); never wraps.
        timestamp: i64,
        /// When it entered the PU.
        captured_at: UnixMicros,
        /// The coded sound.
        data: Bytes,
    },
}

impl AccessUnit {
    /// A picture of H.264 from its NAL units, each behind its length in four bytes; a keyframe must
    /// have its parameter sets in front.
    #[must_use]
    pub fn h264(timestamp: i64, captured_at: UnixMicros, data: Bytes) -> Self {
        const IDR: u8 = 5;
        let keyframe = nal_units(&data).any(|nal| nal[0] & 0x1f == IDR);
        let disposable = nal_units(&data)
            .filter(|nal| (1..=5).contains(&(nal[0] & 0x1f)))
            .all(|nal| nal[0] & 0x60 == 0);
        let codec = VideoCodec::H264;
        Self::Video { timestamp, captured_at, keyframe, disposable, codec, data }
    }

    /// The same for H.265. Every intra random access picture counts as a keyframe (ITU-T H.265,
    /// Table 7-1); sub-layer non-reference pictures as disposable.
    #[must_use]
    pub fn h265(timestamp: i64, captured_at: UnixMicros, data: Bytes) -> Self {
        let slices = || nal_units(&data).map(|nal| nal[0] >> 1 & 0x3f).filter(|kind| *kind < 32);
        let keyframe = slices().any(|kind| (16..=21).contains(&kind));
        let disposable = slices().all(|kind| kind < 16 && kind % 2 == 0);
        let codec = VideoCodec::H265;
        Self::Video { timestamp, captured_at, keyframe, disposable, codec, data }
    }

    /// Whether a viewer may start with this unit.
    #[must_use]
    pub const fn is_keyframe(&self) -> bool {
        matches!(self, Self::Video { keyframe: true, .. })
    }

    /// Whether it is a picture.
    #[must_use]
    pub const fn is_video(&self) -> bool {
        matches!(self, Self::Video { .. })
    }

    /// Its RTP payloads, cut on the way out: nothing of them is kept beside `data`. The last one of
    /// a picture gets the marker. Sound is its own payload (AAC needs a header besides).
    #[must_use]
    pub fn payloads(&self) -> Payloads<'_> {
        match self {
            Self::Video { codec, data, .. } => Payloads::video(*codec, data),
            Self::Audio { data, .. } => Payloads::whole(data),
        }
    }

    /// Bytes that it holds in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Video { data, .. } | Self::Audio { data, .. } => data.len(),
        }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When it entered the PU.
    #[must_use]
    pub const fn captured_at(&self) -> UnixMicros {
        match self {
            Self::Video { captured_at, .. } | Self::Audio { captured_at, .. } => *captured_at,
        }
    }
}
