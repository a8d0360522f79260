//! The recorder's clock (decision 0090): the monotonic clock plus an offset that follows the best
//! authority there is, slowly up to a second, in a step beyond.
//!
//! The clock is never read here: [`RecorderClock::handle_reading`] takes what the caller read, at
//! least once a second and before units are dated. The monotonic clock must be one that goes on while
//! the machine sleeps (`CLOCK_BOOTTIME`); one that does not only costs a step after each sleep.
//!
//! Invariant: for two moments `a <= b`, read in this order, [`RecorderClock::at`] says `a' <= b'`
//! unless a [`ClockStep`] was given out in between, and `b' - a'` differs from `b - a` by at most 500
//! millionths of it.

mod history;

use std::time::Duration;

use sightline_model::UnixMicros;

use crate::statement::{Authority, BootId, ClockStep, Segment};
use history::{Line, SystemClock};

/// A difference up to this is taken away slowly, a larger one in a step, in microseconds.
pub const LARGEST_SLEW_US: i64 = 1_000_000;
/// How fast a difference is taken away: millionths of the time that passes.
pub const SLEW_PPM: i64 = 500;
/// For so long after it was last heard the centre is believed before the system clock.
pub const CENTRE_HOLDS: Duration = Duration::from_secs(3_600);
/// Two measurements that claim to be made within this are one and the same, in microseconds.
const SAME_MEASUREMENT_US: u64 = 500_000;

/// What the caller read, all at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The monotonic clock, in microseconds since any moment of this boot.
    pub monotonic_us: u64,
    /// The system clock.
    pub system: UnixMicros,
    /// Whether the kernel says that it is synchronized (`adjtimex` without `STA_UNSYNC`).
    pub synchronized: bool,
    /// The newest measurement of the centre's clock.
    pub centre: Option<CentreReading>,
}

/// A measurement of the centre's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CentreReading {
    /// The centre's clock less the system clock as they were then, in microseconds.
    pub ahead_us: i64,
    /// How long ago it was measured, by the monotonic clock.
    pub age: Duration,
}

/// A moment on all clocks that a segment states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock, in microseconds.
    pub monotonic_us: u64,
    /// The recorder's clock.
    pub time: UnixMicros,
    /// Who vouches for it.
    pub authority: Authority,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct RecorderClock {
    boot: BootId,
    system: SystemClock,
    /// The centre's clock less the monotonic clock, and when (monotonic) it was measured.
    centre: Option<CentreOffset>,
    /// A measurement that contradicts the one before; the next one decides.
    doubtful: Option<CentreOffset>,
    line: Line,
    authority: Authority,
}

#[derive(Debug, Clone, Copy)]
struct CentreOffset {
    ahead_us: i64,
    measured_us: u64,
    offset_us: i64,
}

impl CentreOffset {
    fn holds(&self, now_us: u64) -> bool {
        let holds_us = u64::try_from(CENTRE_HOLDS.as_micros()).unwrap_or(u64::MAX);
        now_us.saturating_sub(self.measured_us) <= holds_us
    }
}

impl RecorderClock {
    /// A clock that begins with this reading.
    #[must_use]
    pub fn new(boot: BootId, reading: &Reading) -> Self {
        let mut system = SystemClock::default();
        system.note(reading.monotonic_us, offset(reading));
        let mut clock = Self {
            boot,
            system,
            centre: None,
            doubtful: None,
            line: Line::new(reading.monotonic_us, offset(reading)),
            authority: Authority::Unconfirmed,
        };
        clock.measure(reading);
        let (authority, target_us) = clock.target(reading);
        clock.authority = authority;
        clock.line = Line::new(reading.monotonic_us, target_us);
        clock
    }

    /// Takes a reading. A step is given out when the clock is set by more than a second; everything
    /// dated from now on is dated after it. Readings must come in the monotonic clock's order: an
    /// earlier one is passed over.
    #[must_use]
    pub fn handle_reading(&mut self, reading: &Reading) -> Option<ClockStep> {
        let now_us = reading.monotonic_us;
        if now_us < self.line.newest_us() {
            return None;
        }
        self.system.note(now_us, offset(reading));
        self.measure(reading);
        let (authority, target_us) = self.target(reading);
        let from_authority = std::mem::replace(&mut self.authority, authority);
        let offset_us = self.line.offset_at(now_us);
        if target_us.saturating_sub(offset_us).saturating_abs() <= LARGEST_SLEW_US {
            self.line.aim(now_us, target_us);
            return None;
        }
        let from = self.at(now_us);
        self.line = Line::new(now_us, target_us);
        Some(ClockStep {
            boot: self.boot,
            monotonic_us: now_us,
            from,
            to: self.at(now_us),
            from_authority,
            to_authority: authority,
        })
    }

    /// The recorder's clock at a moment of this boot. Moments before the last step are told as the
    /// clock would have told them had it been right already.
    #[must_use]
    pub fn at(&self, monotonic_us: u64) -> UnixMicros {
        plus(monotonic_us, self.line.offset_at(monotonic_us))
    }

    /// Who vouches for it now.
    #[must_use]
    pub const fn authority(&self) -> Authority {
        self.authority
    }

    /// The boot that the monotonic clock belongs to.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.boot
    }

    /// A moment of this boot on all clocks.
    #[must_use]
    pub fn moment(&self, monotonic_us: u64) -> Moment {
        Moment { monotonic_us, time: self.at(monotonic_us), authority: self.authority }
    }

    /// The moment at which the system clock told `captured_at`, as units are dated when they arrive.
    /// It is looked for among the settings that the system clock had; what no setting explains, and
    /// what would lie ahead of the newest reading, counts as captured at that reading.
    #[must_use]
    pub fn moment_of(&self, captured_at: UnixMicros) -> Moment {
        self.moment(self.system.monotonic_of(captured_at, self.line.newest_us()))
    }

    /// The step that nobody saw because the process was not running: `last` is the newest segment of
    /// a chain, recorded in this boot. To be appended to that chain before anything else.
    #[must_use]
    pub fn missed_step(&self, last: &Segment) -> Option<ClockStep> {
        if last.boot != self.boot {
            return None;
        }
        let monotonic_us = self.line.newest_us();
        let since_us = monotonic_us.saturating_sub(last.monotonic_us);
        let from = UnixMicros(last.start.0.saturating_add_unsigned(since_us));
        let to = self.at(monotonic_us);
        // What was slewed since then is no step.
        let slewed_us =
            i64::try_from(since_us / 1_000_000).unwrap_or(i64::MAX).saturating_mul(SLEW_PPM);
        let apart_us = to.0.saturating_sub(from.0).saturating_abs();
        (apart_us > LARGEST_SLEW_US.saturating_add(slewed_us)).then_some(ClockStep {
            boot: self.boot,
            monotonic_us,
            from,
            to,
            from_authority: last.authority,
            to_authority: self.authority,
        })
    }

    /// Turns a new measurement of the centre into an offset to the monotonic clock: the system clock
    /// may have been set since.
    fn measure(&mut self, reading: &Reading) {
        let Some(CentreReading { ahead_us, age }) = reading.centre else { return };
        let age_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        let measured_us = reading.monotonic_us.saturating_sub(age_us);
        let same = |old: &CentreOffset| {
            old.ahead_us == ahead_us && old.measured_us.abs_diff(measured_us) <= SAME_MEASUREMENT_US
        };
        if self.centre.iter().chain(&self.doubtful).any(same) {
            return;
        }
        let offset_us = self.system.offset_at(measured_us).saturating_add(ahead_us);
        let new = CentreOffset { ahead_us, measured_us, offset_us };
        let agrees = |old: &CentreOffset| {
            old.offset_us.saturating_sub(offset_us).saturating_abs() <= LARGEST_SLEW_US
        };
        let believed = match &self.centre {
            Some(old) if old.holds(reading.monotonic_us) => agrees(old),
            Some(_) | None => true,
        };
        // One answer that was long on its way must not set the clock.
        if believed || self.doubtful.as_ref().is_some_and(agrees) {
            self.centre = Some(new);
            self.doubtful = None;
        } else {
            self.doubtful = Some(new);
        }
    }

    /// Who is to be followed, and the offset that they say.
    fn target(&self, reading: &Reading) -> (Authority, i64) {
        if let Some(centre) = self.centre.filter(|c| c.holds(reading.monotonic_us)) {
            return (Authority::Centre, centre.offset_us);
        }
        if reading.synchronized {
            return (Authority::System, offset(reading));
        }
        if self.authority.is_confirmed() {
            // Nobody vouches for the system clock any more, and somebody may have set it: the
            // monotonic clock goes on from what was confirmed.
            return (self.authority, self.line.offset_at(reading.monotonic_us));
        }
        (Authority::Unconfirmed, offset(reading))
    }
}

/// The system clock less the monotonic clock.
fn offset(reading: &Reading) -> i64 {
    reading.system.0.saturating_sub_unsigned(reading.monotonic_us)
}

const fn plus(monotonic_us: u64, offset_us: i64) -> UnixMicros {
    UnixMicros(offset_us.saturating_add_unsigned(monotonic_us))
}

#[cfg(test)]
mod tests;
