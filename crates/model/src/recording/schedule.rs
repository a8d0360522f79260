//! A week in the camera's local time.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::InvalidValue;

/// Longest name of a zone, in bytes. The longest of the IANA database has 32.
const MAX_ZONE_LEN: usize = 48;

/// Name of a time zone in the IANA database, such as `Europe/Berlin`. Only its form is checked here;
/// who computes with it knows whether the zone exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z][A-Za-z0-9_+/-]{0,47}$"))]
pub struct ZoneName(Box<str>);

impl ZoneName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self("UTC".into())
    }
}

impl FromStr for ZoneName {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'/' | b'-');
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if text.len() > MAX_ZONE_LEN || !begins || !text.bytes().all(ok) {
            return Err(InvalidValue::new("time zone", "must be a name such as Europe/Berlin"));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for ZoneName {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ZoneName> for String {
    fn from(name: ZoneName) -> String {
        name.0.into()
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Weekday {
    /// ISO 8601 day 1.
    Monday,
    /// Day 2.
    Tuesday,
    /// Day 3.
    Wednesday,
    /// Day 4.
    Thursday,
    /// Day 5.
    Friday,
    /// Day 6.
    Saturday,
    /// Day 7.
    Sunday,
}

impl Weekday {
    /// All, from Monday on.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// Days since Monday, 0 to 6.
    #[must_use]
    pub const fn days_since_monday(self) -> u8 {
        self as u8
    }
}

/// A time of day by the clock on the wall, to the minute, from `00:00` to `24:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$"))]
pub struct MinuteOfDay(u16);

impl MinuteOfDay {
    /// The day's end.
    pub const END: Self = Self(24 * 60);

    /// So many minutes after midnight.
    ///
    /// # Errors
    /// [`InvalidValue`] above 1,440.
    pub const fn from_minutes(minutes: u16) -> Result<Self, InvalidValue> {
        if minutes > Self::END.0 {
            return Err(InvalidValue::new("time of day", "must be from 00:00 to 24:00"));
        }
        Ok(Self(minutes))
    }

    /// Minutes since midnight, 0 to 1,440.
    #[must_use]
    pub const fn minutes(self) -> u16 {
        self.0
    }
}

impl FromStr for MinuteOfDay {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = InvalidValue::new("time of day", "must be HH:MM from 00:00 to 24:00");
        let two = |part: &str| -> Option<u16> {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse().ok() } else { None }
        };
        let parts = text.split_once(':').and_then(|(h, m)| Some((two(h)?, two(m)?)));
        match parts {
            Some((hours, minutes)) if minutes < 60 => Self::from_minutes(hours * 60 + minutes),
            Some(_) | None => Err(wrong),
        }
    }
}

impl TryFrom<String> for MinuteOfDay {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MinuteOfDay> for String {
    fn from(time: MinuteOfDay) -> String {
        time.to_string()
    }
}

impl fmt::Display for MinuteOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// The same stretch on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WeeklySpan {
    /// The days on which it begins.
    pub days: BTreeSet<Weekday>,
    /// From when on.
    pub from: MinuteOfDay,
    /// Until when, exclusive. A time before `from` is one of the next day.
    pub to: MinuteOfDay,
}

/// When something holds, week by week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WeeklySchedule {
    /// The zone whose clock on the wall is meant.
    pub zone: ZoneName,
    /// It holds during all of these; they may overlap.
    pub spans: Vec<WeeklySpan>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_have_one_spelling() {
        for good in ["00:00", "07:05", "23:59", "24:00"] {
            assert_eq!(good.parse::<MinuteOfDay>().expect(good).to_string(), good);
        }
        for bad in ["", "7:05", "07:60", "24:01", "25:00", "+1:00", "07:5", "07:05:00", "0７:05"] {
            assert!(bad.parse::<MinuteOfDay>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn zones_are_names_and_never_paths() {
        for good in ["Europe/Berlin", "America/Argentina/ComodRivadavia", "Etc/GMT+12", "UTC"] {
            assert_eq!(good.parse::<ZoneName>().expect(good).as_str(), good);
        }
        for bad in ["", "../etc", "/Europe/Berlin", "a b", "Europe/Berlin\n", &"x".repeat(49)] {
            assert!(bad.parse::<ZoneName>().is_err(), "{bad:?} was taken");
        }
    }
}
