//! What to try next to get a camera's stream, without sockets, clock or randomness of its own.
//!
//! The caller does what [`Course::next`] says and tells it what came of that, for as long as somebody wants
//! the stream. Invariant: every round ends with a [`Step::Wait`], and nothing is asked of the centre twice in
//! one round, so that a hundred cameras that are away cost neither end anything to speak of.

use std::time::Duration;

/// The first wait after a round that came to nothing.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest while there is a ticket: a unit that is back is found within half a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// The longest while there is none, and only the centre can help: it gives twenty in ten minutes.
const LONGEST_ASK: Duration = Duration::from_secs(40);
/// So many rounds ask the centre each; every other one does later.
const EAGER_ROUNDS: u32 = 5;
/// A stream that ran for so long was good: the next round begins at once.
const STEADY: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask the centre for a ticket.
    Ask,
    /// Dial the addresses that the ticket and the LAN name, and play.
    Dial,
    /// Call the PU through the centre, and play.
    Call,
    /// Do nothing for so long.
    Wait(Duration),
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is a ticket: a kept one at the beginning, or the one that was asked for.
    Ticket,
    /// There is no ticket: none was kept, or the centre has refused one.
    NoTicket,
    /// The centre cannot be asked now, or has none to give now: the camera's device is not there.
    CentreAway,
    /// The PU was not reached, or gave no picture.
    NotReached,
    /// The PU does not take the ticket: it is too old, or was taken back.
    NotAdmitted,
    /// The stream ran for so long, and has ended.
    Played(Duration),
    /// The wait is over.
    Waited,
}

/// Where it is in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A new round.
    Begin,
    Asking,
    Dialling {
        /// The ticket was asked for in this round.
        fresh: bool,
    },
    Calling,
    Waiting,
}

/// See the module.
#[derive(Debug)]
pub struct Course {
    state: State,
    has_ticket: bool,
    /// The centre was heard in this round.
    centre: bool,
    /// The kept ticket was tried in this round.
    tried: bool,
    rounds: u32,
    jitter: u64,
}

impl Course {
    /// `has_ticket`: one was kept. `seed` spreads the waits of many cameras.
    #[must_use]
    pub const fn new(has_ticket: bool, seed: u64) -> Self {
        let (centre, tried, rounds) = (true, false, 0);
        Self { state: State::Begin, has_ticket, centre, tried, rounds, jitter: seed | 1 }
    }

    /// The first step.
    pub fn begin(&mut self) -> Step {
        self.round()
    }

    /// The step after this.
    pub fn next(&mut self, outcome: Outcome) -> Step {
        match outcome {
            Outcome::Ticket => {
                self.has_ticket = true;
                self.state = State::Dialling { fresh: true };
                Step::Dial
            }
            Outcome::NoTicket => {
                self.has_ticket = false;
                self.wait()
            }
            Outcome::CentreAway => {
                self.centre = false;
                // What the LAN names may be another address than before.
                if self.has_ticket && !self.tried { self.dial(false) } else { self.wait() }
            }
            Outcome::NotAdmitted => {
                let asked = matches!(self.state, State::Dialling { fresh: true } | State::Calling);
                self.has_ticket = false;
                if asked || !self.centre { self.wait() } else { self.ask() }
            }
            Outcome::NotReached => match self.state {
                State::Dialling { fresh: false } if self.centre && self.asks() => self.ask(),
                State::Dialling { fresh: true } if self.centre => {
                    self.state = State::Calling;
                    Step::Call
                }
                State::Begin
                | State::Asking
                | State::Dialling { .. }
                | State::Calling
                | State::Waiting => self.wait(),
            },
            Outcome::Played(length) => {
                if length >= STEADY {
                    self.rounds = 0;
                }
                self.wait()
            }
            Outcome::Waited => self.round(),
        }
    }

    fn round(&mut self) -> Step {
        (self.centre, self.tried) = (true, false);
        if self.has_ticket { self.dial(false) } else { self.ask() }
    }

    const fn dial(&mut self, fresh: bool) -> Step {
        self.tried = true;
        self.state = State::Dialling { fresh };
        Step::Dial
    }

    /// Whether the centre is asked in this round although there is a ticket.
    const fn asks(&self) -> bool {
        self.rounds < EAGER_ROUNDS || self.rounds.is_multiple_of(2)
    }

    const fn ask(&mut self) -> Step {
        self.state = State::Asking;
        Step::Ask
    }

    fn wait(&mut self) -> Step {
        self.state = State::Waiting;
        let most = if self.has_ticket { LONGEST_WAIT } else { LONGEST_ASK };
        let longest = FIRST_WAIT.saturating_mul(1 << self.rounds.min(10)).min(most);
        self.rounds += 1;
        // Xorshift: from half of it to all of it.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let percent = u32::try_from(self.jitter % 51).unwrap_or(0) + 50;
        Step::Wait(longest * percent / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Outcome = Outcome::Played(Duration::from_secs(3_600));
    const SHORT: Outcome = Outcome::Played(Duration::from_secs(1));

    /// What it does after these outcomes; waits without their length.
    fn steps(has_ticket: bool, outcomes: &[Outcome]) -> Vec<Step> {
        let mut course = Course::new(has_ticket, 7);
        let plain = |step| match step {
            Step::Wait(_) => Step::Wait(Duration::ZERO),
            step => step,
        };
        let mut steps = vec![plain(course.begin())];
        steps.extend(outcomes.iter().map(|outcome| plain(course.next(*outcome))));
        steps
    }

    const WAIT: Step = Step::Wait(Duration::ZERO);

    #[test]
    fn a_kept_ticket_is_tried_on_the_lan_first_and_the_ladder_comes_last() {
        use Outcome::{NotReached, Ticket};
        use Step::{Ask, Call, Dial};
        let all = [NotReached, Ticket, NotReached, NotReached];
        assert_eq!(steps(true, &all), [Dial, Ask, Dial, Call, WAIT]);
        assert_eq!(steps(false, &[Ticket, LONG]), [Ask, Dial, WAIT]);
    }

    #[test]
    fn without_the_centre_the_lan_alone_is_tried() {
        use Outcome::{CentreAway, NotReached, Waited};
        use Step::{Ask, Dial};
        // The kept ticket was tried; nothing else is left until the next round.
        assert_eq!(steps(true, &[NotReached, CentreAway, Waited]), [Dial, Ask, WAIT, Dial]);
        assert_eq!(steps(false, &[CentreAway, Waited]), [Ask, WAIT, Ask]);
        assert_eq!(steps(true, &[LONG, Waited]), [Dial, WAIT, Dial]);
    }

    #[test]
    fn a_ticket_that_is_not_taken_is_asked_for_anew_once() {
        use Outcome::{NoTicket, NotAdmitted, Ticket, Waited};
        use Step::{Ask, Dial};
        assert_eq!(steps(true, &[NotAdmitted, Ticket, NotAdmitted]), [Dial, Ask, Dial, WAIT]);
        // Not related any more: the centre says so, and is asked again only after a wait.
        let refused = [NotAdmitted, NoTicket, Waited, NoTicket];
        assert_eq!(steps(true, &refused), [Dial, Ask, WAIT, Ask, WAIT]);
    }

    #[test]
    fn waits_grow_and_are_short_again_after_a_good_stream() {
        let mut course = Course::new(true, 3);
        course.begin();
        let mut waits = Vec::new();
        for _ in 0..20 {
            let Step::Wait(wait) = course.next(SHORT) else { panic!("no wait") };
            waits.push(wait);
            course.next(Outcome::Waited);
        }
        assert!(waits[0] <= FIRST_WAIT && waits[0] >= FIRST_WAIT / 2);
        assert!(waits[19] <= LONGEST_WAIT && waits[19] >= LONGEST_WAIT / 2, "{:?}", waits[19]);
        let Step::Wait(wait) = course.next(LONG) else { panic!("no wait") };
        assert!(wait <= FIRST_WAIT);
    }

    /// A unit that is away for long is dialled again and again, and the centre, which counts, is asked less.
    #[test]
    fn of_a_unit_that_stays_away_the_centre_is_asked_every_other_time() {
        let mut course = Course::new(true, 5);
        let (mut step, mut dials, mut asks, mut passed) = (course.begin(), 0, 0, Duration::ZERO);
        while passed < Duration::from_secs(600) {
            let outcome = match step {
                Step::Dial => {
                    dials += 1;
                    passed += Duration::from_secs(3);
                    Outcome::NotReached
                }
                Step::Ask => {
                    asks += 1;
                    Outcome::CentreAway
                }
                Step::Call => panic!("there is no fresh ticket"),
                Step::Wait(wait) => {
                    assert!(wait <= LONGEST_WAIT);
                    passed += wait;
                    Outcome::Waited
                }
            };
            step = course.next(outcome);
        }
        assert!(dials >= 600 / 20, "{dials} in ten minutes");
        // Twenty may be at once, and twenty more in ten minutes.
        assert!(asks <= 20 + 20, "{asks} in ten minutes");
    }

    /// Whatever happens, no round asks or dials for ever: a thousand random courses.
    #[test]
    fn every_round_comes_to_its_wait() {
        use Outcome::{CentreAway, NoTicket, NotAdmitted, NotReached, Ticket};
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut below = |n: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(random >> 33).unwrap_or(0) % n
        };
        for seed in 0..1_000 {
            let mut course = Course::new(below(2) == 0, seed);
            let mut step = course.begin();
            let (mut asks, mut tries) = (0, 0);
            for _ in 0..200 {
                let outcome = match step {
                    Step::Ask => {
                        asks += 1;
                        [Ticket, NoTicket, CentreAway][below(3)]
                    }
                    Step::Dial | Step::Call => {
                        tries += 1;
                        [NotReached, NotAdmitted, SHORT, LONG][below(4)]
                    }
                    Step::Wait(wait) => {
                        assert!(wait >= FIRST_WAIT / 2 && wait <= LONGEST_ASK);
                        assert!(asks <= 1 && tries <= 3, "{asks} questions, {tries} tries");
                        (asks, tries) = (0, 0);
                        Outcome::Waited
                    }
                };
                step = course.next(outcome);
            }
        }
    }
}
