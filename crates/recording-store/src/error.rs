//! What can go wrong, by whose fault.

use std::io;

use crate::State;

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has the store open: two would repair each other's open segments.
    #[error("another process records into this folder")]
    InUse,
    /// The caller's fault: the calls do not fit together, or a value is out of bounds.
    #[error("wrong use of the store: {0}")]
    Misuse(&'static str),
    /// The storage takes no writes now; it comes back by itself. The storage's fault.
    #[error("{}", .0.words())]
    Unavailable(State),
    /// The segment was ended early: what was queued for the storage did not fit any more.
    #[error("the storage is slower than the stream")]
    Behind,
    /// The storage failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// How it failed.
        source: io::Error,
    },
    /// The index failed or cannot be opened.
    #[error("the index of the recordings fails: {0}")]
    Index(#[from] sqlx::Error),
    /// The index cannot be brought up to date.
    #[error("the index of the recordings cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// What is stored does not have its form.
    #[error("the index of the recordings holds a malformed {0}")]
    Corrupt(&'static str),
    /// Something that others waited for together failed; the log says more.
    #[error("the storage failed: {0}")]
    Failed(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// For `map_err`: says what was tried.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// What this says of the storage; none when the storage is not at fault.
    pub(crate) fn state(&self) -> Option<State> {
        match self {
            Self::InUse | Self::Misuse(_) | Self::Corrupt(_) | Self::Closed => None,
            Self::Unavailable(state) => Some(*state),
            Self::Behind => Some(State::Slow),
            Self::Io { source, .. } => Some(State::of_io(source)),
            Self::Index(error) => Some(State::of_index(error)),
            Self::Migrate(_) | Self::Failed(_) => Some(State::Failing),
        }
    }
}
