//! How the storage is, in words for the person.

use std::{io, sync::Arc};

use sightline_recording::statement::GapReason;

/// How the storage is. Recording goes on by itself once it is well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// All is well.
    Ok,
    /// All is well but for the speed: open segments were ended early.
    Slow,
    /// No space is left and nothing may go.
    Full,
    /// It can be read only.
    ReadOnly,
    /// It is not there: pulled out, or not mounted.
    Away,
    /// Reading or writing fails.
    Failing,
}

impl State {
    /// Every state, for tables of words and metrics.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Slow, Self::Full, Self::ReadOnly, Self::Away, Self::Failing];

    /// What to tell the person.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Ok => "The storage works.",
            Self::Slow => {
                "The storage is slower than the cameras: parts were not recorded. Use a faster \
                 card or disk, or record a smaller picture."
            }
            Self::Full => {
                "The storage is full and everything on it is locked or belongs to others. Unlock \
                 or remove something, or use a larger one."
            }
            Self::ReadOnly => {
                "The storage cannot be written to. Check the card's lock, or replace it: worn \
                 cards refuse writes."
            }
            Self::Away => "The storage is not there. Put the card or disk back in.",
            Self::Failing => "The storage fails. Replace the card or disk.",
        }
    }

    /// Whether segments are taken.
    #[must_use]
    pub const fn takes_writes(self) -> bool {
        matches!(self, Self::Ok | Self::Slow)
    }

    /// The reason that a gap has which this caused.
    #[must_use]
    pub const fn gap_reason(self) -> GapReason {
        match self {
            Self::Full => GapReason::StorageFull,
            Self::ReadOnly => GapReason::StorageReadOnly,
            Self::Away => GapReason::StorageAway,
            Self::Ok | Self::Slow | Self::Failing => GapReason::StorageFailed,
        }
    }

    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Away,
            _ => Self::Failing,
        }
    }

    /// By SQLite's primary result codes.
    pub(crate) fn of_index(error: &sqlx::Error) -> Self {
        if let sqlx::Error::Io(error) = error {
            return Self::of_io(error);
        }
        let code = error.as_database_error().and_then(|e| e.code()?.parse::<u32>().ok());
        match code.map(|code| code & 0xff) {
            Some(8) => Self::ReadOnly,
            Some(13) => Self::Full,
            // "Unable to open the database file".
            Some(14) => Self::Away,
            _ => Self::Failing,
        }
    }
}

/// The state and what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How the storage is.
    pub state: State,
    /// The error that was seen, for the log and the technician; empty when all is well.
    pub detail: Arc<str>,
}

impl Health {
    pub(crate) fn ok() -> Self {
        Self { state: State::Ok, detail: "".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_have_their_states() {
        for (errno, state) in [
            (28, State::Full),
            (122, State::Full),
            (30, State::ReadOnly),
            (2, State::Away),
            (20, State::Away),
            (5, State::Failing),
            (6, State::Failing),
        ] {
            assert_eq!(State::of_io(&io::Error::from_raw_os_error(errno)), state, "errno {errno}");
        }
    }

    #[test]
    fn every_state_has_words_and_only_two_take_writes() {
        let mut words: Vec<_> = State::ALL.iter().map(|s| s.words()).collect();
        words.dedup();
        assert_eq!(words.len(), State::ALL.len());
        let taking: Vec<_> = State::ALL.into_iter().filter(|s| s.takes_writes()).collect();
        assert_eq!(taking, [State::Ok, State::Slow]);
    }
}
