//! When each unit of the queue is sent and shown.

use sightline_model::UnixMicros;

use super::{Cursor, LONGEST_LEAD, Planner, Queued, SEAM_US};
use crate::replay::{Delivery, Gaps, Piece, Unit, UnitKind, Way, group::Level};

/// Distance of pictures that are only decoded, in presentation time: one tick of 90 kHz.
const TICK_US: i64 = 12;
/// Presentation time between what was shown and what follows a jump.
const JUMP_US: i64 = 1_000;

/// What is sent of one group.
pub(super) struct Plan {
    pub group: usize,
    /// Index, and whether it is shown.
    pub sent: Vec<(usize, bool)>,
    /// Index at which decoding begins or goes on.
    pub from: usize,
    pub level: Level,
    pub closes: bool,
}

impl Planner {
    /// Sets when `first` is shown.
    pub(super) fn set_clock(&mut self, plan: &Plan, first: i64) {
        if self.follows {
            return;
        }
        let hidden = plan.sent.iter().filter(|s| !s.1).count();
        let hidden = i64::try_from(hidden).unwrap_or(0).saturating_mul(TICK_US);
        if self.restart_clock {
            return self.clock.restart(first, self.scale, JUMP_US + hidden, self.now);
        }
        if self.behind_gap && self.config.gaps == Gaps::Skip {
            let rest_us = self.previous.map_or(0, |previous| previous.rest_us);
            let next = self.scale.playing_us(rest_us).abs().max(hidden + TICK_US);
            let after = self.clock.high_us().saturating_add(next);
            let paced = self.delivery == Delivery::Paced;
            let at = if paced { after.max(self.clock.at(self.now)) } else { after };
            self.clock.anchor(at, first, self.scale);
        }
        // Pictures of two runs may lie closer than any scale can tell apart.
        let least = self.clock.high_us().saturating_add(TICK_US);
        if self.clock.presentation_us(first) < least {
            self.clock.anchor(least, first, self.scale);
        }
        if self.delivery == Delivery::Paced {
            self.clock.not_before(self.clock.presentation_us(first), self.now);
        }
    }

    pub(super) fn pictures(
        &self,
        piece: &Piece,
        plan: &Plan,
        first: i64,
        anew: bool,
    ) -> Vec<Queued> {
        let shown_at = self.clock.presentation_us(first);
        let mut hidden = plan.sent.iter().filter(|s| !s.1).count();
        let mut queued = Vec::with_capacity(plan.sent.len());
        for (index, shown) in &plan.sent {
            let picture = &piece.table().pictures()[*index];
            let wall = piece.wall(*index);
            let presentation_us = if *shown {
                self.clock.presentation_us(wall)
            } else {
                let before = i64::try_from(hidden).unwrap_or(0).saturating_mul(TICK_US);
                hidden -= 1;
                shown_at.saturating_sub(before)
            };
            queued.push(Queued {
                due_us: presentation_us,
                closes: false,
                unit: Unit {
                    segment: piece.key(),
                    kind: UnitKind::Picture,
                    index: *index,
                    source: picture.source,
                    wall: UnixMicros(wall),
                    presentation_us,
                    due: self.now,
                    shown: *shown,
                    keyframe: picture.keyframe,
                    discontinuity: anew && queued.is_empty(),
                    section_end: false,
                    last: false,
                    command: self.command,
                },
            });
        }
        queued
    }

    /// A group is sent while the one before it is shown: it is needed whole when its own turn comes.
    pub(super) fn pace_backwards(&self, piece: &Piece, queued: &mut [Queued], low: i64, high: i64) {
        let count = i64::try_from(queued.len()).unwrap_or(i64::MAX);
        let shown_at = self.clock.presentation_us(high);
        let last = self.clock.presentation_us(low);
        let longest = i64::try_from(LONGEST_LEAD.as_micros()).unwrap_or(i64::MAX);
        let lead = last
            .saturating_sub(shown_at)
            .saturating_add(self.scale.playing_us(piece.interval_us()).abs())
            .clamp(0, longest);
        for (queued, rest) in queued.iter_mut().zip((1..=count).rev()) {
            let before = i128::from(lead) * i128::from(rest) / i128::from(count.max(1));
            let before = i64::try_from(before).unwrap_or(lead);
            queued.due_us = shown_at.saturating_sub(before);
        }
    }

    pub(super) fn add_sound(
        &mut self,
        piece: &Piece,
        plan: &Plan,
        low: i64,
        queued: &mut Vec<Queued>,
    ) {
        if !plan.level.with_sound(self.scale) {
            self.sound_until = None;
            return;
        }
        let groups = piece.groups_in_window();
        let next = Some(plan.group + 1).filter(|g| *g < groups.end);
        let end = next.map_or(piece.window_us().end, |g| piece.wall(piece.group(g).start));
        let end = end.min(self.until.unwrap_or(i64::MAX));
        let begin = self.sound_until.filter(|_| !self.broken).unwrap_or(low);
        self.sound_until = Some(end.max(begin));
        for index in piece.sound_before(begin)..piece.sound_before(end) {
            let wall = piece.sound_wall(index);
            let presentation_us = self.clock.presentation_us(wall);
            queued.push(Queued {
                due_us: presentation_us,
                closes: false,
                unit: Unit {
                    segment: piece.key(),
                    kind: UnitKind::Sound,
                    index,
                    source: piece.table().sound()[index].source,
                    wall: UnixMicros(wall),
                    presentation_us,
                    due: self.now,
                    shown: true,
                    keyframe: true,
                    discontinuity: self.broken && index == piece.sound_before(begin),
                    section_end: false,
                    last: false,
                    command: self.command,
                },
            });
        }
        queued.sort_by_key(|q| q.due_us);
    }

    pub(super) fn leave_out_beyond_until(&mut self) {
        if let Some(until) = self.until {
            let way = self.scale.way();
            self.queue.retain(|q| {
                !q.unit.shown
                    || match way {
                        Way::Forwards => q.unit.wall.0 < until,
                        Way::Backwards => q.unit.wall.0 >= until,
                    }
            });
        }
    }

    /// Another scale, forwards: what is queued is shown at other times, from where nothing that was
    /// sent is shown later than what was not.
    pub(super) fn retime(&mut self) {
        let sounds = Level::All.with_sound(self.scale);
        if !sounds {
            self.queue.retain(|q| q.unit.kind == UnitKind::Picture);
            self.sound_until = None;
        }
        let mut after = match self.cursor {
            Cursor::Beyond(t) => t,
            Cursor::At(t) => t.saturating_sub(1),
        };
        let shown = |q: &&Queued| q.unit.shown;
        let wall = |q: &Queued| q.unit.wall.0;
        let mut split = 0;
        while let Some(queued) = self.queue.get(split)
            && self.queue.range(split..).filter(shown).any(|q| wall(q) <= after)
        {
            after = if queued.unit.shown { after.max(wall(queued)) } else { after };
            split += 1;
        }
        let first = self.queue.range(split..).filter(shown).map(wall).min();
        // The new scale holds from what is shown now; behind a gap the first picture keeps its time.
        let at = self.clock.at(self.now);
        let base = match first {
            Some(first) if first.saturating_sub(after) > SEAM_US => first,
            Some(first) => self.clock.wall(at).unwrap_or(after).min(first).max(after),
            None => after,
        };
        self.clock.anchor(self.clock.presentation_us(base).max(at), base, self.scale);
        let mut rest: Vec<Queued> = self.queue.drain(split..).collect();
        for queued in rest.iter_mut().filter(|q| q.unit.shown) {
            queued.unit.presentation_us = self.clock.presentation_us(queued.unit.wall.0);
        }
        pace_forwards(&mut rest);
        self.queue.extend(rest);
    }
}

/// Each picture is sent when the first of it and all behind it is shown: never late, and as late as
/// the order of decoding allows. What is only decoded goes at once.
pub(super) fn pace_forwards(queued: &mut [Queued]) {
    let mut earliest = i64::MAX;
    for queued in queued.iter_mut().rev().filter(|q| q.unit.shown) {
        earliest = earliest.min(queued.unit.presentation_us);
        queued.due_us = earliest;
    }
    let mut before = i64::MIN;
    for queued in queued {
        if queued.unit.shown {
            before = queued.due_us;
        } else {
            queued.due_us = before;
        }
    }
}
