//! Typed ids and value types that every other crate speaks in.
//!
//! This crate holds no protocol, no I/O and no clock: a value is made from what the caller hands
//! in, and a value that exists is valid. One word per concept, as in `docs/glossary.md`.
//!
//! ```
//! use sightline_model::{ClaimCode, ClaimSecret, PublicKey, PuId};
//! let key = PublicKey::from_bytes([7; 32]);
//! let pu = PuId::from_public_key(&key);
//! let code = ClaimCode::new(pu.clone(), ClaimSecret::from_bytes([1; 10]));
//! let typed: ClaimCode = code.to_string().to_uppercase().replace('-', " ").parse()?;
//! assert_eq!(typed.pu_id(), &pu);
//! # Ok::<(), sightline_model::InvalidValue>(())
//! ```

mod claim;
mod device;
mod ids;
mod key;
mod media;
mod network;
mod path;
mod recording;
mod secret;
mod time;

pub use claim::{ClaimCode, ClaimHash, ClaimSecret};
pub use device::{CameraId, ChannelId, DeviceId, DeviceKind, Presence, Right, Rights};
pub use ids::{
    BindingId, ClientId, DomainName, KeyId, MediaSessionId, MtuId, PuId, RefreshId, ScuId, TokenId,
    UserId,
};
pub use key::{PublicKey, Signature};
pub use media::{
    AudioCodec, Capabilities, QualityChoice, ServedStream, StreamInfo, StreamTier, VideoCodec,
};
pub use network::subscriber;
pub use path::{NatDependence, NatReport, Rung};
pub use recording::{
    Absence, Causes, EventKind, EventMark, Keep, MinuteOfDay, PlanError, RecordedDays,
    RecordingPlace, RecordingPlan, RecordingSource, ReportedHead, StorageState, StorageStatus,
    Strategy, StrategyId, Timeline, TimelineGap, TimelineSpan, Trigger, Weekday, WeeklySchedule,
    WeeklySpan, ZoneName,
};
pub use secret::{PhoneNumber, Secret, SessionToken, TokenHash};
pub use time::UnixMicros;

/// A value that came from outside does not have the form its type demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct InvalidValue {
    /// Which kind of value was expected, in words.
    pub what: &'static str,
    /// What is wrong with it, in words that never repeat a secret.
    pub reason: &'static str,
}

impl InvalidValue {
    pub(crate) const fn new(what: &'static str, reason: &'static str) -> Self {
        Self { what, reason }
    }
}
