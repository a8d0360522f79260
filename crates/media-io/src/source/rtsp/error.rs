//! Why a camera gives no picture, in words for its owner.

/// Why a connection to a camera failed or ended. `Display` is for the camera's owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing answers.
    #[error("the camera cannot be reached: is it switched on and in this network?")]
    Unreachable,
    /// It wants a password and has been given none.
    #[error("the camera asks for a user name and password")]
    PasswordNeeded,
    /// It refuses what it has been given.
    #[error("the camera refuses the user name or password")]
    WrongPassword,
    /// It has no stream by this path.
    #[error("the camera has no stream by this address")]
    NoSuchStream,
    /// It serves as many clients as it can.
    #[error("the camera is serving as many viewers as it can")]
    CameraBusy,
    /// It does not offer the transport.
    #[error("the camera does not offer this transport: try the other of TCP and UDP")]
    Transport,
    /// Another refusal.
    #[error("the camera refuses the request (RTSP status {0})")]
    Refused(u16),
    /// It offers no picture.
    #[error("the camera's stream has no picture")]
    NoVideo,
    /// It offers a picture in a coding that we do not carry.
    #[error("the camera sends {0}; set it to H.264 or H.265")]
    UnsupportedVideo(String),
    /// It sends nothing any more.
    #[error("the camera has stopped sending")]
    Silent,
    /// It ended the connection.
    #[error("the camera has ended the connection")]
    Closed,
    /// It breaks the protocol, or the connection broke.
    #[error("the connection to the camera broke")]
    Broken,
}

impl SourceError {
    /// From an error of retina's, whose details (with addresses) go to the log only.
    pub(super) fn protocol(error: retina::Error) -> Self {
        tracing::debug!(%error, "RTSP source");
        match error.status_code() {
            Some(401 | 403) => Self::WrongPassword,
            Some(404) => Self::NoSuchStream,
            Some(453 | 503) => Self::CameraBusy,
            Some(461) => Self::Transport,
            // A broken answer to a request that succeeded.
            Some(200) | None => Self::Broken,
            Some(status) => Self::Refused(status),
        }
    }

    /// What an error means when it comes while connecting.
    pub(super) fn on_describe(self, has_credentials: bool) -> Self {
        match self {
            Self::Broken => Self::Unreachable,
            Self::WrongPassword if !has_credentials => Self::PasswordNeeded,
            other => other,
        }
    }

    /// Whether trying again soon could lock the camera.
    pub(super) const fn is_authentication(&self) -> bool {
        matches!(self, Self::WrongPassword)
    }
}
