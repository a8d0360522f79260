//! When a lease is renewed, and how long it is kept though the gateway does not answer.

use std::time::{Duration, Instant};

/// A gateway that gives shorter leases is not asked more often than this; nor one that fails.
const MIN_RENEW: Duration = Duration::from_secs(30);
/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(600);

/// The times of one lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The gateway keeps it until then, whatever becomes of us.
    until: Instant,
    next: Instant,
    /// Renewals in a row that have failed.
    failures: u32,
}

impl Terms {
    /// Given, or renewed, for so long.
    pub(super) fn given(now: Instant, lifetime: Duration) -> Self {
        let next = now + (lifetime / 2).max(MIN_RENEW);
        Self { until: now + lifetime, next, failures: 0 }
    }

    /// It was not renewed: the port is mapped until its time is over all the same.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next = now + (MIN_RENEW * (1 << self.failures.min(8))).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
    }

    /// When it is to be renewed.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// Whether the gateway has it no more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.failures > 0 && now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_not_renewed_is_kept_until_its_time_is_over() {
        let now = Instant::now();
        let mut terms = Terms::given(now, Duration::from_secs(3_600));
        let mut asked = Vec::new();
        while !terms.is_over(terms.next()) {
            let at = terms.next();
            asked.push((at - now).as_secs());
            terms.failed(at);
            assert!(!terms.is_over(at));
        }
        assert_eq!(asked, [1_800, 1_830, 1_890, 2_010, 2_250, 2_730, 3_330]);
        assert!(terms.is_over(now + Duration::from_secs(3_600)));
        // One that is renewed in time is never over, however late we come.
        let terms = Terms::given(now, Duration::from_secs(1));
        assert!(!terms.is_over(now + Duration::from_secs(31)));
    }
}
