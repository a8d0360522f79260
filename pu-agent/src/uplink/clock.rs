//! The centre's clock as the unit knows it (A7.2, clock synchronization).

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use sightline_model::UnixMicros;

/// Samples that are compared.
const SAMPLES: usize = 8;
/// A sample with a longer way there and back says nothing useful.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(5);

/// Finds the difference of two clocks from request and answer, as NTP does (RFC 5905 clause 8):
/// of the newest samples, the one with the shortest round trip errs least.
#[derive(Debug, Default)]
pub struct ClockFilter {
    samples: VecDeque<(Duration, i64)>,
}

impl ClockFilter {
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
}

impl Clock {
    /// Takes a new difference, centre minus unit.
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
    fn impossible_answers_are_ignored() {
        let mut filter = ClockFilter::default();
        assert_eq!(filter.sample(UnixMicros(10), UnixMicros(20), UnixMicros(5)), None);
        assert_eq!(filter.sample(UnixMicros(9_000_000), UnixMicros(0), UnixMicros(5)), None);
        let extreme = filter.sample(UnixMicros(1), UnixMicros(0), UnixMicros(i64::MIN));
        assert_eq!(extreme, Some(i64::MIN));
    }
}
