//! Corrected times from a chain's entries (decision 0090, "A step").

use std::collections::BTreeMap;

use sightline_model::UnixMicros;

use crate::statement::{BootId, ClockStep, Segment};

/// Steps of a recorder's clock, and what they say of segments that were recorded before them.
///
/// First every step of the chain is noted, then segments are asked for in any order.
#[derive(Debug, Clone, Default)]
pub struct Corrections {
    /// Of each boot, steps away from an unconfirmed clock: when, by how much, whether to a confirmed
    /// one.
    steps: BTreeMap<u64, Vec<(u64, i64, bool)>>,
}

/// Where a segment lies in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrected {
    /// When it begins.
    pub from: UnixMicros,
    /// When it ends.
    pub to: UnixMicros,
    /// What was added to the time that it states, in microseconds.
    pub added_us: i64,
    /// Whether somebody vouches for the result.
    pub time_known: bool,
}

impl Corrections {
    /// No step yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A step of the chain.
    pub fn note(&mut self, step: &ClockStep) {
        if !step.from_authority.is_confirmed() {
            let added_us = step.to.0.saturating_sub(step.from.0);
            let to_confirmed = step.to_authority.is_confirmed();
            let steps = self.steps.entry(step.boot.0).or_default();
            steps.push((step.monotonic_us, added_us, to_confirmed));
        }
    }

    /// Where a segment lies.
    #[must_use]
    pub fn of(&self, segment: &Segment) -> Corrected {
        let (added_us, confirmed) = self.at(segment.boot, segment.monotonic_us);
        let time_known = segment.authority.is_confirmed();
        // A confirmed clock was right already, whatever came later.
        let added_us = if time_known { 0 } else { added_us };
        let moved = |at: UnixMicros| UnixMicros(at.0.saturating_add(added_us));
        let (from, to) = (moved(segment.start), moved(segment.end()));
        Corrected { from, to, added_us, time_known: time_known || confirmed }
    }

    /// What is to be added to an unconfirmed time of that moment of a boot, and whether somebody
    /// vouches for the sum.
    #[must_use]
    pub fn at(&self, boot: BootId, monotonic_us: u64) -> (i64, bool) {
        let steps = self.steps.get(&boot.0).into_iter().flatten();
        let later = steps.filter(|(at_us, ..)| *at_us >= monotonic_us);
        later.fold((0_i64, false), |(sum, known), (_, added_us, confirmed)| {
            (sum.saturating_add(*added_us), known || *confirmed)
        })
    }
}
