//! Clips of events of one chain, or the rest of it.

use sightline_recording::statement::Sequence;

use super::{Item, Now, Settings, Wait};

/// What a lane does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Idle,
    /// A job of it is out.
    Busy,
    /// A segment waits for its turn.
    Ready(Item),
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub state: State,
    /// Something may have come behind the last segment.
    pub has_news: bool,
    /// The last segment that is stored or was passed over.
    pub done: Option<Sequence>,
    /// So often room was asked for, for the segment that waits.
    pub rounds: u32,
    pub wait: Wait,
    held: Held,
}

/// What is stored and still in the spool.
#[derive(Debug, Default)]
struct Held {
    through: Option<Sequence>,
    count: u32,
    bytes: u64,
    since_us: u64,
    is_leaving: bool,
}

impl Lane {
    pub fn stored(&mut self, item: Item, now: Now) {
        self.done = Some(item.sequence);
        (self.state, self.has_news, self.wait) = (State::Idle, true, Wait::default());
        if self.held.count == 0 {
            self.held.since_us = now.monotonic_us;
        }
        self.held.through = Some(item.sequence);
        self.held.count += 1;
        self.held.bytes = self.held.bytes.saturating_add(item.len);
    }

    /// Everything is looked up anew; what is held is let go all the same.
    pub fn begin_anew(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        if std::mem::take(&mut held.is_leaving) {
            held.count = held.count.max(1);
        }
        *self = Self { has_news: true, held, ..Self::default() };
    }

    /// The spool may have let the segment go meanwhile: it is looked up anew.
    pub const fn look_again(&mut self) {
        self.state = State::Idle;
        self.has_news = true;
    }

    /// When what is held is let go at the latest. Entries between segments go from the spool with them, so
    /// that the centre has to be told of them first: `noted` is how far it was.
    pub fn release_at_us(&self, settings: &Settings, noted: Option<Sequence>) -> Option<u64> {
        let due = self.held.since_us.saturating_add(settings.release_after_us);
        let may_go = self.held.count > 0 && !self.held.is_leaving && self.held.through <= noted;
        may_go.then_some(due)
    }

    /// Up to which segment the spool is to let go now.
    pub fn begin_release(
        &mut self,
        now: Now,
        settings: &Settings,
        noted: Option<Sequence>,
    ) -> Option<Sequence> {
        let at_us = self.release_at_us(settings, noted)?;
        let held = &mut self.held;
        let is_much = held.count >= settings.release_count || held.bytes >= settings.release_bytes;
        if !is_much && now.monotonic_us < at_us {
            return None;
        }
        held.is_leaving = true;
        (held.count, held.bytes) = (0, 0);
        held.through
    }

    /// A spool that failed is asked again with the next.
    pub fn released(&mut self, through: Sequence, is_done: bool, now: Now) {
        self.held.is_leaving = false;
        if !is_done && self.held.count == 0 {
            self.held.count = 1;
            self.held.since_us = now.monotonic_us;
            self.held.through = self.held.through.max(Some(through));
        }
    }
}
