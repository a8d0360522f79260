//! Corrected times from a chain's entries (decision 0090, "A step").

use std::collections::BTreeMap;

use sightline_model::UnixMicros;

use crate::statement::{BootId, ClockStep, Gap, Segment, Sequence};

/// Steps of a recorder's clock, and what they say of segments that were recorded before them.
///
/// First every step of the chain is noted, then segments are asked for in any order. Before a step is
/// what has a lower number in the chain, whatever its monotonic time: a run may begin with pictures
/// that waited in memory.
#[derive(Debug, Clone, Default)]
pub struct Corrections {
    /// Of each boot, steps away from an unconfirmed clock: number, by how much, whether to a
    /// confirmed one.
    steps: BTreeMap<u64, Vec<(Sequence, i64, bool)>>,
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

    /// A step of the chain, by its number.
    pub fn note(&mut self, sequence: Sequence, step: &ClockStep) {
        if !step.from_authority.is_confirmed() {
            let added_us = step.to.0.saturating_sub(step.from.0);
            let to_confirmed = step.to_authority.is_confirmed();
            let steps = self.steps.entry(step.boot.0).or_default();
            steps.push((sequence, added_us, to_confirmed));
        }
    }

    /// Where the segment with that number lies.
    #[must_use]
    pub fn of(&self, sequence: Sequence, segment: &Segment) -> Corrected {
        let (added_us, time_known) =
            self.at(segment.boot, sequence, segment.authority.is_confirmed());
        let moved = |at: UnixMicros| UnixMicros(at.0.saturating_add(added_us));
        let (from, to) = (moved(segment.start), moved(segment.end()));
        Corrected { from, to, added_us, time_known }
    }

    /// When the gap with that number begins.
    #[must_use]
    pub fn of_gap(&self, sequence: Sequence, gap: &Gap) -> UnixMicros {
        let (added_us, _) = self.at(gap.boot, sequence, gap.authority.is_confirmed());
        UnixMicros(gap.from.0.saturating_add(added_us))
    }

    /// What is to be added to the time of the entry with that number, in microseconds, and whether
    /// somebody vouches for the sum. A confirmed clock was right already, whatever came later.
    #[must_use]
    pub fn at(&self, boot: BootId, sequence: Sequence, is_confirmed: bool) -> (i64, bool) {
        if is_confirmed {
            return (0, true);
        }
        let steps = self.steps.get(&boot.0).into_iter().flatten();
        let later = steps.filter(|(at, ..)| *at > sequence);
        later.fold((0_i64, false), |(sum, known), (_, added_us, confirmed)| {
            (sum.saturating_add(*added_us), known || *confirmed)
        })
    }
}
