//! What verification tells: findings and absences, each with its time, in words.

use std::fmt;

use jiff::Timestamp;
use sightline_model::{PuId, UnixMicros};

use crate::statement::{Authority, BootId, ChainId, Sequence, Subject};

/// A time that an entry states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatedTime {
    /// When, corrected by later steps of the clock where decision 0090 says so.
    pub at: UnixMicros,
    /// Who vouched for it when it was stated.
    pub authority: Authority,
    /// The entry that states it.
    pub sequence: Sequence,
    /// The start of the machine that it belongs to, when that is known.
    pub boot: Option<BootId>,
}

/// A stretch of time between two neighbours, or of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Where it begins: the end of what is there before. None: nothing with a time is there before.
    pub from: Option<StatedTime>,
    /// Where it ends: the beginning of what comes after. None: nothing with a time comes after.
    pub to: Option<StatedTime>,
}

/// Why an entry is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoilt {
    /// Its bytes are not a statement.
    Unreadable,
    /// The recorder did not sign it.
    BadSignature,
    /// The recorder signed it, as an entry of another chain.
    OtherChain,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The key that is to prove the entries is not that of the expected recorder.
    WrongRecorder {
        /// Whose key it is.
        found: PuId,
    },
    /// The chain is another camera's or another tier's than the expected one.
    OtherSubject {
        /// Whose it is.
        found: Subject,
    },
    /// Entries are not there, and no checkpoint says that they were let go.
    Missing,
    /// Entries are there, but the recorder did not make them as they are.
    Spoilt {
        /// What is wrong with the first of them.
        how: Spoilt,
        /// How many there are.
        count: u64,
        /// The time that the first of them claims, for what that is worth.
        claimed: Option<UnixMicros>,
    },
    /// An entry stands at a wrong place, or twice.
    Misplaced,
    /// An entry follows another one than the one that is there before it.
    LinkBroken,
    /// A checkpoint takes back what an earlier one said.
    CheckpointTakesBack,
    /// The end of the chain is not there, though it was reported.
    CutOff,
    /// An entry is another one than the one that was reported.
    HeadDiffers,
    /// A segment's file is not there.
    FileMissing,
    /// A segment's file has another length.
    FileLength {
        /// The length that was recorded, in bytes.
        stated: u64,
        /// The length that is there, in bytes.
        found: u64,
    },
    /// A segment's file has other bytes.
    FileAltered,
    /// A segment begins before the one before ends, without a step of the clock. A remark only: a run
    /// whose first picture came late is dated late, and the next one is not (decision 0090).
    TimeGoesBack,
}

/// Something is wrong, where, and when that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// The first entry that it concerns.
    pub first: Sequence,
    /// The last entry that it concerns.
    pub last: Sequence,
    /// Which seconds it concerns: they lie within.
    pub span: Span,
}

/// Entries that are not there because the recorder let them go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// The first of them.
    pub first: Sequence,
    /// The last of them.
    pub last: Sequence,
    /// Which seconds are concerned: they lie within.
    pub span: Span,
}

/// What a walk over a chain has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The chain; none when no entry could be believed.
    pub chain: Option<ChainId>,
    /// Whose recording of what, as its beginning says.
    pub subject: Option<Subject>,
    /// What is wrong, by number; at most [`super::MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// What is odd and yet no sign of tampering; at most as many.
    pub remarks: Vec<Finding>,
    /// How many findings there are beyond those.
    pub more_findings: u64,
    /// What has expired.
    pub absences: Vec<Absence>,
    /// Entries that were looked at.
    pub entries: u64,
    /// Segments among them that are the recorder's.
    pub segments: u64,
    /// Of those, how many had their file's bytes checked.
    pub files_hashed: u64,
    /// How long these segments last together, in microseconds.
    pub recorded_us: u64,
    /// From the first of them to the last.
    pub span: Span,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.more_findings == 0
    }
}

/// A time as text: RFC 3339, UTC, to the millisecond.
#[must_use]
pub fn time_text(at: UnixMicros) -> String {
    Timestamp::from_microsecond(at.0)
        .map_or_else(|_| format!("{} us after 1970", at.0), |time| format!("{time:.3}"))
}

impl fmt::Display for StatedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&time_text(self.at))?;
        if self.authority.is_confirmed() { Ok(()) } else { f.write_str(" (clock unconfirmed)") }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from.at == to.at => write!(f, "at {from}"),
            (Some(from), Some(to)) => write!(f, "{from} to {to}"),
            (Some(from), None) => write!(f, "from {from} on"),
            (None, Some(to)) => write!(f, "before {to}"),
            (None, None) => f.write_str("at no known time"),
        }
    }
}

impl fmt::Display for Spoilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "cannot be read",
            Self::BadSignature => "was not signed by the recorder",
            Self::OtherChain => "belongs to another chain",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = match self.last.0.saturating_sub(self.first.0) {
            0 => format!("entry {}", self.first.0),
            _ => format!("entries {} to {}", self.first.0, self.last.0),
        };
        let number = self.first.0;
        match &self.problem {
            Problem::WrongRecorder { found } => {
                return write!(f, "wrong recorder: the key is that of {found}");
            }
            Problem::OtherSubject { found } => {
                let Subject { recorder, camera, tier } = found;
                return write!(
                    f,
                    "other recording: this is {recorder}'s of camera {camera} ({tier:?})"
                );
            }
            Problem::Missing => {
                write!(f, "MISSING: {which}, which no checkpoint names as let go")?;
            }
            Problem::Spoilt { how, count, claimed } => {
                match count {
                    1 => write!(f, "ALTERED: {which} {how}")?,
                    _ => write!(f, "ALTERED: {which}: {count} were changed; the first {how}")?,
                }
                if let Some(claimed) = claimed {
                    write!(f, " (it claims to be of {})", time_text(*claimed))?;
                }
            }
            Problem::Misplaced => write!(f, "MISPLACED: {which} stands at a wrong place or twice")?,
            Problem::LinkBroken => {
                write!(f, "BROKEN: {which} follows another one than the one before it")?;
            }
            Problem::CheckpointTakesBack => {
                write!(f, "BROKEN: checkpoint {number} takes back what an earlier one let go")?;
            }
            Problem::CutOff => write!(f, "CUT OFF: {which} had been reported and is not there")?,
            Problem::HeadDiffers => {
                write!(f, "REPLACED: {which} is another one than the one that was reported")?;
            }
            Problem::FileMissing => write!(f, "MISSING: the file of segment {number}")?,
            Problem::FileLength { stated, found } => write!(
                f,
                "ALTERED: the file of segment {number} has {found} bytes instead of {stated}"
            )?,
            Problem::FileAltered => {
                write!(f, "ALTERED: the file of segment {number} is not what was recorded")?;
            }
            Problem::TimeGoesBack => {
                write!(f, "OVERLAP: segment {number} begins before the end of the one before")?
            }
        }
        write!(f, "; {}", self.span)
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, span } = self;
        write!(f, "let go by the recorder: entries {} to {}; {span}", first.0, last.0)
    }
}
