//! Trying whether a path carries more than its estimate says.
//!
//! The library's estimate follows what is sent, and it probes only as long as its last change was
//! none for the worse. A viewer of the smaller stream sends too little to ever move it: both would
//! wait for each other for ever. So the estimate is raised step by step, with padding to match,
//! until it suffices for the better stream or packets begin to wait.

use std::time::{Duration, Instant};

/// How long a calm path is held back by its estimate before it is tried, and the most that failures
/// make of it.
const WAIT_MIN: Duration = Duration::from_secs(3);
const WAIT_MAX: Duration = Duration::from_secs(8);
/// How long one step is tried.
const STEP: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Trial {
    wait: Duration,
    held_since: Option<Instant>,
    /// The step that is being tried, and until when.
    step: Option<(u64, Instant)>,
}

impl Trial {
    pub(super) const fn new() -> Self {
        Self { wait: WAIT_MIN, held_since: None, step: None }
    }

    /// What the estimate should be from now on, if it is to be raised. `need_bps` is what the
    /// better stream needs when nothing but the estimate speaks against it; `calm` says that
    /// nothing is lost and nothing waits.
    pub(super) fn next(
        &mut self,
        estimate_bps: u64,
        need_bps: Option<u64>,
        calm: bool,
        now: Instant,
    ) -> Option<u64> {
        let running = self.step.is_some_and(|(_, until)| now < until);
        if !calm {
            if running {
                self.wait = (self.wait * 2).min(WAIT_MAX);
            }
            self.step = None;
            self.held_since = None;
            return None;
        }
        let Some(need_bps) = need_bps else {
            *self = Self::new();
            return None;
        };
        let since = *self.held_since.get_or_insert(now);
        if running || now.saturating_duration_since(since) < self.wait {
            return None;
        }
        let enough = need_bps / 10 * 12;
        let bps = (estimate_bps * 2).clamp(enough / 8, enough);
        self.step = Some((bps, now + STEP));
        self.held_since = Some(now);
        Some(bps)
    }

    /// What should flow, with padding.
    pub(super) fn padding_bps(&self, now: Instant) -> u64 {
        self.step.filter(|(_, until)| now < *until).map_or(0, |(bps, _)| bps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_up_while_the_path_is_calm_and_waits_longer_after_a_failure() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut trial = Trial::new();
        let mut steps = Vec::new();
        let mut estimate = 500_000;
        for ms in (0..10_000).step_by(200) {
            if let Some(bps) = trial.next(estimate, Some(3_000_000), true, at(ms)) {
                estimate = bps;
                steps.push((ms, bps));
                assert_eq!(trial.padding_bps(at(ms)), bps);
            }
        }
        assert_eq!(steps, [(3_000, 1_000_000), (6_000, 2_000_000), (9_000, 3_600_000)]);
        assert_eq!(trial.next(900_000, None, false, at(9_800)), None);
        assert_eq!(trial.padding_bps(at(9_800)), 0);
        let next = (10_000..30_000)
            .step_by(200)
            .find(|ms| trial.next(900_000, Some(3_000_000), true, at(*ms)).is_some());
        assert_eq!(next, Some(16_000));
    }
}
