//! Which segment is shown at which second where several claim it (decision 0090).

use std::{collections::BTreeSet, ops::Range};

use sightline_model::UnixMicros;

use super::SegmentKey;
use crate::statement::{RunId, Sequence};

/// Confirmed, preference, number, chain.
type Rank = (bool, u8, Sequence, u32);

/// A segment that may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub key: SegmentKey,
    /// Its run.
    pub run: RunId,
    /// Its corrected start.
    pub start: UnixMicros,
    /// Its corrected end.
    pub end: UnixMicros,
    /// Whether its clock was confirmed.
    pub confirmed: bool,
    /// How good its source is to reach; higher is better. Only asked where clocks do not decide.
    pub preference: u8,
}

/// A part of a segment that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Which.
    pub key: SegmentKey,
    /// From when, and until when (not included).
    pub window: Range<UnixMicros>,
}

/// The stretches that are shown, by rising time, none over another: of those that claim a second
/// the one with a confirmed clock, then the better source, then the later entry.
///
/// Segments of one run never compete: one that seems to last into the next, by the slow correction
/// of the clock, ends where the next begins.
#[must_use]
pub fn choose(candidates: &[Candidate]) -> Vec<Stretch> {
    let mut edges: Vec<(i64, bool, usize)> = Vec::with_capacity(candidates.len() * 2);
    for (index, end) in ends(candidates).into_iter().enumerate() {
        let start = candidates[index].start.0;
        if start < end {
            edges.push((start, true, index));
            edges.push((end, false, index));
        }
    }
    edges.sort_unstable();
    let rank = |index: usize| -> Rank {
        let c = &candidates[index];
        (c.confirmed, c.preference, c.key.sequence, c.key.chain)
    };
    let mut open: BTreeSet<(Rank, usize)> = BTreeSet::new();
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut before = i64::MIN;
    for (at, begins, index) in edges {
        if at > before
            && let Some((_, best)) = open.last()
        {
            extend(&mut stretches, candidates[*best].key, before..at);
        }
        before = at;
        if begins {
            open.insert((rank(index), index));
        } else {
            open.remove(&(rank(index), index));
        }
    }
    stretches
}

/// Where each ends, at the latest where the next of its run begins.
fn ends(candidates: &[Candidate]) -> Vec<i64> {
    let mut ends: Vec<i64> = candidates.iter().map(|c| c.end.0).collect();
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let of = |index: usize| (candidates[index].key.chain, candidates[index].run);
    order.sort_unstable_by_key(|index| (of(*index), candidates[*index].key.sequence));
    for pair in order.windows(2) {
        let next = candidates[pair[1]].start.0;
        if of(pair[0]) == of(pair[1]) && next > candidates[pair[0]].start.0 {
            ends[pair[0]] = ends[pair[0]].min(next);
        }
    }
    ends
}

fn extend(stretches: &mut Vec<Stretch>, key: SegmentKey, window: Range<i64>) {
    let (start, end) = (UnixMicros(window.start), UnixMicros(window.end));
    match stretches.last_mut() {
        Some(last) if last.key == key && last.window.end == start => last.window.end = end,
        _ => stretches.push(Stretch { key, window: start..end }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(sequence: u64, start: i64, end: i64, confirmed: bool) -> Candidate {
        let key = SegmentKey { chain: 0, sequence: Sequence(sequence) };
        let (start, end, run) = (UnixMicros(start), UnixMicros(end), RunId(sequence));
        Candidate { key, run, start, end, confirmed, preference: 0 }
    }

    fn of(candidates: &[Candidate]) -> Vec<(u64, i64, i64)> {
        let flat = |s: &Stretch| (s.key.sequence.0, s.window.start.0, s.window.end.0);
        choose(candidates).iter().map(flat).collect()
    }

    #[test]
    fn the_confirmed_then_the_later_is_shown_and_the_rest_around_it() {
        let (first, later) = (candidate(1, 0, 100, false), candidate(2, 50, 80, false));
        assert_eq!(of(&[first, later]), [(1, 0, 50), (2, 50, 80), (1, 80, 100)]);
        let sure = candidate(1, 0, 100, true);
        assert_eq!(of(&[sure, later]), [(1, 0, 100)]);
        let near = Candidate { preference: 1, ..first };
        assert_eq!(of(&[near, later]), [(1, 0, 100)]);
        assert_eq!(of(&[candidate(1, 5, 5, true)]), []);
        let next = Candidate { run: sure.run, ..candidate(2, 98, 200, false) };
        assert_eq!(of(&[sure, next]), [(1, 0, 98), (2, 98, 200)], "of one run");
    }

    proptest! {
        #[test]
        fn every_claimed_instant_is_shown_once_from_the_best(
            spans in prop::collection::vec((0_i64..200, 0_i64..60, any::<bool>()), 0..24)
        ) {
            let candidates: Vec<_> = (0_u64..)
                .zip(&spans)
                .map(|(n, (start, len, sure))| candidate(n, *start, start + len, *sure))
                .collect();
            let chosen = choose(&candidates);
            for pair in chosen.windows(2) {
                prop_assert!(pair[0].window.end <= pair[1].window.start);
            }
            for t in 0..270 {
                let best = candidates
                    .iter()
                    .filter(|c| (c.start.0..c.end.0).contains(&t))
                    .max_by_key(|c| (c.confirmed, c.key.sequence));
                let shown = chosen.iter().find(|s| (s.window.start.0..s.window.end.0).contains(&t));
                prop_assert_eq!(best.map(|c| c.key), shown.map(|s| s.key));
            }
        }
    }
}
