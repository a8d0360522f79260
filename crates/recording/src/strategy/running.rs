//! One strategy at work.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sightline_model::{EventKind, Strategy, Trigger, UnixMicros};

use super::{EventId, KeptManual, Moment, RECHECK, StrategyError, Week};
use crate::statement::Causes;

/// An event that goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live {
    pub(super) kind: EventKind,
    /// When it counts as ended although nobody said so.
    pub(super) expires_us: u64,
    /// Whether it has begun just now.
    pub(super) fresh: bool,
}

pub(super) type Events = BTreeMap<EventId, Live>;

#[derive(Debug)]
pub(super) struct Running {
    pub(super) strategy: Strategy,
    state: State,
}

#[derive(Debug)]
enum State {
    Manual { limit_us: Option<u64>, run: Option<ManualRun> },
    Schedule { week: Week },
    Continuous,
    Event(EventState),
}

#[derive(Debug, Clone, Copy)]
struct ManualRun {
    started: Option<UnixMicros>,
    /// `None`: until it is stopped.
    until_us: Option<u64>,
}

#[derive(Debug)]
struct EventState {
    kinds: BTreeSet<EventKind>,
    pre_roll_us: u64,
    post_roll_us: u64,
    during: Option<Week>,
    /// Events that began, or went on, while the strategy was in force: each is recorded to its end.
    caught: BTreeSet<EventId>,
    /// When the post-roll of those that have ended is over.
    tail_until_us: Option<u64>,
}

/// What a strategy wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) causes: Causes,
    /// From when on.
    pub(super) back_to_us: u64,
}

impl Running {
    pub(super) fn new(strategy: Strategy) -> Result<Self, StrategyError> {
        let state = match &strategy.trigger {
            Trigger::Manual { limit_s } => {
                State::Manual { limit_us: limit_s.map(|s| us(s.into())), run: None }
            }
            Trigger::Schedule { schedule } => State::Schedule { week: Week::new(schedule)? },
            Trigger::Continuous => State::Continuous,
            Trigger::Event { kinds, pre_roll_s, post_roll_s, during } => State::Event(EventState {
                kinds: kinds.clone(),
                pre_roll_us: us((*pre_roll_s).into()),
                post_roll_us: us((*post_roll_s).into()),
                during: during.as_ref().map(Week::new).transpose()?,
                caught: BTreeSet::new(),
                tail_until_us: None,
            }),
        };
        Ok(Self { strategy, state })
    }

    /// Goes on with what the strategy of the same name did in the plan before.
    pub(super) fn take_over(&mut self, before: &Self, now: Moment, events: &Events) {
        match (&mut self.state, &before.state) {
            (State::Manual { limit_us, run }, State::Manual { run: Some(old), .. }) => {
                let until_us = match (old.until_us, *limit_us) {
                    (Some(until), Some(limit)) => Some(until.min(now.monotonic_us + limit)),
                    (None, Some(limit)) => Some(now.monotonic_us + limit),
                    (Some(_) | None, None) => None,
                };
                *run = Some(ManualRun { until_us, ..*old });
            }
            (State::Event(new), State::Event(old)) => {
                let goes_on = |id: &&EventId| {
                    events.get(*id).is_some_and(|live| new.kinds.contains(&live.kind))
                };
                new.caught = old.caught.iter().filter(goes_on).copied().collect();
                let most = now.monotonic_us + new.post_roll_us;
                new.tail_until_us = old.tail_until_us.map(|until| until.min(most));
            }
            (
                State::Manual { .. } | State::Schedule { .. } | State::Continuous | State::Event(_),
                _,
            ) => {}
        }
    }

    /// Starts a manual one, or its time anew; `Err` when it is none.
    pub(super) fn start(&mut self, now: Moment) -> Result<(), StrategyError> {
        match &mut self.state {
            State::Manual { limit_us, run } => {
                let started = now.authority.is_confirmed().then_some(now.time);
                let until_us = limit_us.map(|limit| now.monotonic_us + limit);
                *run = Some(ManualRun { started, until_us });
                Ok(())
            }
            State::Schedule { .. } | State::Continuous | State::Event(_) => Err(self.not_manual()),
        }
    }

    /// Stops a manual one; `Err` when it is none.
    pub(super) fn stop(&mut self) -> Result<(), StrategyError> {
        match &mut self.state {
            State::Manual { run, .. } => {
                *run = None;
                Ok(())
            }
            State::Schedule { .. } | State::Continuous | State::Event(_) => Err(self.not_manual()),
        }
    }

    fn not_manual(&self) -> StrategyError {
        StrategyError::NotManual(self.strategy.id.clone())
    }

    /// Goes on with a manual recording that ran before a restart.
    pub(super) fn resume(&mut self, started: Option<UnixMicros>, now: Moment) {
        if let State::Manual { limit_us, run } = &mut self.state {
            // How long the restart took is known only when both clocks are.
            let passed = started.filter(|_| now.authority.is_confirmed()).map_or(0, |started| {
                u64::try_from(now.time.since(started).as_micros()).unwrap_or(u64::MAX)
            });
            let until_us = limit_us.map(|limit| now.monotonic_us + limit.saturating_sub(passed));
            *run = Some(ManualRun { started, until_us });
        }
    }

    /// The manual recording that runs.
    pub(super) fn kept(&self) -> Option<KeptManual> {
        let State::Manual { run: Some(run), .. } = &self.state else { return None };
        Some(KeptManual { strategy: self.strategy.id.clone(), started: run.started })
    }

    pub(super) fn event_ended(&mut self, event: EventId, at_us: u64) {
        if let State::Event(state) = &mut self.state
            && state.caught.remove(&event)
        {
            state.tail_until_us = state.tail_until_us.max(Some(at_us + state.post_roll_us));
        }
    }

    /// How long it wants pictures to be held.
    pub(super) fn pre_roll(&self) -> Duration {
        match &self.state {
            State::Event(state) => Duration::from_micros(state.pre_roll_us),
            State::Manual { .. } | State::Schedule { .. } | State::Continuous => Duration::ZERO,
        }
    }

    /// What it wants now; gives up what is over.
    pub(super) fn want(&mut self, now: Moment, events: &Events) -> Option<Want> {
        let none = Causes::default();
        let (on, causes) = match &mut self.state {
            State::Manual { run, .. } => {
                *run = run.filter(|run| run.until_us.is_none_or(|until| until > now.monotonic_us));
                (run.is_some(), Causes { manual: true, ..none })
            }
            State::Schedule { week } => (is_open(week, now), Causes { schedule: true, ..none }),
            State::Continuous => (true, Causes { continuous: true, ..none }),
            State::Event(state) => return state.want(now, events),
        };
        on.then_some(Want { causes, back_to_us: now.monotonic_us })
    }

    /// When it may want something else, by the monotonic clock.
    pub(super) fn next_change_us(&self, now: Moment) -> Option<u64> {
        match &self.state {
            State::Manual { run, .. } => run.and_then(|run| run.until_us),
            State::Schedule { week } => recheck_us(week, now),
            State::Continuous => None,
            State::Event(state) => {
                let opens = state.during.as_ref().and_then(|week| recheck_us(week, now));
                opens.into_iter().chain(state.tail_until_us).min()
            }
        }
    }
}

impl EventState {
    fn want(&mut self, now: Moment, events: &Events) -> Option<Want> {
        let mut back_to_us = now.monotonic_us;
        if self.during.as_ref().is_none_or(|week| is_open(week, now)) {
            for (event, live) in events {
                if self.kinds.contains(&live.kind) && self.caught.insert(*event) && live.fresh {
                    back_to_us = now.monotonic_us.saturating_sub(self.pre_roll_us);
                }
            }
        }
        self.tail_until_us = self.tail_until_us.filter(|until| *until > now.monotonic_us);
        let on = !self.caught.is_empty() || self.tail_until_us.is_some();
        let causes = Causes { event: true, ..Causes::default() };
        on.then_some(Want { causes, back_to_us })
    }
}

/// An unconfirmed clock cannot say which hour it is: then every hour counts as planned.
fn is_open(week: &Week, now: Moment) -> bool {
    !now.authority.is_confirmed() || week.holds(now.time)
}

fn recheck_us(week: &Week, now: Moment) -> Option<u64> {
    let change = week.next_change(now.time)?;
    let ahead = change.since(now.time).min(RECHECK);
    Some(now.monotonic_us + u64::try_from(ahead.as_micros()).unwrap_or(u64::MAX / 2).max(1))
}

pub(super) const fn us(seconds: u64) -> u64 {
    seconds * 1_000_000
}
