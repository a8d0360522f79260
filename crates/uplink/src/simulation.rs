//! The machine against a simulated SCU that crashes, drops, delays and misbehaves, on virtual
//! time; a thousand seeds.

use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey};
use sightline_model::{ClaimCode, ClaimSecret, PuId, PublicKey, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::{Addresses, PuToScu, ScuToPu, registration_bytes},
};

use super::machine::{Event, Input, Machine, Now, Output, Profile, Settings};

fn profile() -> Profile {
    let key = SigningKey::from_bytes(&[3; 32]);
    let public_key = PublicKey::from(key.verifying_key());
    let pu = PuId::from_public_key(&public_key);
    let claim = ClaimCode::new(pu.clone(), ClaimSecret::from_bytes([1; 10])).hash();
    Profile {
        pu,
        public_key,
        claim,
        claim_unlocked: false,
        agent: "test".into(),
        kind: sightline_model::DeviceKind::Pu,
        addresses: Addresses::default(),
        channels: Vec::new(),
        sign: Box::new(move |bytes| key.sign(bytes).into()),
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

fn welcome(now: Now) -> ScuToPu {
    ScuToPu::Registered {
        domain: "test".parse().expect("domain"),
        epoch: 1,
        keep_alive_ms: 2_000,
        server_time: now.wall,
        observed: ([192, 0, 2, 1], 1).into(),
        token_keys: Vec::new(),
        ice_servers: Vec::new(),
        owner: None,
        relations: None,
    }
}

struct World {
    start: Instant,
    elapsed: Duration,
    machine: Machine,
    random: Random,
    /// Whether SCUs answer at all.
    scu_up: bool,
    link: Option<Link>,
    /// Inputs that are on their way.
    coming: Vec<(Duration, Input)>,
    up: bool,
    dials: Vec<Duration>,
}

#[derive(Default)]
struct Link {
    registered: bool,
    registrations: usize,
    /// The SCU behind it has crashed without a word.
    dead: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let start = Instant::now();
        let now = Now { at: start, wall: UnixMicros(0) };
        let mut world = Self {
            start,
            elapsed: Duration::ZERO,
            machine: Machine::new(Settings::new(2, seed), profile(), now),
            random: Random(seed),
            scu_up: true,
            link: None,
            coming: Vec::new(),
            up: false,
            dials: Vec::new(),
        };
        world.drain();
        world
    }

    fn now(&self) -> Now {
        Now { at: self.start + self.elapsed, wall: UnixMicros(0).plus(self.elapsed) }
    }

    fn later(&mut self, input: Input) {
        let delay = Duration::from_millis(5 + self.random.below(80));
        // A link keeps the order.
        let last = self.coming.last().map_or(Duration::ZERO, |(at, _)| *at);
        self.coming.push(((self.elapsed + delay).max(last), input));
    }

    fn next(&self) -> Duration {
        let due = self.machine.poll_timeout() - self.start;
        self.coming.first().map_or(due, |(at, _)| due.min(*at))
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Dial { server } => {
                    assert!(server < 2);
                    assert!(self.link.is_none(), "dialled with a link open");
                    self.dials.push(self.elapsed);
                    let input = if self.scu_up { Input::Connected } else { Input::Failed };
                    self.later(input);
                }
                Output::Send(message) => self.sent(&message),
                Output::Close => {
                    self.link = None;
                    self.coming.clear();
                }
                Output::Event(Event::Up(_)) => {
                    assert!(!self.up, "registered twice without a loss between");
                    self.up = true;
                }
                Output::Event(Event::Down(_)) => {
                    assert!(self.up, "lost without having been registered");
                    self.up = false;
                }
                Output::Event(Event::Clock { offset_us }) => {
                    assert!(offset_us.abs() < 200_000, "the clocks are the same: {offset_us}");
                }
                Output::Event(Event::Owner(_) | Event::NotUp(_) | Event::Message(_)) => {}
            }
        }
        assert_eq!(self.machine.is_up(), self.up);
    }

    fn sent(&mut self, message: &PuToScu) {
        let now = self.now();
        let link = self.link.as_mut().expect("sent only over an open link");
        if link.dead {
            return;
        }
        let answer = match message {
            PuToScu::Register(registration) => {
                link.registrations += 1;
                assert_eq!(link.registrations, 1, "registered twice over one link");
                let scu = "scu".parse().expect("SCU id");
                let signed = registration_bytes(&scu, "nonce", &registration.pu);
                assert!(registration.public_key.verify(&signed, &registration.signature));
                link.registered = true;
                welcome(now)
            }
            PuToScu::KeepAlive { pu_time } if link.registered => {
                ScuToPu::KeepAliveAck { pu_time: *pu_time, server_time: now.wall }
            }
            PuToScu::KeepAlive { .. } => return,
            other => {
                assert!(link.registered, "{other:?} before the registration");
                return;
            }
        };
        self.later(Input::Message(Box::new(answer)));
    }

    fn step(&mut self) {
        self.elapsed = self.elapsed.max(self.next());
        if self.coming.first().is_some_and(|(at, _)| *at <= self.elapsed) {
            match self.coming.remove(0).1 {
                Input::Connected => {
                    self.link = Some(Link { dead: !self.scu_up, ..Link::default() });
                    self.machine.handle_input(self.now(), Input::Connected);
                    self.drain();
                    let scu = "scu".parse().expect("SCU id");
                    let challenge = ScuToPu::Challenge { scu, nonce: "nonce".into() };
                    if self.scu_up {
                        self.later(Input::Message(Box::new(challenge)));
                    }
                }
                Input::Closed => {
                    self.link = None;
                    self.machine.handle_input(self.now(), Input::Closed);
                }
                input => self.machine.handle_input(self.now(), input),
            }
        } else {
            self.machine.handle_timeout(self.now());
        }
        self.drain();
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.elapsed + time;
        let mut steps = 0;
        while self.next() <= end {
            self.step();
            steps += 1;
            assert!(steps < 20_000, "the machine spins");
        }
        self.elapsed = end;
    }

    fn misfortune(&mut self) {
        let in_link = self.link.is_some();
        match self.random.below(6) {
            0 => {
                self.scu_up = false;
                if let Some(link) = &mut self.link {
                    link.dead = true;
                }
            }
            1 if in_link => {
                self.coming.clear();
                self.later(Input::Closed);
            }
            2 if in_link => self.later(Input::Message(Box::new(ScuToPu::Goodbye))),
            3 if in_link => self.later(Input::Malformed),
            4 => {
                let rtsp = vec![([192, 0, 2, 9], 1).into()];
                let addresses = Addresses { rtsp, ..Addresses::default() };
                self.machine.handle_input(self.now(), Input::Addresses(addresses));
                self.drain();
            }
            5 if in_link => {
                let problem = Problem::new(ProblemKind::Internal, "out of order");
                self.later(Input::Message(Box::new(ScuToPu::Refused { problem })));
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_happens_the_unit_is_back_within_ten_seconds_of_a_working_centre() {
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        for _ in 0..20 {
            let quiet = Duration::from_millis(world.random.below(8_000));
            world.run_for(quiet);
            world.misfortune();
        }
        // A link whose SCU crashed silently is the transport's to notice; here after 3 s.
        world.scu_up = true;
        if world.link.as_ref().is_some_and(|link| link.dead) {
            world.coming.clear();
            world.coming.push((world.elapsed + Duration::from_secs(3), Input::Closed));
        }
        world.run_for(Duration::from_secs(10));
        assert!(world.up, "seed {seed}: not registered");
    }
}

#[test]
fn an_absent_centre_is_not_hammered() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.scu_up = false;
        world.run_for(Duration::from_secs(600));
        // The first dial still went through.
        let gaps: Vec<_> = world.dials[1..].windows(2).map(|w| w[1] - w[0]).collect();
        assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(50)), "seed {seed}");
        assert!(gaps.iter().all(|gap| *gap <= Duration::from_millis(2_100)), "seed {seed}");
        let later = &gaps[8..];
        assert!(later.iter().all(|gap| *gap >= Duration::from_secs(1)), "seed {seed}");
    }
}

#[test]
fn a_unit_that_is_refused_for_its_key_waits_long() {
    let mut world = World::new(1);
    world.run_for(Duration::from_secs(1));
    let problem = Problem::new(ProblemKind::WrongKey, "no");
    world.later(Input::Message(Box::new(ScuToPu::Refused { problem })));
    world.run_for(Duration::from_secs(10));
    assert!(!world.up);
    world.run_for(Duration::from_secs(30));
    assert!(world.up);
}

#[test]
fn a_registration_out_of_turn_or_without_challenge_counts_for_nothing() {
    let start = Instant::now();
    let now = Now { at: start, wall: UnixMicros(0) };
    for bad in [
        welcome(now),
        ScuToPu::Challenge { scu: "scu".parse().expect("SCU id"), nonce: "x".repeat(10_000) },
    ] {
        let mut machine = Machine::new(Settings::new(1, 1), profile(), now);
        machine.handle_input(now, Input::Connected);
        machine.handle_input(now, Input::Message(Box::new(bad)));
        assert!(!machine.is_up());
        let outputs: Vec<_> = std::iter::from_fn(|| machine.poll_output()).collect();
        assert!(outputs.contains(&Output::Close), "{outputs:?}");
        assert!(
            !outputs
                .iter()
                .any(|o| matches!(o, Output::Send(m) if matches!(**m, PuToScu::Register(_)))),
            "{outputs:?}"
        );
    }
}

#[test]
fn a_silent_centre_is_given_up_sooner_after_our_address_has_changed() {
    let mut world = World::new(5);
    world.run_for(Duration::from_secs(1));
    assert!(world.up);
    let Some(link) = &mut world.link else { panic!("no link") };
    link.dead = true;
    world.coming.clear();
    world.machine.handle_input(world.now(), Input::Addresses(Addresses::default()));
    world.drain();
    world.run_for(Duration::from_millis(4_500));
    assert!(world.up, "not back");
    assert_eq!(world.dials.len(), 2);
}

/// A camera that comes up between the registration and its answer: the CMU must hear of it.
#[test]
fn what_changes_while_a_registration_is_under_way_is_told_after_it() {
    let now = Now { at: Instant::now(), wall: UnixMicros(0) };
    let mut machine = Machine::new(Settings::new(1, 1), profile(), now);
    let challenge = ScuToPu::Challenge { scu: "scu".parse().expect("id"), nonce: "n".into() };
    machine.handle_input(now, Input::Connected);
    machine.handle_input(now, Input::Message(Box::new(challenge)));
    let addresses = Addresses { rtsp: vec![([192, 0, 2, 1], 554).into()], ..Addresses::default() };
    let yard = sightline_protocol::ps::ChannelStatus {
        channel: sightline_model::ChannelId(0),
        name: "Yard".into(),
        online: true,
        fault: None,
        streams: Vec::new(),
        audio: None,
    };
    machine.handle_input(now, Input::Addresses(addresses.clone()));
    machine.handle_input(now, Input::Channels(vec![yard.clone()]));
    machine.handle_input(now, Input::Message(Box::new(welcome(now))));
    let sent: Vec<_> = std::iter::from_fn(|| machine.poll_output())
        .filter_map(|output| match output {
            Output::Send(message) => Some(*message),
            Output::Dial { .. } | Output::Close | Output::Event(_) => None,
        })
        .collect();
    assert!(sent.contains(&PuToScu::Addresses(addresses)), "{sent:?}");
    assert!(sent.contains(&PuToScu::Channels { channels: vec![yard] }), "{sent:?}");
}
