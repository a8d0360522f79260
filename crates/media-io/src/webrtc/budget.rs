//! How fast packets of a picture, and messages of a viewer, may follow each other.

use std::time::{Duration, Instant};

/// What may leave at once.
const BURST_BYTES: i64 = 96 * 1024;
/// Less than this is no picture.
const SLOWEST_BPS: u64 = 200_000;

/// Lets only so many bytes pass in a time.
#[derive(Debug)]
pub(super) struct Budget {
    rate_bps: u64,
    bytes: i64,
    at: Instant,
}

impl Budget {
    pub(super) const fn new(rate_bps: u64, now: Instant) -> Self {
        Self { rate_bps, bytes: BURST_BYTES, at: now }
    }

    pub(super) const fn set_rate(&mut self, rate_bps: u64) {
        self.rate_bps = if rate_bps < SLOWEST_BPS { SLOWEST_BPS } else { rate_bps };
    }

    /// Bytes that may be written now, at least one packet.
    pub(super) fn left(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(0).max(1)
    }

    /// So many bytes have been written; the last packet may go beyond what was left.
    pub(super) const fn spend(&mut self, bytes: usize) {
        self.bytes -= bytes as i64;
    }

    /// When the next unit may be written; `None` means now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.at);
        let earned = self.rate_bps as f64 / 8.0 * passed.as_secs_f64();
        // What passes at once: a fortieth of a second, so that a queue on the way sees no burst.
        let most = BURST_BYTES.min((self.rate_bps / 8 / 40) as i64).max(4 * 1024);
        self.bytes = (self.bytes + earned as i64).min(most);
        self.at = now;
        (self.bytes <= 0).then(|| {
            let missing = (1 - self.bytes) as f64 * 8.0 / self.rate_bps.max(1) as f64;
            now + Duration::from_secs_f64(missing.clamp(0.001, 0.5))
        })
    }
}

/// Lets so many things pass in each second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    per_second: u32,
    begun: Instant,
    taken: u32,
}

impl Window {
    pub(super) const fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, begun: now, taken: 0 }
    }

    /// Whether one more may pass.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.begun) >= Duration::from_secs(1) {
            (self.begun, self.taken) = (now, 0);
        }
        self.taken += 1;
        self.taken <= self.per_second
    }
}
