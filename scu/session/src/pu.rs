//! One connection of a PU: challenge, registration (A8.1, A8.3), keep-alive, release.
//!
//! Whether the registration is genuine is the CMU's to say; the SCU lends it the nonce that *it*
//! drew, so that neither a forged nor an old one can pass, and takes one registration a
//! connection, so that none passes twice.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use sightline_model::{CameraId, DeviceKind, DomainName, PuId, ScuId, TokenHash, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind,
    cm::{IceServer, PlayAnswer},
    cp::{CloudAnswer, CloudCall, CloudReply},
    pc::PathReport,
    ps::{ChannelStatus, PuToScu, RecordingAnswer, ScuToPu, TokenBearer},
    sc::{Lease, ScReply, ScRequest, TokenGrant},
};

use crate::PuMedia;

/// Token checks and tickets of one PU that may wait for the CMU at a time.
pub const MAX_CHECKS: usize = 64;

/// Questions of one PU about the cloud storage that may wait for the CMU at a time.
pub const MAX_CLOUD_CALLS: usize = 16;

/// What every connection of an SCU has in common.
#[derive(Debug, Clone)]
pub struct PuSettings {
    /// The SCU.
    pub scu: ScuId,
    /// The domain that it serves.
    pub domain: DomainName,
    /// What its CUs connect to.
    pub scu_url: String,
    /// How often a PU must speak; after three times that it is taken for gone.
    pub keep_alive: Duration,
    /// How long a connection may stay without having registered.
    pub sign_in_timeout: Duration,
    /// How long the CMU may take.
    pub cmu_timeout: Duration,
}

/// What happens to a connection.
#[derive(Debug)]
pub enum PuInput {
    /// A message of the PU.
    Message(Box<PuToScu>),
    /// Something of the PU's that is no message: what is wrong with it.
    Unreadable(String),
    /// The CMU's reply to [`PuOutput::Register`], and the servers that the PU may use.
    Registered(Result<ScReply, Problem>, Vec<IceServer>),
    /// The CMU's reply to [`PuOutput::CheckToken`].
    Checked {
        /// The PU's number of the request.
        request: u64,
        /// What the token grants.
        result: Result<TokenGrant, Problem>,
    },
    /// The CMU's reply to [`PuOutput::AskTicket`].
    Ticket {
        /// The NVR's number of the request.
        request: u64,
        /// How to take the stream.
        result: Result<Box<PlayAnswer>, Problem>,
    },
    /// The CMU's reply to [`PuOutput::AskCloud`].
    CloudAnswered {
        /// The PU's number of the request.
        request: u64,
        /// The answer.
        result: Result<CloudReply, Problem>,
    },
    /// Another registration of the device has taken over.
    Fenced,
    /// The SCU is going away.
    Shutdown,
    /// The connection has ended or failed.
    Disconnected,
}

/// What to do, in this order.
#[derive(Debug)]
pub enum PuOutput {
    /// Send to the PU.
    Send(Box<ScuToPu>),
    /// Ask the CMU; the answer is [`PuInput::Registered`].
    Register(Box<ScRequest>),
    /// The PU is registered: make it reachable before anything further is sent.
    Admit {
        /// The lease.
        lease: Box<Lease>,
        /// Its cameras.
        channels: Vec<ChannelStatus>,
    },
    /// Tell the CMU.
    Report(Box<ScRequest>),
    /// Ask the CMU; the answer is [`PuInput::Checked`].
    CheckToken {
        /// The PU's number of the request.
        request: u64,
        /// The question.
        check: Box<ScRequest>,
    },
    /// Ask the CMU; the answer is [`PuInput::Ticket`].
    AskTicket {
        /// The NVR's number of the request.
        request: u64,
        /// The question.
        ask: Box<ScRequest>,
    },
    /// Ask the CMU; the answer is [`PuInput::CloudAnswered`].
    AskCloud {
        /// The PU's number of the request.
        request: u64,
        /// The question.
        ask: Box<ScRequest>,
    },
    /// Cameras of the PU have changed.
    Channels(Vec<ChannelStatus>),
    /// Part of a call.
    Media(PuMedia),
    /// A recorder's answer.
    Recorded(Box<RecordingAnswer>),
    /// The connection no longer speaks for the device.
    Release,
    /// End the connection after what was sent.
    Close,
}

#[derive(Debug)]
enum State {
    Challenged { nonce: String, until: Instant },
    Registering { pu: PuId, channels: Vec<ChannelStatus>, until: Instant },
    Registered { pu: PuId, epoch: u64, heard: Instant, waiting: Waiting },
    Ended,
}

/// Questions of the PU that wait for the CMU.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    /// Token checks and tickets.
    checks: usize,
    cloud: usize,
}

/// The machine of one connection.
#[derive(Debug)]
pub struct PuConnection {
    settings: PuSettings,
    observed: SocketAddr,
    kind: DeviceKind,
    state: State,
    outputs: VecDeque<PuOutput>,
}

impl PuConnection {
    /// A new connection; `nonce` was just drawn from a CSPRNG, for this connection alone.
    #[must_use]
    pub fn new(settings: PuSettings, observed: SocketAddr, nonce: String, now: Instant) -> Self {
        let challenge = ScuToPu::Challenge { scu: settings.scu.clone(), nonce: nonce.clone() };
        let until = now + settings.sign_in_timeout;
        let outputs = [PuOutput::Send(Box::new(challenge))].into();
        let (kind, state) = (DeviceKind::Pu, State::Challenged { nonce, until });
        Self { settings, observed, kind, state, outputs }
    }

    /// What traces call the other end.
    #[must_use]
    pub const fn peer(&self) -> &'static str {
        self.kind.unit()
    }

    /// The device, once it is registered.
    #[must_use]
    pub fn device(&self) -> Option<(&PuId, u64)> {
        match &self.state {
            State::Registered { pu, epoch, .. } => Some((pu, *epoch)),
            State::Challenged { .. } | State::Registering { .. } | State::Ended => None,
        }
    }

    /// Takes one input. `wall` is the SCU's clock as PUs see it (A7.2).
    pub fn handle_input(&mut self, now: Instant, wall: UnixMicros, input: PuInput) {
        if matches!(self.state, State::Ended) {
            return;
        }
        match input {
            PuInput::Message(message) => self.message(now, wall, *message),
            PuInput::Unreadable(what) => self.refuse(ProblemKind::InvalidRequest, what),
            PuInput::Registered(reply, ice) => self.registered(now, wall, reply, ice),
            PuInput::Checked { request, result } => self.checked(request, result),
            PuInput::Ticket { request, result } => self.ticket(request, result),
            PuInput::CloudAnswered { request, result } => self.cloud_answered(request, result),
            PuInput::Fenced => {
                let why = "another registration of this device has taken over";
                self.refuse_with(Problem::new(ProblemKind::StaleLease, why), false);
            }
            PuInput::Shutdown => {
                self.send(ScuToPu::Goodbye);
                self.end(true);
            }
            PuInput::Disconnected => self.end(true),
        }
    }

    fn message(&mut self, now: Instant, wall: UnixMicros, message: PuToScu) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Challenged { nonce, until } => match message {
                PuToScu::Register(registration) => {
                    let until = now + self.settings.cmu_timeout;
                    let pu = registration.pu.clone();
                    self.kind = registration.kind;
                    let channels = registration.channels.clone();
                    self.state = State::Registering { pu, channels, until };
                    self.outputs.push_back(PuOutput::Register(Box::new(ScRequest::Register {
                        scu: self.settings.scu.clone(),
                        scu_url: self.settings.scu_url.clone(),
                        nonce,
                        observed: self.observed.ip().to_canonical(),
                        registration,
                    })));
                }
                // The hello that opens a QUIC stream.
                PuToScu::KeepAlive { .. } => self.state = State::Challenged { nonce, until },
                PuToScu::Addresses(_)
                | PuToScu::Channels { .. }
                | PuToScu::TokenCheck { .. }
                | PuToScu::TicketRequest { .. }
                | PuToScu::MediaAnswer { .. }
                | PuToScu::Candidate { .. }
                | PuToScu::SessionReport { .. }
                | PuToScu::Nat { .. }
                | PuToScu::Recorded(_)
                | PuToScu::RecorderReport(_)
                | PuToScu::Cloud(_) => {
                    self.refuse(ProblemKind::Unauthenticated, "register first".to_owned());
                }
            },
            State::Registering { pu, channels, until } => {
                if matches!(message, PuToScu::KeepAlive { .. }) {
                    self.state = State::Registering { pu, channels, until };
                } else {
                    let why = "wait for the answer to the registration".to_owned();
                    self.refuse(ProblemKind::InvalidRequest, why);
                }
            }
            State::Registered { pu, epoch, waiting, .. } => {
                self.state = State::Registered { pu: pu.clone(), epoch, heard: now, waiting };
                self.registered_message(pu, epoch, wall, message);
            }
            State::Ended => {}
        }
    }

    fn registered_message(&mut self, device: PuId, epoch: u64, wall: UnixMicros, of_pu: PuToScu) {
        match of_pu {
            PuToScu::Register(_) => {
                let why = "this connection has registered already".to_owned();
                self.refuse(ProblemKind::InvalidRequest, why);
            }
            PuToScu::KeepAlive { pu_time } => {
                self.send(ScuToPu::KeepAliveAck { pu_time, server_time: wall });
            }
            PuToScu::Addresses(addresses) => {
                self.report(ScRequest::Addresses { device, epoch, addresses });
            }
            PuToScu::Channels { channels } => {
                self.outputs.push_back(PuOutput::Channels(channels.clone()));
                self.report(ScRequest::Channels { device, epoch, channels });
            }
            PuToScu::TokenCheck { request, token, presented_by } => {
                self.check(device, request, token, presented_by);
            }
            PuToScu::TicketRequest { request, camera } => {
                self.ask_ticket((device, epoch), request, camera);
            }
            PuToScu::MediaAnswer { session, result } => {
                self.outputs.push_back(PuOutput::Media(PuMedia::Answer { session, result }));
            }
            PuToScu::Candidate { session, candidate } => {
                self.outputs.push_back(PuOutput::Media(PuMedia::Candidate { session, candidate }));
            }
            PuToScu::Nat { nat } => self.report(ScRequest::Nat { device, epoch, nat }),
            PuToScu::Recorded(answer) => {
                self.outputs.push_back(PuOutput::Recorded(Box::new(answer)));
            }
            PuToScu::RecorderReport(report) => {
                self.report(ScRequest::RecorderReport { device, epoch, report });
            }
            PuToScu::Cloud(call) => self.ask_cloud(device, epoch, call),
            PuToScu::SessionReport { session, path } => {
                let path = path.map(PathReport::bounded);
                let media = PuMedia::Report { session: session.clone(), path: path.clone() };
                self.outputs.push_back(PuOutput::Media(media));
                self.report(ScRequest::SessionReport { device, epoch, session, path });
            }
        }
    }

    fn check(&mut self, device: PuId, request: u64, token: TokenHash, presented_by: TokenBearer) {
        let State::Registered { waiting, .. } = &mut self.state else { return };
        if waiting.checks >= MAX_CHECKS {
            let busy = Problem::new(ProblemKind::Busy, "too many token checks are waiting");
            self.send(ScuToPu::TokenResult { request, result: Err(busy) });
            return;
        }
        waiting.checks += 1;
        let check = Box::new(ScRequest::TokenCheck { device, token, presented_by });
        self.outputs.push_back(PuOutput::CheckToken { request, check });
    }

    fn ask_ticket(&mut self, (device, epoch): (PuId, u64), request: u64, camera: CameraId) {
        let State::Registered { waiting, .. } = &mut self.state else { return };
        if waiting.checks >= MAX_CHECKS {
            let busy = Problem::new(ProblemKind::Busy, "too many tickets are waiting");
            self.send(ScuToPu::Ticket { request, result: Err(busy) });
            return;
        }
        waiting.checks += 1;
        let ask = Box::new(ScRequest::Ticket { device, epoch, camera });
        self.outputs.push_back(PuOutput::AskTicket { request, ask });
    }

    fn ticket(&mut self, request: u64, result: Result<Box<PlayAnswer>, Problem>) {
        if let State::Registered { waiting, .. } = &mut self.state {
            waiting.checks = waiting.checks.saturating_sub(1);
            self.send(ScuToPu::Ticket { request, result });
        }
    }

    fn checked(&mut self, request: u64, result: Result<TokenGrant, Problem>) {
        if let State::Registered { waiting, .. } = &mut self.state {
            waiting.checks = waiting.checks.saturating_sub(1);
            self.send(ScuToPu::TokenResult { request, result });
        }
    }

    fn ask_cloud(&mut self, device: PuId, epoch: u64, call: CloudCall) {
        let State::Registered { waiting, .. } = &mut self.state else { return };
        let CloudCall { request, ask } = call;
        if waiting.cloud >= MAX_CLOUD_CALLS {
            let why = "too many questions about the cloud storage are waiting";
            let result = Err(Problem::new(ProblemKind::Busy, why));
            self.send(ScuToPu::Cloud(CloudAnswer { request, result }));
            return;
        }
        waiting.cloud += 1;
        let ask = Box::new(ScRequest::Cloud { device, epoch, ask: Box::new(ask) });
        self.outputs.push_back(PuOutput::AskCloud { request, ask });
    }

    fn cloud_answered(&mut self, request: u64, result: Result<CloudReply, Problem>) {
        if let State::Registered { waiting, .. } = &mut self.state {
            waiting.cloud = waiting.cloud.saturating_sub(1);
            self.send(ScuToPu::Cloud(CloudAnswer { request, result }));
        }
    }

    fn registered(
        &mut self,
        now: Instant,
        wall: UnixMicros,
        reply: Result<ScReply, Problem>,
        ice_servers: Vec<IceServer>,
    ) {
        let State::Registering { pu, channels, .. } = &mut self.state else { return };
        let problem = match reply {
            Ok(ScReply::Registered(lease)) if lease.device.pu == *pu => {
                let (pu, channels) = (pu.clone(), std::mem::take(channels));
                let (epoch, waiting) = (lease.epoch, Waiting::default());
                self.state = State::Registered { pu, epoch, heard: now, waiting };
                let welcome = ScuToPu::Registered {
                    domain: lease.device.domain.clone(),
                    epoch: lease.epoch,
                    keep_alive_ms: u32::try_from(self.settings.keep_alive.as_millis())
                        .unwrap_or(u32::MAX),
                    server_time: wall,
                    observed: self.observed,
                    token_keys: lease.token_keys.clone(),
                    ice_servers,
                    owner: lease.owner.clone(),
                    relations: lease.relations.clone(),
                };
                self.outputs.push_back(PuOutput::Admit { lease, channels });
                self.send(welcome);
                return;
            }
            Ok(ScReply::Refused { problem }) | Err(problem) => problem,
            Ok(
                ScReply::Registered(_)
                | ScReply::LeasesRenewed { .. }
                | ScReply::Done
                | ScReply::Ticket(_)
                | ScReply::TokenGranted(_)
                | ScReply::Cloud { .. },
            ) => Problem::new(ProblemKind::Internal, "the centre gave a wrong answer"),
        };
        self.refuse_with(problem, true);
    }

    fn report(&mut self, request: ScRequest) {
        self.outputs.push_back(PuOutput::Report(Box::new(request)));
    }

    fn send(&mut self, message: ScuToPu) {
        self.outputs.push_back(PuOutput::Send(Box::new(message)));
    }

    fn refuse(&mut self, kind: ProblemKind, detail: String) {
        self.refuse_with(Problem::new(kind, detail), true);
    }

    fn refuse_with(&mut self, problem: Problem, tell_cmu: bool) {
        self.send(ScuToPu::Refused { problem });
        self.end(tell_cmu);
    }

    /// `tell_cmu`: a connection that was fenced has no lease left to give back.
    fn end(&mut self, tell_cmu: bool) {
        if let State::Registered { pu, epoch, .. } =
            std::mem::replace(&mut self.state, State::Ended)
        {
            self.outputs.push_back(PuOutput::Release);
            if tell_cmu {
                self.report(ScRequest::Release { device: pu, epoch });
            }
        }
        self.outputs.push_back(PuOutput::Close);
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Challenged { until, .. } | State::Registering { until, .. } => Some(*until),
            State::Registered { heard, .. } => Some(*heard + 3 * self.settings.keep_alive),
            State::Ended => None,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let why = match &self.state {
            State::Challenged { .. } => "no registration came in time",
            State::Registering { .. } => "the centre did not answer in time",
            State::Registered { .. } => "no keep-alive came in time",
            State::Ended => return,
        };
        self.refuse(ProblemKind::Timeout, why.to_owned());
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<PuOutput> {
        self.outputs.pop_front()
    }
}
