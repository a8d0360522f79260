//! Days of a month, as the camera's calendar has them.

use std::collections::BTreeSet;

use jiff::civil::Date;
use sightline_model::{CameraId, RecordedDays, UnixMicros, ZoneName};

use super::CoverageError;
use crate::strategy::zone;

/// Says which days of a month have recordings. A day begins and ends by the clock on the wall, so it
/// may have 23 or 25 hours, or, where the calendar itself was changed, none.
#[derive(Debug)]
pub struct Calendar {
    zone: ZoneName,
    year: i16,
    month: u8,
    /// When each day begins, and when the last one ends.
    begins: Vec<i64>,
    days: BTreeSet<u8>,
}

impl Calendar {
    /// For a month in a zone.
    ///
    /// # Errors
    /// [`CoverageError::Month`] (years 1970 to 9998), [`CoverageError::NoSuchZone`].
    pub fn new(name: &ZoneName, year: i16, month: u8) -> Result<Self, CoverageError> {
        let zone = zone(name).map_err(|_| CoverageError::NoSuchZone(name.clone()))?;
        let wrong = || CoverageError::Month { year, month };
        let first = i8::try_from(month).ok().and_then(|month| Date::new(year, month, 1).ok());
        let first = first.filter(|_| (1970..=9998).contains(&year)).ok_or_else(wrong)?;
        let mut begins = Vec::with_capacity(32);
        let mut date = first;
        for _ in 0..=first.days_in_month() {
            let midnight = date.to_zoned(zone.clone()).map_err(|_| wrong())?;
            begins.push(midnight.timestamp().as_microsecond());
            date = date.tomorrow().map_err(|_| wrong())?;
        }
        Ok(Self { zone: name.clone(), year, month, begins, days: BTreeSet::new() })
    }

    /// When the month begins and ends.
    #[must_use]
    pub fn window(&self) -> (UnixMicros, UnixMicros) {
        let end = |at: Option<&i64>| UnixMicros(at.copied().unwrap_or_default());
        (end(self.begins.first()), end(self.begins.last()))
    }

    /// Each day with its beginning and end: whether anything lies in it is one query of an index.
    pub fn days(&self) -> impl Iterator<Item = (u8, UnixMicros, UnixMicros)> {
        let ends = self.begins.windows(2).map(|pair| (UnixMicros(pair[0]), UnixMicros(pair[1])));
        (1_u8..).zip(ends).map(|(day, (from, to))| (day, from, to))
    }

    /// Something is recorded from `from` to `to`, exclusive.
    pub fn add(&mut self, from: UnixMicros, to: UnixMicros) {
        let touched = |(day, begin, end): (u8, UnixMicros, UnixMicros)| {
            (begin < end && from < to && begin < to && from < end).then_some(day)
        };
        let days: Vec<u8> = self.days().filter_map(touched).collect();
        self.days.extend(days);
    }

    /// The days.
    #[must_use]
    pub fn finish(self, camera: CameraId) -> RecordedDays {
        let Self { zone, year, month, days, .. } = self;
        RecordedDays { camera, zone, year, month, days }
    }
}
