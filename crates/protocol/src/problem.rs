use serde::{Deserialize, Serialize};

/// A refusal or failure, in the shape of RFC 9457, the same on every interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// Which problem: a stable word that programs may match on.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// What happened and what to do about it, in words for the person.
    pub detail: String,
}

impl Problem {
    /// Makes a problem.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// The problems that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ProblemKind {
    /// The request is malformed or breaks a limit of its form.
    InvalidRequest,
    /// Not signed in, or the sign-in has ended.
    Unauthenticated,
    /// Signed in, but without the right. Also the answer where existence must not be told.
    Forbidden,
    /// No such thing, or none that the caller may know of.
    NotFound,
    /// The account waits for the operator's approval (A6.1.1).
    NotApproved,
    /// The one-time code is wrong, used or too old.
    WrongCode,
    /// The claim code is wrong, or its device has never registered.
    WrongClaimCode,
    /// The device is bound to somebody else.
    AlreadyBound,
    /// Too many tries; the detail says when to try again.
    RateLimited,
    /// The device does not hold the key that its id was made from.
    WrongKey,
    /// The domain admits only devices that it knows, and this is none.
    UnknownDevice,
    /// Another registration of the device has taken over.
    StaleLease,
    /// The play token is malformed, forged, or for another device.
    InvalidToken,
    /// The play token's time is over.
    TokenExpired,
    /// Another client has used the play token before.
    TokenInUse,
    /// The play token's right has been taken away.
    TokenRevoked,
    /// The device cannot be reached.
    DeviceOffline,
    /// The device is there, its camera gives no picture.
    CameraOffline,
    /// The recorder's storage is not there or fails: what is recorded on it cannot be reached.
    StorageAway,
    /// No stream of the camera fits what the viewer can decode.
    NotDecodable,
    /// The unit serves as many viewers as it can.
    Busy,
    /// The other side did not answer in time.
    Timeout,
    /// Somebody has changed the recording plan meanwhile.
    PlanChanged,
    /// Our own fault; it is in the log.
    Internal,
}

impl ProblemKind {
    /// The HTTP status that carries this problem.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            // A credential that has ended is none, however it ended.
            Self::Unauthenticated
            | Self::InvalidToken
            | Self::TokenExpired
            | Self::TokenRevoked => 401,
            Self::Forbidden
            | Self::NotApproved
            | Self::WrongCode
            | Self::WrongClaimCode
            | Self::WrongKey
            | Self::UnknownDevice
            | Self::TokenInUse => 403,
            Self::NotFound => 404,
            Self::AlreadyBound | Self::StaleLease | Self::PlanChanged => 409,
            Self::NotDecodable => 415,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::DeviceOffline | Self::CameraOffline | Self::StorageAway | Self::Busy => 503,
            Self::Timeout => 504,
        }
    }
}
