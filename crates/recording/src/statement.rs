//! What the entries of a chain say (decision 0091).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
pub use sightline_model::Causes;
use sightline_model::{CameraId, KeyId, PuId, Signature, StreamTier, UnixMicros};

use crate::chain::InvalidChainId;

/// SHA-256 of something: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// One chain: 128 bits, drawn at random when it begins. Every entry names its chain, so that no entry
/// can be passed off as another camera's, not even where its neighbours have been let go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub [u8; 16]);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainId({self})")
    }
}

impl FromStr for ChainId {
    type Err = InvalidChainId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidChainId)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidChainId)?))
    }
}

/// Whose recording of what: a chain belongs to exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// Who records: a PU or an NVR.
    pub recorder: PuId,
    /// What is recorded.
    pub camera: CameraId,
    /// Which of its encodings.
    pub tier: StreamTier,
}

/// Number of an entry in its chain, from 0 without holes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Number of a run in its chain (decision 0090): the sequence number of its first segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

/// One start of the recorder's machine: random, drawn once for each value of the kernel's `boot_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub u64);

/// Who vouches for a time (decision 0090), from the weakest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// The system clock, which nothing has confirmed since the boot.
    Unconfirmed,
    /// The system clock, synchronized by the kernel's word.
    System,
    /// The centre's clock.
    Centre,
}

impl Authority {
    /// Whether the time may be relied upon.
    #[must_use]
    pub const fn is_confirmed(self) -> bool {
        !matches!(self, Self::Unconfirmed)
    }
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its run.
    pub run: RunId,
    /// When its first picture was taken, by the recorder's clock of then.
    pub start: UnixMicros,
    /// How long it lasts by the media clock, in microseconds: the next of its run begins there.
    pub duration_us: u64,
    /// Where it begins in its run, on the video clock of 90 kHz.
    pub position_90k: u64,
    /// The machine's start that [`Self::monotonic_us`] counts from.
    pub boot: BootId,
    /// The monotonic clock at its first picture, in microseconds.
    pub monotonic_us: u64,
    /// Who vouched for [`Self::start`].
    pub authority: Authority,
    /// Length of the file, in bytes.
    pub len: u64,
    /// Length of the file's head (`ftyp` and `moov`), in bytes.
    pub head_len: u32,
    /// SHA-256 of the file as it is stored.
    pub content: Digest,
    /// Pictures in it.
    pub pictures: u32,
    /// The key that the file is encrypted with; none: it is not.
    pub key: Option<KeyId>,
    /// Why it was recorded.
    pub causes: Causes,
    /// Found unfinished at a start, and finished as far as it went.
    pub recovered: bool,
}

impl Segment {
    /// When it ends.
    #[must_use]
    pub const fn end(&self) -> UnixMicros {
        UnixMicros(self.start.0.saturating_add_unsigned(self.duration_us))
    }
}

/// Why nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// No strategy wanted it.
    NotPlanned,
    /// The camera gave no picture.
    CameraAway,
    /// The recorder was not running.
    RecorderOff,
    /// No space, and nothing that may go.
    StorageFull,
    /// The storage takes no writes.
    StorageReadOnly,
    /// The storage is gone: pulled out, or not mounted.
    StorageAway,
    /// The storage failed or was too slow.
    StorageFailed,
    /// The stream cannot be put into a file.
    UnusableStream,
}

/// A stretch without recording, which begins here and ends with the next segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// From when on, by the recorder's clock.
    pub from: UnixMicros,
    /// The machine's start whose clock said so: a later step of that clock corrects it.
    pub boot: BootId,
    /// Who vouched for [`Self::from`].
    pub authority: Authority,
    /// Why.
    pub reason: GapReason,
}

/// The recorder's clock was set by more than a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStep {
    /// The boot in which it happened.
    pub boot: BootId,
    /// The monotonic clock then, in microseconds.
    pub monotonic_us: u64,
    /// The recorder's clock before.
    pub from: UnixMicros,
    /// The recorder's clock after.
    pub to: UnixMicros,
    /// Who vouched for the time before.
    pub from_authority: Authority,
    /// Who vouches for the time after.
    pub to_authority: Authority,
}

/// A range of entries that have been let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredRange {
    /// The first of them.
    pub first: Sequence,
    /// The last of them.
    pub last: Sequence,
    /// The hash of the last of them, which the entry behind the range refers to.
    pub last_hash: Digest,
}

/// What has been let go since the chain began; the newest checkpoint holds for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// In rising order, no two of them adjacent.
    pub expired: Vec<ExpiredRange>,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The chain begins. This entry is never let go.
    Begin {
        /// Whose recording of what.
        subject: Subject,
    },
    /// A segment was recorded.
    Segment(Segment),
    /// Nothing is recorded from here on.
    Gap(Gap),
    /// The recorder's clock was set.
    ClockStep(ClockStep),
    /// Entries are let go.
    Checkpoint(Checkpoint),
}

/// An entry of a chain, without its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Which chain it is an entry of.
    pub chain: ChainId,
    /// Its number.
    pub sequence: Sequence,
    /// The hash of the entry before; zeros at the beginning.
    pub previous: Digest,
    /// What it says.
    pub what: What,
}

/// An entry as it is stored and shown: the encoded statement is kept as it was signed.
/// [`crate::chain::encode`] and [`crate::chain::decode`] know the form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The encoded [`Statement`].
    pub encoded: Vec<u8>,
    /// The recorder's signature over it.
    pub signature: Signature,
}

/// What a chain had come to when this was reported: whoever keeps it notices that the end was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The chain.
    pub chain: ChainId,
    /// The number of its newest entry.
    pub sequence: Sequence,
    /// The hash of that entry.
    pub hash: Digest,
    /// When this was so, by the recorder's clock.
    pub at: UnixMicros,
}
