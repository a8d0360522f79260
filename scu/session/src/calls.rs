//! The calls of the devices that are registered here: their legs, their states, and the media
//! routing table (A7.2, "call control").
//!
//! A call has a leg to the PU and, when its CU signals over an SCU, one to the CU. A player that
//! dials the PU itself (RTSP, QUIC) has only the first; the PU reports it.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use sightline_model::{ChannelId, MediaSessionId, MtuId, PuId, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::{MediaTransport, PathReport},
};

use crate::timers::Timers;

/// How long a call that the CMU prepared waits for its CU: longer than any play token lives.
pub const PREPARED_FOR: Duration = Duration::from_secs(600);
/// How long a PU may take to answer an offer, token check included.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long a call outlives its PU's connection: media flows past the centre, so a PU that comes
/// back finds it as it was.
pub const PU_BACK_WITHIN: Duration = Duration::from_secs(30);
/// How long a change of the media's way may take before it is rolled back.
pub const MODIFY_WITHIN: Duration = Duration::from_secs(10);
/// Calls of one device.
pub const MAX_CALLS_PER_DEVICE: usize = 256;

/// One call.
#[derive(Debug)]
pub struct Call {
    /// The PU leg's device.
    pub device: PuId,
    /// Who watches, once the CMU has said so.
    pub user: Option<UserId>,
    /// Which camera, once the CMU has said so.
    pub channel: Option<ChannelId>,
    /// The MTUs chosen for it, the first choice first.
    pub mtus: Vec<MtuId>,
    /// Whether there is a leg to a CU over the signalling.
    pub cu_leg: bool,
    /// The leg to the PU.
    pub pu_leg: PuLeg,
    /// How far it has come.
    pub state: CallState,
    /// Where its media runs.
    pub route: Route,
}

/// The leg to the PU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PuLeg {
    /// Its connection stands.
    Attached,
    /// It is gone; the call ends unless it is back by then.
    Lost {
        /// The deadline.
        until: Instant,
    },
}

/// How far a call has come. An ended call is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallState {
    /// Announced by the CMU.
    Prepared {
        /// Forgotten after this.
        until: Instant,
    },
    /// The CU's offer is with the PU.
    Offered {
        /// Refused after this.
        until: Instant,
    },
    /// The PU has answered.
    Answered,
    /// The PU has reported media.
    Flowing,
}

/// Where media runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaPath {
    /// Nothing runs yet.
    None,
    /// From PU to CU.
    Direct(MediaTransport),
    /// Over a relay.
    Relayed(MediaTransport),
    /// Into an MTU, which hands it on.
    Mtu(MtuId),
}

/// An entry of the media routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// As it is.
    Settled(MediaPath),
    /// Being moved; a refusal or the deadline brings back what was.
    Changing {
        /// What was.
        from: MediaPath,
        /// What is asked for.
        to: MediaPath,
        /// The deadline.
        until: Instant,
    },
}

/// Why a change of the route cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CannotModify {
    /// No such call, or no media in it yet.
    NotFlowing,
    /// Another change is under way.
    Changing,
}

/// What the table wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum CallOutput {
    /// The call is over: tell those legs that are named.
    Ended {
        /// The call.
        session: MediaSessionId,
        /// Its device, when the PU has to be told.
        pu: Option<PuId>,
        /// Whether the CU has to be told.
        cu: bool,
        /// Whether the PU had not yet answered.
        unanswered: bool,
        /// Why.
        problem: Option<Problem>,
    },
    /// The legs are to move the media.
    Move {
        /// The call.
        session: MediaSessionId,
        /// To where: a change, or the old way after a refusal.
        to: MediaPath,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Timer {
    State(MediaSessionId),
    Leg(MediaSessionId),
    Route(MediaSessionId),
}

/// The table.
#[derive(Debug, Default)]
pub struct Calls {
    calls: HashMap<MediaSessionId, Call>,
    by_device: HashMap<PuId, Vec<MediaSessionId>>,
    timers: Timers<Timer>,
    outputs: VecDeque<CallOutput>,
}

fn busy() -> Problem {
    Problem::new(ProblemKind::Busy, "the device has as many viewers as it can")
}

fn foreign() -> Problem {
    Problem::new(ProblemKind::NotFound, "no such session")
}

impl Calls {
    /// The CMU announces a call.
    ///
    /// # Errors
    /// The device has too many calls, or the session is another device's.
    pub fn prepare(
        &mut self,
        now: Instant,
        session: &MediaSessionId,
        device: &PuId,
        who: (UserId, ChannelId),
        mtus: Vec<MtuId>,
    ) -> Result<(), Problem> {
        let until = now + PREPARED_FOR;
        let call = self.get_or_insert(session, device, CallState::Prepared { until })?;
        (call.user, call.channel) = (Some(who.0), Some(who.1));
        call.mtus = mtus;
        if matches!(call.state, CallState::Prepared { .. }) {
            self.timers.set(&Timer::State(session.clone()), until);
        }
        Ok(())
    }

    /// A CU's offer is about to go to the PU; an offer in a running call restarts its ICE.
    ///
    /// # Errors
    /// As for [`Self::prepare`].
    pub fn offer(
        &mut self,
        now: Instant,
        session: &MediaSessionId,
        device: &PuId,
    ) -> Result<Vec<MtuId>, Problem> {
        let until = now + ANSWER_WITHIN;
        let call = self.get_or_insert(session, device, CallState::Offered { until })?;
        call.cu_leg = true;
        let mtus = call.mtus.clone();
        match call.state {
            CallState::Prepared { .. } | CallState::Offered { .. } => {
                call.state = CallState::Offered { until };
                self.timers.set(&Timer::State(session.clone()), until);
            }
            // The old path keeps running until the new one works.
            CallState::Answered | CallState::Flowing => {}
        }
        Ok(mtus)
    }

    fn get_or_insert(
        &mut self,
        session: &MediaSessionId,
        device: &PuId,
        state: CallState,
    ) -> Result<&mut Call, Problem> {
        if !self.calls.contains_key(session) {
            self.make_room(device)?;
            self.by_device.entry(device.clone()).or_default().push(session.clone());
        }
        let call = self.calls.entry(session.clone()).or_insert_with(|| Call {
            device: device.clone(),
            user: None,
            channel: None,
            mtus: Vec::new(),
            cu_leg: false,
            pu_leg: PuLeg::Attached,
            state,
            route: Route::Settled(MediaPath::None),
        });
        if call.device == *device { Ok(call) } else { Err(foreign()) }
    }

    /// A call that nobody has come for yet gives way to a new one.
    fn make_room(&mut self, device: &PuId) -> Result<(), Problem> {
        let Some(sessions) = self.by_device.get(device) else { return Ok(()) };
        if sessions.len() < MAX_CALLS_PER_DEVICE {
            return Ok(());
        }
        let waiting = |session: &&MediaSessionId| {
            let state = self.calls.get(*session).map(|call| call.state);
            matches!(state, Some(CallState::Prepared { .. }))
        };
        let oldest = sessions.iter().find(waiting).cloned().ok_or_else(busy)?;
        self.remove(&oldest);
        Ok(())
    }

    /// The PU has answered. Returns whether the answer may go to the CU; a refusal ends a call that
    /// had none before it. In a call that runs, only the restart of ICE has failed.
    pub fn answered(&mut self, device: &PuId, session: &MediaSessionId, accepted: bool) -> bool {
        let call = self.of_device(device, session).filter(|call| call.cu_leg);
        let Some(call) = call else { return false };
        let first = matches!(call.state, CallState::Offered { .. } | CallState::Prepared { .. });
        if first && accepted {
            call.state = CallState::Answered;
            self.timers.clear(&Timer::State(session.clone()));
        } else if first {
            self.remove(session);
        }
        true
    }

    /// Whether the call is with this device and has a leg to a CU.
    #[must_use]
    pub fn has_cu(&self, device: &PuId, session: &MediaSessionId) -> bool {
        self.calls.get(session).is_some_and(|c| c.device == *device && c.cu_leg)
    }

    /// The PU reports where media runs, or that the call is over.
    pub fn reported(&mut self, device: &PuId, session: &MediaSessionId, path: Option<&PathReport>) {
        let Some(path) = path else {
            if self.of_device(device, session).is_some() {
                self.end(session, None, (false, true));
            }
            return;
        };
        // A call that this SCU has never heard of began at another, or before this one did; its CU
        // may still be signalling over whichever SCU it is connected to.
        let began_elsewhere = !self.calls.contains_key(session);
        let Ok(call) = self.get_or_insert(session, device, CallState::Flowing) else { return };
        call.cu_leg |= began_elsewhere;
        let way = if path.relayed { MediaPath::Relayed } else { MediaPath::Direct };
        call.state = CallState::Flowing;
        let settle = match &call.route {
            Route::Settled(MediaPath::Mtu(_)) | Route::Changing { .. } => false,
            Route::Settled(MediaPath::None | MediaPath::Direct(_) | MediaPath::Relayed(_)) => true,
        };
        if settle {
            call.route = Route::Settled(way(path.transport));
        }
        self.timers.clear(&Timer::State(session.clone()));
    }

    /// Asks the legs to move the media of a running call.
    ///
    /// # Errors
    /// [`CannotModify`]; nothing has changed then.
    pub fn modify(
        &mut self,
        now: Instant,
        session: &MediaSessionId,
        to: MediaPath,
    ) -> Result<(), CannotModify> {
        let call = self.calls.get_mut(session).ok_or(CannotModify::NotFlowing)?;
        if call.state != CallState::Flowing {
            return Err(CannotModify::NotFlowing);
        }
        let Route::Settled(from) = &call.route else { return Err(CannotModify::Changing) };
        let until = now + MODIFY_WITHIN;
        call.route = Route::Changing { from: from.clone(), to: to.clone(), until };
        self.timers.set(&Timer::Route(session.clone()), until);
        self.outputs.push_back(CallOutput::Move { session: session.clone(), to });
        Ok(())
    }

    /// The legs have moved the media, or refused; a refusal rolls back.
    pub fn modified(&mut self, session: &MediaSessionId, accepted: bool) {
        let Some(call) = self.calls.get_mut(session) else { return };
        let Route::Changing { from, to, .. } = &call.route else { return };
        let settled = if accepted { to.clone() } else { from.clone() };
        if !accepted {
            let (session, to) = (session.clone(), from.clone());
            self.outputs.push_back(CallOutput::Move { session, to });
        }
        call.route = Route::Settled(settled);
        self.timers.clear(&Timer::Route(session.clone()));
    }

    /// Ends a call; `tell` names the legs that do not know yet: PU, CU.
    pub fn end(&mut self, session: &MediaSessionId, problem: Option<Problem>, tell: (bool, bool)) {
        let Some(call) = self.remove(session) else { return };
        let attached = call.pu_leg == PuLeg::Attached;
        self.outputs.push_back(CallOutput::Ended {
            session: session.clone(),
            pu: (tell.0 && attached).then_some(call.device),
            cu: tell.1 && call.cu_leg,
            unanswered: matches!(call.state, CallState::Offered { .. }),
            problem,
        });
    }

    /// Ends the calls of a device, or those of one user with it. The PU is told by other means.
    pub fn revoke(&mut self, device: &PuId, user: Option<&UserId>, problem: &Problem) {
        for session in self.by_device.get(device).cloned().unwrap_or_default() {
            let theirs = self
                .calls
                .get(&session)
                .is_some_and(|call| user.is_none() || call.user.as_ref() == user);
            if theirs {
                self.end(&session, Some(problem.clone()), (false, true));
            }
        }
    }

    /// The PU's connection is gone.
    pub fn device_lost(&mut self, now: Instant, device: &PuId) {
        for session in self.by_device.get(device).cloned().unwrap_or_default() {
            let Some(call) = self.calls.get_mut(&session) else { continue };
            match call.state {
                CallState::Offered { .. } => {
                    let why = "the camera's device went offline";
                    let problem = Problem::new(ProblemKind::DeviceOffline, why);
                    self.end(&session, Some(problem), (false, true));
                }
                CallState::Prepared { .. } | CallState::Answered | CallState::Flowing => {
                    let until = now + PU_BACK_WITHIN;
                    call.pu_leg = PuLeg::Lost { until };
                    self.timers.set(&Timer::Leg(session), until);
                }
            }
        }
    }

    /// Another SCU speaks for the device: its calls go on there. An offer that was not answered yet
    /// is lost, since nobody there knows of it.
    pub fn device_moved(&mut self, device: &PuId) {
        for session in self.by_device.get(device).cloned().unwrap_or_default() {
            let state = self.calls.get(&session).map(|call| call.state);
            if matches!(state, Some(CallState::Offered { .. })) {
                let why = "the camera's device has just moved; try again";
                let problem = Problem::new(ProblemKind::DeviceOffline, why);
                self.end(&session, Some(problem), (false, true));
            } else {
                self.remove(&session);
            }
        }
    }

    /// The PU is back.
    pub fn device_back(&mut self, device: &PuId) {
        for session in self.by_device.get(device).cloned().unwrap_or_default() {
            if let Some(call) = self.calls.get_mut(&session) {
                call.pu_leg = PuLeg::Attached;
                self.timers.clear(&Timer::Leg(session));
            }
        }
    }

    /// The media routing table.
    pub fn routes(&self) -> impl Iterator<Item = (&MediaSessionId, &Call)> {
        self.calls.iter()
    }

    /// One call.
    #[must_use]
    pub fn get(&self, session: &MediaSessionId) -> Option<&Call> {
        self.calls.get(session)
    }

    /// Whether anybody watches the device.
    #[must_use]
    pub fn watched(&self, device: &PuId) -> bool {
        self.by_device.get(device).is_some_and(|sessions| {
            sessions
                .iter()
                .filter_map(|s| self.calls.get(s))
                .any(|call| matches!(call.state, CallState::Answered | CallState::Flowing))
        })
    }

    /// How many calls there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is no call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    fn of_device(&mut self, device: &PuId, session: &MediaSessionId) -> Option<&mut Call> {
        self.calls.get_mut(session).filter(|call| call.device == *device)
    }

    fn remove(&mut self, session: &MediaSessionId) -> Option<Call> {
        let call = self.calls.remove(session)?;
        if let Some(sessions) = self.by_device.get_mut(&call.device) {
            sessions.retain(|s| s != session);
            if sessions.is_empty() {
                self.by_device.remove(&call.device);
            }
        }
        for timer in [Timer::State, Timer::Leg, Timer::Route] {
            self.timers.clear(&timer(session.clone()));
        }
        Some(call)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::State(session) => {
                    let state = self.calls.get(&session).map(|call| call.state);
                    if matches!(state, Some(CallState::Prepared { .. })) {
                        // Nobody came, or a player came past the signalling: that one is the PU's.
                        self.remove(&session);
                        continue;
                    }
                    let why = "the camera's device did not answer in time";
                    let problem = Problem::new(ProblemKind::Timeout, why);
                    self.end(&session, Some(problem), (true, true));
                }
                Timer::Leg(session) => {
                    let why = "the camera's device went offline";
                    let problem = Problem::new(ProblemKind::DeviceOffline, why);
                    self.end(&session, Some(problem), (false, true));
                }
                Timer::Route(session) => self.modified(&session, false),
            }
        }
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<CallOutput> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
