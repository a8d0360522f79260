//! Who has what of a camera's recording, by the centre's one timeline: whom to ask for which stretch.
//!
//! Nothing here plays. A timeline is of so many spans at most, so that of a long time it is coarse; what
//! is played is looked at again in windows that are told segment by segment.

use std::ops::Range;

use jiff::Timestamp;
use sightline_model::{
    CameraId, RecordingPlace, RecordingSource, StreamTier, Timeline, TimelineSpan, UnixMicros,
};
use sightline_protocol::cm::{CameraTimeline, SilentRecorder};
use sightline_recording::replay::Way;

use super::place::Held;
use crate::{api::SignedInApi, error::CuError};

/// Up to here recorders tell every segment, in microseconds.
const CLOSE_US: i64 = 2 * 3_600_000_000;
/// Interruptions that are told are at least so long where a timeline is good enough, in microseconds.
const GOOD_US: u64 = 1_000_000;
/// Windows of one survey: a day that is recorded throughout.
const MOST_WINDOWS: usize = 12;
/// Longest time that the centre is asked about at once, in microseconds: 400 days.
const LONGEST_US: i64 = 400 * 86_400_000_000;
/// What differs by less is no stretch of its own, in microseconds.
const WORTH_US: i64 = 1_000_000;

/// Somebody who has a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Has {
    held: Held,
    /// How good it is, the least the best: whether it comes from the cloud, and whether it is another
    /// encoding than the one that is wanted.
    class: (bool, bool),
}

/// A stretch, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    span: Range<UnixMicros>,
    /// The best first.
    has: Vec<Has>,
}

/// A stretch that one of them plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leg {
    pub held: Held,
    pub span: Range<UnixMicros>,
}

/// What a survey has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Survey {
    /// In the order of time.
    pieces: Vec<Piece>,
    /// Who could not be asked.
    pub silent: Vec<SilentRecorder>,
    /// How far was looked, in the direction of playing.
    pub until: UnixMicros,
}

/// What is looked for.
pub(crate) struct Surveyor<'a> {
    pub api: &'a SignedInApi,
    pub camera: &'a CameraId,
    /// The encoding; another one serves where `only` is not set.
    pub tier: StreamTier,
    pub only: bool,
    pub way: Way,
}

impl Surveyor<'_> {
    /// Looks at a span, from its end where playing is in reverse; at a part of it when it is long.
    ///
    /// # Errors
    /// When the portal cannot be asked, or nobody who records the camera can.
    pub async fn survey(&self, span: Range<UnixMicros>) -> Result<Survey, CuError> {
        let span = bounded(span, self.way);
        let far = self.ask(&span).await?;
        let is_close = span.end.0.saturating_sub(span.start.0) <= CLOSE_US;
        if is_close || far.timeline.resolution_us <= GOOD_US {
            let until = far_end(&span, self.way);
            let pieces = pieces(&far.timeline, self.tier);
            return Ok(Survey { pieces, silent: far.silent, until });
        }
        let (windows, until) = windows(&far.timeline, &span, self.way);
        let mut found = Survey { pieces: Vec::new(), silent: far.silent, until };
        for window in windows {
            let near = self.ask(&window).await?;
            found.pieces.extend(pieces(&near.timeline, self.tier));
            let is_new = |one: &SilentRecorder| !found.silent.contains(one);
            let silent: Vec<_> = near.silent.into_iter().filter(is_new).collect();
            found.silent.extend(silent);
        }
        found.pieces.sort_by_key(|piece| piece.span.start);
        Ok(found)
    }

    async fn ask(&self, span: &Range<UnixMicros>) -> Result<CameraTimeline, CuError> {
        let tier = self.only.then_some(self.tier);
        let (from, to) = (time(span.start)?, time(span.end)?);
        self.api.recordings(self.camera, (&from, &to), tier).await
    }
}

impl Survey {
    /// Only one of them is to be asked, whatever it has.
    pub fn of_one(held: Held, span: Range<UnixMicros>, way: Way) -> Self {
        let until = far_end(&span, way);
        let has = vec![Has { held, class: (false, false) }];
        Self { pieces: vec![Piece { span, has }], silent: Vec::new(), until }
    }

    /// Whom to ask for what, in the order of playing. Whoever plays goes on where they have it and nobody
    /// better does: to change over takes a connection.
    pub fn legs(&self, way: Way, playing: Option<&Held>) -> Vec<Leg> {
        let mut legs: Vec<Leg> = Vec::new();
        let ordered: Vec<_> = match way {
            Way::Forwards => self.pieces.iter().collect(),
            Way::Backwards => self.pieces.iter().rev().collect(),
        };
        for piece in ordered {
            let Some(best) = piece.has.first() else { continue };
            let now = legs.last().map(|leg| &leg.held).or(playing);
            let stays = piece
                .has
                .iter()
                .find(|has| Some(&has.held) == now && has.class == best.class)
                .map(|has| has.held.clone());
            match (stays, legs.last_mut()) {
                (Some(_), Some(leg)) => match way {
                    Way::Forwards => leg.span.end = piece.span.end,
                    Way::Backwards => leg.span.start = piece.span.start,
                },
                (stays, _) => {
                    let held = stays.unwrap_or_else(|| best.held.clone());
                    legs.push(Leg { held, span: piece.span.clone() });
                }
            }
        }
        legs
    }

    /// `held` does not give what it has of this span after all; what nobody else has of it.
    pub fn lose(&mut self, held: &Held, span: &Range<UnixMicros>) -> Vec<Range<UnixMicros>> {
        let mut lost = Vec::new();
        let mut left = Vec::with_capacity(self.pieces.len() + 2);
        for piece in std::mem::take(&mut self.pieces) {
            for (part, is_in) in cut(&piece.span, span) {
                let mut has = piece.has.clone();
                if is_in && has.iter().any(|one| one.held == *held) {
                    has.retain(|one| one.held != *held);
                    if has.is_empty() {
                        push(&mut lost, part);
                        continue;
                    }
                }
                left.push(Piece { span: part, has });
            }
        }
        self.pieces = left;
        lost
    }

    /// What was played already, or will not be, is not looked at any more: only this span is.
    pub fn keep(&mut self, span: &Range<UnixMicros>) {
        for piece in &mut self.pieces {
            piece.span = piece.span.start.max(span.start)..piece.span.end.min(span.end);
        }
        self.pieces.retain(|piece| piece.span.start < piece.span.end);
    }

    /// Who has the most of it; between equals whoever is the best where it begins.
    pub fn most(&self) -> Option<Held> {
        let mut all: Vec<(&Held, i64)> = Vec::new();
        for piece in &self.pieces {
            for has in &piece.has {
                let long = length(&piece.span);
                match all.iter_mut().find(|(held, _)| *held == &has.held) {
                    Some((_, sum)) => *sum += long,
                    None => all.push((&has.held, long)),
                }
            }
        }
        let most = all.iter().map(|(_, sum)| *sum).max()?;
        // A second more of it is no reason to go elsewhere.
        all.into_iter().find(|(_, sum)| most - sum <= WORTH_US).map(|(held, _)| held.clone())
    }

    /// What `held` lacks and somebody else has, and who.
    pub fn beyond(&self, held: &Held) -> Vec<Leg> {
        let mut beyond: Vec<Leg> = Vec::new();
        let lacks = |piece: &&Piece| piece.has.iter().all(|has| has.held != *held);
        for piece in self.pieces.iter().filter(lacks) {
            let Some(best) = piece.has.first() else { continue };
            match beyond.last_mut() {
                Some(last)
                    if last.held == best.held
                        && piece.span.start.0 - last.span.end.0 < WORTH_US =>
                {
                    last.span.end = piece.span.end;
                }
                Some(_) | None => {
                    beyond.push(Leg { held: best.held.clone(), span: piece.span.clone() });
                }
            }
        }
        beyond.retain(|leg| length(&leg.span) >= WORTH_US);
        beyond
    }
}

const fn length(span: &Range<UnixMicros>) -> i64 {
    span.end.0.saturating_sub(span.start.0)
}

/// Where looking ends.
const fn far_end(span: &Range<UnixMicros>, way: Way) -> UnixMicros {
    match way {
        Way::Forwards => span.end,
        Way::Backwards => span.start,
    }
}

/// No more than can be asked at once.
fn bounded(span: Range<UnixMicros>, way: Way) -> Range<UnixMicros> {
    let (from, to) = (span.start.0, span.end.0);
    match way {
        Way::Forwards => span.start..UnixMicros(to.min(from.saturating_add(LONGEST_US))),
        Way::Backwards => UnixMicros(from.max(to.saturating_sub(LONGEST_US)))..span.end,
    }
}

/// Windows over all that a coarse timeline shows, in the order of playing, and how far they reach.
fn windows(
    far: &Timeline,
    span: &Range<UnixMicros>,
    way: Way,
) -> (Vec<Range<UnixMicros>>, UnixMicros) {
    let mut windows = Vec::new();
    let told = far.spans.iter().map(|one| one.from.0..one.to.0);
    match way {
        Way::Forwards => {
            let mut at = span.start.0;
            for one in told {
                while at.max(one.start) < one.end {
                    if windows.len() == MOST_WINDOWS {
                        return (windows, UnixMicros(at));
                    }
                    let from = at.max(one.start);
                    at = from.saturating_add(CLOSE_US).min(span.end.0.max(one.end));
                    windows.push(UnixMicros(from)..UnixMicros(at));
                }
            }
        }
        Way::Backwards => {
            let mut at = span.end.0;
            for one in told.rev() {
                while at.min(one.end) > one.start {
                    if windows.len() == MOST_WINDOWS {
                        return (windows, UnixMicros(at));
                    }
                    let to = at.min(one.end);
                    at = to.saturating_sub(CLOSE_US).max(span.start.0.min(one.start));
                    windows.push(UnixMicros(at)..UnixMicros(to));
                }
            }
        }
    }
    (windows, far_end(span, way))
}

fn pieces(timeline: &Timeline, wanted: StreamTier) -> Vec<Piece> {
    let has = |source: &RecordingSource| {
        let held = match source.place {
            RecordingPlace::Pu => Held::ByUnit,
            RecordingPlace::Nvr => Held::ByNvr(source.recorder.clone()),
            RecordingPlace::Cs => Held::InCloud,
        };
        Has { class: (held == Held::InCloud, source.tier != wanted), held }
    };
    let piece = |span: &TimelineSpan| {
        let numbers = std::iter::once(&span.source).chain(&span.others);
        let mut all: Vec<Has> =
            numbers.filter_map(|n| timeline.sources.get(usize::from(*n))).map(has).collect();
        all.sort_by_key(|has| has.class);
        let mut best: Vec<Has> = Vec::with_capacity(all.len());
        for one in all {
            if best.iter().all(|known| known.held != one.held) {
                best.push(one);
            }
        }
        Piece { span: span.from..span.to, has: best }
    };
    timeline.spans.iter().map(piece).collect()
}

/// The parts of `piece` before, within and behind `span`, and which of them lies within.
fn cut(
    piece: &Range<UnixMicros>,
    span: &Range<UnixMicros>,
) -> impl Iterator<Item = (Range<UnixMicros>, bool)> {
    let [from, to] = [span.start, span.end].map(|at| at.clamp(piece.start, piece.end));
    let parts = [(piece.start..from, false), (from..to, true), (to..piece.end, false)];
    parts.into_iter().filter(|(part, _)| part.start < part.end)
}

/// Behind the others, joined to the last where it touches it.
fn push(spans: &mut Vec<Range<UnixMicros>>, span: Range<UnixMicros>) {
    match spans.last_mut() {
        Some(last) if span.start.0 - last.end.0 < WORTH_US => last.end = span.end,
        Some(_) | None => spans.push(span),
    }
}

fn time(at: UnixMicros) -> Result<String, CuError> {
    Timestamp::from_microsecond(at.0)
        .map(|at| at.to_string())
        .map_err(|_| CuError::usage("that time cannot be written"))
}

#[cfg(test)]
mod tests;
