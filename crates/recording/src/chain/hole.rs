//! Numbers that are missing in a walk, and what the newest checkpoint says of them.

use sightline_model::UnixMicros;

use super::finding::{Absence, Finding, Problem, Span, Spoilt, StatedTime};
use crate::statement::{ClockStep, Digest, ExpiredRange, Sequence};

/// Entries in a row that are not believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpoiltRun {
    pub how: Spoilt,
    pub count: u64,
    pub claimed: Option<UnixMicros>,
}

/// Numbers without an entry that is believed.
#[derive(Debug, Clone)]
pub(super) struct Hole {
    pub first: Sequence,
    pub last: Sequence,
    pub span: Span,
    pub spoilt: Option<SpoiltRun>,
    /// What the entry behind it names as the hash of the last that is missing.
    pub hash: Option<Digest>,
}

impl Hole {
    /// What is left of it when `sequence`, which lies in it, has turned up.
    pub fn without(&self, sequence: Sequence) -> Vec<Self> {
        let mut spoilt = self.spoilt;
        let mut parts = Vec::new();
        if self.first < sequence {
            let last = Sequence(sequence.0 - 1);
            parts.push(Self { last, hash: None, spoilt: spoilt.take(), ..self.clone() });
        }
        if sequence < self.last {
            parts.push(Self { first: sequence.next(), spoilt: spoilt.take(), ..self.clone() });
        }
        parts
    }

    /// Tells expiry from tampering.
    pub fn settle(self, ranges: &[ExpiredRange]) -> (Vec<Absence>, Vec<Finding>) {
        let Self { first, last, span, spoilt, hash } = self;
        let (gone, left) = split(first, last, ranges);
        let gone = gone.into_iter().map(|(first, last)| Absence { first, last, span }).collect();
        let mut found = Vec::new();
        let finding = |problem, (first, last)| Finding { problem, first, last, span };
        let ended = ranges.iter().find(|range| range.last == last);
        if ended.zip(hash).is_some_and(|(range, hash)| range.last_hash != hash) {
            found.push(finding(Problem::LinkBroken, (last.next(), last.next())));
        }
        let missing: u64 = left.iter().map(|(a, b)| b.0 - a.0 + 1).sum();
        if let Some(SpoiltRun { how, count, claimed }) = spoilt {
            let begin = left.first().map_or(first, |range| range.0);
            let end = left.last().map_or(last, |range| range.1);
            found.push(finding(Problem::Spoilt { how, count, claimed }, (begin, end)));
            if missing <= count {
                return (gone, found);
            }
        }
        found.extend(left.into_iter().map(|range| finding(Problem::Missing, range)));
        (gone, found)
    }
}

/// Numbers from the first to the second.
type Numbers = (Sequence, Sequence);

/// Parts of `first..=last` that the ranges name, and those that they do not.
fn split(first: Sequence, last: Sequence, ranges: &[ExpiredRange]) -> (Vec<Numbers>, Vec<Numbers>) {
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    let mut next = first;
    let from = ranges.partition_point(|range| range.last < first);
    for range in ranges[from..].iter().take_while(|range| range.first <= last) {
        if next < range.first {
            left.push((next, Sequence(range.first.0 - 1)));
        }
        gone.push((range.first.max(first), range.last.min(last)));
        next = range.last.next();
    }
    if next <= last {
        left.push((next, last));
    }
    (gone, left)
}

/// Whether `newer` lets go of all that `older` let go, and says the same of it.
pub(super) fn holds(newer: &[ExpiredRange], older: &ExpiredRange) -> bool {
    let at = newer.partition_point(|range| range.last < older.last);
    newer.get(at).is_some_and(|range| {
        range.first <= older.first
            && (range.last != older.last || range.last_hash == older.last_hash)
    })
}

/// The time that `moment` is known by later (decision 0090): what an unconfirmed clock said is off by
/// the steps that the same boot made afterwards.
pub(super) fn corrected(moment: &StatedTime, steps: &[(Sequence, ClockStep)]) -> UnixMicros {
    if moment.authority.is_confirmed() {
        return moment.at;
    }
    let later = steps.iter().filter(|(sequence, step)| {
        *sequence > moment.sequence
            && Some(step.boot) == moment.boot
            && !step.from_authority.is_confirmed()
    });
    let difference = later
        .fold(0i64, |sum, (_, step)| sum.saturating_add(step.to.0.saturating_sub(step.from.0)));
    UnixMicros(moment.at.0.saturating_add(difference))
}
