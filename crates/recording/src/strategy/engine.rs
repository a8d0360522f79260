//! The plan of one camera at one place, carried out.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use sightline_model::{CameraId, RecordingPlace, RecordingPlan, StrategyId, StreamTier};

use super::{
    EventId, Input, Kept, MAX_EVENT, MAX_EVENTS, Moment, Output, StrategyError,
    running::{Events, Live, Running, Want, us},
};
use crate::statement::Causes;

/// See the module above.
#[derive(Debug)]
pub struct Engine {
    plan: RecordingPlan,
    running: Vec<Running>,
    events: Events,
    /// What is being recorded.
    wanted: BTreeMap<StreamTier, Causes>,
    pre_rolls: BTreeMap<StreamTier, Duration>,
    outputs: VecDeque<Output>,
    next_us: Option<u64>,
}

impl Engine {
    /// For a camera for which nothing was ever planned.
    #[must_use]
    pub fn new(camera: CameraId, place: RecordingPlace) -> Self {
        Self {
            plan: RecordingPlan::nothing(camera, place),
            running: Vec::new(),
            events: Events::new(),
            wanted: BTreeMap::new(),
            pre_rolls: BTreeMap::new(),
            outputs: VecDeque::new(),
            next_us: None,
        }
    }

    /// Goes on after a restart. What it wants at once waits in [`Self::poll_output`].
    ///
    /// # Errors
    /// [`StrategyError`] when what was kept is of another build or spoilt.
    pub fn restore(kept: Kept, now: Moment) -> Result<Self, StrategyError> {
        if kept.version != Kept::VERSION {
            return Err(StrategyError::KeptVersion(kept.version));
        }
        let mut engine = Self::new(kept.plan.camera.clone(), kept.plan.place);
        engine.running = running(&kept.plan)?;
        engine.plan = kept.plan;
        for manual in &kept.manual {
            // A strategy that the plan no longer has is simply not running.
            if let Ok(running) = engine.find(&manual.strategy) {
                running.resume(manual.started, now);
            }
        }
        engine.tell_pre_rolls();
        engine.refresh(now);
        Ok(engine)
    }

    /// The plan that holds.
    #[must_use]
    pub const fn plan(&self) -> &RecordingPlan {
        &self.plan
    }

    /// Why a tier is recorded now; `None` when it is not.
    #[must_use]
    pub fn causes(&self, tier: StreamTier) -> Option<Causes> {
        self.wanted.get(&tier).copied()
    }

    /// What survives a restart.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let manual = self.running.iter().filter_map(Running::kept).collect();
        Kept { version: Kept::VERSION, plan: self.plan.clone(), manual }
    }

    /// Something has happened.
    ///
    /// # Errors
    /// [`StrategyError`]: it was not taken, and nothing has changed by it.
    pub fn handle_input(&mut self, now: Moment, input: Input) -> Result<(), StrategyError> {
        self.refresh(now);
        match input {
            Input::Plan(plan) => self.set_plan(now, plan)?,
            Input::EventStarted { event, kind } => {
                let expires_us = now.monotonic_us + us(MAX_EVENT.as_secs());
                let fresh = !self.events.contains_key(&event);
                self.events.insert(event, Live { kind, expires_us, fresh });
                self.refresh(now);
                if self.events.len() > MAX_EVENTS {
                    self.end_event(event, now.monotonic_us);
                }
            }
            Input::EventEnded { event } => self.end_event(event, now.monotonic_us),
            Input::ManualStart { strategy } => {
                self.find(&strategy)?.start(now)?;
                self.outputs.push_back(Output::Keep(self.kept()));
            }
            Input::ManualStop { strategy } => {
                self.find(&strategy)?.stop()?;
                self.outputs.push_back(Output::Keep(self.kept()));
            }
        }
        self.refresh(now);
        Ok(())
    }

    /// Time has passed, or the clock on the wall was set.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.refresh(now);
    }

    /// When [`Self::handle_timeout`] is due at the latest, by the monotonic clock in microseconds.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<u64> {
        self.next_us
    }

    /// The next thing that it wants.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn set_plan(&mut self, now: Moment, plan: RecordingPlan) -> Result<(), StrategyError> {
        if plan.camera != self.plan.camera || plan.place != self.plan.place {
            return Err(StrategyError::Elsewhere(plan.camera, plan.place));
        }
        if plan == self.plan {
            return Ok(());
        }
        let (kept, offered) = (self.plan.revision, plan.revision);
        if offered < kept {
            return Err(StrategyError::Stale { kept, offered });
        }
        if offered == kept {
            return Err(StrategyError::Conflict(kept));
        }
        let mut new = running(&plan)?;
        for running in &mut new {
            let same = |before: &&Running| {
                before.strategy.id == running.strategy.id
                    && before.strategy.tier == running.strategy.tier
            };
            if let Some(before) = self.running.iter().find(same) {
                running.take_over(before, now, &self.events);
            }
        }
        self.running = new;
        self.plan = plan;
        self.outputs.push_back(Output::Keep(self.kept()));
        self.tell_pre_rolls();
        Ok(())
    }

    fn find(&mut self, id: &StrategyId) -> Result<&mut Running, StrategyError> {
        let found = self.running.iter_mut().find(|running| running.strategy.id == *id);
        found.ok_or_else(|| StrategyError::NoSuchStrategy(id.clone()))
    }

    fn end_event(&mut self, event: EventId, at_us: u64) {
        if self.events.remove(&event).is_some() {
            self.running.iter_mut().for_each(|running| running.event_ended(event, at_us));
        }
    }

    fn tell_pre_rolls(&mut self) {
        let mut lengths = BTreeMap::new();
        for running in &self.running {
            let length: &mut Duration = lengths.entry(running.strategy.tier).or_default();
            *length = running.pre_roll().max(*length);
        }
        lengths.retain(|_, length| !length.is_zero());
        for tier in [StreamTier::Main, StreamTier::Sub] {
            let length = lengths.get(&tier).copied();
            if length != self.pre_rolls.get(&tier).copied() {
                let length = length.unwrap_or_default();
                self.outputs.push_back(Output::PreRoll { tier, length });
            }
        }
        self.pre_rolls = lengths;
    }

    /// Brings everything up to `now`, and says what has changed.
    fn refresh(&mut self, now: Moment) {
        let overdue = |(id, live): (&EventId, &Live)| {
            (live.expires_us <= now.monotonic_us).then_some((*id, live.expires_us))
        };
        let overdue: Vec<_> = self.events.iter().filter_map(overdue).collect();
        for (event, expired_us) in overdue {
            self.end_event(event, expired_us);
        }
        let manual_before = self.running.iter().filter(|running| running.kept().is_some()).count();
        let mut wants: BTreeMap<StreamTier, Want> = BTreeMap::new();
        for running in &mut self.running {
            let Some(want) = running.want(now, &self.events) else { continue };
            let both = |other: &mut Want| {
                other.causes = other.causes.and(want.causes);
                other.back_to_us = other.back_to_us.min(want.back_to_us);
            };
            wants.entry(running.strategy.tier).and_modify(both).or_insert(want);
        }
        self.events.values_mut().for_each(|live| live.fresh = false);
        self.tell(&wants);
        if self.running.iter().filter(|running| running.kept().is_some()).count() < manual_before {
            self.outputs.push_back(Output::Keep(self.kept()));
        }
        let changes = self.running.iter().filter_map(|running| running.next_change_us(now));
        self.next_us = changes.chain(self.events.values().map(|live| live.expires_us)).min();
    }

    fn tell(&mut self, wants: &BTreeMap<StreamTier, Want>) {
        for tier in [StreamTier::Main, StreamTier::Sub] {
            let output = match (self.wanted.get(&tier), wants.get(&tier)) {
                (None, Some(Want { causes, back_to_us })) => {
                    Output::Begin { tier, causes: *causes, back_to_us: *back_to_us }
                }
                (Some(before), Some(Want { causes, back_to_us })) if before != causes => {
                    Output::GoOn { tier, causes: *causes, back_to_us: *back_to_us }
                }
                (Some(_), None) => Output::End { tier },
                (Some(_), Some(_)) | (None, None) => continue,
            };
            self.outputs.push_back(output);
        }
        self.wanted = wants.iter().map(|(tier, want)| (*tier, want.causes)).collect();
    }
}

fn running(plan: &RecordingPlan) -> Result<Vec<Running>, StrategyError> {
    plan.check()?;
    plan.strategies.iter().cloned().map(Running::new).collect()
}
