//! How much may go over a metered link.

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use sightline_model::UnixMicros;

/// Over which time a budget lasts, by the calendar of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// A day.
    Day,
    /// A month.
    Month,
}

/// So many bytes in so long a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that may go.
    pub bytes: u64,
    /// In which time.
    pub per: Per,
}

/// What has gone of a budget. Kept through restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Of which day (`2026-11-22`) or month (`2026-11`).
    pub window: String,
    /// Bytes, those of broken uploads included.
    pub bytes: u64,
}

impl Budget {
    /// What the last quarter is kept for.
    const fn for_all(self) -> u64 {
        self.bytes / 4 * 3
    }

    /// Whether a segment of so many bytes may go now. One that is longer than the whole budget may go
    /// while nothing else went: else it would never.
    #[must_use]
    pub fn allows(self, spent: &Spent, now: UnixMicros, len: u64, is_event: bool) -> bool {
        let limit = if is_event { self.bytes } else { self.for_all() };
        let used = if spent.window == self.window(now) { spent.bytes } else { 0 };
        used == 0 || used.saturating_add(len) <= limit
    }

    /// Notes that so many bytes have gone.
    pub fn spend(self, spent: &mut Spent, now: UnixMicros, len: u64) {
        let window = self.window(now);
        if spent.window != window {
            *spent = Spent { window, bytes: 0 };
        }
        spent.bytes = spent.bytes.saturating_add(len);
    }

    fn window(self, now: UnixMicros) -> String {
        let at = Timestamp::from_microsecond(now.0).unwrap_or_default().to_zoned(TimeZone::UTC);
        let form = match self.per {
            Per::Day => "%Y-%m-%d",
            Per::Month => "%Y-%m",
        };
        at.strftime(form).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 86_400_000_000;

    #[test]
    fn events_have_the_last_quarter_and_a_new_day_begins_anew() {
        let (budget, mut spent) = (Budget { bytes: 100, per: Per::Day }, Spent::default());
        let now = UnixMicros(20_000 * DAY_US + 5);
        assert!(budget.allows(&spent, now, 500, false), "the first of the day");
        budget.spend(&mut spent, now, 70);
        assert!(budget.allows(&spent, now, 5, false));
        assert!(!budget.allows(&spent, now, 6, false));
        assert!(budget.allows(&spent, now, 30, true));
        assert!(!budget.allows(&spent, now, 31, true));
        let tomorrow = UnixMicros(now.0 + DAY_US);
        assert!(budget.allows(&spent, tomorrow, 75, false));
        budget.spend(&mut spent, tomorrow, 9);
        assert_eq!(spent.bytes, 9);
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let (budget, mut spent) = (Budget { bytes: 10, per: Per::Month }, Spent::default());
        let at =
            |text: &str| UnixMicros(text.parse::<Timestamp>().expect("a time").as_microsecond());
        budget.spend(&mut spent, at("2026-11-01T00:00:00Z"), 10);
        assert!(!budget.allows(&spent, at("2026-11-30T23:59:59Z"), 1, true));
        assert!(budget.allows(&spent, at("2026-12-01T00:00:00Z"), 1, true));
    }
}
