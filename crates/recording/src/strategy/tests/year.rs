//! A year of a recorder's life in several zones, next to a model that is too simple to be wrong.

use std::collections::BTreeMap;

use super::*;
use EventKind::{Input as Contact, Motion};

const YEAR_US: u64 = 365 * 86_400 * SECOND_US;

/// A strategy as the model knows it.
#[derive(Clone)]
struct Known {
    strategy: Strategy,
    week: Option<Week>,
    /// Since when it is in force without interruption.
    since_us: u64,
}

#[derive(Debug, Clone, Copy)]
struct Happening {
    kind: EventKind,
    from_us: u64,
    to_us: u64,
    /// Whether somebody has ended it.
    ended: bool,
}

/// Time counted from the year's beginning; a restart changes only what the engine sees of it.
struct World {
    random: Seeded,
    engine: Engine,
    kept: Kept,
    start: UnixMicros,
    now_us: u64,
    /// When the machine was started.
    boot_us: u64,
    known: Vec<Known>,
    events: BTreeMap<EventId, Happening>,
    /// Until when each manual strategy runs.
    manual: BTreeMap<StrategyId, u64>,
    revision: u64,
    next_event: u64,
    /// Checks in which something was recorded, and in which nothing was.
    checked: [u64; 2],
}

fn pool(zone: &str) -> Vec<Strategy> {
    let days = [Weekday::Saturday, Weekday::Sunday];
    let night = || week(zone, &[(&Weekday::ALL, "01:45", "02:15")]);
    let weekend = week(zone, &[(&days, "22:00", "03:00"), (&[Weekday::Monday], "00:00", "00:01")]);
    let kinds = [Motion, Contact].into();
    let during = Some(week(zone, &[(&Weekday::ALL, "20:00", "02:30")]));
    let at_night = Trigger::Event { kinds, pre_roll_s: 3, post_roll_s: 1_800, during };
    let sub = |strategy| Strategy { tier: StreamTier::Sub, ..strategy };
    vec![
        strategy("night", Trigger::Schedule { schedule: night() }),
        sub(strategy("weekend", Trigger::Schedule { schedule: weekend })),
        strategy("motion", on_event(&[Motion], 10, 45)),
        sub(strategy("contact", on_event(&[Contact], 0, 0))),
        sub(strategy("at-night", at_night)),
        strategy("manual", Trigger::Manual { limit_s: Some(5_000) }),
    ]
}

impl Known {
    fn new(strategy: Strategy, since_us: u64) -> Self {
        let schedule = match &strategy.trigger {
            Trigger::Schedule { schedule } => Some(schedule),
            Trigger::Event { during, .. } => during.as_ref(),
            Trigger::Continuous | Trigger::Manual { .. } => None,
        };
        let week = schedule.map(|schedule| Week::new(schedule).expect("a zone"));
        Self { strategy, week, since_us }
    }
}

impl World {
    fn new(zone: &str, seed: u64) -> Self {
        let mut engine = Engine::new(camera(), RecordingPlace::Pu);
        let start = utc("2026-01-01T00:00:00Z");
        let known = pool(zone).into_iter().map(|strategy| Known::new(strategy, 0)).collect();
        let now = Moment { monotonic_us: 0, time: start, authority: Authority::System };
        engine.handle_input(now, Input::Plan(plan(1, pool(zone)))).expect("a plan");
        let mut world = Self {
            random: Seeded::new(seed),
            kept: engine.kept(),
            engine,
            start,
            now_us: 0,
            boot_us: 0,
            known,
            events: BTreeMap::new(),
            manual: BTreeMap::new(),
            revision: 1,
            next_event: 0,
            checked: [0, 0],
        };
        world.check();
        world
    }

    fn now(&self) -> Moment {
        Moment {
            monotonic_us: self.now_us - self.boot_us,
            time: self.utc(self.now_us),
            authority: Authority::System,
        }
    }

    fn utc(&self, at_us: u64) -> UnixMicros {
        UnixMicros(self.start.0 + at_us as i64)
    }

    /// Passes time up to `until_us`, stopping when the engine wants it.
    fn pass(&mut self, until_us: u64) {
        while let Some(due) = self.engine.poll_timeout().map(|due| due + self.boot_us)
            && due < until_us
        {
            assert!(due > self.now_us, "stands still at {due}");
            self.now_us = due;
            self.engine.handle_timeout(self.now());
            self.check();
        }
        self.now_us = until_us;
        self.engine.handle_timeout(self.now());
        self.check();
    }

    fn act(&mut self, zone: &str) {
        match self.random.below(40) {
            0 => self.restart(),
            1 | 2 => self.replan(zone),
            3 | 4 => {
                let name = id("manual");
                let start = Input::ManualStart { strategy: name.clone() };
                if self.engine.handle_input(self.now(), start).is_ok() {
                    self.manual.insert(name, self.now_us + 5_000 * SECOND_US);
                }
            }
            5 => {
                let name = id("manual");
                let stop = Input::ManualStop { strategy: name.clone() };
                if self.engine.handle_input(self.now(), stop).is_ok() {
                    self.manual.remove(&name);
                }
            }
            6..=22 => {
                let kind = if self.random.below(2) == 0 { Motion } else { Contact };
                self.next_event += 1;
                let event = EventId(self.next_event);
                let input = Input::EventStarted { event, kind };
                self.engine.handle_input(self.now(), input).expect("taken");
                let to_us = self.now_us + MAX_EVENT.as_micros() as u64;
                self.events
                    .insert(event, Happening { kind, from_us: self.now_us, to_us, ended: false });
            }
            _ => {
                let live = self.events.iter().find(|(_, e)| e.to_us > self.now_us);
                if let Some(event) = live.map(|(event, _)| *event) {
                    self.engine
                        .handle_input(self.now(), Input::EventEnded { event })
                        .expect("taken");
                    let now_us = self.now_us;
                    self.events.entry(event).and_modify(|e| (e.to_us, e.ended) = (now_us, true));
                }
            }
        }
        self.check();
        let horizon = self.now_us.saturating_sub(4_000 * SECOND_US);
        self.events.retain(|_, event| event.to_us > horizon);
    }

    /// Power goes and comes back; the engine knows only what it had kept.
    fn restart(&mut self) {
        self.now_us += (1 + self.random.below(7_200)) * SECOND_US;
        self.boot_us = self.now_us;
        let text = serde_json::to_string(&self.kept).expect("JSON");
        let kept = serde_json::from_str(&text).expect("JSON");
        self.engine = Engine::restore(kept, self.now()).expect("restored");
        self.events.clear();
        self.known.iter_mut().for_each(|known| known.since_us = self.now_us);
    }

    /// Some strategies go, some come, most stay.
    fn replan(&mut self, zone: &str) {
        self.revision += 1;
        let mut known = Vec::new();
        for strategy in pool(zone) {
            if self.random.below(5) == 0 {
                self.manual.remove(&strategy.id);
                continue;
            }
            let before = self.known.iter().find(|known| known.strategy.id == strategy.id);
            let since_us = before.map_or(self.now_us, |known| known.since_us);
            known.push(Known::new(strategy, since_us));
        }
        let strategies = known.iter().map(|known| known.strategy.clone()).collect();
        let input = Input::Plan(plan(self.revision, strategies));
        self.engine.handle_input(self.now(), input).expect("newer");
        self.known = known;
    }

    /// The engine says what the model says, in its state and in what it has told.
    fn check(&mut self) {
        let mut told = self.kept.clone();
        while let Some(output) = self.engine.poll_output() {
            if let Output::Keep(kept) = output {
                told = kept;
            }
        }
        self.kept = told;
        assert_eq!(self.kept, self.engine.kept(), "not told to keep at {}", self.now_us);
        for tier in [StreamTier::Main, StreamTier::Sub] {
            let of_tier = self.known.iter().filter(|known| known.strategy.tier == tier);
            let model = of_tier.map(|known| self.model(known)).reduce(Causes::and);
            let model = model.filter(|causes| causes.any());
            let (at, is) = (self.utc(self.now_us), self.engine.causes(tier));
            assert_eq!(is, model, "{tier:?} at {at:?}, {} s in", self.now_us / SECOND_US);
            self.checked[usize::from(model.is_some())] += 1;
        }
    }

    /// What a strategy wants now, from all that has happened.
    fn model(&self, known: &Known) -> Causes {
        let none = Causes::default();
        let open = || known.week.as_ref().is_none_or(|week| week.holds(self.utc(self.now_us)));
        match &known.strategy.trigger {
            Trigger::Continuous => Causes { continuous: true, ..none },
            Trigger::Schedule { .. } => Causes { schedule: open(), ..none },
            Trigger::Manual { .. } => {
                let until = self.manual.get(&known.strategy.id);
                Causes { manual: until.is_some_and(|until| *until > self.now_us), ..none }
            }
            Trigger::Event { kinds, post_roll_s, .. } => {
                let post_roll_us = u64::from(*post_roll_s) * SECOND_US;
                let wants = |event: &Happening| {
                    let over_us = event.to_us + post_roll_us;
                    let is_on = event.to_us > self.now_us || over_us > self.now_us;
                    kinds.contains(&event.kind) && is_on && self.was_seen(known, event)
                };
                Causes { event: self.events.values().any(wants), ..none }
            }
        }
    }

    /// Whether a strategy was in force at any moment of an event, and its hours open then.
    fn was_seen(&self, known: &Known, event: &Happening) -> bool {
        let from = event.from_us.max(known.since_us);
        let to = event.to_us.min(self.now_us);
        if event.to_us <= known.since_us && event.from_us < known.since_us {
            return false;
        }
        let Some(week) = &known.week else { return true };
        let opens = week.next_change(self.utc(from)).filter(|next| {
            // Whoever ends it at the moment when the hours begin is heard after that.
            *next < self.utc(to) || (*next == self.utc(to) && (event.ended || to < event.to_us))
        });
        week.holds(self.utc(from)) || opens.is_some()
    }
}

#[test]
fn a_year_goes_as_the_simple_model_says() {
    for (n, zone) in ZONES.into_iter().enumerate() {
        let mut world = World::new(zone, n as u64);
        while world.now_us < YEAR_US {
            let pause = match world.random.below(4) {
                0 => 1 + world.random.below(60),
                1 => world.random.below(3_600),
                _ => world.random.below(20_000),
            };
            world.pass(world.now_us + pause * SECOND_US);
            world.act(zone);
        }
        assert!(world.checked.iter().all(|n| *n > 10_000), "{zone}: {:?}", world.checked);
        assert!(world.revision > 50 && world.boot_us > 0, "{zone}");
    }
}
