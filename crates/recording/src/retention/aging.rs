//! Limits by age.

use std::time::Duration;

use sightline_model::UnixMicros;

use super::{EventClips, MAX_ROWS_AT_ONCE, Row, RowsError, Step, Verdict, Which, stream::Stream};
use crate::statement::Authority;

/// How long the recordings of one chain stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgeRule {
    /// Counted from the corrected end of a segment; `None`: until space is needed.
    pub max_age: Option<Duration>,
    /// The same for clips of events, at least as long as [`Self::max_age`]; `None`: as all others.
    pub event_max_age: Option<Duration>,
    /// Ranges in the chain's newest checkpoint, see [`super::MAX_EXPIRED_RANGES`].
    pub expired_ranges: u32,
}

impl AgeRule {
    fn streams(self, chain: usize, now: UnixMicros) -> Vec<Aged> {
        let clips = self.event_max_age.map_or(EventClips::Alike, |_| EventClips::Last);
        let limit = |which: Which| match which {
            Which::All | Which::WithoutEvent => self.max_age,
            // Shorter for events than for the rest is no meaning that a plan can have.
            Which::WithEvent => self.event_max_age.max(self.max_age),
        };
        let order = Which::order(clips, self.expired_ranges).iter();
        let aged = |which: &Which| {
            let stream = Stream::new(chain, *which, Some(now));
            limit(*which).map(|max_age| Aged { stream, max_age })
        };
        order.filter_map(aged).collect()
    }
}

#[derive(Debug)]
struct Aged {
    stream: Stream,
    max_age: Duration,
}

/// Finds what has grown too old. See the module above.
#[derive(Debug)]
pub struct Aging {
    now: UnixMicros,
    streams: Vec<Aged>,
    at: usize,
    rows: u32,
    open: bool,
}

impl Aging {
    /// With the rules of some chains, at `now` by the recorder's clock and its authority. An
    /// unconfirmed clock lets nothing go.
    #[must_use]
    pub fn new(now: UnixMicros, authority: Authority, chains: &[AgeRule]) -> Self {
        let rules = if authority.is_confirmed() { chains } else { &[] };
        let streams = rules.iter().enumerate().flat_map(|(n, rule)| rule.streams(n, now));
        Self { now, streams: streams.collect(), at: 0, rows: 0, open: false }
    }

    /// What it wants next.
    pub fn poll(&mut self) -> Step {
        while self.rows < MAX_ROWS_AT_ONCE
            && let Some(aged) = self.streams.get_mut(self.at)
        {
            let old = |row: &Row| row.end.plus(aged.max_age) <= self.now;
            match aged.stream.head().map(|head| head.is_some_and(old)) {
                Err(query) => {
                    self.open = true;
                    return Step::Read(query);
                }
                Ok(true) => {
                    aged.stream.release_head();
                    self.rows += 1;
                }
                Ok(false) => self.at += 1,
            }
        }
        Step::Done
    }

    /// Takes the rows of the query that [`Self::poll`] gave.
    ///
    /// # Errors
    /// [`RowsError`]: the index's fault; nothing has changed.
    pub fn handle_rows(&mut self, rows: Vec<Row>) -> Result<(), RowsError> {
        let aged = self.streams.get_mut(self.at).filter(|_| self.open);
        aged.ok_or(RowsError::Unasked)?.stream.fill(rows)?;
        self.open = false;
        Ok(())
    }

    /// What is to go, as far as it is known; whole after [`Step::Done`].
    #[must_use]
    pub fn into_verdict(self) -> Verdict {
        Verdict {
            releases: self.streams.iter().filter_map(|aged| aged.stream.release()).collect(),
            missing_bytes: 0,
            more: self.rows >= MAX_ROWS_AT_ONCE,
        }
    }
}
