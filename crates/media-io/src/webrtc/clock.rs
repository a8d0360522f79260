//! RTP timestamps of one outgoing stream.

use sightline_model::UnixMicros;

/// Maps the timestamps of changing sources onto one RTP clock that never goes back.
///
/// Within one source its own timestamps count; where a source begins, its first unit is placed by
/// the time at which it was captured. So streams of one camera lie on one time line, whatever
/// origins their own clocks have.
#[derive(Debug)]
pub(super) struct OutClock {
    hz: i64,
    origin: UnixMicros,
    /// Source timestamp and our timestamp of the same moment.
    anchor: Option<(i64, i64)>,
    newest: i64,
}

impl OutClock {
    pub(super) fn new(hz: u32, origin: UnixMicros) -> Self {
        Self { hz: i64::from(hz), origin, anchor: None, newest: 0 }
    }

    /// The next unit comes from elsewhere, or after a gap.
    pub(super) const fn forget_source(&mut self) {
        self.anchor = None;
    }

    /// Where a moment lies on the clock. One hour in front, so that nothing is negative.
    fn at(&self, time: UnixMicros) -> i64 {
        let since = i128::from(time.0) - i128::from(self.origin.0);
        let ticks = since * i128::from(self.hz) / 1_000_000;
        i64::try_from(ticks).unwrap_or(0) + self.hz * 3_600
    }

    /// The timestamp of a unit of the live stream.
    pub(super) fn live(&mut self, timestamp: i64, captured_at: UnixMicros) -> u32 {
        let natural = self.at(captured_at);
        if let Some((source, ours)) = self.anchor {
            let out = ours + (timestamp - source);
            // More than two seconds apart: the source has set its clock.
            if (out - natural).abs() <= 2 * self.hz {
                self.newest = self.newest.max(out);
                return wrap(out);
            }
        }
        let out = natural.max(self.newest + self.hz / 1_000);
        self.anchor = Some((timestamp, out));
        self.newest = out;
        wrap(out)
    }

    /// The timestamp of an older unit that is sent ahead of the live stream to give the decoder
    /// its references: a millisecond apart and ending at `now`, so that the viewer's play-out is
    /// not held back by the age of the picture group.
    pub(super) fn catch_up(&mut self, now: UnixMicros, behind: u64) -> u32 {
        let ms = self.hz / 1_000;
        let behind = i64::try_from(behind.min(10_000)).unwrap_or(0);
        let out = (self.at(now) - behind * ms).max(self.newest + ms);
        self.anchor = None;
        self.newest = out;
        wrap(out)
    }
}

/// RTP timestamps are modulo 2^32 (RFC 3550 section 5.1).
const fn wrap(timestamp: i64) -> u32 {
    (timestamp & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: UnixMicros = UnixMicros(1_700_000_000_000_000);

    fn after_ms(ms: i64) -> UnixMicros {
        UnixMicros(ORIGIN.0 + ms * 1_000)
    }

    #[test]
    fn never_back_over_catch_up_live_and_switch() {
        let mut clock = OutClock::new(90_000, ORIGIN);
        let mut all = Vec::new();
        for i in 0..50 {
            all.push(clock.catch_up(after_ms(1_000 + i), 50 - i.unsigned_abs()));
        }
        for i in 0..10 {
            all.push(clock.live(7_000_000 + i * 3_600, after_ms(1_020 + i * 40)));
        }
        clock.forget_source();
        for i in 0..10 {
            all.push(clock.live(-5 + i * 3_600, after_ms(1_390 + i * 40)));
        }
        assert!(all.windows(2).all(|w| w[1].wrapping_sub(w[0]) < 1 << 31 && w[0] != w[1]));
        let span = all[all.len() - 1].wrapping_sub(all[0]);
        assert!(span < 90_000, "the burst must not stretch the time line: {span}");
    }

    #[test]
    fn a_source_that_sets_its_clock_changes_nothing() {
        let mut clock = OutClock::new(8_000, ORIGIN);
        let a = clock.live(0, after_ms(0));
        let b = clock.live(900_000_000, after_ms(20));
        assert_eq!(b.wrapping_sub(a), 160);
    }
}
