//! What clocks said in the past.

use std::collections::VecDeque;

use sightline_model::UnixMicros;

use super::SLEW_PPM;

/// Changes that are remembered; older ones are forgotten.
const MOST_CHANGES: usize = 64;
/// Changes of the system clock's offset below this are passed over, in microseconds.
const CHANGE_US: i64 = 5_000;
/// A unit may be dated so much ahead of the newest reading: it came just after it, in microseconds.
const AHEAD_US: i64 = 100_000;

/// The system clock less the monotonic clock, and how that changed.
#[derive(Debug, Clone, Default)]
pub struct SystemClock {
    /// From which monotonic moment on, in microseconds, and which offset.
    changes: VecDeque<(u64, i64)>,
}

impl SystemClock {
    /// The offset as it was read at a moment.
    pub fn note(&mut self, monotonic_us: u64, offset_us: i64) {
        let changed =
            |(_, last): &(u64, i64)| last.saturating_sub(offset_us).saturating_abs() >= CHANGE_US;
        if self.changes.back().is_none_or(changed) {
            if self.changes.len() == MOST_CHANGES {
                self.changes.pop_front();
            }
            self.changes.push_back((monotonic_us, offset_us));
        }
    }

    /// The offset at a moment; before the first reading, that of the first.
    pub fn offset_at(&self, monotonic_us: u64) -> i64 {
        let then = self.changes.iter().rev().find(|(from, _)| *from <= monotonic_us);
        then.or(self.changes.front()).map_or(0, |(_, offset)| *offset)
    }

    /// When the system clock told `time`, by the newest setting that explains it.
    pub fn monotonic_of(&self, time: UnixMicros, newest_us: u64) -> u64 {
        let mut until_us = newest_us.saturating_add_signed(AHEAD_US);
        let oldest = self.changes.len().saturating_sub(1);
        for (i, (from_us, offset_us)) in self.changes.iter().rev().enumerate() {
            // The first setting held before the first reading too. The others may have begun a
            // little before they were noticed.
            let from_us = if i == oldest { 0 } else { from_us.saturating_add_signed(-AHEAD_US) };
            let told = u64::try_from(time.0.saturating_sub(*offset_us));
            if let Ok(told) = told
                && (from_us..=until_us).contains(&told)
            {
                return told.min(newest_us);
            }
            until_us = from_us.saturating_add_signed(2 * AHEAD_US);
        }
        newest_us
    }
}

/// The recorder's clock less the monotonic clock since the last step.
#[derive(Debug, Clone)]
pub struct Line {
    /// Moments at which the offset was settled, in microseconds, rising; straight in between.
    knots: VecDeque<(u64, i64)>,
    /// Where it goes from the last of them on.
    target_us: i64,
}

impl Line {
    /// A line that is right at once.
    pub fn new(monotonic_us: u64, offset_us: i64) -> Self {
        Self { knots: VecDeque::from([(monotonic_us, offset_us)]), target_us: offset_us }
    }

    /// The moment of the newest reading.
    pub fn newest_us(&self) -> u64 {
        self.knots.back().map_or(0, |(at, _)| *at)
    }

    /// Goes for `target_us` from now on.
    pub fn aim(&mut self, monotonic_us: u64, target_us: i64) {
        let offset_us = self.offset_at(monotonic_us);
        self.target_us = target_us;
        // Of a straight stretch the ends are enough.
        if let Some([before, last]) = self.last_two()
            && before == offset_us
            && last == offset_us
        {
            self.knots.pop_back();
        }
        if self.knots.len() == MOST_CHANGES {
            self.knots.pop_front();
        }
        self.knots.push_back((monotonic_us, offset_us));
    }

    fn last_two(&self) -> Option<[i64; 2]> {
        let before = self.knots.len().checked_sub(2)?;
        Some([self.knots.get(before)?.1, self.knots.back()?.1])
    }

    /// The offset at a moment; before the oldest moment that is remembered, the one at that.
    pub fn offset_at(&self, monotonic_us: u64) -> i64 {
        let after = self.knots.partition_point(|(at, _)| *at <= monotonic_us);
        let Some((from_us, from)) = after.checked_sub(1).and_then(|i| self.knots.get(i)) else {
            return self.knots.front().map_or(0, |(_, offset)| *offset);
        };
        let passed_us = i64::try_from(monotonic_us - from_us).unwrap_or(i64::MAX);
        if let Some((to_us, to)) = self.knots.get(after) {
            let whole_us = i128::from(to_us - from_us).max(1);
            let part = i128::from(to - from) * i128::from(passed_us) / whole_us;
            return from.saturating_add(i64::try_from(part).unwrap_or(0));
        }
        let most_us = i64::try_from(i128::from(passed_us) * i128::from(SLEW_PPM) / 1_000_000)
            .unwrap_or(i64::MAX);
        from.saturating_add(self.target_us.saturating_sub(*from).clamp(-most_us, most_us))
    }
}
