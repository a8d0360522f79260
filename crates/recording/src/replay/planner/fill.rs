//! From groups of pictures to the queue.

use super::{
    Ahead, Current, Cursor, Mode, Planner, Previous, SEAM_US,
    pace::{Plan, pace_forwards},
};
use crate::replay::{
    EndReason, Notice, Output, Piece, Way,
    group::{self, Level, Wanted},
};

impl Planner {
    /// Plans until something is queued, or until it has to wait.
    pub(super) fn fill(&mut self) {
        while self.queue.is_empty() && self.ended.is_none() {
            self.catch_up();
            let Some(current) = &self.current else {
                if !self.next_piece() {
                    return;
                }
                continue;
            };
            match (self.mode, current.group) {
                (Mode::One(way), _) => self.plan_one(way),
                (_, None) => self.leave(),
                (_, Some(group)) => self.plan_group(group),
            }
        }
    }

    /// Makes the piece ahead the current one; `false` when there is none yet.
    fn next_piece(&mut self) -> bool {
        match std::mem::replace(&mut self.ahead, Ahead::Unknown) {
            Ahead::Unknown => {
                let (at, beyond) = self.where_to_ask();
                self.ahead = self.request(at, beyond);
                false
            }
            Ahead::Piece(piece) => {
                if let Some(previous) = self.previous {
                    self.broken |= !previous.is_followed_by(&piece, self.way());
                    self.behind_gap |= previous.distance_us(&piece, self.way()) > SEAM_US;
                }
                self.enter(*piece);
                true
            }
            Ahead::End | Ahead::Later if self.shows_the_newest() => true,
            Ahead::End => {
                self.ahead = Ahead::End;
                self.end(EndReason::Recording);
                false
            }
            waiting @ (Ahead::Asked { .. } | Ahead::Later) => {
                self.ahead = waiting;
                false
            }
        }
    }

    /// A picture at a time after the recording's end: the last one is shown.
    fn shows_the_newest(&mut self) -> bool {
        let found = self.mode == Mode::One(Way::Forwards) && matches!(self.cursor, Cursor::At(_));
        if found {
            self.mode = Mode::One(Way::Backwards);
        }
        found
    }

    fn where_to_ask(&self) -> (i64, bool) {
        let way = self.way();
        match (self.previous, self.cursor, way) {
            (Some(previous), _, Way::Forwards) => (previous.to, true),
            (Some(previous), _, Way::Backwards) => (previous.from, true),
            (None, Cursor::At(t), Way::Forwards) => (t, false),
            (None, Cursor::Beyond(t), Way::Forwards) => (t.saturating_add(1), false),
            (None, Cursor::At(t), Way::Backwards) => (t.saturating_add(1), false),
            (None, Cursor::Beyond(t), Way::Backwards) => (t, false),
        }
    }

    pub(super) fn enter(&mut self, piece: Piece) {
        let level = Level::of(self.selection, &piece, self.scale, self.config.budget);
        if let (Cursor::At(t), Way::Forwards, Mode::Playing) = (self.cursor, self.way(), self.mode)
        {
            let only_keys = matches!(level, Level::Keyframes { .. });
            if let Some(wall) = shown_at(&piece, t, only_keys) {
                self.cursor = Cursor::Beyond(wall.saturating_sub(1));
            }
        }
        let groups = piece.groups_in_window();
        let at = match (self.way(), self.cursor) {
            // Its keyframe may be the picture before the wanted one.
            (Way::Forwards, Cursor::Beyond(t)) => piece.group_at(t.saturating_add(1)),
            (Way::Forwards | Way::Backwards, Cursor::At(t))
            | (Way::Backwards, Cursor::Beyond(t)) => piece.group_at(t),
        };
        let group = Some(at.clamp(groups.start, groups.end - 1));
        self.current = Some(Current { piece, group, level });
    }

    fn leave(&mut self) {
        if let Some(current) = self.current.take() {
            self.previous = Some(Previous::of(&current.piece));
        }
    }

    fn end(&mut self, reason: EndReason) {
        self.ended = Some(reason);
        self.told_end = false;
        if let Mode::One(_) = self.mode {
            self.mode = Mode::Paused;
        }
    }

    /// In step with others, what is more than a second late is passed over.
    fn catch_up(&mut self) {
        if !self.follows || self.mode != Mode::Playing || self.scale.way() != Way::Forwards {
            return;
        }
        let slack = self.scale.recording_us(1_000_000);
        let Some(playhead) = self.clock.wall(self.clock.at(self.now)) else { return };
        let Some(current) = self.current.take() else { return };
        let late = playhead.saturating_sub(slack);
        let (piece, after) = (&current.piece, self.walls().start);
        let is_over = piece.window_us().end <= late;
        let is_late = |index: usize| (after..late).contains(&piece.wall(index));
        if !is_over && !(0..piece.table().pictures().len()).any(is_late) {
            self.current = Some(current);
            return;
        }
        self.cursor = Cursor::At(playhead);
        self.decoder = None;
        self.broken = true;
        self.sound_until = None;
        if is_over {
            self.previous = None;
            self.ahead = Ahead::Unknown;
        } else {
            self.enter(current.piece);
        }
    }

    fn plan_one(&mut self, way: Way) {
        let Some(current) = &self.current else { return };
        let Some(index) = one(&current.piece, self.cursor, way) else { return self.leave() };
        let piece = &current.piece;
        let group = piece.group_of(index);
        let key = piece.group(group).start;
        let from = self.resumes(piece, key, index).unwrap_or(key);
        let sent = group::sent(piece, group, from, &[index]);
        let plan = Plan { group, sent, from, level: Level::All, closes: false };
        self.queue_plan(&plan, Way::Forwards);
    }

    /// Where decoding can go on in this group, when `first` is the first to be shown.
    fn resumes(&self, piece: &Piece, key: usize, first: usize) -> Option<usize> {
        let decoder = self.decoder?;
        let same = decoder.segment == piece.key() && decoder.key == key;
        (same && decoder.next <= first).then_some(decoder.next)
    }

    fn walls(&self) -> std::ops::Range<i64> {
        let after = match self.cursor {
            Cursor::At(t) => t,
            Cursor::Beyond(t) => t.saturating_add(1),
        };
        let before = match self.cursor {
            Cursor::At(t) => t.saturating_add(1),
            Cursor::Beyond(t) => t,
        };
        match self.way() {
            Way::Forwards => after..self.until.unwrap_or(i64::MAX),
            Way::Backwards => self.until.unwrap_or(i64::MIN)..before,
        }
    }

    fn plan_group(&mut self, group: usize) {
        let Some(current) = &self.current else { return };
        let (piece, level, way) = (&current.piece, current.level, self.way());
        let key = piece.group(group).start;
        let wanted = Wanted {
            walls: self.walls(),
            level,
            way,
            last_shown: self.last_shown,
            follows: way == Way::Forwards && self.whole && !self.broken,
            bound: self.config.group_bound,
        };
        let shown = group::shown(piece, group, &wanted);
        let Some(first) = shown.first().copied() else { return self.next_group(group) };
        let from = match way {
            Way::Forwards => self.resumes(piece, key, first).unwrap_or(key),
            Way::Backwards => key,
        };
        let sent = group::sent(piece, group, from, &shown);
        let closes = self.closes(group, &wanted, &shown);
        self.tell_large(group, &wanted);
        self.queue_plan(&Plan { group, sent, from, level, closes }, way);
        if way == Way::Forwards {
            self.next_group(group);
        }
    }

    fn next_group(&mut self, group: usize) {
        let Some(current) = &mut self.current else { return };
        let groups = current.piece.groups_in_window();
        let key_wall = current.piece.wall(current.piece.group(group).start);
        let (next, beyond_until) = match self.scale.way() {
            Way::Forwards => {
                let next = Some(group + 1).filter(|g| *g < groups.end);
                let wall = next.map(|g| current.piece.wall(current.piece.group(g).start));
                let from = wall.unwrap_or(current.piece.window_us().end);
                (next, self.until.is_some_and(|until| from >= until))
            }
            Way::Backwards => {
                let next = group.checked_sub(1).filter(|g| *g >= groups.start);
                // What lies in groups below was taken before this one's keyframe.
                let next = next.filter(|_| self.until.is_none_or(|until| key_wall > until));
                let to = current.piece.window_us().start;
                (next, next.is_none() && self.until.is_some_and(|until| to <= until))
            }
        };
        current.group = next;
        if beyond_until {
            self.end(EndReason::Until);
        }
    }

    /// Whether nothing more of the piece is shown after these.
    fn closes(&self, group: usize, wanted: &Wanted, shown: &[usize]) -> bool {
        let Some(current) = &self.current else { return false };
        let piece = &current.piece;
        let groups = piece.groups_in_window();
        match wanted.way {
            Way::Forwards => group + 1 == groups.end,
            Way::Backwards => {
                let first = shown.iter().map(|i| piece.wall(*i)).min().unwrap_or(i64::MIN);
                let rest = Wanted {
                    walls: wanted.walls.start..first.min(wanted.walls.end),
                    last_shown: Some(first),
                    ..wanted.clone()
                };
                group == groups.start && group::shown(piece, group, &rest).is_empty()
            }
        }
    }

    /// To be told when a group longer than the bound is begun.
    fn tell_large(&mut self, group: usize, wanted: &Wanted) {
        let Some(current) = &self.current else { return };
        let (piece, range) = (&current.piece, current.piece.group(group));
        let all = matches!(wanted.level, Level::All | Level::Referenced);
        let this = Some((piece.key(), group));
        let is_large = wanted.bound.is_some_and(|bound| range.len() > bound.pictures);
        if wanted.way == Way::Backwards && all && is_large && self.told_large != this {
            let (pictures, one_of) = (range.len(), group::one_of(piece, group, wanted));
            self.outputs.push_back(Output::Notice(Notice::LargeGroup { pictures, one_of }));
            self.told_large = this;
        }
    }

    fn queue_plan(&mut self, plan: &Plan, way: Way) {
        let Some(current) = &self.current else { return };
        let piece = current.piece.clone();
        let walls = || plan.sent.iter().filter(|s| s.1).map(|s| piece.wall(s.0));
        let (Some(low), Some(high)) = (walls().min(), walls().max()) else { return };
        let first = if way == Way::Forwards { low } else { high };
        self.set_clock(plan, first);
        let range = piece.group(plan.group);
        let anew = plan.from == range.start && (self.broken || self.way() == Way::Backwards);
        let again = plan.from == range.start
            && self.decoder.is_some_and(|d| d.segment == piece.key() && d.key == range.start);
        let mut queued = self.pictures(&piece, plan, first, anew || again);
        match way {
            Way::Forwards => pace_forwards(&mut queued),
            Way::Backwards => self.pace_backwards(&piece, &mut queued, low, high),
        }
        if plan.closes
            && let Some(last) = queued.last_mut()
        {
            last.closes = true;
        }
        if way == Way::Forwards && self.mode == Mode::Playing {
            self.add_sound(&piece, plan, low, &mut queued);
        }
        self.whole = plan.sent.last().is_some_and(|s| s.0 + 1 == range.end);
        self.broken = false;
        self.restart_clock = false;
        self.behind_gap = false;
        self.queue.extend(queued);
    }
}

/// The picture that is shown at `t`: the last one taken by then, else the first of the piece.
fn shown_at(piece: &Piece, t: i64, only_keys: bool) -> Option<i64> {
    let window = piece.window_us();
    let pictures = piece.table().pictures().iter().enumerate();
    let walls = pictures
        .filter(|(_, picture)| picture.keyframe || !only_keys)
        .map(|(index, _)| piece.wall(index))
        .filter(|wall| window.contains(wall));
    let (by_then, later): (Vec<i64>, Vec<i64>) = walls.partition(|wall| *wall <= t);
    by_then.into_iter().max().or_else(|| later.into_iter().min())
}

/// The one picture to be shown.
fn one(piece: &Piece, cursor: Cursor, way: Way) -> Option<usize> {
    let window = piece.window_us();
    let decodable = |index: &usize| {
        let key = piece.group(piece.group_of(*index)).start;
        window.contains(&piece.wall(*index)) && piece.wall(*index) >= piece.wall(key)
    };
    let indices = || (0..piece.table().pictures().len()).filter(decodable);
    let wall = |index: &usize| piece.wall(*index);
    match (cursor, way) {
        (Cursor::At(t), Way::Forwards) => indices()
            .filter(|i| wall(i) <= t)
            .max_by_key(wall)
            .or_else(|| indices().min_by_key(wall)),
        (Cursor::At(t), Way::Backwards) => indices().filter(|i| wall(i) <= t).max_by_key(wall),
        (Cursor::Beyond(t), Way::Forwards) => indices().filter(|i| wall(i) > t).min_by_key(wall),
        (Cursor::Beyond(t), Way::Backwards) => indices().filter(|i| wall(i) < t).max_by_key(wall),
    }
}
