//! Which segment is shown at which second where several claim it (decision 0090).

use std::{collections::BTreeSet, ops::Range};

use sightline_model::UnixMicros;

use super::SegmentKey;
use crate::statement::Sequence;

/// Confirmed, preference, number, chain.
type Rank = (bool, u8, Sequence, u32);

/// A segment that may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub key: SegmentKey,
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
/// Segments of a run may overlap by the slow correction of the clock, 500 millionths: that is
/// decided like any overlap.
#[must_use]
pub fn choose(candidates: &[Candidate]) -> Vec<Stretch> {
    let mut edges: Vec<(i64, bool, usize)> = Vec::with_capacity(candidates.len() * 2);
    for (index, candidate) in candidates.iter().enumerate() {
        if candidate.start < candidate.end {
            edges.push((candidate.start.0, true, index));
            edges.push((candidate.end.0, false, index));
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
        Candidate { key, start: UnixMicros(start), end: UnixMicros(end), confirmed, preference: 0 }
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
