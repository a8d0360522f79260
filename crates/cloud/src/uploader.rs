//! Which segment of a spool is uploaded next, and what follows from each answer (A8.7.1 steps 7 to 11).
//!
//! The [`Uploader`] gives out jobs and is told what became of each; it never sees a byte of media.
//! Each chain has two lanes, clips of events and the rest. In a lane segments go in their order, one at
//! a time: asked for, sent, confirmed. What is confirmed is let go from the spool, several at once.
//!
//! After every input drain [`Uploader::poll_output`]; call [`Uploader::handle_timeout`] when
//! [`Uploader::poll_timeout`] is due. Every job is answered exactly once by [`Input::Done`], however it
//! ended; a process that ends forgets its jobs, and the next one begins again with the spool as it is.
//!
//! Invariant: nothing is let go from the spool that the centre has not confirmed, but what cannot be
//! stored at all; nor are entries that lie before it and that the centre was not told of.

mod io;
mod lane;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

pub use io::{Chain, Failure, Input, Item, Job, JobId, LaneId, Now, Outcome, Output, Settings};
use lane::{Lane, State};
use sightline_recording::statement::Sequence;

use crate::budget::Spent;

/// See the module.
#[derive(Debug)]
pub struct Uploader {
    settings: Settings,
    spent: Spent,
    is_up: bool,
    chains: BTreeMap<Chain, ChainState>,
    lanes: BTreeMap<LaneId, Lane>,
    jobs: BTreeMap<JobId, Job>,
    next_job: u64,
    /// Jobs given out before the owner changed mean nothing any more.
    void_before: u64,
    has_no_space: bool,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct ChainState {
    opening: Opening,
    noted: Option<Sequence>,
    has_news: bool,
    is_noting: bool,
    wait: Wait,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Opening {
    #[default]
    Closed,
    Asked,
    Open,
}

/// When something that failed is tried again.
#[derive(Debug, Default, Clone, Copy)]
struct Wait {
    until_us: Option<u64>,
    failures: u32,
}

impl Wait {
    fn is_over(self, now: Now) -> bool {
        self.until_us.is_none_or(|until| until <= now.monotonic_us)
    }

    /// Twice as long as the last time.
    fn fail(&mut self, now: Now, settings: &Settings) {
        let longer = settings.retry_min_us.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        self.sleep(now, longer.min(settings.retry_max_us));
    }

    fn sleep(&mut self, now: Now, for_us: u64) {
        self.until_us = Some(now.monotonic_us.saturating_add(for_us));
    }
}

impl Uploader {
    /// One that knows of no chain yet.
    #[must_use]
    pub fn new(settings: Settings, spent: Spent) -> Self {
        Self {
            settings,
            spent,
            is_up: false,
            chains: BTreeMap::new(),
            lanes: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            void_before: 0,
            has_no_space: false,
            outputs: VecDeque::new(),
        }
    }

    /// Whether the last upload was refused because the owner's space is full of what may not go.
    #[must_use]
    pub const fn has_no_space(&self) -> bool {
        self.has_no_space
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Up => {
                self.is_up = true;
                self.chains.values_mut().for_each(|chain| chain.wait = Wait::default());
                self.lanes.values_mut().for_each(|lane| lane.wait = Wait::default());
            }
            Input::Down => self.is_up = false,
            Input::OwnerChanged => self.begin_anew(),
            Input::News(chain) => self.news(chain),
            Input::Done(id, outcome) => self.done(now, id, outcome),
        }
        self.drive(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.drive(now);
    }

    /// When [`Self::handle_timeout`] is due at the latest, by the monotonic clock in microseconds.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let up = self.is_up;
        let chains = self.chains.values().filter_map(|chain| chain.wait.until_us);
        // One whose chain is not open waits for that.
        let is_open = |id: &LaneId| self.is_open(id.chain);
        let waits = self.lanes.iter().filter(|(id, _)| is_open(id));
        let waits = waits.filter_map(|(_, lane)| lane.wait.until_us);
        let release =
            |(id, lane): (&LaneId, &Lane)| lane.release_at_us(&self.settings, self.told(id.chain));
        let releases = self.lanes.iter().filter_map(release);
        let waits = chains.chain(waits).filter(|_| up);
        waits.chain(releases).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What was asked for one owner says nothing to another.
    fn begin_anew(&mut self) {
        self.void_before = self.next_job;
        self.jobs.clear();
        for chain in self.chains.values_mut() {
            *chain = ChainState { has_news: true, ..ChainState::default() };
        }
        self.lanes.values_mut().for_each(Lane::begin_anew);
    }

    fn news(&mut self, chain: Chain) {
        self.chains.entry(chain).or_default().has_news = true;
        for is_event in [true, false] {
            self.lanes.entry(LaneId { is_event, chain }).or_default().has_news = true;
        }
    }

    fn done(&mut self, now: Now, id: JobId, outcome: Outcome) {
        if id.0 < self.void_before {
            return;
        }
        let Some(job) = self.jobs.remove(&id) else { return };
        match job {
            Job::Open(chain) => self.opened(now, chain, &outcome),
            Job::Note { chain, .. } => self.noted(now, chain, &outcome),
            Job::Look { lane, .. } => self.found(now, lane, outcome),
            Job::Ask { lane, item } => self.asked(now, lane, item, outcome),
            Job::Send { lane, item } => self.sent(now, lane, item, outcome),
            Job::Confirm { lane, item } => self.confirmed(now, lane, item, outcome),
            Job::MakeRoom { lane, item } => self.room_made(now, lane, item, outcome),
            Job::Release { lane, through } => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.released(through, outcome == Outcome::Done, now);
                }
            }
        }
    }

    fn opened(&mut self, now: Now, chain: Chain, outcome: &Outcome) {
        let settings = self.settings;
        let Some(state) = self.chains.get_mut(&chain) else { return };
        if *outcome == Outcome::Done {
            state.opening = Opening::Open;
            state.wait = Wait::default();
        } else {
            state.opening = Opening::Closed;
            state.wait.fail(now, &settings);
        }
    }

    fn noted(&mut self, now: Now, chain: Chain, outcome: &Outcome) {
        let settings = self.settings;
        let Some(state) = self.chains.get_mut(&chain) else { return };
        state.is_noting = false;
        match outcome {
            Outcome::Noted { through, more } => {
                state.noted = (*through).max(state.noted);
                state.has_news |= *more;
                state.wait = Wait::default();
            }
            _ => {
                state.has_news = true;
                state.wait.fail(now, &settings);
            }
        }
    }

    fn found(&mut self, now: Now, id: LaneId, outcome: Outcome) {
        match outcome {
            Outcome::Found(Some(item)) => self.set(id, State::Ready(item)),
            Outcome::Found(None) => self.set(id, State::Idle),
            _ => self.fail(now, id),
        }
    }

    fn asked(&mut self, now: Now, id: LaneId, item: Item, outcome: Outcome) {
        match outcome {
            Outcome::Leave => self.give(id, Job::Send { lane: id, item }),
            Outcome::Stored => self.stored(now, id, item),
            Outcome::Full => {
                let rounds = self.lanes.get_mut(&id).map_or(u32::MAX, |lane| {
                    lane.rounds += 1;
                    lane.rounds
                });
                if rounds > self.settings.rounds {
                    self.no_space(now, id);
                } else {
                    self.give(id, Job::MakeRoom { lane: id, item });
                }
            }
            Outcome::Failed(Failure::Unacceptable) => self.pass_over(id, item),
            _ => self.fail(now, id),
        }
    }

    fn sent(&mut self, now: Now, id: LaneId, item: Item, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.give(id, Job::Confirm { lane: id, item }),
            Outcome::Failed(Failure::Unacceptable) => self.pass_over(id, item),
            _ => self.fail(now, id),
        }
    }

    fn confirmed(&mut self, now: Now, id: LaneId, item: Item, outcome: Outcome) {
        match outcome {
            Outcome::Stored => self.stored(now, id, item),
            _ => self.fail(now, id),
        }
    }

    fn room_made(&mut self, now: Now, id: LaneId, item: Item, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.give(id, Job::Ask { lane: id, item }),
            Outcome::Failed(Failure::NoSpace) => self.no_space(now, id),
            _ => self.fail(now, id),
        }
    }

    fn stored(&mut self, now: Now, id: LaneId, item: Item) {
        self.has_no_space = false;
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.stored(item, now);
        }
    }

    /// It cannot be stored, now or ever: the others must not wait for it.
    fn pass_over(&mut self, id: LaneId, item: Item) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.done = Some(item.sequence);
            lane.state = State::Idle;
            lane.has_news = true;
        }
        self.outputs.push_back(Output::PassedOver(id, item));
    }

    fn no_space(&mut self, now: Now, id: LaneId) {
        self.has_no_space = true;
        let long = self.settings.retry_max_us;
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.look_again();
            lane.wait.sleep(now, long);
        }
    }

    fn fail(&mut self, now: Now, id: LaneId) {
        let settings = self.settings;
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.look_again();
            lane.wait.fail(now, &settings);
        }
    }

    fn set(&mut self, id: LaneId, state: State) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.state = state;
        }
    }

    /// Gives out a job that a lane waits for.
    fn give(&mut self, id: LaneId, job: Job) {
        self.set(id, State::Busy);
        self.start(job);
    }

    fn start(&mut self, job: Job) {
        let id = JobId(self.next_job);
        self.next_job += 1;
        self.jobs.insert(id, job);
        self.outputs.push_back(Output::Do(id, job));
    }

    /// Starts whatever may start now.
    fn drive(&mut self, now: Now) {
        self.release(now);
        if !self.is_up {
            return;
        }
        let open: Vec<_> = self.chains.keys().copied().collect();
        for chain in open {
            self.drive_chain(now, chain);
        }
        // Clips of events first: their lanes come first in the order of ids.
        let lanes: Vec<_> = self.lanes.keys().copied().collect();
        for id in lanes {
            self.drive_lane(now, id);
        }
    }

    fn release(&mut self, now: Now) {
        let mut jobs = Vec::new();
        for (id, lane) in &mut self.lanes {
            let noted = self.chains.get(&id.chain).and_then(|chain| chain.noted);
            let through = lane.begin_release(now, &self.settings, noted);
            jobs.extend(through.map(|through| Job::Release { lane: *id, through }));
        }
        jobs.into_iter().for_each(|job| self.start(job));
    }

    fn drive_chain(&mut self, now: Now, chain: Chain) {
        let Some(state) = self.chains.get_mut(&chain) else { return };
        if !state.wait.is_over(now) {
            return;
        }
        state.wait.until_us = None;
        match state.opening {
            Opening::Closed => {
                state.opening = Opening::Asked;
                self.start(Job::Open(chain));
            }
            Opening::Open if state.has_news && !state.is_noting => {
                (state.has_news, state.is_noting) = (false, true);
                let after = state.noted;
                self.start(Job::Note { chain, after });
            }
            Opening::Asked | Opening::Open => {}
        }
    }

    fn drive_lane(&mut self, now: Now, id: LaneId) {
        let is_open = self.is_open(id.chain);
        let sending = self.sending();
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| is_open && lane.wait.is_over(now))
        else {
            return;
        };
        lane.wait.until_us = None;
        match lane.state {
            State::Idle if lane.has_news => {
                lane.has_news = false;
                let after = lane.done;
                self.give(id, Job::Look { lane: id, after });
            }
            State::Ready(_) if sending >= self.settings.at_once => {}
            State::Ready(item) => self.begin(now, id, item),
            State::Idle | State::Busy => {}
        }
    }

    fn begin(&mut self, now: Now, id: LaneId, item: Item) {
        let budget = self.settings.budget;
        let allowed = budget.is_none_or(|b| b.allows(&self.spent, now.wall, item.len, id.is_event));
        if !allowed {
            let pause = self.settings.retry_max_us;
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.look_again();
                lane.wait.sleep(now, pause);
            }
            return;
        }
        // What is asked for counts, also when it breaks on the way.
        if let Some(budget) = budget {
            budget.spend(&mut self.spent, now.wall, item.len);
            self.outputs.push_back(Output::Keep(self.spent.clone()));
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.rounds = 0;
        }
        self.give(id, Job::Ask { lane: id, item });
    }

    fn is_open(&self, chain: Chain) -> bool {
        self.chains.get(&chain).is_some_and(|chain| chain.opening == Opening::Open)
    }

    /// How far the centre was told what a chain has between its segments.
    fn told(&self, chain: Chain) -> Option<Sequence> {
        self.chains.get(&chain).and_then(|chain| chain.noted)
    }

    /// Segments that are on their way.
    fn sending(&self) -> usize {
        let is_on_its_way = |job: &&Job| match job {
            Job::Ask { .. } | Job::Send { .. } | Job::Confirm { .. } | Job::MakeRoom { .. } => true,
            Job::Open(_) | Job::Note { .. } | Job::Look { .. } | Job::Release { .. } => false,
        };
        self.jobs.values().filter(is_on_its_way).count()
    }
}
