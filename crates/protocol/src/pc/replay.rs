//! Looking back over WebRTC: the data channel [`REPLAY_CHANNEL`], in order and without loss
//! (decision 0094).
//!
//! JSON text in both directions, and from the PU pictures and sound in binary: each unit is cut into
//! messages of at most [`MAX_REPLAY_MESSAGE`] bytes, the first with a [`UnitHead`].

use serde::{Deserialize, Serialize};
use sightline_model::{AudioCodec, StreamTier, UnixMicros, VideoCodec};

use crate::Problem;

/// Label of the data channel, opened by the CU whenever it wants to look back.
pub const REPLAY_CHANNEL: &str = "sightline-replay/1";
/// Longest message of the channel, in bytes: what every browser takes in one piece.
pub const MAX_REPLAY_MESSAGE: usize = 16 * 1_024;

/// From CU to PU.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CuToPuReplay {
    /// Play, or go on, or play otherwise. Live pictures stop.
    Play {
        /// From when on; absent: from what is shown now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<UnixMicros>,
        /// Until when, not included; before `at` in reverse.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<UnixMicros>,
        /// How fast, in thousandths: 125 to 16,000, negative in reverse.
        scale_permille: i32,
        /// Which pictures.
        #[serde(default)]
        pictures: ReplayPictures,
        /// Which encoding is wanted; another one may be what was recorded.
        #[serde(default)]
        tier: Option<StreamTier>,
    },
    /// Stop at what is shown.
    Pause,
    /// Show the picture of a time, and pause.
    Show {
        /// The time.
        at: UnixMicros,
    },
    /// Show the next or the previous picture, and pause.
    Step {
        /// The previous one.
        backwards: bool,
        /// Counted from this one; absent: from what is shown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<UnixMicros>,
    },
    /// No more of this: live pictures again.
    Live,
}

/// Which pictures are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayPictures {
    /// As many as a decoder and the network take.
    #[default]
    Fitting,
    /// All of them.
    All,
    /// Those that decoding can start with.
    Keyframes,
    /// One of every second.
    EachSecond,
}

/// From PU to CU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PuToCuReplay {
    /// The form of the units that follow.
    Stream {
        /// Its pictures.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        video: Option<ReplayVideo>,
        /// Its sound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audio: Option<ReplayAudio>,
    },
    /// A stretch could not be read and was passed over.
    Unreadable {
        /// From when on.
        from: UnixMicros,
        /// Until when.
        to: UnixMicros,
    },
    /// The newest picture was reached; it goes on by itself as more is recorded.
    CaughtUp,
    /// Nothing more comes until something else is wanted.
    Ended,
    /// Nothing comes, and why.
    Failed {
        /// Why.
        problem: Problem,
    },
}

/// The form of pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayVideo {
    /// Their coding.
    pub codec: VideoCodec,
    /// The same as decoders are asked for it (RFC 6381).
    pub codecs: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// The form of sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayAudio {
    /// Its coding.
    pub codec: AudioCodec,
    /// Samples per second that its timestamps count; see RFC 3551 for G.722.
    pub clock_hz: u32,
    /// 1 or 2.
    pub channels: u16,
    /// `AudioSpecificConfig` of AAC in hexadecimal digits, else empty.
    pub config: String,
}

/// What stands before the bytes of a unit, in its first message.
///
/// A message begins with a byte: 1 for the first of a unit, 2 for one that goes on. The first has
/// then flags (a byte), the number of the command (4 bytes), the time (8), the presentation time (8),
/// the presentation time at which it was sent (8) and the unit's length (4), big-endian. Pictures are in the byte stream format (Annex B).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitHead {
    /// Sound, else a picture.
    pub sound: bool,
    /// Decoding can start here.
    pub keyframe: bool,
    /// It is shown; else it is only decoded, for what follows.
    pub shown: bool,
    /// It does not follow what was sent before.
    pub discontinuity: bool,
    /// Behind it (in reverse: in front of its group) the recording has a gap.
    pub section_end: bool,
    /// Nothing more is recorded in this direction.
    pub last: bool,
    /// Number of the jump, turn or step that it belongs to; what was sent for an earlier one and is
    /// not shown yet is not shown any more.
    pub command: u32,
    /// When it was taken.
    pub wall: UnixMicros,
    /// When it is to be shown, in microseconds of playing.
    pub presentation_us: i64,
    /// What was to be shown when it was sent: by this the CU sets its clock.
    pub sent_us: i64,
    /// Length of the unit, in bytes.
    pub len: u32,
}

impl UnitHead {
    /// Length of its encoding, the byte of the message included.
    pub const LEN: usize = 34;

    /// The first bytes of a unit's first message.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let flags = [
            self.sound,
            self.keyframe,
            self.shown,
            self.discontinuity,
            self.section_end,
            self.last,
        ];
        let flags = flags.iter().enumerate().fold(0, |all, (bit, set)| all | u8::from(*set) << bit);
        let mut bytes = [0; Self::LEN];
        bytes[0] = FIRST;
        bytes[1] = flags;
        bytes[2..6].copy_from_slice(&self.command.to_be_bytes());
        bytes[6..14].copy_from_slice(&self.wall.0.to_be_bytes());
        bytes[14..22].copy_from_slice(&self.presentation_us.to_be_bytes());
        bytes[22..30].copy_from_slice(&self.sent_us.to_be_bytes());
        bytes[30..34].copy_from_slice(&self.len.to_be_bytes());
        bytes
    }

    /// Reads it back; what follows it are the unit's first bytes.
    #[must_use]
    pub fn decode(message: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = message.split_first_chunk::<{ Self::LEN }>()?;
        let flag = |bit: u8| head[1] & (1 << bit) != 0;
        let command = u32::from_be_bytes(*head[2..].first_chunk()?);
        let wall = i64::from_be_bytes(*head[6..].first_chunk()?);
        let presentation_us = i64::from_be_bytes(*head[14..].first_chunk()?);
        let sent_us = i64::from_be_bytes(*head[22..].first_chunk()?);
        let len = u32::from_be_bytes(*head[30..].first_chunk()?);
        (head[0] == FIRST).then_some((
            Self {
                sound: flag(0),
                keyframe: flag(1),
                shown: flag(2),
                discontinuity: flag(3),
                section_end: flag(4),
                last: flag(5),
                command,
                wall: UnixMicros(wall),
                presentation_us,
                sent_us,
                len,
            },
            rest,
        ))
    }
}

/// First byte of a unit's first message.
pub const FIRST: u8 = 1;
/// First byte of the others.
pub const NEXT: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_survive_the_way_and_nothing_else_is_one() {
        let head = UnitHead {
            sound: false,
            keyframe: true,
            shown: true,
            discontinuity: true,
            section_end: false,
            last: true,
            command: 0x0102_0304,
            wall: UnixMicros(1_763_740_800_000_001),
            presentation_us: -5,
            sent_us: 6,
            len: 70_000,
        };
        let message = [&head.encode()[..], b"rest"].concat();
        assert_eq!(UnitHead::decode(&message), Some((head, &b"rest"[..])));
        assert_eq!(UnitHead::decode(&message[..UnitHead::LEN - 1]), None);
        let next = [&[NEXT][..], &message[1..]].concat();
        assert_eq!(UnitHead::decode(&next), None);
    }
}
