//! The centre's clock as the unit knows it (A7.2, clock synchronization).

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use sightline_model::UnixMicros;

/// Samples that are compared.
const SAMPLES: usize = 8;
/// A sample with a longer way there and back says nothing useful.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(5);

/// The unit's clock was set when it moved so much from the one that never jumps.
const SET_BY: Duration = Duration::from_millis(100);

/// Finds the difference of two clocks from request and answer, as NTP does (RFC 5905 clause 8):
/// of the newest samples, the one with the shortest round trip errs least.
#[derive(Debug, Default)]
pub struct ClockFilter {
    samples: VecDeque<(Duration, i64)>,
    /// Both of the unit's clocks when they were last looked at.
    looked: Option<(Instant, UnixMicros)>,
}

impl ClockFilter {
    /// Looks at the unit's clocks, before each sample: what was measured before the unit's clock was
    /// set is no difference to the clock as it is now.
    pub fn look(&mut self, at: Instant, wall: UnixMicros) {
        if let Some((looked_at, looked)) = self.looked.replace((at, wall)) {
            let passed = at.saturating_duration_since(looked_at).as_micros();
            let passed = i64::try_from(passed).unwrap_or(i64::MAX);
            let moved = wall.0.saturating_sub(looked.0).saturating_sub(passed);
            if Duration::from_micros(moved.unsigned_abs()) > SET_BY {
                self.samples.clear();
            }
        }
    }

    /// A rough difference from a message whose way took unknown time; taken only while nothing
    /// better is known.
    pub fn first(&mut self, now: UnixMicros, server: UnixMicros) -> Option<i64> {
        self.samples.is_empty().then(|| server.0.saturating_sub(now.0))
    }

    /// Takes an answer to a request of time `sent`; returns the difference, server minus unit.
    pub fn sample(&mut self, now: UnixMicros, sent: UnixMicros, server: UnixMicros) -> Option<i64> {
        let round_trip = now.since(sent);
        if now < sent || round_trip > MAX_ROUND_TRIP {
            return None;
        }
        let middle = sent.plus(round_trip / 2);
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((round_trip, server.0.saturating_sub(middle.0)));
        self.samples.iter().min_by_key(|(round_trip, _)| *round_trip).map(|(_, offset)| *offset)
    }
}

/// The unit's clock, corrected to the centre's; shared by all that judge times.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_us: Arc<AtomicI64>,
    measured: Arc<Mutex<Option<(i64, Instant)>>>,
}

impl Clock {
    /// Takes a difference that was measured just now, centre minus unit.
    pub fn set_measured(&self, offset_us: i64) {
        self.set_offset(offset_us);
        *self.measured.lock() = Some((offset_us, Instant::now()));
    }

    /// The difference that was measured last since the start, and how long ago.
    #[must_use]
    pub fn measured(&self) -> Option<(i64, Duration)> {
        self.measured.lock().map(|(offset_us, at)| (offset_us, at.elapsed()))
    }

    /// Takes a difference of which nobody knows whether it still holds, centre minus unit.
    pub fn set_offset(&self, offset_us: i64) {
        self.offset_us.store(offset_us, Ordering::Relaxed);
    }

    /// Centre minus unit, in microseconds.
    #[must_use]
    pub fn offset_us(&self) -> i64 {
        self.offset_us.load(Ordering::Relaxed)
    }

    /// The time by the centre's clock.
    #[must_use]
    pub fn now(&self) -> UnixMicros {
        let own = UnixMicros::from(SystemTime::now());
        UnixMicros(own.0.saturating_add(self.offset_us()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_round_trip_wins() {
        let mut filter = ClockFilter::default();
        assert_eq!(filter.first(UnixMicros(1_000), UnixMicros(51_000)), Some(50_000));
        // 400 ms one way only: the estimate is off by 200 ms, until a quick answer comes.
        let late = filter.sample(UnixMicros(400_000), UnixMicros(0), UnixMicros(50_000));
        assert_eq!(late, Some(-150_000));
        let quick = filter.sample(UnixMicros(502_000), UnixMicros(500_000), UnixMicros(551_000));
        assert_eq!(quick, Some(50_000));
        let late =
            filter.sample(UnixMicros(1_400_000), UnixMicros(1_000_000), UnixMicros(1_050_000));
        assert_eq!(late, Some(50_000));
        assert_eq!(filter.first(UnixMicros(0), UnixMicros(9)), None);
    }

    #[test]
    fn what_was_measured_before_the_clock_was_set_is_forgotten() {
        const HOUR_US: i64 = 3_600_000_000;
        let (mut filter, start) = (ClockFilter::default(), Instant::now());
        let mut sample = |after_s: u64, wall: i64, round_trip: i64, ahead: i64| {
            let wall = UnixMicros(wall + after_s.cast_signed() * 1_000_000);
            filter.look(start + Duration::from_secs(after_s), wall);
            let sent = UnixMicros(wall.0 - round_trip);
            filter.sample(wall, sent, UnixMicros(sent.0 + round_trip / 2 + ahead))
        };
        assert_eq!(sample(0, 0, 1_000, 0), Some(0));
        assert_eq!(sample(20, 9_000, 90_000, 44_000), Some(0), "slewed, not set");
        // Set ahead: the quick answer of before would say that the centre's clock was.
        assert_eq!(sample(40, HOUR_US, 90_000, -HOUR_US), Some(-HOUR_US));
        assert_eq!(sample(60, 0, 90_000, 0), Some(0));
    }

    #[test]
    fn only_what_was_measured_has_an_age() {
        let clock = Clock::default();
        clock.set_offset(5);
        assert_eq!((clock.offset_us(), clock.measured()), (5, None));
        clock.set_measured(7);
        assert_eq!((clock.offset_us(), clock.measured().map(|(us, _)| us)), (7, Some(7)));
    }

    #[test]
    fn impossible_answers_are_ignored() {
        let mut filter = ClockFilter::default();
        assert_eq!(filter.sample(UnixMicros(10), UnixMicros(20), UnixMicros(5)), None);
        assert_eq!(filter.sample(UnixMicros(9_000_000), UnixMicros(0), UnixMicros(5)), None);
        let extreme = filter.sample(UnixMicros(1), UnixMicros(0), UnixMicros(i64::MIN));
        assert_eq!(extreme, Some(i64::MIN));
    }
}
