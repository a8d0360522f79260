//! What the measurements of a path say about it at one moment. How long that has to last before
//! anything follows is the [`Policy`](super::Policy)'s affair.

use std::time::Duration;

use super::Measured;

/// Packets that wait so long just after an ascent, which is longer than its keyframe takes.
const QUEUE_NEW: Duration = Duration::from_millis(120);
/// Packets that wait so long agree with a low estimate.
const QUEUE_SIGN: Duration = Duration::from_millis(30);
/// Packets that wait less than this do so by chance.
const QUEUE_CALM: Duration = Duration::from_millis(70);
/// Packets that wait so long while others are lost: the queue is full.
const QUEUE_FULL: Duration = Duration::from_millis(100);
/// Packets that wait so long, which is longer than a keyframe takes: the queue grows.
const QUEUE_GROWS: Duration = Duration::from_millis(150);

/// How badly a stream fits a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strain {
    None,
    Some,
    Severe,
    /// The path overflows: every further packet makes the picture stand still for longer.
    Acute,
}

/// Whether the main stream, which needs `need_bps`, passes. A low estimate alone is no proof while
/// all of it arrives in time; a `doubtful` one counts only when packets are lost. On a `new` one,
/// which was tried before by little but padding, a queue says that it was too much.
pub(super) fn on_main(measured: &Measured, need_bps: u64, doubtful: bool, new: bool) -> Strain {
    let in_time = measured.rtt.is_some() && measured.queue < QUEUE_SIGN;
    let trusted = !(doubtful || in_time) || measured.loss > 0.02;
    let below = |share| trusted && !carries(measured, need_bps, share);
    let waits = |ms| measured.backlog > Duration::from_millis(ms);
    let full = measured.queue > QUEUE_FULL;
    if full && (measured.loss > 0.05 || (new && measured.queue > QUEUE_NEW)) {
        Strain::Acute
    } else if below(0.65) || measured.loss > 0.25 || measured.queue > QUEUE_GROWS || waits(900) {
        Strain::Severe
    } else if below(0.8) || measured.loss > 0.10 || waits(500) {
        Strain::Some
    } else {
        Strain::None
    }
}

/// Whether not even the smallest moving picture passes. The estimate does not count here: after
/// overuse it lies below what is being sent, however little that is. A path that is really too
/// narrow shows in what waits, since sending is paced by the estimate.
pub(super) fn on_motion(measured: &Measured) -> Strain {
    let waits = |ms| measured.backlog > Duration::from_millis(ms);
    if measured.loss > 0.5 || waits(2_000) {
        Strain::Severe
    } else if measured.loss > 0.25 || waits(700) {
        Strain::Some
    } else {
        Strain::None
    }
}

/// Whether the estimate, if there is one, is at least this share of `need_bps`.
pub(super) fn carries(measured: &Measured, need_bps: u64, share: f64) -> bool {
    measured.estimate_bps.is_none_or(|estimate| estimate as f64 >= need_bps as f64 * share)
}

impl Measured {
    /// Whether nothing is lost and nothing waits, so that more may be tried.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.loss < 0.05 && self.queue < QUEUE_CALM && self.backlog < Duration::from_millis(200)
    }
}
