//! The task of one PU's connection: carries out what [`PuConnection`] decides.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Instant};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use scu_session::{
    ConnId, Input, Request,
    pu::{PuConnection, PuInput, PuOutput},
};
use sightline_bus::{Message, Subscription};
use sightline_protocol::{
    Envelope, Named, Problem, ProblemKind, decode, encode,
    ps::{PuToScu, ScuToPu},
    sc::{Lease, ScReply, ScRequest},
    sm::SmReply,
    subject,
};
use sightline_service_kit::{
    flow,
    telemetry::{current_traceparent, message_span},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::{
    admission::Place,
    unit::{PuCommand, Traceparent, Unit, wall},
    wire::{Incoming, Wire},
};

/// Reports to the CMU that may wait; a PU that makes more is cut off.
const MAX_REPORTS: usize = 64;

/// Serves a PU until either side ends the connection.
pub(crate) async fn serve(unit: Arc<Unit>, wire: Wire, observed: SocketAddr, _place: Place) {
    let nonce = match nonce() {
        Ok(nonce) => nonce,
        Err(_) => {
            tracing::error!("the system gives no random numbers");
            return;
        }
    };
    let (conn, commands, cut) = unit.attach_pu();
    let machine = PuConnection::new(unit.settings.clone(), observed, nonce, Instant::now());
    let task = Task {
        unit: unit.clone(),
        conn,
        machine,
        wire,
        subscription: None,
        answers: FuturesUnordered::new(),
        reports: VecDeque::new(),
        reporting: None,
    };
    task.run(commands, cut).await;
    unit.drive(Input::PuGone { conn });
    unit.detach(conn);
}

/// 128 random bits.
fn nonce() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits)?;
    Ok(data_encoding::BASE64URL_NOPAD.encode(&bits))
}

struct Task {
    unit: Arc<Unit>,
    conn: ConnId,
    machine: PuConnection,
    wire: Wire,
    /// Requests for this device, once it is registered.
    subscription: Option<Subscription>,
    /// Answers of the CMU that the machine waits for.
    answers: FuturesUnordered<BoxFuture<'static, (PuInput, Span)>>,
    /// Reports to the CMU go one after the other, so that the last one wins there too.
    reports: VecDeque<(Box<ScRequest>, Span)>,
    reporting: Option<BoxFuture<'static, Option<ScuToPu>>>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<PuCommand>, cut: CancellationToken) {
        let shutdown = self.unit.lifecycle.token.clone();
        let mut span = Span::none();
        loop {
            let caused = std::mem::replace(&mut span, Span::none());
            if !self.carry_out().instrument(caused).await {
                break;
            }
            let at = self.machine.poll_timeout();
            let timeout = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                () = cut.cancelled() => PuInput::Disconnected,
                () = shutdown.cancelled() => PuInput::Shutdown,
                incoming = self.wire.next() => incoming_input(incoming, &mut span),
                Some(command) = commands.recv() => match command {
                    PuCommand::Fence => PuInput::Fenced,
                    PuCommand::Send(message, traceparent) => {
                        if self.send(&message, traceparent).await { continue }
                        PuInput::Disconnected
                    }
                },
                Some((input, asked_in)) = self.answers.next() => {
                    span = asked_in;
                    input
                }
                verdict = pending(&mut self.reporting) => {
                    self.reporting = None;
                    self.report_next();
                    match verdict {
                        Some(end) if !self.send(&end, None).await => PuInput::Disconnected,
                        Some(_) | None => continue,
                    }
                }
                message = next(&mut self.subscription) => {
                    self.request(message);
                    continue;
                }
                () = timeout => {
                    self.machine.handle_timeout(Instant::now());
                    continue;
                }
            };
            self.machine.handle_input(Instant::now(), wall(), input);
        }
        self.wire.stop_reading();
        self.wire.close().await;
    }

    /// Carries out the machine's outputs; false when the connection is over.
    async fn carry_out(&mut self) -> bool {
        let mut open = true;
        while let Some(output) = self.machine.poll_output() {
            match output {
                PuOutput::Send(message) => {
                    if open && !self.send(&message, current_traceparent()).await {
                        self.machine.handle_input(Instant::now(), wall(), PuInput::Disconnected);
                    }
                }
                PuOutput::Register(request) => self.register(request),
                PuOutput::Admit { lease, channels } => self.admit(&lease, channels).await,
                PuOutput::Report(request) => self.report(request),
                PuOutput::CheckToken { request, check } => self.check(request, check),
                PuOutput::AskTicket { request, ask } => self.ask_ticket(request, ask),
                PuOutput::AskCloud { request, ask } => self.ask_cloud(request, ask),
                PuOutput::Channels(channels) => {
                    self.unit.drive(Input::PuChannels { conn: self.conn, channels });
                }
                PuOutput::Media(media) => {
                    self.unit.drive(Input::PuMedia { conn: self.conn, media });
                }
                PuOutput::Recorded(answer) => {
                    self.unit.drive(Input::PuRecorded { conn: self.conn, answer });
                }
                PuOutput::Release => {
                    self.subscription = None;
                    self.unit.drive(Input::PuGone { conn: self.conn });
                }
                PuOutput::Close => open = false,
            }
        }
        open
    }

    async fn send(&mut self, message: &ScuToPu, traceparent: Traceparent) -> bool {
        let about = message
            .about()
            .or_else(|| self.machine.device().map(|(pu, _)| pu.as_str()))
            .unwrap_or_default();
        flow::sent("Ps", "SCU", self.machine.peer(), message.name(), about);
        self.wire.send(encode(message, traceparent)).await.is_ok()
    }

    fn register(&mut self, request: Box<ScRequest>) {
        let unit = self.unit.clone();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let device = request.about().unwrap_or_default().to_owned();
        // Beyond this connection's life: a lease that comes too late must be given back.
        let asking = async move {
            let reply = unit.ask_cmu(&request).await;
            let outcome =
                if matches!(reply, Ok(ScReply::Registered(_))) { "ok" } else { "refused" };
            metrics::counter!("sightline_scu_registrations_total", "outcome" => outcome)
                .increment(1);
            if let Err(Ok(ScReply::Registered(lease))) = sender.send(reply) {
                let Lease { device, epoch, .. } = *lease;
                unit.release(ScRequest::Release { device: device.pu, epoch });
            }
        };
        self.unit.lifecycle.tasks.spawn(asking.in_current_span());
        let unit = self.unit.clone();
        self.answers.push(Box::pin(async move {
            let lost = || Err(Problem::new(ProblemKind::Internal, "the SCU is shutting down"));
            let reply = receiver.await.unwrap_or_else(|_| lost());
            (PuInput::Registered(reply, unit.stun_servers(&device)), Span::none())
        }));
    }

    async fn admit(&mut self, lease: &Lease, channels: Vec<sightline_protocol::ps::ChannelStatus>) {
        let pu = lease.device.pu.clone();
        let subject = subject::device(self.unit.domain(), &pu);
        match self.unit.bus.subscribe(&subject, None).await {
            Ok(subscription) => self.subscription = Some(subscription),
            Err(error) => {
                // Without it nobody could reach the device: let it try again.
                tracing::warn!(%error, "cannot listen for a device");
                self.machine.handle_input(Instant::now(), wall(), PuInput::Disconnected);
                return;
            }
        }
        tracing::info!(%pu, epoch = lease.epoch, "registered");
        let (conn, epoch) = (self.conn, lease.epoch);
        self.unit.drive(Input::PuAdmitted { conn, pu, epoch, channels });
    }

    fn report(&mut self, request: Box<ScRequest>) {
        if matches!(*request, ScRequest::Release { .. }) {
            self.unit.release(*request);
            return;
        }
        if self.reports.len() >= MAX_REPORTS {
            metrics::counter!("sightline_scu_slow_peers_total").increment(1);
            let why = "more reports than the centre can take".to_owned();
            self.machine.handle_input(Instant::now(), wall(), PuInput::Unreadable(why));
            return;
        }
        self.reports.push_back((request, Span::current()));
        if self.reporting.is_none() {
            self.report_next();
        }
    }

    fn report_next(&mut self) {
        let Some((request, span)) = self.reports.pop_front() else { return };
        let unit = self.unit.clone();
        let reporting = async move {
            match (unit.ask_cmu(&request).await, *request) {
                // A right that ended while the unit was away: the stream ends now.
                (
                    Ok(ScReply::Refused { problem }),
                    ScRequest::SessionReport { session, path: Some(_), .. },
                ) if problem.kind == ProblemKind::TokenRevoked => {
                    Some(ScuToPu::EndSession { session, problem: Some(problem) })
                }
                (Ok(ScReply::Refused { problem }) | Err(problem), request) => {
                    tracing::warn!(%problem, report = request.name(), "not taken");
                    None
                }
                (Ok(_), _) => None,
            }
        };
        self.reporting = Some(Box::pin(reporting.instrument(span)));
    }

    fn check(&mut self, request: u64, check: Box<ScRequest>) {
        let unit = self.unit.clone();
        let checking = async move {
            let result = match unit.ask_cmu(&check).await {
                Ok(ScReply::TokenGranted(grant)) => Ok(*grant),
                Ok(ScReply::Refused { problem }) | Err(problem) => Err(problem),
                Ok(
                    ScReply::Registered(_)
                    | ScReply::LeasesRenewed { .. }
                    | ScReply::Ticket(_)
                    | ScReply::Done
                    | ScReply::Cloud { .. },
                ) => Err(wrong_answer()),
            };
            let outcome = if result.is_ok() { "granted" } else { "refused" };
            metrics::counter!("sightline_scu_token_checks_total", "outcome" => outcome)
                .increment(1);
            (PuInput::Checked { request, result }, Span::current())
        };
        self.answers.push(Box::pin(checking.in_current_span()));
    }

    fn ask_ticket(&mut self, request: u64, ask: Box<ScRequest>) {
        let unit = self.unit.clone();
        let asking = async move {
            let result = match unit.ask_cmu(&ask).await {
                Ok(ScReply::Ticket(ticket)) => Ok(ticket),
                Ok(ScReply::Refused { problem }) | Err(problem) => Err(problem),
                Ok(
                    ScReply::Registered(_)
                    | ScReply::LeasesRenewed { .. }
                    | ScReply::TokenGranted(_)
                    | ScReply::Done
                    | ScReply::Cloud { .. },
                ) => Err(wrong_answer()),
            };
            (PuInput::Ticket { request, result }, Span::current())
        };
        self.answers.push(Box::pin(asking.in_current_span()));
    }

    fn ask_cloud(&mut self, request: u64, ask: Box<ScRequest>) {
        let unit = self.unit.clone();
        let asking = async move {
            let result = match unit.ask_cmu(&ask).await {
                Ok(ScReply::Cloud { answer }) => Ok(*answer),
                Ok(ScReply::Refused { problem }) | Err(problem) => Err(problem),
                Ok(
                    ScReply::Registered(_)
                    | ScReply::LeasesRenewed { .. }
                    | ScReply::Ticket(_)
                    | ScReply::Done
                    | ScReply::TokenGranted(_),
                ) => Err(wrong_answer()),
            };
            (PuInput::CloudAnswered { request, result }, Span::current())
        };
        self.answers.push(Box::pin(asking.in_current_span()));
    }

    /// A request for the device, from the CMU or from the SCU of a CU.
    fn request(&mut self, message: Option<Message>) {
        let Some(Message { payload, reply, .. }) = message else {
            self.subscription = None;
            return;
        };
        let request = decode(&payload)
            .map(|m| (Request::Sm(m.body), m.traceparent))
            .or_else(|_| decode(&payload).map(|m| (Request::Cs(m.body), m.traceparent)));
        match request {
            Ok((request, traceparent)) => {
                let (interface, name) = match &request {
                    Request::Sm(request) => ("Sm", request.name()),
                    Request::Cs(request) => ("Cs", request.name()),
                };
                let span = message_span(interface, name, traceparent.as_deref());
                let input = Input::Device { conn: self.conn, request, from: reply };
                span.in_scope(|| self.unit.drive(input));
            }
            Err(error) => {
                tracing::warn!(%error, "unreadable request for a device");
                let problem = Problem::new(ProblemKind::InvalidRequest, error.to_string());
                if let Some(reply) = reply {
                    let refused = encode(&SmReply::Refused { problem }, None);
                    self.unit.lifecycle.spawn(reply.send(refused.into()));
                }
            }
        }
    }
}

fn wrong_answer() -> Problem {
    Problem::new(ProblemKind::Internal, "the centre gave a wrong answer")
}

fn incoming_input(incoming: Incoming, span: &mut Span) -> PuInput {
    match incoming {
        Incoming::Message(bytes) => match decode::<PuToScu>(&bytes) {
            Ok(Envelope { traceparent, body, .. }) => {
                *span = message_span("Ps", body.name(), traceparent.as_deref());
                PuInput::Message(Box::new(body))
            }
            Err(error) => PuInput::Unreadable(error.to_string()),
        },
        Incoming::Unreadable(what) => PuInput::Unreadable(what),
        Incoming::Closed { .. } => PuInput::Disconnected,
    }
}

async fn next(subscription: &mut Option<Subscription>) -> Option<Message> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

async fn pending<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
