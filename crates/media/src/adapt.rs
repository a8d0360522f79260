//! Which encoding a viewer gets: main stream, sub stream or keyframes only (A7, capability
//! exchange; the choice of A6.1.3).
//!
//! One [`Policy`] per viewer. It has no clock: every call brings the time since any fixed moment.
//! It goes down fast (a picture that stands still is worse than a coarse one) and up slowly, and
//! an ascent that fails makes the next one wait longer, so that a path near the limit does not
//! flap.

mod ceiling;
mod strain;
#[cfg(test)]
mod tests;

use std::time::Duration;

use sightline_model::{Capabilities, QualityChoice, StreamTier, VideoCodec};

use self::strain::{Strain, carries};

/// How long the path must be good before the first ascent.
const HOLD_MIN: Duration = Duration::from_secs(4);
/// The longest that failed ascents make the next one wait.
const HOLD_MAX: Duration = Duration::from_secs(8);
/// An ascent that is taken back within this time has failed.
const TRIAL: Duration = Duration::from_secs(15);
/// After this long without trouble, failures are forgotten.
const FORGIVE: Duration = Duration::from_secs(60);
/// A path somewhat too narrow is borne this long.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// So long after a change its own effect is waited for: what was lost before still counts in the
/// figures.
const SETTLE: Duration = Duration::from_secs(3);
/// So long after an ascent a low estimate counts only when packets are lost too: the first keyframe
/// of the better stream looks like congestion, and an estimator recovers slowly from that.
const DOUBT: Duration = Duration::from_secs(8);
/// An estimate of this share of what the better stream needs does not rule it out.
const FAIR: f64 = 0.7;
/// A path far too narrow is borne this long.
const PATIENCE_SEVERE: Duration = Duration::from_millis(250);

/// What is known of one encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tier {
    /// Bits per second as measured; `None` while unknown.
    pub rate_bps: Option<u64>,
    /// Its coding.
    pub codec: VideoCodec,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pictures per second, 0 when unknown.
    pub fps: f32,
}

/// What was measured since the last call.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// Estimated capacity, bits per second; `None` when the viewer gives no feedback.
    pub estimate_bps: Option<u64>,
    /// Share of packets lost, 0 to 1.
    pub loss: f32,
    /// Round trip, if known.
    pub rtt: Option<Duration>,
    /// How long packets wait on the way, beyond what the way itself takes.
    pub queue: Duration,
    /// Age of the oldest picture that waits to be sent.
    pub backlog: Duration,
}

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The main stream.
    Main,
    /// The sub stream.
    Sub,
    /// Keyframes of the smallest encoding.
    KeyframesOnly,
}

impl Level {
    /// The encoding that it is taken from.
    #[must_use]
    pub const fn tier(self, has_sub: bool) -> StreamTier {
        match self {
            Self::Main => StreamTier::Main,
            Self::Sub => StreamTier::Sub,
            Self::KeyframesOnly if has_sub => StreamTier::Sub,
            Self::KeyframesOnly => StreamTier::Main,
        }
    }
}

/// What to send, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub level: Level,
    /// Why, in words for the person.
    pub reason: String,
}

/// No encoding can be shown by the viewer; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotDecodable(pub String);

/// The encodings of a camera, as far as the viewer can decode them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Offered {
    /// The main stream, when online.
    pub main: Option<Tier>,
    /// The sub stream, when there is one and it is online.
    pub sub: Option<Tier>,
}

/// See the module.
#[derive(Debug)]
pub struct Policy {
    capabilities: Capabilities,
    decodable: Vec<VideoCodec>,
    choice: QualityChoice,
    level: Level,
    reason: String,
    bad_since: Option<Duration>,
    severe_since: Option<Duration>,
    good_since: Option<Duration>,
    fair_since: Option<Duration>,
    hold: Duration,
    climbed_at: Option<Duration>,
    /// Whether `climbed_at` was an ascent that this policy chose; the beginning is none.
    ascended: bool,
    begun: bool,
    changed_at: Duration,
    fell_at: Option<Duration>,
}

impl Policy {
    /// A viewer that states `capabilities` and decodes `decodable`.
    #[must_use]
    pub fn new(capabilities: Capabilities, decodable: Vec<VideoCodec>) -> Self {
        Self {
            capabilities,
            decodable,
            choice: QualityChoice::Auto,
            level: Level::Main,
            reason: "the best picture of the camera".into(),
            bad_since: None,
            severe_since: None,
            good_since: None,
            fair_since: None,
            hold: HOLD_MIN,
            climbed_at: None,
            ascended: false,
            begun: false,
            changed_at: Duration::ZERO,
            fell_at: None,
        }
    }

    /// The viewer's own choice.
    pub const fn set_choice(&mut self, choice: QualityChoice) {
        // Back from a fixed choice, the best is tried at once: what the path carries is not known
        // from the little that was sent.
        if matches!(choice, QualityChoice::Auto) && !matches!(self.choice, QualityChoice::Auto) {
            self.level = Level::Main;
            self.begun = false;
        }
        self.choice = choice;
        self.bad_since = None;
        self.severe_since = None;
        self.good_since = None;
        self.fair_since = None;
    }

    /// The viewer's own choice.
    #[must_use]
    pub const fn choice(&self) -> QualityChoice {
        self.choice
    }

    /// The capacity that is worth looking for: a little more than the best allowed stream needs.
    #[must_use]
    pub fn desired_bps(&self, offered: &Offered) -> u64 {
        let rate = |tier: Option<Tier>| tier.and_then(|t| t.rate_bps).unwrap_or(0);
        let best = match self.ceiling(offered) {
            Ok((Level::Main, _)) => rate(offered.main),
            Ok(_) | Err(_) => rate(offered.sub),
        };
        (best / 2 * 3).max(300_000)
    }

    /// What should flow, with padding, to try the path before a better stream is put on it; 0 when
    /// none is in sight.
    #[must_use]
    pub fn trial_bps(&self, offered: &Offered) -> u64 {
        match (self.good_since, self.ceiling(offered)) {
            (Some(_), Ok((ceiling, _))) if self.level > ceiling => {
                rate(above(self.level, ceiling, offered), offered)
            }
            (_, _) => 0,
        }
    }

    /// Whether a low estimate is likely to be wrong: shortly after an ascent.
    #[must_use]
    pub fn doubts_estimate(&self, now: Duration) -> bool {
        self.climbed_at.is_some_and(|at| now.saturating_sub(at) < DOUBT)
    }

    /// Whether the path has just been found too narrow: its queue is full, and nothing but what
    /// the smaller stream needs should be sent.
    #[must_use]
    pub fn just_fell(&self, now: Duration) -> bool {
        self.fell_at.is_some_and(|at| now.saturating_sub(at) < SETTLE)
    }

    /// What a better stream needs, if nothing but a low estimate speaks against it.
    #[must_use]
    pub fn held_back(&self, now: Duration, offered: &Offered, measured: &Measured) -> Option<u64> {
        let (ceiling, _) = self.ceiling(offered).ok()?;
        let need = rate(above(self.level, ceiling, offered), offered);
        let better = self.level > ceiling && !self.just_fell(now);
        (better && measured.is_calm() && !carries(measured, need, 1.1)).then_some(need)
    }

    /// Decides. `now` must not go back.
    ///
    /// # Errors
    /// [`NotDecodable`] when the viewer can show none of the encodings; not when the camera is
    /// offline (then the last decision stands).
    pub fn decide(
        &mut self,
        now: Duration,
        offered: &Offered,
        measured: &Measured,
    ) -> Result<Decision, NotDecodable> {
        if offered.main.is_none() && offered.sub.is_none() {
            return Ok(self.decision());
        }
        let (ceiling, why) = self.ceiling(offered)?;
        // The beginning is an ascent too.
        if !self.begun {
            self.begun = true;
            self.climbed_at = Some(now);
        }
        match self.choice {
            QualityChoice::Tier { .. } | QualityChoice::Keyframes | QualityChoice::Exact { .. } => {
                self.set(now, ceiling, why);
            }
            QualityChoice::Auto => self.follow_path(now, offered, measured, ceiling, why),
        }
        Ok(self.decision())
    }

    fn decision(&self) -> Decision {
        Decision { level: self.level, reason: self.reason.clone() }
    }

    fn follow_path(
        &mut self,
        now: Duration,
        offered: &Offered,
        measured: &Measured,
        ceiling: Level,
        why: String,
    ) {
        if self.level < ceiling {
            return self.set(now, ceiling, why);
        }
        if self.level == Level::Sub && offered.sub.is_none() {
            self.set(now, Level::Main.max(ceiling), why.clone());
        }
        if self.must_fall(now, offered, measured) {
            return self.fall(now, offered, measured);
        }
        if self.level > ceiling && self.may_climb(now, offered, measured, ceiling) {
            self.level = above(self.level, ceiling, offered);
            self.climbed_at = Some(now);
            self.ascended = true;
            self.good_since = None;
            self.fair_since = None;
            self.changed_at = now;
        }
        if self.level == ceiling {
            self.reason = why;
        }
        let quiet = now.saturating_sub(self.changed_at) > FORGIVE;
        if quiet && self.level == ceiling {
            self.hold = HOLD_MIN;
        }
    }

    fn must_fall(&mut self, now: Duration, offered: &Offered, measured: &Measured) -> bool {
        let settling = self.changed_at > Duration::ZERO
            && now.saturating_sub(self.changed_at) < SETTLE
            && self.climbed_at != Some(self.changed_at);
        if self.level == Level::KeyframesOnly || settling {
            return false;
        }
        let measure = if self.level == Level::Main && offered.sub.is_some() {
            let doubtful = self.doubts_estimate(now);
            let need = rate(self.level, offered);
            strain::on_main(measured, need, doubtful, doubtful && self.ascended)
        } else {
            strain::on_motion(measured)
        };
        if measure == Strain::Acute {
            return true;
        }
        remember(&mut self.severe_since, measure == Strain::Severe, now);
        remember(&mut self.bad_since, measure != Strain::None, now);
        lasted(self.severe_since, now, PATIENCE_SEVERE) || lasted(self.bad_since, now, PATIENCE)
    }

    fn fall(&mut self, now: Duration, offered: &Offered, measured: &Measured) {
        let failed =
            self.ascended && self.climbed_at.is_some_and(|at| now.saturating_sub(at) < TRIAL);
        if failed && self.level == Level::Main {
            self.hold = (self.hold * 2).min(HOLD_MAX);
        }
        let to = match (self.level, offered.sub) {
            (Level::Main, Some(_)) => Level::Sub,
            (Level::Main, None) | (Level::Sub | Level::KeyframesOnly, _) => Level::KeyframesOnly,
        };
        let need = rate(self.level, offered);
        let reason = match measured.estimate_bps {
            Some(estimate) if estimate < need => format!(
                "the path carries about {}, the {} stream needs {}",
                megabits(estimate),
                if self.level == Level::Main { "main" } else { "sub" },
                megabits(need)
            ),
            Some(_) | None => format!(
                "the path loses {:.0} % of the packets or delays them",
                measured.loss * 100.0
            ),
        };
        self.climbed_at = None;
        self.ascended = false;
        self.fell_at = Some(now);
        self.set(now, to, reason);
    }

    fn may_climb(
        &mut self,
        now: Duration,
        offered: &Offered,
        measured: &Measured,
        ceiling: Level,
    ) -> bool {
        let to = above(self.level, ceiling, offered);
        let need = rate(to, offered);
        let calm = measured.is_calm();
        remember(&mut self.good_since, calm && carries(measured, need, 1.1), now);
        // While little is sent the estimate wanders; one that stays near suffices after a while.
        remember(&mut self.fair_since, calm && carries(measured, need, FAIR), now);
        let hold = if to == Level::Sub { HOLD_MIN } else { self.hold };
        let hold = if measured.estimate_bps.is_some() { hold } else { hold * 2 };
        lasted(self.good_since, now, hold) || lasted(self.fair_since, now, hold * 2)
    }

    fn set(&mut self, now: Duration, level: Level, reason: String) {
        if self.level != level {
            self.level = level;
            self.changed_at = now;
            self.bad_since = None;
            self.severe_since = None;
            self.good_since = None;
            self.fair_since = None;
        }
        self.reason = reason;
    }
}

fn above(level: Level, ceiling: Level, offered: &Offered) -> Level {
    match level {
        Level::KeyframesOnly if offered.sub.is_some() => Level::Sub.max(ceiling),
        Level::KeyframesOnly | Level::Sub | Level::Main => Level::Main.max(ceiling),
    }
}

fn rate(level: Level, offered: &Offered) -> u64 {
    let tier = match level {
        Level::Main => offered.main,
        Level::Sub => offered.sub.or(offered.main),
        Level::KeyframesOnly => return 0,
    };
    tier.and_then(|t| t.rate_bps).unwrap_or(0)
}

fn remember(since: &mut Option<Duration>, holds: bool, now: Duration) {
    *since = if holds { since.or(Some(now)) } else { None };
}

fn lasted(since: Option<Duration>, now: Duration, at_least: Duration) -> bool {
    since.is_some_and(|s| now.saturating_sub(s) >= at_least)
}

fn megabits(bps: u64) -> String {
    format!("{:.1} Mbit/s", bps as f64 / 1e6)
}
