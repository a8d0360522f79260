//! What goes into one file, and which entries of which chain prove it.

use std::ops::{Range, RangeInclusive};

use sightline_model::UnixMicros;

use super::{Piece, SegmentKey};
use crate::statement::{RunId, Sequence};

/// A part of a segment, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which segment.
    pub segment: SegmentKey,
    /// Its run.
    pub run: RunId,
    /// Pictures by index in its table: whole groups from a keyframe on.
    pub pictures: Range<usize>,
    /// Sound by index in its table.
    pub sound: Range<usize>,
    /// When its first picture was taken.
    pub wall: UnixMicros,
    /// Pictures before the wanted time that decoding needs: an edit list hides them, where a player
    /// heeds it.
    pub lead_in: usize,
    /// Whether the part before it ends where this one begins.
    pub follows: bool,
}

/// Entries of a chain that are put beside an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The chain, by the caller's number.
    pub chain: u32,
    /// From the first segment's entry to the last one's, with all between: gaps, steps of the clock
    /// and checkpoints explain what is missing. Entry 0, which says whose recording it is, and the
    /// clock's steps that correct these times belong to it as well.
    pub entries: RangeInclusive<Sequence>,
}

/// A plan of an export.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In the order of time.
    pub parts: Vec<Part>,
    /// For each chain that parts come from, by its number.
    pub proofs: Vec<Proof>,
}

/// Makes plans: pieces go in by rising time, none over another (see [`super::choose`]).
#[derive(Debug)]
pub struct Planner {
    span: Range<UnixMicros>,
    plan: Plan,
    end: Option<(RunId, i64)>,
}

impl Planner {
    /// A plan of everything shown in `span`, the end not included.
    #[must_use]
    pub fn new(span: Range<UnixMicros>) -> Self {
        Self { span, plan: Plan::default(), end: None }
    }

    /// Adds the part of `piece` that lies in the span, if any.
    pub fn add(&mut self, piece: &Piece) {
        let window = piece.window_us();
        let from = window.start.max(self.span.start.0);
        let to = window.end.min(self.span.end.0);
        if from >= to {
            return;
        }
        let Some((pictures, lead_in)) = pictures(piece, from..to) else { return };
        let follows = self.end.is_some_and(|(run, end)| {
            run == piece.run() && from.saturating_sub(end) <= super::planner::SEAM_US
        });
        self.end = Some((piece.run(), to));
        let wall = piece.wall(pictures.start);
        self.plan.parts.push(Part {
            segment: piece.key(),
            run: piece.run(),
            pictures,
            sound: piece.sound_before(wall)..piece.sound_before(to),
            wall: UnixMicros(wall),
            lead_in,
            follows,
        });
        self.prove(piece.key());
    }

    fn prove(&mut self, key: SegmentKey) {
        match self.plan.proofs.iter_mut().find(|p| p.chain == key.chain) {
            Some(proof) => {
                let first = *proof.entries.start().min(&key.sequence);
                let last = *proof.entries.end().max(&key.sequence);
                proof.entries = first..=last;
            }
            None => {
                let entries = key.sequence..=key.sequence;
                self.plan.proofs.push(Proof { chain: key.chain, entries });
            }
        }
    }

    /// The plan.
    #[must_use]
    pub fn finish(self) -> Plan {
        self.plan
    }
}

/// The pictures from the keyframe before the first wanted one to the last wanted one, in the order
/// of decoding; how many of them come before the wanted time.
fn pictures(piece: &Piece, span: Range<i64>) -> Option<(Range<usize>, usize)> {
    let count = piece.table().pictures().len();
    let shown: Vec<i64> = (0..count).map(|index| piece.wall(index)).collect();
    // What is shown when the span begins was taken before it.
    let from = shown.iter().filter(|w| **w <= span.start).max().copied().unwrap_or(span.start);
    let wanted = |index: &usize| (from..span.end).contains(&shown[*index]);
    let first = (0..count).find(wanted)?;
    let last = (0..count).rfind(wanted)?;
    let pictures = piece.group(piece.group_of(first)).start..last + 1;
    let lead_in = pictures.clone().filter(|index| shown[*index] < from).count();
    Some((pictures, lead_in))
}
