//! Which keyframe stands for a stretch of a timeline.

use sightline_model::UnixMicros;

use super::Piece;

/// A keyframe to be drawn small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// Its number in the segment's table.
    pub index: usize,
    /// Its number in what the table was read from.
    pub source: usize,
    /// When it was taken.
    pub wall: UnixMicros,
}

/// The keyframe of `piece` that stands for the stretch of `zoom_us` microseconds around `at`, none
/// when no keyframe of its window lies in it.
///
/// Stretches are multiples of `zoom_us` since 1970, so that scrolling shows the same pictures and
/// they can be kept; of several keyframes in one the first is taken.
#[must_use]
pub fn thumbnail_at(piece: &Piece, at: UnixMicros, zoom_us: i64) -> Option<Thumbnail> {
    let zoom_us = zoom_us.max(1);
    let from = at.0.div_euclid(zoom_us).saturating_mul(zoom_us);
    let stretch = from..from.saturating_add(zoom_us);
    keyframes(piece).filter(|t| stretch.contains(&t.wall.0)).min_by_key(|t| t.wall)
}

/// One keyframe for each stretch of `zoom_us` microseconds in which the piece has any, by time.
#[must_use]
pub fn thumbnails(piece: &Piece, zoom_us: i64) -> Vec<Thumbnail> {
    let zoom_us = zoom_us.max(1);
    let mut all: Vec<_> = keyframes(piece).collect();
    all.sort_by_key(|t| t.wall);
    all.dedup_by_key(|t| t.wall.0.div_euclid(zoom_us));
    all
}

fn keyframes(piece: &Piece) -> impl Iterator<Item = Thumbnail> {
    (0..piece.groups()).filter_map(|group| {
        let index = piece.group(group).start;
        let wall = piece.wall(index);
        let source = piece.table().pictures()[index].source;
        let thumbnail = Thumbnail { index, source, wall: UnixMicros(wall) };
        piece.window_us().contains(&wall).then_some(thumbnail)
    })
}
