//! Which encoding a viewer gets: main stream, sub stream or keyframes only (A7, capability
//! exchange; the choice of A6.1.3).
//!
//! One [`Policy`] per viewer. It has no clock: every call brings the time since any fixed moment.
//! It goes down fast (a picture that stands still is worse than a coarse one) and up slowly, and
//! an ascent that fails makes the next one wait longer, so that a path near the limit does not
//! flap.

use std::time::Duration;

use sightline_model::{Capabilities, QualityChoice, StreamTier, VideoCodec};

/// How long the path must be good before the first ascent.
const HOLD_MIN: Duration = Duration::from_secs(4);
/// The longest that failed ascents make the next one wait.
const HOLD_MAX: Duration = Duration::from_secs(16);
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
const PATIENCE_SEVERE: Duration = Duration::from_millis(300);

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

    /// The best level that choice, decoder and stated limits allow.
    fn ceiling(&self, offered: &Offered) -> Result<(Level, String), NotDecodable> {
        let usable = |tier: Option<Tier>| tier.filter(|t| self.decodable.contains(&t.codec));
        let (main, sub) = (usable(offered.main), usable(offered.sub));
        let best = match (main, sub) {
            (Some(_), _) => Level::Main,
            (None, Some(_)) => Level::Sub,
            (None, None) => {
                return Err(NotDecodable(
                    "The camera sends H.265, which this viewer cannot decode, and it has no \
                     H.264 stream. Set the camera to H.264, or give it an H.264 sub stream."
                        .into(),
                ));
            }
        };
        let undecodable = main.is_none() && offered.main.is_some();
        Ok(match (self.choice, best) {
            (QualityChoice::Keyframes, _) => {
                (Level::KeyframesOnly, "you asked for keyframes only".into())
            }
            (QualityChoice::Tier { tier: StreamTier::Main }, Level::Main) => {
                (Level::Main, "you asked for the main stream".into())
            }
            (QualityChoice::Tier { tier: StreamTier::Sub }, _) if sub.is_some() => {
                (Level::Sub, "you asked for the sub stream".into())
            }
            (QualityChoice::Tier { tier: StreamTier::Sub }, _) => {
                (best, "the camera has no sub stream".into())
            }
            (_, _) if undecodable => {
                (best, "this viewer cannot decode the main stream (H.265)".into())
            }
            (QualityChoice::Auto | QualityChoice::Exact { .. }, Level::Main) => {
                match (self.exceeded(main), sub) {
                    (Some(limit), Some(_)) => (Level::Sub, limit),
                    (Some(_) | None, _) => (Level::Main, "the path carries it".into()),
                }
            }
            (_, _) => (best, "it is the only stream that can be shown".into()),
        })
    }

    /// Which stated limit the main stream exceeds.
    fn exceeded(&self, main: Option<Tier>) -> Option<String> {
        let main = main?;
        let limits = &self.capabilities;
        let above = |limit: Option<u32>, value: u32| limit.is_some_and(|l| value > l);
        if above(limits.max_width, main.width) || above(limits.max_height, main.height) {
            return Some("the main stream is larger than this viewer's limit".into());
        }
        if limits.max_fps.is_some_and(|l| main.fps > l * 1.05) {
            return Some(
                "the main stream has more pictures per second than this viewer takes".into(),
            );
        }
        let rate = main.rate_bps?;
        (rate > limits.max_bitrate_bps?)
            .then(|| "the main stream needs more bits than this viewer's limit".into())
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
            self.too_much_for_main(now, offered, measured)
        } else {
            too_much_for_motion(measured)
        };
        remember(&mut self.severe_since, measure == Strain::Severe, now);
        remember(&mut self.bad_since, measure != Strain::None, now);
        lasted(self.severe_since, now, PATIENCE_SEVERE) || lasted(self.bad_since, now, PATIENCE)
    }

    fn too_much_for_main(&self, now: Duration, offered: &Offered, measured: &Measured) -> Strain {
        let need = rate(self.level, offered) as f64;
        let trusted = !self.doubts_estimate(now) || measured.loss > 0.02;
        let below = |factor: f64| {
            trusted && measured.estimate_bps.is_some_and(|e| (e as f64) < need * factor)
        };
        let waits = |ms| measured.backlog > Duration::from_millis(ms);
        if below(0.65) || measured.loss > 0.25 || waits(900) {
            Strain::Severe
        } else if below(0.8) || measured.loss > 0.10 || waits(500) {
            Strain::Some
        } else {
            Strain::None
        }
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
        let carries = |share| measured.estimate_bps.is_none_or(|e| e as f64 >= need as f64 * share);
        let wide = carries(1.1);
        let calm = measured.loss < 0.05 && measured.backlog < Duration::from_millis(200);
        remember(&mut self.good_since, wide && calm, now);
        // While little is sent the estimate wanders; one that stays near suffices after a while.
        remember(&mut self.fair_since, carries(FAIR) && calm, now);
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strain {
    None,
    Some,
    Severe,
}

/// Whether not even the smallest moving picture passes. The estimate does not count here: after
/// overuse it lies below what is being sent, however little that is. A path that is really too
/// narrow shows in what waits, since sending is paced by the estimate.
fn too_much_for_motion(measured: &Measured) -> Strain {
    let waits = |ms| measured.backlog > Duration::from_millis(ms);
    if measured.loss > 0.5 || waits(2_000) {
        Strain::Severe
    } else if measured.loss > 0.25 || waits(700) {
        Strain::Some
    } else {
        Strain::None
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

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(200);

    fn tier(rate_bps: u64, width: u32, height: u32) -> Tier {
        Tier { rate_bps: Some(rate_bps), codec: VideoCodec::H264, width, height, fps: 25.0 }
    }

    fn camera(main: u64, sub: u64) -> Offered {
        Offered { main: Some(tier(main, 1280, 720)), sub: Some(tier(sub, 640, 360)) }
    }

    struct Random(u64);
    impl Random {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
        }
    }

    /// A path with an estimator like the real one: overuse is seen within a second, spare
    /// capacity is found by probes that at most double the estimate every 5 s and creep between.
    struct Path {
        capacity: f64,
        loss: f64,
        estimate: f64,
        probe_in: f64,
        queue_s: f64,
    }

    impl Path {
        fn step(&mut self, send: f64, desired: f64, random: &mut Random) -> Measured {
            let dt = STEP.as_secs_f64();
            let excess = send - self.capacity;
            self.queue_s = (self.queue_s + excess / self.capacity * dt).clamp(0.0, 1.0);
            if self.queue_s > 0.05 {
                self.estimate += (self.capacity * 0.88 - self.estimate) * 0.35;
            } else {
                self.estimate =
                    (self.estimate * 1.01).min(send.max(100e3) * 1.5).max(self.estimate);
                self.probe_in -= dt;
                if self.probe_in <= 0.0 && self.estimate < desired {
                    self.probe_in = 5.0;
                    self.estimate = (self.estimate * 2.0).min(self.capacity * 0.98);
                }
            }
            let noise = 1.0 + (random.unit() - 0.5) * 0.12;
            let overflow = if self.queue_s >= 1.0 { excess.max(0.0) / send } else { 0.0 };
            Measured {
                estimate_bps: Some((self.estimate * noise) as u64),
                loss: (self.loss * (0.5 + random.unit()) + overflow) as f32,
                rtt: None,
                backlog: Duration::from_secs_f64(self.queue_s * 0.3),
            }
        }
    }

    #[test]
    fn narrowed_and_released_in_time_without_flapping() {
        for seed in 0..3_000_u64 {
            let mut random = Random(seed.wrapping_mul(7_919) + 1);
            let main = 1.6e6 + random.unit() * 4e6;
            let sub = 150e3 + random.unit() * 400e3;
            let wide = main * (1.6 + random.unit() * 20.0);
            let offered = camera(main as u64, sub as u64);
            let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
            let mut path = Path {
                capacity: wide,
                loss: random.unit() * 0.02,
                estimate: 5e6_f64.min(wide),
                probe_in: 0.0,
                queue_s: 0.0,
            };
            let (mut level, mut changes) = (Level::Main, Vec::new());
            for tick in 0..(90 * 5) {
                let now = STEP * tick;
                path.capacity = if (100..200).contains(&tick) { 1e6 } else { wide };
                let send = match level {
                    Level::Main => main,
                    Level::Sub => sub,
                    Level::KeyframesOnly => sub / 10.0,
                };
                let measured = path.step(send, policy.desired_bps(&offered) as f64, &mut random);
                let decision = policy.decide(now, &offered, &measured).expect("decodable");
                if decision.level != level {
                    changes.push((now.as_secs_f64(), decision.level));
                    level = decision.level;
                }
            }
            let fell = changes.iter().find(|(at, l)| *at >= 20.0 && *l != Level::Main);
            let rose = changes.iter().find(|(at, l)| *at >= 40.0 && *l == Level::Main);
            assert!(fell.is_some_and(|(at, _)| *at <= 25.0), "seed {seed}: {changes:?}");
            assert!(rose.is_some_and(|(at, _)| *at <= 70.0), "seed {seed}: {changes:?}");
            assert!(changes.len() <= 4, "seed {seed} flaps: {changes:?}");
        }
    }

    #[test]
    fn a_wandering_estimate_does_not_keep_a_wide_path_from_the_main_stream() {
        for seed in 0..1_000_u64 {
            let mut random = Random(seed + 5);
            let offered = camera(2_000_000, 300_000);
            let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
            let mut rose = None;
            for tick in 0..(60 * 5) {
                // Narrow for 10 s soon after the start, then as measured on a busy machine.
                let estimate = match tick {
                    25..75 => 0.4e6,
                    _ => 1.42e6 + random.unit() * 1.7e6,
                };
                let measured =
                    Measured { estimate_bps: Some(estimate as u64), ..Measured::default() };
                let now = STEP * tick;
                let level = policy.decide(now, &offered, &measured).expect("decodable").level;
                if tick == 74 {
                    assert_eq!(level, Level::Sub, "seed {seed}");
                }
                if tick > 75 && level == Level::Main {
                    rose = rose.or(Some(now));
                }
            }
            let limit = Duration::from_secs(15 + 12);
            assert!(rose.is_some_and(|at| at <= limit), "seed {seed}: {rose:?}");
        }
    }

    #[test]
    fn a_path_at_the_limit_does_not_flap() {
        for seed in 0..1_000_u64 {
            let mut random = Random(seed + 17);
            let offered = camera(2_000_000, 300_000);
            let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
            let mut level = Level::Main;
            let mut changes = 0;
            for tick in 0..(600 * 5) {
                let estimate = 2e6 * (0.75 + random.unit() * 0.5);
                let measured =
                    Measured { estimate_bps: Some(estimate as u64), ..Measured::default() };
                let now = STEP * tick;
                let decision = policy.decide(now, &offered, &measured).expect("decodable");
                changes += u32::from(decision.level != level);
                level = decision.level;
            }
            assert!(changes <= 60, "seed {seed}: {changes} changes in ten minutes");
        }
    }

    #[test]
    fn choices_hold_whatever_the_path() {
        let offered = camera(4_000_000, 300_000);
        let bad = Measured { estimate_bps: Some(50_000), loss: 0.5, ..Measured::default() };
        let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
        for (choice, level) in [
            (QualityChoice::Tier { tier: StreamTier::Main }, Level::Main),
            (QualityChoice::Tier { tier: StreamTier::Sub }, Level::Sub),
            (QualityChoice::Keyframes, Level::KeyframesOnly),
        ] {
            policy.set_choice(choice);
            for second in 0..20 {
                let now = Duration::from_secs(second);
                assert_eq!(policy.decide(now, &offered, &bad).expect("decodable").level, level);
            }
        }
    }

    #[test]
    fn limits_and_codecs_of_the_viewer() {
        let mut offered = camera(4_000_000, 300_000);
        let small = Capabilities { max_width: Some(800), ..Capabilities::default() };
        let decide = |capabilities: &Capabilities, offered: &Offered| {
            Policy::new(capabilities.clone(), vec![VideoCodec::H264]).decide(
                Duration::ZERO,
                offered,
                &Measured::default(),
            )
        };
        assert_eq!(decide(&small, &offered).expect("decodable").level, Level::Sub);
        offered.main = offered.main.map(|t| Tier { codec: VideoCodec::H265, ..t });
        let any = Capabilities::default();
        let decision = decide(&any, &offered).expect("the sub stream is H.264");
        assert_eq!(decision.level, Level::Sub);
        assert!(decision.reason.contains("H.265"), "{}", decision.reason);
        offered.sub = None;
        assert!(decide(&any, &offered).is_err());
    }

    #[test]
    fn without_a_sub_stream_keyframes_remain() {
        let offered = Offered { main: Some(tier(4_000_000, 1920, 1080)), sub: None };
        let narrow = Measured {
            estimate_bps: Some(500_000),
            backlog: Duration::from_secs(1),
            ..Measured::default()
        };
        let mut policy = Policy::new(Capabilities::default(), vec![VideoCodec::H264]);
        let mut last = Level::Main;
        for tick in 0..25 {
            last = policy.decide(STEP * tick, &offered, &narrow).expect("decodable").level;
        }
        assert_eq!(last, Level::KeyframesOnly);
    }
}
