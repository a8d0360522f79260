//! A weekly schedule on the line of time.

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase},
};
use sightline_model::{MinuteOfDay, UnixMicros, WeeklySchedule, ZoneName};

use super::StrategyError;

const DAY_MIN: usize = 24 * 60;
const WEEK_MIN: usize = 7 * DAY_MIN;
const MINUTE_US: i64 = 60_000_000;
const WEEK_US: i64 = WEEK_MIN as i64 * MINUTE_US;

/// More changes of a zone's offset than this between two changes of a schedule do not occur.
const MAX_TRANSITIONS: usize = 64;

/// A weekly schedule with its zone at hand.
///
/// It holds at an instant when the clock on the wall shows one of its times then. That is decision
/// 0090: a local time that does not exist counts as the moment of the change, and one that exists
/// twice counts both times.
#[derive(Debug, Clone)]
pub struct Week {
    zone: TimeZone,
    /// Minutes of the week, from Monday 00:00, at which it begins or ends to hold, in rising order.
    edges: Vec<(u16, bool)>,
    /// Whether it holds where there is no edge.
    constant: bool,
}

/// A zone of the bundled database, never of the machine's: recorders agree on what a name means.
pub(crate) fn zone(name: &ZoneName) -> Result<TimeZone, StrategyError> {
    let found = TimeZoneDatabase::bundled().get(name.as_str());
    found.map_err(|_| StrategyError::NoSuchZone(name.clone()))
}

impl Week {
    /// Prepares a schedule.
    ///
    /// # Errors
    /// [`StrategyError::NoSuchZone`].
    pub fn new(schedule: &WeeklySchedule) -> Result<Self, StrategyError> {
        let mut minutes = vec![false; WEEK_MIN];
        for span in &schedule.spans {
            let from = usize::from(span.from.minutes());
            let to = usize::from(span.to.minutes());
            let len = if to > from { to - from } else { to + DAY_MIN - from };
            for day in &span.days {
                let begin = usize::from(day.days_since_monday()) * DAY_MIN + from;
                for minute in begin..begin + len.min(usize::from(MinuteOfDay::END.minutes())) {
                    minutes[minute % WEEK_MIN] = true;
                }
            }
        }
        let before = |minute: usize| minutes[(minute + WEEK_MIN - 1) % WEEK_MIN];
        let edge = |minute: usize| (minutes[minute] != before(minute)).then_some(minute as u16);
        let edges = (0..WEEK_MIN).filter_map(edge).map(|m| (m, minutes[usize::from(m)])).collect();
        Ok(Self { zone: zone(&schedule.zone)?, edges, constant: minutes[0] })
    }

    /// Whether it holds at `at`. A time that no calendar has (beyond the year 9999) counts as held.
    #[must_use]
    pub fn holds(&self, at: UnixMicros) -> bool {
        Timestamp::from_microsecond(at.0).map_or(true, |at| self.holds_at(at))
    }

    /// When next it begins or ends to hold after `at`; `None` when it never does.
    #[must_use]
    pub fn next_change(&self, at: UnixMicros) -> Option<UnixMicros> {
        let mut at = Timestamp::from_microsecond(at.0).ok()?;
        let holds = self.holds_at(at);
        for _ in 0..MAX_TRANSITIONS {
            let edge = at.as_microsecond().checked_add(self.until_edge(at)?)?;
            let transition = self.zone.following(at).next().map(|t| t.timestamp());
            match transition {
                Some(transition) if transition.as_microsecond() <= edge => {
                    if self.holds_at(transition) != holds {
                        return Some(UnixMicros(transition.as_microsecond()));
                    }
                    at = transition;
                }
                Some(_) | None => return Some(UnixMicros(edge)),
            }
        }
        // To look again there is harmless.
        Some(UnixMicros(at.as_microsecond()))
    }

    fn holds_at(&self, at: Timestamp) -> bool {
        let minute = week_us(self.zone.to_datetime(at)) / MINUTE_US;
        let behind = self.edges.partition_point(|(edge, _)| i64::from(*edge) <= minute);
        // Before the week's first edge holds what the last one of the week before began.
        let edge = behind.checked_sub(1).map_or(self.edges.last(), |n| self.edges.get(n));
        edge.map_or(self.constant, |(_, holds)| *holds)
    }

    /// Microseconds until the next edge, as long as the zone's offset stays.
    fn until_edge(&self, at: Timestamp) -> Option<i64> {
        let now = week_us(self.zone.to_datetime(at));
        let edge_us = |edge: &(u16, bool)| i64::from(edge.0) * MINUTE_US;
        let ahead = self.edges.iter().map(edge_us).find(|edge| *edge > now);
        let first = || self.edges.first().map(|edge| edge_us(edge) + WEEK_US);
        ahead.or_else(first).map(|edge| edge - now)
    }
}

/// Microseconds since Monday 00:00 by the clock on the wall.
fn week_us(local: DateTime) -> i64 {
    let day = i64::from(local.weekday().to_monday_zero_offset());
    let minute = (day * 24 + i64::from(local.hour())) * 60 + i64::from(local.minute());
    let second = i64::from(local.second());
    minute * MINUTE_US + second * 1_000_000 + i64::from(local.subsec_nanosecond()) / 1_000
}
