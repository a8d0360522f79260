//! Several cameras at one playhead: each shows what was at that time.
//!
//! Playing begins when every camera has its first picture (or none), or after two seconds. From
//! then on nobody waits for anybody: a camera whose piece comes late goes on at the playhead. A gap
//! of one camera takes its time; a gap of all is skipped.
//!
//! Contract as for [`Planner`].

use std::time::{Duration, Instant};

use sightline_model::UnixMicros;

use super::{
    Config, Gaps, Input, Output, Planner, Play, Way,
    clock::PlayClock,
    planner::{SEAM_US, Standing},
};

/// Longest time that playing waits for a camera.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A gap of all cameras longer than this is skipped, in microseconds of playing.
const COMMON_GAP_US: i64 = 1_000_000;
/// Presentation time from there to the first picture behind it: the last one before it is seen.
const BEHIND_GAP_US: i64 = 40_000;
/// Presentation time between what was shown and what follows a jump.
const JUMP_US: i64 = 1_000;

/// Years that a time can be in: within them no difference overflows.
const EARLIEST_US: i64 = -62_167_219_200_000_000;
const LATEST_US: i64 = 253_402_300_799_999_999;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Paused,
    /// Until the first pictures are there, at most till then.
    Waiting(Instant),
    Playing,
    /// One picture of each camera, of this time.
    Showing(i64),
    /// The next picture of this camera; the others follow it.
    Stepping(usize),
}

/// See the module.
#[derive(Debug)]
pub struct InStep {
    planners: Vec<Planner>,
    clock: PlayClock,
    now: Instant,
    state: State,
    play: Option<Play>,
    /// The planner to be polled next.
    turn: usize,
}

impl InStep {
    /// So many cameras, numbered from 0.
    #[must_use]
    pub fn new(config: Config, cameras: usize, now: Instant) -> Self {
        let config = Config { gaps: Gaps::Wait, ..config };
        let mut planners: Vec<_> = (0..cameras).map(|_| Planner::new(config, now)).collect();
        let clock = PlayClock::new(now);
        planners.iter_mut().for_each(|planner| planner.follow(clock.clone()));
        Self { planners, clock, now, state: State::Paused, play: None, turn: 0 }
    }

    /// Takes in what happened: [`Input::Segment`] and [`Input::More`] for the camera; everything
    /// else is for all of them, but a step counts in pictures of that camera. The first
    /// [`Input::Play`] has to say from when on.
    pub fn handle_input(&mut self, camera: usize, input: Input, now: Instant) {
        self.handle_timeout(now);
        match input {
            Input::Segment(..) | Input::More => {
                if let Some(planner) = self.planners.get_mut(camera) {
                    planner.handle_input(input, self.now);
                }
            }
            Input::Play(play) => self.play(play),
            Input::Pause => {
                self.clock.pause(self.now);
                self.state = State::Paused;
                self.tell(&Input::Pause);
            }
            Input::Show(at) => self.show(at),
            Input::Step(way, from) => self.step(camera, way, from),
        }
        self.lend();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        for planner in &mut self.planners {
            planner.handle_timeout(self.now);
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let wait = match self.state {
            State::Waiting(until) => Some(until),
            // When all that was sent is shown, what nobody has is skipped.
            State::Playing => {
                let until = self.planners.iter().map(Planner::shown_until).max();
                let at = self.clock.at(self.now);
                until.filter(|until| *until > at).map(|until| self.clock.instant(until))
            }
            State::Paused | State::Showing(_) | State::Stepping(_) => None,
        };
        self.planners.iter().filter_map(Planner::poll_timeout).chain(wait).min()
    }

    /// The next output, and whose it is.
    pub fn poll_output(&mut self) -> Option<(usize, Output)> {
        loop {
            for _ in 0..self.planners.len() {
                let camera = self.turn;
                self.turn = (self.turn + 1) % self.planners.len();
                if let Some(output) = self.planners[camera].poll_output()
                    && let Some(output) = self.pass(camera, output)
                {
                    return Some((camera, output));
                }
            }
            if !self.goes_on() {
                return None;
            }
        }
    }

    /// The time that is shown at `now`.
    #[must_use]
    pub fn playhead(&self, now: Instant) -> Option<UnixMicros> {
        self.clock.wall(self.clock.at(now)).map(UnixMicros)
    }

    fn tell(&mut self, input: &Input) {
        for planner in &mut self.planners {
            planner.handle_input(input.clone(), self.now);
        }
    }

    /// Gives every planner the common clock.
    fn lend(&mut self) {
        for planner in &mut self.planners {
            planner.follow(self.clock.clone());
        }
    }

    fn play(&mut self, play: Play) {
        let resumes = self.state == State::Paused
            && play.at.is_none()
            && self.play.is_some_and(|before| Play { at: None, ..before } == play);
        if resumes {
            self.clock.resume(self.now);
            self.state = State::Playing;
            return self.tell(&Input::Play(play));
        }
        let Some(at) = play.at.or_else(|| self.playhead(self.now)) else { return };
        let at = UnixMicros(at.0.clamp(EARLIEST_US, LATEST_US));
        self.play = Some(play);
        self.begin(at.0, play.scale);
        self.state = State::Waiting(self.now + LONGEST_WAIT);
        self.tell(&Input::Play(Play { at: Some(at), ..play }));
    }

    /// The clock stands at `wall`.
    fn begin(&mut self, wall: i64, scale: super::Scale) {
        for planner in &self.planners {
            self.clock.given(planner.high_us());
        }
        self.clock.pause(self.now);
        self.clock.restart(wall, scale, JUMP_US, self.now);
        self.lend();
    }

    fn show(&mut self, at: UnixMicros) {
        self.play = None;
        self.begin(at.0, super::Scale::NORMAL);
        self.state = State::Showing(at.0);
        self.tell(&Input::Show(at));
    }

    fn step(&mut self, camera: usize, way: Way, from: Option<UnixMicros>) {
        let Some(planner) = self.planners.get(camera) else { return };
        self.play = None;
        let from = from.or_else(|| planner.playhead(self.now));
        self.begin(from.map_or(LATEST_US, |at| at.0), super::Scale::NORMAL);
        self.state = State::Stepping(camera);
        self.planners[camera].handle_input(Input::Step(way, from), self.now);
    }

    /// What leaves: who has nothing near the time that is shown shows nothing.
    fn pass(&mut self, camera: usize, output: Output) -> Option<Output> {
        let Output::Send(unit) = &output else { return Some(output) };
        match self.state {
            State::Showing(at) if unit.wall.0 > at.saturating_add(SEAM_US) => return None,
            State::Stepping(lead) if camera == lead && unit.shown => {
                let at = unit.wall;
                self.begin(at.0, super::Scale::NORMAL);
                self.state = State::Showing(at.0);
                for (other, planner) in self.planners.iter_mut().enumerate() {
                    if other != lead {
                        planner.handle_input(Input::Show(at), self.now);
                    }
                }
                self.lend();
            }
            State::Paused
            | State::Waiting(_)
            | State::Playing
            | State::Showing(_)
            | State::Stepping(_) => {}
        }
        Some(output)
    }

    /// Begins when all are there, skips what nobody has; whether anything may have become due.
    fn goes_on(&mut self) -> bool {
        let standings = || self.planners.iter().map(Planner::standing);
        match self.state {
            State::Waiting(until) => {
                let ready = standings().all(|s| s != Standing::Waits);
                if !ready && self.now < until {
                    return false;
                }
                self.clock.resume(self.now);
                self.state = State::Playing;
                self.lend();
                true
            }
            State::Playing => {
                let at = self.clock.at(self.now);
                let next = standings().try_fold(i64::MAX, |next, standing| match standing {
                    Standing::Waits | Standing::Shows => None,
                    Standing::Ended => Some(next),
                    Standing::Has(presentation_us) => Some(next.min(presentation_us)),
                });
                let Some(next) = next.filter(|n| *n != i64::MAX) else { return false };
                let gap = next.saturating_sub(at);
                if gap <= COMMON_GAP_US {
                    return false;
                }
                self.skip(next, gap - BEHIND_GAP_US)
            }
            State::Paused | State::Showing(_) | State::Stepping(_) => false,
        }
    }

    /// What was to be shown from `next` on is shown `gap_us` earlier.
    fn skip(&mut self, next: i64, gap_us: i64) -> bool {
        let (Some(wall), Some(play)) = (self.clock.wall(next), self.play) else { return false };
        self.clock.anchor(next - gap_us, wall, play.scale);
        for planner in &mut self.planners {
            planner.advance(gap_us);
        }
        self.lend();
        true
    }
}
