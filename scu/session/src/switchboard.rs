//! Puts presence, calls, viewers and MTUs together: every message between a PU and a CU, or
//! between them and the centre, passes here.

use std::{collections::VecDeque, time::Instant};

use sightline_model::{MediaSessionId, Presence, PuId};
use sightline_protocol::{
    Problem, ProblemKind,
    cs::{CsRequest, MediaOffer, ScuToCu},
    ps::{ChannelStatus, RecordingRequest, ScuToPu},
    sc::ScRequest,
    sm::SmRequest,
};

use crate::{
    Answer, ConnId, CuPath, Input, Output, PuMedia, Request,
    calls::{CallOutput, Calls},
    mtus::Mtus,
    presence::{Admission, Devices, Present},
    recordings::{Answered, Recordings},
    viewers::{Offered, Viewers},
};

/// The machine.
#[derive(Debug)]
pub struct Switchboard<R> {
    devices: Devices,
    calls: Calls,
    viewers: Viewers,
    mtus: Mtus,
    recordings: Recordings<R>,
    outputs: VecDeque<Output<R>>,
}

impl<R> Default for Switchboard<R> {
    /// As [`Self::new`] with the number 1: where no other SCU ever asked the same devices.
    fn default() -> Self {
        Self::new(1)
    }
}

fn offline() -> Problem {
    Problem::new(ProblemKind::DeviceOffline, "the camera's device is offline")
}

fn revoked() -> Problem {
    Problem::new(ProblemKind::TokenRevoked, "the right to watch has been taken away")
}

impl<R> Switchboard<R> {
    /// A switchboard that knows nobody yet. `first_question`: a random number, drawn once for each life
    /// of an SCU ([`Recordings`]).
    #[must_use]
    pub fn new(first_question: u64) -> Self {
        Self {
            devices: Devices::default(),
            calls: Calls::default(),
            viewers: Viewers::default(),
            mtus: Mtus::default(),
            recordings: Recordings::new(first_question),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Instant, input: Input<R>) {
        match input {
            Input::PuAdmitted { conn, pu, epoch, channels } => {
                self.admit(conn, pu, epoch, &channels);
            }
            Input::PuChannels { conn, channels } => self.devices.channels(conn, &channels),
            Input::PuMedia { conn, media } => self.pu_media(conn, media),
            Input::PuRecorded { conn, answer } => {
                if let Some(device) = self.devices.of(conn) {
                    let answered = self.recordings.answered(device, *answer);
                    self.recorded(answered);
                }
            }
            Input::PuGone { conn } => {
                if let Some(pu) = self.devices.of(conn).cloned() {
                    self.devices.remove(&pu);
                    self.calls.device_lost(now, &pu);
                    self.no_answers_of(&pu);
                }
            }
            Input::Device { conn, request, from } => self.request(now, conn, request, from),
            Input::LeaseGranted { device, epoch } => {
                let fenced = self.devices.granted(now, &device, epoch);
                self.fence(&device, fenced);
            }
            Input::LeasesLost(devices) => {
                for device in devices {
                    let fenced = self.devices.remove(&device);
                    self.fence(&device, fenced);
                }
            }
            Input::CuOffer { conn, session, device, offer } => {
                self.cu_offer(now, conn, session, device, offer);
            }
            Input::CuCandidate { conn, session, candidate } => {
                if let Some(device) = self.viewers.candidate(conn, &session, &candidate) {
                    self.candidate(device, session, candidate);
                }
            }
            Input::CuEnd { conn, session } => {
                if self.viewers.owns(conn, &session) {
                    self.viewer_left(&session);
                }
            }
            Input::CuPath { conn, session, report } => self.cu_path(conn, session, *report),
            Input::CuGone { conn, until } => {
                self.viewers.gone(conn, until);
                self.end_overdue(now);
            }
            Input::Delivered { session, result } => self.delivered(now, session, result),
            Input::ForCu { session, message } => self.for_cu(session, message),
            Input::Mtu(status) => self.mtus.heard(now, status),
        }
        self.drain_calls();
    }

    fn admit(&mut self, conn: ConnId, pu: PuId, epoch: u64, channels: &[ChannelStatus]) {
        let picture = channels.iter().any(|c| c.online);
        match self.devices.admit(pu.clone(), Present { conn, epoch, picture }) {
            Admission::Stale => self.outputs.push_back(Output::FencePu { conn }),
            Admission::Admitted(fenced) => {
                self.outputs.extend(fenced.map(|conn| Output::FencePu { conn }));
                self.calls.device_back(&pu);
            }
        }
    }

    fn fence(&mut self, device: &PuId, conn: Option<ConnId>) {
        if let Some(conn) = conn {
            self.outputs.push_back(Output::FencePu { conn });
            self.calls.device_moved(device);
            self.no_answers_of(device);
        }
    }

    fn pu_media(&mut self, conn: ConnId, media: PuMedia) {
        let Some(device) = self.devices.of(conn).cloned() else { return };
        match media {
            PuMedia::Answer { session, result } => {
                if self.calls.answered(&device, &session, result.is_ok()) {
                    let message = match result {
                        Ok(answer) => ScuToCu::Answer { session: session.clone(), answer },
                        Err(problem) => ScuToCu::Refused { session: session.clone(), problem },
                    };
                    self.send_cu(session, message);
                }
            }
            PuMedia::Candidate { session, candidate } => {
                if self.calls.has_cu(&device, &session) {
                    let message = ScuToCu::Candidate { session: session.clone(), candidate };
                    self.send_cu(session, message);
                }
            }
            PuMedia::Report { session, path } => {
                self.calls.reported(&device, &session, path.as_ref());
            }
        }
    }

    fn request(&mut self, now: Instant, conn: ConnId, request: Request, from: R) {
        // A connection that was fenced may still hear its device's subject for a moment; the one
        // that took over answers.
        let Some(device) = self.devices.of(conn).cloned() else { return };
        let answer = match request {
            Request::Sm(SmRequest::Recording { device: of, ask }) if of == device => {
                return self.ask_recorder(now, conn, &device, *ask, from);
            }
            Request::Sm(request) => self.sm_request(now, conn, &device, request),
            Request::Cs(CsRequest::Offer { session, offer }) => {
                match self.offer_here(now, &device, session, offer) {
                    Ok(()) => Answer::Done,
                    Err(problem) => Answer::Refused(problem),
                }
            }
            Request::Cs(CsRequest::Candidate { session, candidate }) => {
                self.candidate(device, session, candidate);
                Answer::Done
            }
            Request::Cs(CsRequest::End { session }) => {
                if self.calls.has_cu(&device, &session) {
                    self.calls.end(&session, None, (true, false));
                }
                Answer::Done
            }
        };
        self.outputs.push_back(Output::Reply { to: from, answer });
    }

    fn sm_request(
        &mut self,
        now: Instant,
        conn: ConnId,
        here: &PuId,
        request: SmRequest,
    ) -> Answer {
        let (SmRequest::PrepareMedia { device, .. }
        | SmRequest::EndSession { device, .. }
        | SmRequest::RevokeUser { device, .. }
        | SmRequest::OwnerChanged { device, .. }
        | SmRequest::Recording { device, .. }) = &request;
        let elsewhere = "the request names another device than its subject";
        if device != here {
            return Answer::Refused(Problem::new(ProblemKind::InvalidRequest, elsewhere));
        }
        let message = match request {
            SmRequest::PrepareMedia { session, user, channel, capabilities, .. } => {
                let mtus = self.mtus.choose(now, session.as_str());
                let chosen = mtus.iter().map(|m| m.mtu.clone()).collect();
                let prepared = self.calls.prepare(now, &session, here, (user, channel), chosen);
                if let Err(problem) = prepared {
                    return Answer::Refused(problem);
                }
                let message =
                    ScuToPu::PrepareMedia { session: session.clone(), channel, capabilities };
                self.send_pu(conn, message);
                return Answer::Prepared { session, mtus };
            }
            SmRequest::EndSession { session, problem, .. } => {
                if self.calls.get(&session).is_some_and(|call| call.device == *here) {
                    self.calls.end(&session, Some(problem), (true, true));
                    return Answer::Done;
                }
                // A call from before this SCU's time: the PU knows it.
                ScuToPu::EndSession { session, problem: Some(problem) }
            }
            SmRequest::RevokeUser { user, .. } => {
                self.calls.revoke(here, user.as_ref(), &revoked());
                ScuToPu::RevokeUser { user }
            }
            SmRequest::OwnerChanged { owner, .. } => {
                self.calls.revoke(here, None, &revoked());
                ScuToPu::OwnerChanged { owner }
            }
            // One for this device was taken before.
            SmRequest::Recording { .. } => {
                return Answer::Refused(Problem::new(ProblemKind::InvalidRequest, elsewhere));
            }
        };
        self.send_pu(conn, message);
        Answer::Done
    }

    /// The answer comes when the recorder gives it.
    fn ask_recorder(
        &mut self,
        now: Instant,
        conn: ConnId,
        device: &PuId,
        ask: RecordingRequest,
        from: R,
    ) {
        match self.recordings.ask(now, device, ask, from) {
            Ok(call) => self.send_pu(conn, ScuToPu::Recording(call)),
            Err((from, problem)) => self.recorded([(from, Err(problem))]),
        }
    }

    fn recorded(&mut self, answered: impl IntoIterator<Item = Answered<R>>) {
        for (to, result) in answered {
            let answer = match result {
                Ok(reply) => Answer::Recorded(reply),
                Err(problem) => Answer::Refused(problem),
            };
            self.outputs.push_back(Output::Reply { to, answer });
        }
    }

    fn no_answers_of(&mut self, device: &PuId) {
        let lost = self.recordings.device_lost(device);
        self.recorded(lost);
    }

    fn cu_offer(
        &mut self,
        now: Instant,
        conn: ConnId,
        session: MediaSessionId,
        device: PuId,
        offer: Box<MediaOffer>,
    ) {
        match self.viewers.offer(conn, &session, &device) {
            Offered::Refused(why) => {
                let problem = Problem::new(ProblemKind::InvalidRequest, why);
                let message = ScuToCu::Refused { session, problem };
                self.outputs.push_back(Output::ToCu { conn, message });
                return;
            }
            Offered::New => {
                self.outputs.push_back(Output::Listen { session: session.clone() });
            }
            Offered::Again => {}
        }
        if self.devices.get(&device).is_some() {
            let result = self.offer_here(now, &device, session.clone(), offer);
            self.delivered(now, session, result);
        } else {
            self.outputs.push_back(Output::OfferElsewhere { session, device, offer });
        }
    }

    fn offer_here(
        &mut self,
        now: Instant,
        device: &PuId,
        session: MediaSessionId,
        offer: Box<MediaOffer>,
    ) -> Result<(), Problem> {
        let conn = self.devices.get(device).ok_or_else(offline)?.conn;
        let chosen = self.calls.offer(now, &session, device)?;
        let mtus = self.mtus.choose_again(now, session.as_str(), &chosen);
        self.outputs.push_back(Output::OfferToPu { conn, session, offer, mtus });
        Ok(())
    }

    /// A CU speaks only of its own session, and only once the PU has let it in.
    fn cu_path(&mut self, conn: ConnId, session: MediaSessionId, report: CuPath) {
        let Some(device) = self.viewers.answered_device(conn, &session).cloned() else { return };
        let CuPath { path, stages, nat } = report;
        let path = path.bounded();
        let of = session.clone();
        let request = Box::new(ScRequest::ViewerReport { device, session: of, path, stages, nat });
        self.outputs.push_back(Output::TellCmu { session, request });
    }

    fn delivered(&mut self, now: Instant, session: MediaSessionId, result: Result<(), Problem>) {
        match result {
            Ok(()) => {
                let Some((device, held)) = self.viewers.delivered(now, &session) else { return };
                for candidate in held {
                    self.candidate(device.clone(), session.clone(), candidate);
                }
            }
            Err(problem) => {
                self.viewers.undelivered(&session);
                let message = ScuToCu::Refused { session: session.clone(), problem };
                self.for_cu(session, message);
            }
        }
    }

    /// To a device here or elsewhere; here only within a call with it.
    fn candidate(&mut self, device: PuId, session: MediaSessionId, candidate: String) {
        match self.devices.get(&device).map(|p| p.conn) {
            Some(conn) => {
                if self.calls.has_cu(&device, &session) {
                    self.send_pu(conn, ScuToPu::Candidate { session, candidate });
                }
            }
            None => {
                let request = CsRequest::Candidate { session, candidate };
                self.outputs.push_back(Output::Elsewhere { device, request });
            }
        }
    }

    /// The CU has finished or has gone: end its leg, wherever the call is kept.
    fn viewer_left(&mut self, session: &MediaSessionId) {
        let Some(viewer) = self.viewers.remove(session) else { return };
        let session = session.clone();
        self.outputs.push_back(Output::Unlisten { session: session.clone() });
        if self.calls.has_cu(&viewer.device, &session) {
            self.calls.end(&session, None, (true, false));
        } else {
            let request = CsRequest::End { session };
            self.outputs.push_back(Output::Elsewhere { device: viewer.device, request });
        }
    }

    /// From a PU here to a CU here or elsewhere.
    fn send_cu(&mut self, session: MediaSessionId, message: ScuToCu) {
        if self.viewers.get(&session).is_some() {
            self.for_cu(session, message);
        } else {
            self.outputs.push_back(Output::ToCuElsewhere { session, message });
        }
    }

    fn for_cu(&mut self, session: MediaSessionId, message: ScuToCu) {
        let Some(viewer) = self.viewers.get(&session) else { return };
        let conn = viewer.conn;
        if matches!(message, ScuToCu::Answer { .. }) {
            self.viewers.answered(&session);
        }
        let over = match &message {
            ScuToCu::Refused { .. } => !self.viewers.refused(&session),
            ScuToCu::Ended { .. } => true,
            // An answer to an offer that did not pass here: the CU has moved to another SCU.
            ScuToCu::Answer { .. } => conn.is_none(),
            ScuToCu::Candidate { .. }
            | ScuToCu::KeepAliveAck { .. }
            | ScuToCu::Malformed { .. } => false,
        };
        if over {
            self.viewers.remove(&session);
            self.outputs.push_back(Output::Unlisten { session });
        }
        self.outputs.extend(conn.map(|conn| Output::ToCu { conn, message }));
    }

    fn send_pu(&mut self, conn: ConnId, message: ScuToPu) {
        self.outputs.push_back(Output::ToPu { conn, message: Box::new(message) });
    }

    fn drain_calls(&mut self) {
        while let Some(output) = self.calls.poll_output() {
            match output {
                CallOutput::Ended { session, pu, cu, unanswered, problem } => {
                    if let Some(conn) = pu.and_then(|pu| self.devices.get(&pu)).map(|p| p.conn) {
                        let (session, problem) = (session.clone(), problem.clone());
                        self.send_pu(conn, ScuToPu::EndSession { session, problem });
                    }
                    if cu {
                        let message = match problem {
                            Some(problem) if unanswered => {
                                ScuToCu::Refused { session: session.clone(), problem }
                            }
                            problem => ScuToCu::Ended { session: session.clone(), problem },
                        };
                        self.send_cu(session, message);
                    }
                }
                // The message that moves a leg to an MTU comes with the MTU's fan-out; until then
                // nobody calls `Calls::modify` but tests.
                CallOutput::Move { .. } => {}
            }
        }
    }

    fn end_overdue(&mut self, now: Instant) {
        while let Some(session) = self.viewers.pop_overdue(now) {
            self.viewer_left(&session);
        }
        while let Some(session) = self.viewers.pop_unanswered(now) {
            let conn = self.viewers.get(&session).and_then(|v| v.conn);
            if !self.viewers.refused(&session) {
                self.viewer_left(&session);
            }
            if let Some(conn) = conn {
                let why = "the camera's device did not answer in time";
                let problem = Problem::new(ProblemKind::Timeout, why);
                self.outputs.push_back(Output::ToCu {
                    conn,
                    message: ScuToCu::Refused { session, problem },
                });
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.devices.handle_timeout(now);
        self.calls.handle_timeout(now);
        self.end_overdue(now);
        while let Some(overdue) = self.recordings.pop_overdue(now) {
            self.recorded([overdue]);
        }
        self.drain_calls();
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (devices, calls) = (self.devices.poll_timeout(), self.calls.poll_timeout());
        let (viewers, recordings) = (self.viewers.poll_timeout(), self.recordings.poll_timeout());
        [devices, calls, viewers, recordings].into_iter().flatten().min()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output<R>> {
        self.outputs.pop_front()
    }

    /// The state that A7.2 calls presence.
    #[must_use]
    pub fn presence(&self, pu: &PuId) -> Presence {
        self.devices.presence(pu, self.calls.watched(pu))
    }

    /// The devices here.
    #[must_use]
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// The calls of those devices.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// The sessions of the CUs here.
    #[must_use]
    pub fn viewers(&self) -> &Viewers {
        &self.viewers
    }

    /// The MTUs that were heard of.
    #[must_use]
    pub fn mtus(&self) -> &Mtus {
        &self.mtus
    }
}
