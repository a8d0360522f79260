//! Devices, their cameras, their presence, and what a user may do with them.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{DomainName, InvalidValue, PuId};

/// One camera behind a premises unit, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelId(pub u16);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a device says that it is. Nothing is granted to it for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeviceKind {
    /// A premises unit (clause 7.4).
    #[default]
    Pu,
    /// A network video recorder (clause 7.5).
    Nvr,
}

impl DeviceKind {
    /// Whether it is a premises unit: what devices were before they said so.
    #[must_use]
    pub const fn is_pu(&self) -> bool {
        matches!(self, Self::Pu)
    }

    /// What clause 7 calls it, for traces.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Pu => "PU",
            Self::Nvr => "NVR",
        }
    }

    /// The same word as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pu => "pu",
            Self::Nvr => "nvr",
        }
    }
}

impl FromStr for DeviceKind {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pu" => Ok(Self::Pu),
            "nvr" => Ok(Self::Nvr),
            _ => Err(InvalidValue::new("kind of device", "must be pu or nvr")),
        }
    }
}

/// A premises unit within its home domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceId {
    /// The domain where the device is registered.
    pub domain: DomainName,
    /// The device itself.
    pub pu: PuId,
}

/// One channel of one premises unit: what a user calls a camera. Text form `PU.CHANNEL`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CameraId {
    /// The device that the camera hangs on.
    pub pu: PuId,
    /// Which of its cameras.
    pub channel: ChannelId,
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pu, self.channel)
    }
}

impl FromStr for CameraId {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            InvalidValue::new("camera id", "must be a device id, a dot and a channel number");
        let (pu, channel) = text.split_once('.').ok_or_else(|| wrong.clone())?;
        if channel.is_empty() || !channel.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong);
        }
        let channel = channel.parse().map_err(|_| wrong)?;
        Ok(Self { pu: pu.parse()?, channel: ChannelId(channel) })
    }
}

impl TryFrom<String> for CameraId {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CameraId> for String {
    fn from(id: CameraId) -> String {
        id.to_string()
    }
}

/// In text it is one string, which the derive cannot say of a type with named fields.
#[cfg(feature = "openapi")]
mod schema {
    use utoipa::{
        PartialSchema, ToSchema,
        openapi::{
            RefOr,
            schema::{ObjectBuilder, Schema, Type},
        },
    };

    impl PartialSchema for super::CameraId {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some("A camera: device id, a dot, channel number."))
                .pattern(Some("^[a-z2-7]{26}[.][0-9]{1,5}$"))
                .into()
        }
    }

    impl ToSchema for super::CameraId {}
}

/// Whether a unit can be reached (A7.2, "presence").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Presence {
    /// No SCU holds a lease for the unit.
    Offline,
    /// Registered, but its camera gives no picture.
    Inactive,
    /// Registered, and nobody is watching.
    Online,
    /// Registered and being watched.
    Active,
}

/// One thing that a user may do with a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Right {
    /// Watch live.
    View,
    /// Hear the camera's microphone.
    Listen,
    /// Speak through the camera.
    Talk,
    /// Move and zoom.
    Ptz,
    /// Search and watch recordings.
    Playback,
    /// Change settings, share, release.
    Manage,
}

/// What a user may do with a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rights(pub BTreeSet<Right>);

impl Rights {
    /// Everything: the rights of an owner.
    #[must_use]
    pub fn owner() -> Self {
        use Right::{Listen, Manage, Playback, Ptz, Talk, View};
        Self([View, Listen, Talk, Ptz, Playback, Manage].into())
    }

    /// Whether `right` is among them.
    #[must_use]
    pub fn allows(&self, right: Right) -> bool {
        self.0.contains(&right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_id_has_one_spelling() {
        let pu = "a".repeat(26);
        let id: CameraId = format!("{pu}.3").parse().expect("valid");
        assert_eq!(id.to_string(), format!("{pu}.3"));
        for bad in
            [pu.clone(), format!("{pu}."), format!("{pu}.+3"), format!("{pu}.65536"), ".1".into()]
        {
            assert!(bad.parse::<CameraId>().is_err(), "{bad:?} was taken");
        }
    }
}
