//! The scale of playing, and which time of the recording is shown when.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Most anchors that are kept: they only serve to tell where the playhead is.
const MAX_ANCHORS: usize = 64;

/// In which direction time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// As it happened.
    Forwards,
    /// In reverse.
    Backwards,
}

/// How fast the recording's time passes when it is shown, in thousandths: 1/8 to 16, and the same
/// in reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scale(i32);

impl Scale {
    /// As it happened.
    pub const NORMAL: Self = Self(1_000);
    /// As fast, in reverse.
    pub const REVERSE: Self = Self(-1_000);

    /// From thousandths; `None` outside of what is played.
    #[must_use]
    pub const fn from_thousandths(thousandths: i32) -> Option<Self> {
        match thousandths {
            -16_000..=-125 | 125..=16_000 => Some(Self(thousandths)),
            _ => None,
        }
    }

    /// The nearest that is played, in the same direction (RFC 7826 section 18.46: the server
    /// answers with what it took); `None` for zero and what is no number.
    #[must_use]
    pub fn nearest(value: f64) -> Option<Self> {
        if value == 0.0 || value.is_nan() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded by clamp")]
        let size = (value.abs() * 1_000.0).round().clamp(125.0, 16_000.0) as i32;
        Some(Self(if value < 0.0 { -size } else { size }))
    }

    /// In thousandths.
    #[must_use]
    pub const fn thousandths(self) -> i32 {
        self.0
    }

    /// The direction.
    #[must_use]
    pub const fn way(self) -> Way {
        if self.0 < 0 { Way::Backwards } else { Way::Forwards }
    }

    /// Whether it is as fast as it happened, or slower.
    pub(super) const fn is_slow(self) -> bool {
        self.0.unsigned_abs() <= 1_000
    }

    /// The recording's microseconds that pass in so many of playing.
    pub(super) fn recording_us(self, playing_us: i64) -> i64 {
        let us = i128::from(playing_us) * i128::from(self.0) / 1_000;
        i64::try_from(us).unwrap_or(if us < 0 { i64::MIN } else { i64::MAX })
    }

    /// The microseconds of playing in which so many of the recording pass.
    pub(super) fn playing_us(self, recording_us: i64) -> i64 {
        let us = i128::from(recording_us) * 1_000 / i128::from(self.0);
        i64::try_from(us).unwrap_or(if us < 0 { i64::MIN } else { i64::MAX })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    presentation_us: i64,
    wall: i64,
    scale: Scale,
}

/// Maps the recording's time to the time of presentation, which only rises, and that to instants.
#[derive(Debug, Clone)]
pub(super) struct PlayClock {
    /// When presentation time was 0, had nothing ever waited.
    origin: Instant,
    paused_at: Option<Instant>,
    anchors: VecDeque<Anchor>,
    /// Highest presentation time given.
    high_us: i64,
}

impl PlayClock {
    pub fn new(now: Instant) -> Self {
        Self { origin: now, paused_at: None, anchors: VecDeque::new(), high_us: 0 }
    }

    /// Presentation time at `now`.
    pub fn at(&self, now: Instant) -> i64 {
        let now = self.paused_at.unwrap_or(now);
        let since = |a: Instant, b: Instant| {
            i64::try_from(a.saturating_duration_since(b).as_micros()).unwrap_or(i64::MAX)
        };
        since(now, self.origin).saturating_sub(since(self.origin, now))
    }

    pub fn instant(&self, presentation_us: i64) -> Instant {
        let distance = Duration::from_micros(presentation_us.unsigned_abs());
        let moved = if presentation_us < 0 {
            self.origin.checked_sub(distance)
        } else {
            self.origin.checked_add(distance)
        };
        moved.unwrap_or(self.origin)
    }

    pub const fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }

    pub fn pause(&mut self, now: Instant) {
        self.paused_at.get_or_insert(now);
    }

    pub fn resume(&mut self, now: Instant) {
        if let Some(at) = self.paused_at.take() {
            self.origin += now.saturating_duration_since(at);
        }
    }

    pub fn presentation_us(&self, wall: i64) -> i64 {
        self.anchors.back().map_or(self.high_us, |anchor| {
            let passed = anchor.scale.playing_us(wall.saturating_sub(anchor.wall));
            // Nothing is shown before what began with the anchor.
            anchor.presentation_us.saturating_add(passed.max(0))
        })
    }

    /// What the recording's time is at presentation time `presentation_us`.
    pub fn wall(&self, presentation_us: i64) -> Option<i64> {
        let anchors = || self.anchors.iter();
        let anchor = anchors()
            .rev()
            .find(|a| a.presentation_us <= presentation_us)
            .or_else(|| anchors().next())?;
        let passed = anchor.scale.recording_us(presentation_us - anchor.presentation_us);
        Some(anchor.wall.saturating_add(passed))
    }

    /// From presentation time `presentation_us` on, `wall` and what follows it is shown.
    pub fn anchor(&mut self, presentation_us: i64, wall: i64, scale: Scale) {
        self.anchors.push_back(Anchor { presentation_us, wall, scale });
        if self.anchors.len() > MAX_ANCHORS {
            self.anchors.pop_front();
        }
    }

    /// Begins anew: `wall` is shown now, `lead_us` after everything that was shown before.
    pub fn restart(&mut self, wall: i64, scale: Scale, lead_us: i64, now: Instant) {
        let presentation_us = self.high_us.saturating_add(lead_us);
        self.anchors.clear();
        self.anchor(presentation_us, wall, scale);
        self.begin_at(presentation_us, now);
    }

    /// Presentation time `presentation_us` is now.
    pub fn begin_at(&mut self, presentation_us: i64, now: Instant) {
        let distance = Duration::from_micros(presentation_us.unsigned_abs());
        self.origin = now.checked_sub(distance).unwrap_or(now);
        if self.paused_at.is_some() {
            self.paused_at = Some(now);
        }
    }

    /// Something was given out to be shown then.
    pub fn given(&mut self, presentation_us: i64) {
        self.high_us = self.high_us.max(presentation_us);
    }

    pub const fn high_us(&self) -> i64 {
        self.high_us
    }

    /// Waits so that `presentation_us` does not lie before `now`: what comes late is shown late, for
    /// in the order of decoding what is shown first need not come first.
    pub fn not_before(&mut self, presentation_us: i64, now: Instant) {
        let late = self.at(now).saturating_sub(presentation_us);
        if late > 0 {
            self.origin += Duration::from_micros(late.unsigned_abs());
        }
    }
}
