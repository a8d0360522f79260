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
/// Padding stops when packets wait longer than this.
pub(super) const PADDING_WAITS: Duration = Duration::from_millis(60);
/// Padding grows by half in this time: a path that is too narrow for it shows that before its queue
/// overflows, and the picture that flows is not harmed.
const GROWTH: Duration = Duration::from_millis(400);

/// The library may take the jitter of so little for congestion; then the estimate is raised again,
/// but not more often than this, since that sends probes.
const RAISE: Duration = Duration::from_millis(600);
/// So long a step that went well counts, as long as the path stays calm.
const PROVEN: Duration = Duration::from_secs(20);

/// A rate that is being tried.
#[derive(Debug, Clone, Copy)]
struct Step {
    bps: u64,
    until: Instant,
    raised: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Trial {
    wait: Duration,
    held_since: Option<Instant>,
    step: Option<Step>,
    /// What has flowed without anything waiting or getting lost, and when.
    proven: Option<(u64, Instant)>,
    /// What flows with padding, and since when it is so much.
    padding: Option<(u64, Instant)>,
}

impl Trial {
    pub(super) const fn new() -> Self {
        Self { wait: WAIT_MIN, held_since: None, step: None, proven: None, padding: None }
    }

    /// The estimate, or what has been proven if that is more.
    pub(super) fn at_least(&self, estimate_bps: u64, now: Instant) -> u64 {
        let valid = |(_, at): &(_, Instant)| now.saturating_duration_since(*at) < PROVEN;
        self.proven.filter(valid).map_or(estimate_bps, |(bps, _)| bps.max(estimate_bps))
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
        if !calm {
            if self.step.take().is_some() {
                self.wait = (self.wait * 2).min(WAIT_MAX);
            }
            self.held_since = None;
            self.proven = None;
            return None;
        }
        if let Some(step) = &mut self.step {
            if now >= step.until {
                self.proven = Some((step.bps, now));
                self.step = None;
            } else if estimate_bps < step.bps / 2 && now >= step.raised + RAISE {
                step.raised = now;
                return Some(step.bps);
            } else {
                return None;
            }
        }
        let Some(need_bps) = need_bps else {
            self.wait = WAIT_MIN;
            self.held_since = None;
            return None;
        };
        let since = *self.held_since.get_or_insert(now);
        if now.saturating_duration_since(since) < self.wait {
            return None;
        }
        let enough = need_bps / 10 * 12;
        let bps = (self.at_least(estimate_bps, now) * 2).clamp(enough / 8, enough);
        self.step = Some(Step { bps, until: now + STEP, raised: now });
        self.held_since = Some(now);
        Some(bps)
    }

    /// What should flow, with padding, where the choice of stream wants `wanted_bps` and the
    /// stream itself has `sent_bps`.
    pub(super) fn padding_bps(
        &mut self,
        wanted_bps: u64,
        sent_bps: u64,
        calm: bool,
        now: Instant,
    ) -> u64 {
        let step = self.step.map_or(0, |step| step.bps);
        let target = wanted_bps.max(step);
        if target == 0 || !calm {
            self.padding = None;
            return 0;
        }
        let (bps, since) = *self.padding.get_or_insert((sent_bps * 2, now));
        if now.saturating_duration_since(since) >= GROWTH {
            self.padding = Some(((bps / 2 * 3).min(target), now));
        }
        bps.min(target)
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
                let padding = trial.padding_bps(0, 300_000, true, at(ms));
                assert!((600_000..=bps).contains(&padding), "{padding} for {bps}");
            }
        }
        assert_eq!(steps, [(3_000, 1_000_000), (6_000, 2_000_000), (9_000, 3_600_000)]);
        assert_eq!(trial.next(900_000, None, false, at(9_800)), None);
        assert_eq!(trial.padding_bps(0, 300_000, false, at(9_800)), 0);
        let next = (10_000..30_000)
            .step_by(200)
            .find(|ms| trial.next(900_000, Some(3_000_000), true, at(*ms)).is_some());
        assert_eq!(next, Some(16_000));
    }
}
