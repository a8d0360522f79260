//! What can go wrong, in words that say what to do, with the exit code that scripts match on.

use std::process::ExitCode;

use sightline_protocol::{Problem, ProblemKind};

/// Exit codes of `cu`; part of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Something else went wrong, such as a file that cannot be written.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Nobody is signed in, or the sign-in has ended.
    NotSignedIn = 3,
    /// The portal or the camera said no.
    Refused = 4,
    /// The portal, the camera, or the storage of what is recorded cannot be reached.
    Unreachable = 5,
    /// A key or certificate is not the expected one: somebody may be in between.
    Security = 6,
    /// No answer in time.
    Timeout = 7,
}

impl Exit {
    /// A stable word for `--json`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Usage => "usage",
            Self::NotSignedIn => "not_signed_in",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Security => "security",
            Self::Timeout => "timeout",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure that ends the command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CuError {
    /// For scripts.
    pub exit: Exit,
    /// What happened and what to do, for people.
    pub message: String,
    /// The problem's type, when a unit refused.
    pub problem: Option<ProblemKind>,
}

impl CuError {
    /// Makes an error.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), problem: None }
    }

    /// Something else went wrong.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(Exit::Other, message)
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Somebody may be in between.
    pub fn security(message: impl Into<String>) -> Self {
        Self::new(Exit::Security, message)
    }

    /// No answer in time.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(Exit::Timeout, message)
    }

    /// Not reachable.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    /// Nobody is signed in here.
    #[must_use]
    pub fn not_signed_in() -> Self {
        Self::new(
            Exit::NotSignedIn,
            "nobody is signed in here. Sign in first: cu login --portal https://… --phone +…",
        )
    }

    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"error": {
            "kind": self.exit.word(),
            "exit_code": self.exit as u8,
            "problem": self.problem,
            "message": self.message,
        }})
    }
}

impl From<Problem> for CuError {
    fn from(problem: Problem) -> Self {
        let exit = match problem.kind {
            ProblemKind::Unauthenticated => Exit::NotSignedIn,
            ProblemKind::DeviceOffline | ProblemKind::CameraOffline | ProblemKind::StorageAway => {
                Exit::Unreachable
            }
            ProblemKind::WrongKey => Exit::Security,
            ProblemKind::Timeout => Exit::Timeout,
            ProblemKind::Internal => Exit::Other,
            ProblemKind::InvalidRequest
            | ProblemKind::Forbidden
            | ProblemKind::NotFound
            | ProblemKind::NotApproved
            | ProblemKind::WrongCode
            | ProblemKind::WrongClaimCode
            | ProblemKind::AlreadyBound
            | ProblemKind::RateLimited
            | ProblemKind::UnknownDevice
            | ProblemKind::StaleLease
            | ProblemKind::InvalidToken
            | ProblemKind::TokenExpired
            | ProblemKind::TokenInUse
            | ProblemKind::TokenRevoked
            | ProblemKind::NotDecodable
            | ProblemKind::Busy
            | ProblemKind::PlanChanged => Exit::Refused,
        };
        let advice = match problem.kind {
            ProblemKind::Unauthenticated => " Sign in again: cu login",
            ProblemKind::NotApproved => " Wait until the operator has approved the subscription.",
            ProblemKind::DeviceOffline => {
                " Check the camera's power and network; `cu list` shows when it is back."
            }
            ProblemKind::StorageAway => {
                " Check the card or disk that the camera is recorded on; live pictures need none."
            }
            _ => "",
        };
        let message = format!("{}.{advice}", problem.detail.trim_end_matches('.'));
        Self { exit, message, problem: Some(problem.kind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_that_is_away_is_not_told_as_the_camera_s_fault() {
        let detail = "The storage is not there. Put the card or disk back in.";
        let error = CuError::from(Problem::new(ProblemKind::StorageAway, detail));
        assert_eq!(error.exit, Exit::Unreachable);
        assert!(error.message.starts_with(detail), "{error}");
        assert!(error.message.ends_with("live pictures need none."), "{error}");
        assert_eq!(error.to_json()["error"]["problem"], "storage_away");
    }
}
