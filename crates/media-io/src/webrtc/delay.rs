//! How long packets wait on the way: what the round trip has above its smallest.
//!
//! A path that has become too narrow shows here first. Its queue grows before it overflows, and
//! while it grows nothing is lost and the estimate still says what it said before.

use std::time::{Duration, Instant};

/// The smallest round trip of so long counts, and of the same time before: a change of route is
/// taken for what it is after twice that.
const WINDOW: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delay {
    /// When the window began, and the smallest round trip in it.
    window: Option<(Instant, Duration)>,
    /// The smallest of the window before.
    before: Option<Duration>,
    last: Option<Duration>,
    /// The smaller of the last two round trips: a single late answer says nothing.
    now: Duration,
}

impl Delay {
    /// Takes a round trip. The library tells the newest one again until the viewer's next feedback,
    /// without a time of its own: equal to the nanosecond, it is the same one and proves nothing.
    pub(super) fn note(&mut self, round_trip: Duration, now: Instant) {
        if self.last == Some(round_trip) {
            return;
        }
        match &mut self.window {
            Some((begin, smallest)) if now.saturating_duration_since(*begin) < WINDOW => {
                *smallest = round_trip.min(*smallest);
            }
            window => {
                self.before = window.map(|(_, smallest)| smallest);
                *window = Some((now, round_trip));
            }
        }
        self.now = self.last.map_or(round_trip, |last| last.min(round_trip));
        self.last = Some(round_trip);
    }

    /// How long packets wait now.
    pub(super) fn queue(&self) -> Duration {
        let smallest = self.window.map(|(_, smallest)| smallest).into_iter().chain(self.before);
        smallest.min().map_or(Duration::ZERO, |smallest| self.now.saturating_sub(smallest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_queue_is_told_from_a_long_way_and_from_a_single_late_answer() {
        let start = Instant::now();
        let mut delay = Delay::default();
        for (at, round_trip, queue) in [
            (0, 80, 0),
            (100, 82, 0),
            (200, 300, 2),
            (300, 80, 0),
            (400, 200, 0),
            (500, 300, 120),
            (600, 400, 220),
            (700, 80, 0),
        ] {
            delay.note(ms(round_trip), start + ms(at));
            assert_eq!(delay.queue(), ms(queue), "after {at} ms");
        }
    }

    #[test]
    fn a_longer_route_is_no_queue_in_the_end() {
        let start = Instant::now();
        let mut delay = Delay::default();
        delay.note(ms(10), start);
        for second in 1..60 {
            delay.note(ms(200 + second % 2), start + Duration::from_secs(second));
        }
        assert!(delay.queue() <= ms(1), "{:?}", delay.queue());
    }

    #[test]
    fn a_late_answer_that_is_told_again_stays_a_single_one() {
        let start = Instant::now();
        let mut delay = Delay::default();
        for (at, round_trip, queue) in [
            (0, 20, 0),
            (100, 20, 0),
            (200, 140, 0),
            (300, 140, 0),
            (400, 140, 0),
            (500, 20, 0),
            // With as seldom feedback, a queue.
            (600, 150, 0),
            (700, 150, 0),
            (800, 260, 130),
            (900, 260, 130),
        ] {
            delay.note(ms(round_trip), start + ms(at));
            assert_eq!(delay.queue(), ms(queue), "after {at} ms");
        }
    }
}
