//! The dialogue with the SCU (interface Ps; A8.1, A8.3), without sockets, clock or randomness.
//!
//! The caller feeds [`Machine::handle_input`] and [`Machine::handle_timeout`], and after each
//! drains [`Machine::poll_output`] to `None`; then it waits until [`Machine::poll_timeout`].
//!
//! Invariant: at most one dial or one link exists at a time. A message is sent only while the
//! link is open, and nothing but the hello and one registration before the SCU has registered us.

// Named so that it is found where this file is included by path, too (`tests/fuzz-targets`).
#[path = "machine/io.rs"]
mod io;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sightline_model::{Signature, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{Addresses, PuToScu, Registration, ScuToPu, registration_bytes},
};

use super::clock::ClockFilter;

pub use io::{Event, Input, Lease, Now, Output, Profile, Settings, Signer};

/// Longest nonce that is signed; what an SCU sends has 22 characters.
const MAX_NONCE_LEN: usize = 256;
/// A link that held for so long was good: the next one starts with the shortest wait.
const STEADY: Duration = Duration::from_secs(5);

/// Only a registration carries the state of the button.
const BUTTON_HELD: &str = "registering anew, since the button was held";

#[derive(Debug)]
enum State {
    Waiting { until: Instant },
    Dialing { until: Instant },
    Greeting { until: Instant },
    Registering { until: Instant, told: Box<Registration> },
    Up(Up),
}

#[derive(Debug)]
struct Up {
    since: Instant,
    keep_alive: Duration,
    next_keep_alive: Instant,
    /// When the SCU must have said something, at the latest.
    silent_until: Instant,
}

/// See the module.
pub struct Machine {
    settings: Settings,
    profile: Profile,
    state: State,
    clock: ClockFilter,
    server: usize,
    attempt: u32,
    jitter: u64,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A machine that dials at once.
    #[must_use]
    pub fn new(settings: Settings, profile: Profile, now: Now) -> Self {
        let jitter = settings.seed | 1;
        let mut machine = Self {
            settings,
            profile,
            state: State::Waiting { until: now.at },
            clock: ClockFilter::default(),
            server: 0,
            attempt: 0,
            jitter,
            outputs: VecDeque::new(),
        };
        machine.dial(now);
        machine
    }

    /// Whether the unit is registered.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected => self.connected(now),
            Input::Failed => self.retry(now, "the service cannot be reached", false),
            Input::Closed => self.retry(now, "the connection has ended", false),
            Input::Malformed => self.fail(now, "the service sent something unreadable"),
            Input::Message(message) => self.message(now, *message),
            Input::Addresses(addresses) => self.addresses(now, addresses),
            Input::Channels(channels) => {
                self.profile.channels.clone_from(&channels);
                self.send_if_up(PuToScu::Channels { channels });
            }
            Input::ClaimUnlocked(unlocked) => self.claim_unlocked(now, unlocked),
            Input::Send(message) => self.send_if_up(*message),
        }
    }

    fn connected(&mut self, now: Now) {
        self.down("changing to a better connection");
        self.state = State::Greeting { until: now.at + self.settings.reply_timeout };
        // Opens the QUIC stream: the other end learns of a stream only from its first bytes.
        self.send(PuToScu::KeepAlive { pu_time: now.wall });
    }

    fn message(&mut self, now: Now, message: ScuToPu) {
        match (&self.state, message) {
            (State::Greeting { .. }, ScuToPu::Challenge { scu, nonce }) => {
                if nonce.is_empty() || nonce.len() > MAX_NONCE_LEN {
                    return self.fail(now, "the service sent no usable challenge");
                }
                let bytes = registration_bytes(&scu, &nonce, &self.profile.pu);
                let signature = (self.profile.sign)(&bytes);
                let told = Box::new(self.registration(signature));
                let until = now.at + self.settings.reply_timeout;
                self.send(PuToScu::Register(told.clone()));
                self.state = State::Registering { until, told };
            }
            (
                State::Registering { told, .. },
                ScuToPu::Registered {
                    domain,
                    epoch,
                    keep_alive_ms,
                    server_time,
                    observed,
                    token_keys,
                    ice_servers,
                    owner,
                    relations,
                },
            ) => {
                let lease =
                    Lease { domain, epoch, token_keys, ice_servers, owner, observed, relations };
                let told = told.clone();
                self.registered(now, lease, keep_alive_ms, server_time);
                self.catch_up(now, &told);
            }
            // The answers to the hello may come before we are registered.
            (State::Greeting { .. } | State::Registering { .. }, ScuToPu::KeepAliveAck { .. }) => {}
            (State::Waiting { .. } | State::Dialing { .. }, _) => {}
            (_, ScuToPu::Refused { problem }) => self.refused(now, &problem),
            (_, ScuToPu::Goodbye) => self.fail(now, "the service is going away"),
            (State::Up(_), message) => self.message_while_up(now, message),
            (State::Greeting { .. } | State::Registering { .. }, _) => {
                self.fail(now, "the service said something out of turn");
            }
        }
    }

    fn message_while_up(&mut self, now: Now, message: ScuToPu) {
        if let State::Up(up) = &mut self.state {
            up.silent_until = now.at + silence(up.keep_alive);
        }
        match message {
            ScuToPu::KeepAliveAck { pu_time, server_time } => {
                self.clock.look(now.at, now.wall);
                if let Some(offset_us) = self.clock.sample(now.wall, pu_time, server_time) {
                    self.event(Event::Clock { offset_us });
                }
            }
            ScuToPu::OwnerChanged { owner } => self.event(Event::Owner(owner)),
            ScuToPu::Challenge { .. } | ScuToPu::Registered { .. } => {
                self.fail(now, "the service said something out of turn");
            }
            message @ (ScuToPu::PrepareMedia { .. }
            | ScuToPu::MediaOffer { .. }
            | ScuToPu::Candidate { .. }
            | ScuToPu::TokenResult { .. }
            | ScuToPu::Ticket { .. }
            | ScuToPu::EndSession { .. }
            | ScuToPu::RevokeUser { .. }
            | ScuToPu::Recording(_)
            | ScuToPu::Cloud(_)) => self.event(Event::Message(Box::new(message))),
            // Taken before.
            ScuToPu::Refused { .. } | ScuToPu::Goodbye => {}
        }
    }

    fn registration(&self, signature: Signature) -> Registration {
        let profile = &self.profile;
        Registration {
            pu: profile.pu.clone(),
            public_key: profile.public_key,
            signature,
            claim: profile.claim.clone(),
            claim_unlocked: profile.claim_unlocked,
            addresses: profile.addresses.clone(),
            channels: profile.channels.clone(),
            agent: profile.agent.clone(),
            kind: profile.kind,
        }
    }

    /// Tells what has changed since the registration was sent.
    fn catch_up(&mut self, now: Now, told: &Registration) {
        if told.addresses != self.profile.addresses {
            self.send(PuToScu::Addresses(self.profile.addresses.clone()));
        }
        if told.channels != self.profile.channels {
            self.send(PuToScu::Channels { channels: self.profile.channels.clone() });
        }
        if self.profile.claim_unlocked && !told.claim_unlocked {
            self.fail(now, BUTTON_HELD);
        }
    }

    fn registered(&mut self, now: Now, lease: Lease, keep_alive_ms: u32, time: UnixMicros) {
        let keep_alive = Duration::from_millis(keep_alive_ms.clamp(500, 60_000).into());
        self.state = State::Up(Up {
            since: now.at,
            keep_alive,
            // At once: its answer measures the clocks.
            next_keep_alive: now.at,
            silent_until: now.at + silence(keep_alive),
        });
        self.clock.look(now.at, now.wall);
        if let Some(offset_us) = self.clock.first(now.wall, time) {
            self.event(Event::Clock { offset_us });
        }
        self.event(Event::Owner(lease.owner.clone()));
        self.event(Event::Up(lease));
        self.handle_timeout(now);
    }

    fn refused(&mut self, now: Now, problem: &Problem) {
        let for_long = matches!(
            problem.kind,
            ProblemKind::WrongKey | ProblemKind::UnknownDevice | ProblemKind::StaleLease
        );
        let why = format!("the service refuses this unit: {problem}");
        self.outputs.push_back(Output::Close);
        self.retry(now, &why, for_long);
    }

    fn addresses(&mut self, now: Now, addresses: Addresses) {
        self.profile.addresses.clone_from(&addresses);
        self.send_if_up(PuToScu::Addresses(addresses));
        // The path may have died with the old address: ask, and do not wait long for the answer.
        let until = now.at + self.settings.probe_timeout;
        if let State::Up(up) = &mut self.state {
            up.next_keep_alive = now.at;
            up.silent_until = up.silent_until.min(until);
            self.handle_timeout(now);
        }
    }

    fn claim_unlocked(&mut self, now: Now, unlocked: bool) {
        let changed = self.profile.claim_unlocked != unlocked;
        self.profile.claim_unlocked = unlocked;
        if changed && unlocked && self.is_up() {
            self.attempt = 0;
            self.fail(now, BUTTON_HELD);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        match &self.state {
            State::Waiting { until }
            | State::Dialing { until }
            | State::Greeting { until }
            | State::Registering { until, .. } => *until,
            State::Up(up) => up.next_keep_alive.min(up.silent_until),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if now.at < self.poll_timeout() {
            return;
        }
        match &mut self.state {
            State::Waiting { .. } => self.dial(now),
            State::Dialing { .. } => self.fail(now, "the service cannot be reached"),
            State::Greeting { .. } | State::Registering { .. } => {
                self.fail(now, "the service does not answer");
            }
            State::Up(up) if now.at >= up.silent_until => {
                self.fail(now, "the service has gone silent");
            }
            State::Up(up) => {
                up.next_keep_alive = now.at + up.keep_alive;
                self.send(PuToScu::KeepAlive { pu_time: now.wall });
            }
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn dial(&mut self, now: Now) {
        let server = self.server;
        self.server = (self.server + 1) % self.settings.servers.max(1);
        self.state = State::Dialing { until: now.at + self.settings.dial_timeout };
        self.outputs.push_back(Output::Dial { server });
    }

    fn fail(&mut self, now: Now, why: &str) {
        self.outputs.push_back(Output::Close);
        self.retry(now, why, false);
    }

    fn retry(&mut self, now: Now, why: &str, refused: bool) {
        match &self.state {
            State::Waiting { .. } => return,
            State::Up(up) if now.at.saturating_duration_since(up.since) >= STEADY => {
                self.attempt = 0;
            }
            State::Up(_)
            | State::Dialing { .. }
            | State::Greeting { .. }
            | State::Registering { .. } => {}
        }
        self.down(why);
        let doubled = self.settings.backoff_min.saturating_mul(1 << self.attempt.min(16));
        self.attempt = self.attempt.saturating_add(1);
        let longest = if refused {
            self.settings.backoff_refused
        } else {
            doubled.min(self.settings.backoff_max)
        };
        // Half fixed, half random, so that a thousand units do not come back at one moment.
        let wait = longest / 2 + longest.mul_f64(self.random() / 2.0);
        self.state = State::Waiting { until: now.at + wait };
    }

    fn down(&mut self, why: &str) {
        match &self.state {
            State::Up(_) => self.event(Event::Down(why.to_owned())),
            State::Greeting { .. } | State::Registering { .. } => {
                self.event(Event::NotUp(why.to_owned()));
            }
            // Whoever dials says by itself why that failed.
            State::Waiting { .. } | State::Dialing { .. } => {}
        }
    }

    /// In 0..1, by xorshift: only spreads retries, nobody gains by guessing it.
    fn random(&mut self) -> f64 {
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (self.jitter >> 11) as f64 / (1u64 << 53) as f64;
        fraction
    }

    fn send_if_up(&mut self, message: PuToScu) {
        if self.is_up() {
            self.send(message);
        }
    }

    fn send(&mut self, message: PuToScu) {
        self.outputs.push_back(Output::Send(Box::new(message)));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// How long the SCU may say nothing: two answers may be lost, and a third may be late.
fn silence(keep_alive: Duration) -> Duration {
    keep_alive * 2 + Duration::from_secs(2)
}
