//! The PU's dialogue with its SCU, whatever the SCU and the network do.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use sightline_model::{
    ChannelId, ClaimCode, ClaimHash, ClaimSecret, MediaSessionId, PuId, PublicKey, Signature,
    UnixMicros, UserId,
};
use sightline_protocol::{
    Problem, ProblemKind, decode,
    ps::{Addresses, PuToScu, ScuToPu},
};

use crate::Choices;

#[path = "../../../crates/uplink/src/clock.rs"]
#[expect(dead_code, reason = "the part that other tasks read is not driven here")]
mod clock;
#[path = "../../../crates/uplink/src/machine.rs"]
#[expect(unused_imports, reason = "whoever signs is not named here")]
mod machine;

use machine::{Event, Input, Machine, Now, Output, Profile, Settings};

/// What the caller of the machine holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    None,
    Dialing,
    Open,
}

struct World {
    machine: Machine,
    at: Instant,
    wall: i64,
    link: Link,
    up: bool,
    /// Messages sent over this link before it was registered.
    before_up: u32,
}

/// Any order of events: the machine never dials twice at once, never sends without a link, and
/// says up and down in turn.
pub fn uplink(data: &[u8]) {
    let mut choices = Choices::new(data);
    let at = Instant::now();
    let now = Now { at, wall: UnixMicros(0) };
    let seed = u64::from(choices.byte());
    let machine = Machine::new(Settings::new(2, seed), profile(), now);
    let mut world = World { machine, at, wall: 0, link: Link::None, up: false, before_up: 0 };
    world.drain();
    while !choices.is_empty() {
        world.step(&mut choices);
    }
    // Left alone for long enough it always dials again.
    for _ in 0..64 {
        if world.link == Link::Dialing {
            return;
        }
        world.timeout();
    }
    panic!("the unit never dials again");
}

/// Made once: hashing keys is not what is tested here.
static IDENTITY: LazyLock<(PuId, PublicKey, ClaimHash)> = LazyLock::new(|| {
    let public_key = PublicKey::from_bytes([7; 32]);
    let pu = PuId::from_public_key(&public_key);
    let claim = ClaimCode::new(pu.clone(), ClaimSecret::from_bytes([1; 10])).hash();
    (pu, public_key, claim)
});

fn profile() -> Profile {
    let (pu, public_key, claim) = IDENTITY.clone();
    Profile {
        claim,
        pu,
        public_key,
        claim_unlocked: false,
        agent: "fuzz".to_owned(),
        kind: sightline_model::DeviceKind::Pu,
        addresses: Addresses::default(),
        channels: vec![],
        sign: Box::new(|_| Signature::from_bytes([0; 64])),
    }
}

impl World {
    fn now(&self) -> Now {
        Now { at: self.at, wall: UnixMicros(self.wall) }
    }

    fn pass(&mut self, time: Duration) {
        self.at += time;
        self.wall = self.wall.saturating_add(i64::try_from(time.as_micros()).unwrap_or(0));
    }

    fn feed(&mut self, input: Input) {
        self.machine.handle_input(self.now(), input);
        self.drain();
    }

    fn timeout(&mut self) {
        self.pass(self.machine.poll_timeout().saturating_duration_since(self.at));
        self.machine.handle_timeout(self.now());
        self.drain();
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(12) {
            0 => self.timeout(),
            1 => {
                self.pass(Duration::from_millis(choices.u16().into()));
                self.machine.handle_timeout(self.now());
                self.drain();
            }
            // The wall clock is set, forwards or backwards.
            2 => self.wall = i64::from(choices.u16()) << choices.below(40),
            3 => {
                let addresses = Addresses {
                    rtsp: vec![([192, 0, 2, choices.byte()], 554).into()],
                    ..Addresses::default()
                };
                self.feed(Input::Addresses(addresses));
            }
            4 => self.feed(Input::Channels(vec![])),
            5 => {
                let unlocked = choices.flag();
                self.feed(Input::ClaimUnlocked(unlocked));
            }
            6 => {
                let candidate = PuToScu::Candidate { session: session(), candidate: String::new() };
                self.feed(Input::Send(Box::new(candidate)));
            }
            7 => self.link_event(choices),
            _ => self.message(choices),
        }
    }

    fn link_event(&mut self, choices: &mut Choices<'_>) {
        match (self.link, choices.flag()) {
            (Link::Dialing, true) => {
                self.link = Link::Open;
                self.before_up = 0;
                self.feed(Input::Connected);
            }
            (Link::Dialing, false) => {
                self.link = Link::None;
                self.feed(Input::Failed);
            }
            (Link::Open, true) => {
                self.link = Link::None;
                self.feed(Input::Closed);
            }
            // A better way was found: the new link replaces the old one.
            (Link::Open, false) => {
                self.before_up = 0;
                self.feed(Input::Connected);
            }
            (Link::None, _) => {}
        }
    }

    fn message(&mut self, choices: &mut Choices<'_>) {
        if self.link != Link::Open {
            return;
        }
        match scu_says(choices, self.wall) {
            Some(message) => self.feed(Input::Message(Box::new(message))),
            None => self.feed(Input::Malformed),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Dial { server } => {
                    assert!(server < 2);
                    assert_eq!(self.link, Link::None, "dialled with a link or dial under way");
                    self.link = Link::Dialing;
                }
                Output::Send(message) => {
                    assert_eq!(self.link, Link::Open, "sent without a link");
                    if !self.up {
                        self.before_up += 1;
                        assert!(self.before_up <= 2, "more than a hello and a registration");
                        let first = matches!(*message, PuToScu::KeepAlive { .. });
                        let second = matches!(*message, PuToScu::Register(_));
                        assert!(if self.before_up == 1 { first } else { second });
                    }
                }
                Output::Close => self.link = Link::None,
                Output::Event(Event::Up(_)) => {
                    assert!(!self.up, "up twice");
                    self.up = true;
                }
                Output::Event(Event::Down(_)) => {
                    assert!(self.up, "down without having been up");
                    self.up = false;
                }
                Output::Event(Event::Message(_)) => assert!(self.up),
                Output::Event(_) => {}
            }
        }
        assert_eq!(self.machine.is_up(), self.up);
    }
}

fn session() -> MediaSessionId {
    "s-1".parse().expect("a valid id")
}

/// `None`: something unreadable.
fn scu_says(choices: &mut Choices<'_>, wall: i64) -> Option<ScuToPu> {
    let session = session();
    let time = |choices: &mut Choices<'_>| {
        UnixMicros(wall.wrapping_sub(i64::from(choices.u16()) << choices.below(48)))
    };
    Some(match choices.below(12) {
        0..=2 => ScuToPu::Challenge {
            scu: "scu".parse().expect("a valid id"),
            nonce: "n".repeat(usize::from(choices.u16() % 300)),
        },
        3..=5 => ScuToPu::Registered {
            domain: "test".parse().expect("a valid name"),
            epoch: choices.byte().into(),
            keep_alive_ms: u32::from(choices.u16()) << choices.below(17),
            server_time: time(choices),
            observed: ([192, 0, 2, 1], 1).into(),
            token_keys: vec![],
            ice_servers: vec![],
            owner: None,
            relations: None,
        },
        6 => {
            let kinds = [ProblemKind::WrongKey, ProblemKind::Busy, ProblemKind::StaleLease];
            let kind = kinds[usize::from(choices.below(3))];
            ScuToPu::Refused { problem: Problem::new(kind, "no") }
        }
        7 => ScuToPu::KeepAliveAck { pu_time: time(choices), server_time: time(choices) },
        8 => ScuToPu::Goodbye,
        9 => match choices.below(5) {
            0 => ScuToPu::OwnerChanged { owner: Some(UserId::from_random([1; 16])) },
            1 => ScuToPu::RevokeUser { user: None },
            2 => ScuToPu::EndSession { session, problem: None },
            3 => ScuToPu::Candidate { session, candidate: "c".to_owned() },
            _ => ScuToPu::PrepareMedia {
                session,
                channel: ChannelId(0),
                capabilities: sightline_model::Capabilities::default(),
            },
        },
        // As it comes from the wire.
        _ => return decode::<ScuToPu>(choices.piece()).ok().map(|envelope| envelope.body),
    })
}
