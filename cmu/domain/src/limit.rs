//! Rate limits, by the generic cell rate algorithm: one stored time for each key.
//!
//! The stored time is the *theoretical arrival time*: when the key's budget will be full again. A
//! limit of `count` in `per_s` seconds lets `count` through at once and refills evenly. The worst
//! case is a full budget and its refill within one window, never more.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sightline_model::UnixMicros;

/// So many in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// How many.
    pub count: u32,
    /// In how many seconds.
    pub per_s: u32,
}

/// Whether one more is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes; the key's time becomes `next`.
    Allowed {
        /// What to store.
        next: UnixMicros,
    },
    /// No.
    Refused {
        /// When one will be allowed, rounded up.
        retry_after_s: u32,
    },
}

impl Limit {
    /// The time that one use costs, in microseconds.
    #[must_use]
    pub fn cost_us(self) -> i64 {
        i64::from(self.per_s.max(1)) * 1_000_000 / i64::from(self.count.max(1))
    }

    /// How far the stored time may run ahead of now before a use is refused, in microseconds.
    #[must_use]
    pub fn tolerance_us(self) -> i64 {
        self.cost_us() * (i64::from(self.count.max(1)) - 1)
    }

    /// Decides on one more use of a key whose stored time is `stored`.
    #[must_use]
    pub fn check(self, stored: Option<UnixMicros>, now: UnixMicros) -> Verdict {
        let base = stored.map_or(now.0, |s| s.0.max(now.0));
        let ahead = base - now.0;
        if self.count == 0 || ahead > self.tolerance_us() {
            return Verdict::Refused { retry_after_s: self.retry_after_s(base, now) };
        }
        Verdict::Allowed { next: UnixMicros(base + self.cost_us()) }
    }

    /// Seconds until a key with this stored time is let through again; at least 1.
    #[must_use]
    pub fn retry_after_s(self, stored_us: i64, now: UnixMicros) -> u32 {
        let wait = UnixMicros(stored_us.saturating_sub(self.tolerance_us())).since(now);
        u32::try_from(wait.div_ceil_secs()).unwrap_or(u32::MAX).max(1)
    }
}

trait CeilSecs {
    fn div_ceil_secs(self) -> u64;
}

impl CeilSecs for Duration {
    fn div_ceil_secs(self) -> u64 {
        self.as_secs() + u64::from(self.subsec_nanos() > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_of_the_whole_budget_passes_and_then_it_refills_evenly() {
        let limit = Limit { count: 5, per_s: 3_600 };
        let (mut stored, mut now) = (None, UnixMicros(1_000));
        for _ in 0..5 {
            match limit.check(stored, now) {
                Verdict::Allowed { next } => stored = Some(next),
                Verdict::Refused { .. } => panic!("within the budget"),
            }
        }
        assert_eq!(limit.check(stored, now), Verdict::Refused { retry_after_s: 720 });
        now = now.plus(Duration::from_secs(720));
        assert!(matches!(limit.check(stored, now), Verdict::Allowed { .. }));
    }

    #[test]
    fn a_limit_of_none_lets_none_through() {
        let limit = Limit { count: 0, per_s: 60 };
        assert!(matches!(limit.check(None, UnixMicros(5)), Verdict::Refused { .. }));
    }

    proptest! {
        #[test]
        fn never_more_than_twice_the_count_in_any_window(
            count in 1u32..20, per_s in 1u32..1000, gaps in prop::collection::vec(0i64..2_000_000, 1..200)
        ) {
            let limit = Limit { count, per_s };
            let (mut stored, mut now, mut passed) = (None, UnixMicros(0), Vec::new());
            for gap in gaps {
                now = UnixMicros(now.0 + gap);
                if let Verdict::Allowed { next } = limit.check(stored, now) {
                    stored = Some(next);
                    passed.push(now.0);
                }
            }
            let window = i64::from(per_s) * 1_000_000;
            for (i, start) in passed.iter().enumerate() {
                let within = passed[i..].iter().take_while(|t| **t - start < window).count();
                prop_assert!(within <= 2 * count as usize, "{within} passed in one window");
            }
        }
    }
}
