//! The SCU's table of calls alone: more of them than a device may have, and media that moves.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use scu_session::calls::{CallOutput, CallState, Calls, MAX_CALLS_PER_DEVICE, MediaPath, Route};
use sightline_model::{ChannelId, MediaSessionId, PuId, PublicKey, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::{MediaTransport, PathReport},
};

use crate::Choices;

const DEVICES: usize = 2;
const SESSIONS: usize = 8;
/// An input that begins so may fill a device's table, once, and must be short: that is hundreds of
/// calls, and as slow as hundreds of other inputs.
const CROWDED: u8 = 0xc0;
/// So short.
const CROWDED_LEN: usize = 24;
/// More calls than this are not looked through after every step.
const FEW: usize = 16;

static PUS: LazyLock<[PuId; DEVICES]> =
    LazyLock::new(|| [1, 2].map(|n| PuId::from_public_key(&PublicKey::from_bytes([n; 32]))));
static NAMES: LazyLock<Vec<MediaSessionId>> = LazyLock::new(|| {
    let name = |n| format!("s-{n}").parse().expect("a valid id");
    (0..SESSIONS + MAX_CALLS_PER_DEVICE + 1).map(name).collect()
});

struct World {
    calls: Calls,
    now: Instant,
    may_crowd: bool,
}

/// Any order of events: no device has more calls than it may, one change of a route is under way
/// at a time and ends, and when everybody has gone nothing is left.
pub fn calls(data: &[u8]) {
    let mut choices = Choices::new(data);
    let may_crowd = choices.byte() == CROWDED;
    if may_crowd && data.len() > CROWDED_LEN {
        return;
    }
    let mut world = World { calls: Calls::default(), now: Instant::now(), may_crowd };
    while !choices.is_empty() {
        world.step(&mut choices);
        world.check();
    }
    world.end();
}

fn user(n: u8) -> UserId {
    UserId::from_random([n; 16])
}

fn problem() -> Problem {
    Problem::new(ProblemKind::Busy, "no")
}

impl World {
    fn step(&mut self, choices: &mut Choices<'_>) {
        let session = &NAMES[usize::from(choices.below(8)) % SESSIONS];
        let device = &PUS[usize::from(choices.below(2))];
        let (calls, now) = (&mut self.calls, self.now);
        match choices.below(14) {
            0 => {
                let who = (user(choices.below(2)), ChannelId(0));
                let _ = calls.prepare(now, session, device, who, vec![]);
            }
            1 | 2 => {
                let _ = calls.offer(now, session, device);
            }
            3 => {
                calls.answered(device, session, choices.flag());
            }
            4 | 5 => {
                let report = PathReport::new(MediaTransport::Quic, choices.flag(), "");
                calls.reported(device, session, choices.flag().then_some(&report));
            }
            6 | 7 => self.modify(session, choices.flag()),
            8 => self.modified(session, choices.flag()),
            9 => calls.end(session, None, (choices.flag(), choices.flag())),
            10 => {
                let whose = choices.flag().then(|| user(choices.below(2)));
                calls.revoke(device, whose.as_ref(), &problem());
            }
            11 => {
                if choices.flag() {
                    calls.device_lost(now, device);
                } else {
                    calls.device_back(device);
                }
            }
            12 => self.crowd(device, choices.flag()),
            _ => self.pass(Duration::from_millis(u64::from(choices.u16()) << choices.below(8))),
        }
    }

    /// More calls than there is room for: those that nobody came for make room, others do not.
    fn crowd(&mut self, device: &PuId, offered: bool) {
        if !std::mem::replace(&mut self.may_crowd, false) {
            return;
        }
        for session in &NAMES[SESSIONS..] {
            let room = if offered {
                self.calls.offer(self.now, session, device).is_ok()
            } else {
                let who = (user(0), ChannelId(0));
                self.calls.prepare(self.now, session, device, who, vec![]).is_ok()
            };
            if room {
                assert_eq!(&self.calls.get(session).expect("it has room").device, device);
            }
        }
    }

    fn modify(&mut self, session: &MediaSessionId, relay: bool) {
        let to = if relay {
            MediaPath::Relayed(MediaTransport::Webrtc)
        } else {
            MediaPath::Mtu("mtu-1".parse().expect("a valid id"))
        };
        let before = self.calls.get(session).map(|call| (call.state, call.route.clone()));
        let begun = self.calls.modify(self.now, session, to.clone()).is_ok();
        let possible = matches!(before, Some((CallState::Flowing, Route::Settled(_))));
        assert_eq!(begun, possible);
        if begun {
            let route = &self.calls.get(session).expect("it runs").route;
            assert!(matches!(route, Route::Changing { to: wanted, .. } if *wanted == to));
        }
    }

    fn modified(&mut self, session: &MediaSessionId, accepted: bool) {
        let before = self.calls.get(session).map(|call| call.route.clone());
        self.calls.modified(session, accepted);
        if let Some(Route::Changing { from, to, .. }) = before {
            let settled = Route::Settled(if accepted { to } else { from });
            assert_eq!(self.calls.get(session).map(|call| &call.route), Some(&settled));
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.calls.handle_timeout(self.now);
        assert!(self.calls.poll_timeout().is_none_or(|at| at > self.now), "a timer was left");
    }

    fn check(&mut self) {
        while let Some(output) = self.calls.poll_output() {
            if let CallOutput::Ended { session, unanswered, cu, .. } = output {
                assert!(cu || !unanswered || self.calls.get(&session).is_none());
            }
        }
        if self.calls.len() > FEW {
            return;
        }
        self.check_devices();
    }

    fn check_devices(&self) {
        for device in PUS.iter() {
            let theirs = || self.calls.routes().filter(|(_, call)| call.device == *device);
            assert!(theirs().count() <= MAX_CALLS_PER_DEVICE);
            let on = |state| matches!(state, CallState::Answered | CallState::Flowing);
            assert_eq!(self.calls.watched(device), theirs().any(|(_, call)| on(call.state)));
        }
    }

    fn end(&mut self) {
        self.check_devices();
        for device in PUS.iter() {
            self.calls.revoke(device, None, &problem());
        }
        assert!(self.calls.is_empty(), "{} calls are left", self.calls.len());
        assert_eq!(self.calls.poll_timeout(), None, "a timer without a call");
    }
}
