//! What is wanted, and what comes in.

use sightline_model::UnixMicros;

use super::{Ahead, Cursor, Mode, Planner};
use crate::replay::{
    Answer, EndReason, Notice, Output, Piece, Play, Request, RequestId, Way, group::Level,
};

impl Planner {
    pub(super) fn play(&mut self, play: Play) {
        let goes_on = play.at.is_none()
            && matches!(self.mode, Mode::Playing | Mode::Paused)
            && !self.stepped
            && play.delivery == self.delivery
            && play.scale.way() == self.scale.way()
            && self.ended != Some(EndReason::Until)
            && (play.scale == self.scale || play.scale.way() == Way::Forwards);
        let from = match (play.at, self.mode) {
            (Some(at), _) => Cursor::At(at.0),
            (None, Mode::Idle) if play.scale.way() == Way::Forwards => Cursor::At(i64::MIN),
            (None, Mode::Idle) => Cursor::At(i64::MAX),
            (None, Mode::Playing | Mode::Paused | Mode::One(_)) => Cursor::Beyond(self.shown_now()),
        };
        let old_scale = std::mem::replace(&mut self.scale, play.scale);
        self.selection = play.selection;
        self.delivery = play.delivery;
        self.until = play.until.map(|t| t.0);
        self.mode = Mode::Playing;
        self.stepped = false;
        self.told_end = false;
        if play.at.is_some() {
            self.decoder = None;
        }
        self.clock.resume(self.now);
        if !goes_on {
            return self.restart(from);
        }
        self.leave_out_beyond_until();
        if play.scale != old_scale {
            self.retime();
        }
        let (selection, scale, budget) = (self.selection, self.scale, self.config.budget);
        if let Some(current) = &mut self.current {
            current.level = Level::of(selection, &current.piece, scale, budget);
        }
    }

    pub(super) fn one(&mut self, way: Way, from: Cursor) {
        self.mode = Mode::One(way);
        self.stepped = true;
        self.until = None;
        self.clock.pause(self.now);
        self.restart(from);
    }

    /// What is queued is dropped; planning begins anew.
    fn restart(&mut self, from: Cursor) {
        let at = self.clock.at(self.now);
        self.shown.retain(|(presentation, _)| *presentation <= at);
        self.queue.clear();
        self.outputs.retain(|output| !matches!(output, Output::Need(_)));
        self.cursor = from;
        self.command = self.command.wrapping_add(1);
        self.ended = None;
        self.broken = true;
        self.whole = false;
        self.restart_clock = true;
        self.behind_gap = false;
        self.sound_until = None;
        self.last_shown = None;
        self.previous = None;
        self.ahead = Ahead::Unknown;
        // Pieces are small, but asking for one takes time that a person notices.
        if let Some(current) = self.current.take()
            && self.serves(&current.piece)
        {
            self.enter(current.piece);
        }
    }

    /// Whether a request for the cursor would be answered with this piece.
    pub(super) fn serves(&self, piece: &Piece) -> bool {
        let window = piece.window_us();
        match (self.way(), self.cursor) {
            (Way::Forwards, Cursor::At(t)) => window.contains(&t),
            (Way::Forwards, Cursor::Beyond(t)) => window.contains(&t.saturating_add(1)),
            (Way::Backwards, Cursor::At(t)) => window.contains(&t),
            (Way::Backwards, Cursor::Beyond(t)) => window.contains(&t.saturating_sub(1)),
        }
    }

    pub(super) fn answered(&mut self, id: RequestId, answer: Answer) {
        let Ahead::Asked { request, beyond } = self.ahead else { return };
        if request.id != id {
            return;
        }
        if self.may_stall() {
            self.clock.resume(self.now);
        }
        self.ahead = match answer {
            Answer::End => Ahead::End,
            Answer::Later => Ahead::Later,
            Answer::Unreadable(window) => {
                let (from, to) = (window.start, window.end);
                self.outputs.push_back(Output::Notice(Notice::Unreadable { from, to }));
                self.broken = true;
                let at = match request.way {
                    Way::Forwards => to.0.max(request.at.0.saturating_add(1)),
                    Way::Backwards => from.0.min(request.at.0.saturating_sub(1)),
                };
                self.request(at, true)
            }
            Answer::Piece(mut piece) => {
                let at = request.at.0;
                match (request.way, beyond) {
                    (Way::Forwards, true) => piece.clip(at..i64::MAX),
                    (Way::Backwards, true) => piece.clip(i64::MIN..at),
                    (Way::Forwards | Way::Backwards, false) => {}
                }
                if piece.window_us().is_empty() {
                    Ahead::End
                } else {
                    Ahead::Piece(Box::new(piece))
                }
            }
        };
    }

    pub(super) fn request(&mut self, at: i64, beyond: bool) -> Ahead {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let request = Request { id, at: UnixMicros(at), way: self.way() };
        self.outputs.push_back(Output::Need(request));
        Ahead::Asked { request, beyond }
    }

    /// Asks for the piece behind the current one before it is needed.
    pub(super) fn ask_ahead(&mut self) {
        if self.mode != Mode::Playing
            || self.ended.is_some()
            || !matches!(self.ahead, Ahead::Unknown)
        {
            return;
        }
        let Some(current) = &self.current else { return };
        let window = current.piece.window_us().clone();
        let at = if self.way() == Way::Forwards { window.end } else { window.start };
        self.ahead = self.request(at, true);
    }
}
