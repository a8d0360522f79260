//! Stretches of time: which of several is on top, and joining those that are too short to be told.

use std::{cmp::Reverse, collections::BTreeSet};

use super::SEAM_US;

/// What is said of a stretch.
pub(super) trait Attribute: Copy + PartialEq {
    /// Of two that are too short to be told apart.
    fn with(self, other: Self) -> Self;
}

/// Which stretch is on top where several overlap: the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) weight: u8,
    /// The source's rank and number: the lower, the better.
    pub(super) source: Reverse<(u32, u16)>,
    pub(super) known: bool,
    /// The later, the better.
    pub(super) piece: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Stretch<A> {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) source: u16,
    pub(super) rank: Rank,
    pub(super) attribute: A,
    /// Other sources that have it too.
    pub(super) others: Vec<u16>,
    /// Whether the source has it twice.
    pub(super) twice: bool,
}

impl<A: Attribute> Stretch<A> {
    const fn len(&self) -> i64 {
        self.to - self.from
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.attribute == other.attribute
            && self.source == other.source
            && self.others == other.others
            && self.twice == other.twice
    }

    /// Whether it and the next one are told as one.
    pub(super) fn is_joined_by(&self, next: &Self, grain_us: i64) -> bool {
        next.from - self.to < grain_us.max(SEAM_US)
            && (self.says_the_same(next) || self.len() < grain_us || next.len() < grain_us)
    }

    /// Takes in the next one; the longer says what is said of both.
    pub(super) fn take_in(&mut self, next: Self, grain_us: i64) {
        let (from, to) = (self.from, next.to);
        let both = self.attribute.with(next.attribute);
        let both_short = self.len() < grain_us && next.len() < grain_us;
        let twice = self.twice || next.twice;
        if next.len() > self.len() {
            *self = next;
        }
        if both_short {
            self.attribute = both;
            self.twice = twice;
        }
        (self.from, self.to) = (from, to);
    }
}

/// Stretches that overlap become ones that do not, in order: on top is the greatest rank.
pub(super) fn sweep<A: Attribute>(list: &[Stretch<A>], sources: usize) -> Vec<Stretch<A>> {
    let begins = list.iter().enumerate().map(|(n, stretch)| (stretch.from, true, n));
    let ends = list.iter().enumerate().map(|(n, stretch)| (stretch.to, false, n));
    let mut edges: Vec<_> = begins.chain(ends).collect();
    edges.sort_unstable();
    let mut active: BTreeSet<(Rank, usize)> = BTreeSet::new();
    let mut of_source = vec![0_u32; sources];
    let mut found: Vec<Stretch<A>> = Vec::new();
    let mut at = edges.first().map_or(0, |(at, ..)| *at);
    for (edge, begins, n) in edges {
        if edge > at {
            if let Some((_, top)) = active.last() {
                push_cell(&mut found, &list[*top], at, edge, &of_source);
            }
            at = edge;
        }
        let stretch = &list[n];
        let count = &mut of_source[usize::from(stretch.source)];
        if begins {
            active.insert((stretch.rank, n));
            *count += 1;
        } else {
            active.remove(&(stretch.rank, n));
            *count -= 1;
        }
    }
    found
}

fn push_cell<A: Attribute>(
    found: &mut Vec<Stretch<A>>,
    top: &Stretch<A>,
    from: i64,
    to: i64,
    of_source: &[u32],
) {
    let has = |(n, count): (usize, &u32)| (*count > 0 && n != usize::from(top.source)).then_some(n);
    let others = of_source.iter().enumerate().filter_map(has).map(|n| n as u16).collect();
    let twice = top.twice || of_source[usize::from(top.source)] > 1;
    let cell = Stretch { from, to, others, twice, ..top.clone() };
    match found.last_mut() {
        Some(last) if last.to == from && last.says_the_same(&cell) => {
            last.to = to;
            last.rank = last.rank.max(cell.rank);
        }
        Some(_) | None => found.push(cell),
    }
}

/// Joins neighbours that are told as one at this grain. What is recorded stays covered, and every
/// interruption of at least the grain stays.
pub(super) fn join<A: Attribute>(list: Vec<Stretch<A>>, grain_us: i64) -> Vec<Stretch<A>> {
    let mut joined: Vec<Stretch<A>> = Vec::with_capacity(list.len());
    for stretch in list {
        match joined.last_mut() {
            Some(last) if last.is_joined_by(&stretch, grain_us) => last.take_in(stretch, grain_us),
            Some(_) | None => joined.push(stretch),
        }
    }
    joined
}

/// Joins at ever coarser grains until there are at most so many. It ends: at the grain of the whole,
/// there is one.
pub(super) fn join_until<A: Attribute>(
    mut list: Vec<Stretch<A>>,
    max: usize,
    grain_us: &mut i64,
) -> Vec<Stretch<A>> {
    while list.len() > max.max(1) {
        *grain_us = (*grain_us).max(SEAM_US) * 2;
        list = join(list, *grain_us);
    }
    list
}
