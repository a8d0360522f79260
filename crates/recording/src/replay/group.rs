//! Which pictures of a group are sent, and which of those are shown.

use std::ops::Range;

use super::{GroupBound, Piece, Scale, Way};

/// Most times that one group is sent in reverse.
const MAX_PASSES: usize = 8;
const SECOND_US: i64 = 1_000_000;

/// How much may be sent for each second of playing. Above it pictures that no other refers to are
/// left out, and then all but keyframes; keyframes always are sent. At scales of -1 to 1 nothing
/// is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Pictures in a second: what a decoder takes.
    pub pictures_per_s: u32,
    /// Bytes in a second: what the network takes.
    pub bytes_per_s: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { pictures_per_s: 120, bytes_per_s: 2_000_000 }
    }
}

/// Which pictures are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selection {
    /// As many as the budget allows.
    #[default]
    Budget,
    /// All (ONVIF `Frames: all`).
    All,
    /// Without those that no other refers to (ONVIF `Frames: predicted`).
    Referenced,
    /// Keyframes only, of those that lie closer than so many microseconds of the recording only
    /// the first (ONVIF `Frames: intra`).
    Keyframes {
        /// Least distance.
        interval_us: i64,
    },
    /// One picture of every second of the recording.
    EachSecond,
}

/// How much of a piece is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    All,
    Referenced,
    Keyframes { interval_us: i64 },
    EachSecond,
}

impl Level {
    pub fn of(selection: Selection, piece: &Piece, scale: Scale, budget: Budget) -> Self {
        match selection {
            Selection::All => Self::All,
            Selection::Referenced => Self::Referenced,
            Selection::Keyframes { interval_us } => Self::Keyframes { interval_us },
            Selection::EachSecond => Self::EachSecond,
            Selection::Budget if scale.is_slow() => Self::All,
            Selection::Budget => Self::by_budget(piece, scale, budget),
        }
    }

    fn by_budget(piece: &Piece, scale: Scale, budget: Budget) -> Self {
        let pictures = piece.table().pictures();
        let count = i64::try_from(pictures.len()).unwrap_or(i64::MAX);
        let playing_us = scale.playing_us(piece.interval_us().saturating_mul(count)).abs().max(1);
        let fits = |referenced: bool| {
            let sent = || pictures.iter().filter(|p| !(referenced && p.disposable));
            let bytes: u128 = sent().map(|p| u128::from(p.len)).sum();
            let per_s = |n: u128| n * 1_000_000 / u128::from(playing_us.unsigned_abs());
            per_s(sent().count() as u128) <= u128::from(budget.pictures_per_s)
                && per_s(bytes) <= u128::from(budget.bytes_per_s)
        };
        if fits(false) {
            Self::All
        } else if fits(true) {
            Self::Referenced
        } else {
            Self::Keyframes { interval_us: 0 }
        }
    }

    /// Sound goes with pictures that are all shown as they happened.
    pub fn with_sound(self, scale: Scale) -> bool {
        self == Self::All && scale == Scale::NORMAL
    }
}

/// What is asked of a group.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Times of pictures to be shown, in microseconds since 1970.
    pub walls: Range<i64>,
    pub level: Level,
    pub way: Way,
    /// The last picture shown, for selections by distance.
    pub last_shown: Option<i64>,
    /// Whether what precedes the group was just sent whole: pictures that refer to it can be
    /// decoded.
    pub follows: bool,
    pub bound: Option<GroupBound>,
}

/// The pictures of `group` to be shown, by index, rising.
pub(super) fn shown(piece: &Piece, group: usize, wanted: &Wanted) -> Vec<usize> {
    let range = piece.group(group);
    let key = range.start;
    let window = piece.window_us();
    let one_of = one_of(piece, group, wanted);
    let is_wanted = |index: &usize| {
        let wall = piece.wall(*index);
        let picture = &piece.table().pictures()[*index];
        window.contains(&wall)
            && wanted.walls.contains(&wall)
            // A picture shown before its group's keyframe may refer to the group before.
            && (wanted.follows || wall >= piece.wall(key))
            && match wanted.level {
                Level::All => (*index - key).is_multiple_of(one_of),
                Level::Referenced => {
                    !picture.disposable && (*index - key).is_multiple_of(one_of)
                }
                Level::Keyframes { interval_us } => {
                    let far = |last: i64| wall.abs_diff(last) >= interval_us.unsigned_abs();
                    *index == key && wanted.last_shown.is_none_or(far)
                }
                Level::EachSecond => true,
            }
    };
    let mut indices: Vec<usize> = range.filter(is_wanted).collect();
    if wanted.level == Level::EachSecond {
        each_second(piece, wanted, &mut indices);
    }
    if let (Way::Backwards, Some(bound)) = (wanted.way, wanted.bound) {
        newest(piece, bound, &mut indices);
    }
    indices
}

/// Of a group that would have to be sent more than [`MAX_PASSES`] times, only one of so many
/// pictures is shown.
pub(super) fn one_of(piece: &Piece, group: usize, wanted: &Wanted) -> usize {
    match (wanted.way, wanted.bound) {
        (Way::Backwards, Some(bound)) => {
            piece.group(group).len().div_ceil(bound.pictures.max(1) * MAX_PASSES).max(1)
        }
        (Way::Forwards, _) | (Way::Backwards, None) => 1,
    }
}

/// Keeps the earliest picture of each second.
fn each_second(piece: &Piece, wanted: &Wanted, indices: &mut Vec<usize>) {
    let second = |index: usize| piece.wall(index).div_euclid(SECOND_US);
    let done = wanted.last_shown.map(|wall| wall.div_euclid(SECOND_US));
    let mut by_time = indices.clone();
    by_time.sort_by_key(|index| piece.wall(*index));
    by_time.dedup_by_key(|index| second(*index));
    by_time.retain(|index| done != Some(second(*index)));
    by_time.sort_unstable();
    *indices = by_time;
}

/// Keeps the newest pictures that a receiver can hold, at least one.
fn newest(piece: &Piece, bound: GroupBound, indices: &mut Vec<usize>) {
    let mut by_time = indices.clone();
    by_time.sort_by_key(|index| std::cmp::Reverse(piece.wall(*index)));
    let (mut count, mut bytes) = (0, 0_u64);
    by_time.retain(|index| {
        bytes = bytes.saturating_add(u64::from(piece.table().pictures()[*index].len));
        count += 1;
        count == 1 || (count <= bound.pictures && bytes <= bound.bytes)
    });
    by_time.sort_unstable();
    *indices = by_time;
}

/// What is sent of a group so that `shown` can be shown, from index `from` on: indices, and whether
/// each is shown.
pub(super) fn sent(
    piece: &Piece,
    group: usize,
    from: usize,
    shown: &[usize],
) -> Vec<(usize, bool)> {
    let Some(last) = shown.last().copied() else { return Vec::new() };
    let key = piece.group(group).start;
    let needed = |index: usize| {
        !piece.table().pictures()[index].disposable && piece.wall(index) >= piece.wall(key)
    };
    (from..=last)
        .map(|index| (index, shown.binary_search(&index).is_ok()))
        .filter(|(index, is_shown)| *is_shown || needed(*index))
        .collect()
}
