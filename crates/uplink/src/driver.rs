//! Joins the machine to sockets and clocks.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use sightline_model::{PuId, UnixMicros};
use sightline_protocol::{
    Envelope, Named, Problem, ProblemKind,
    cp::{CloudAnswer, CloudCall},
    ps::{PuToScu, ScuToPu},
};
use sightline_service_kit::{
    flow,
    telemetry::{current_traceparent, message_span},
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Span;

use super::{
    CentreAway, CloudAnswered, Command, Handler, QUEUE, Reply, Status, Ticket, Traced, Uplink,
    Watched,
    clock::Clock,
    dial::{DialError, Dialer, Server},
    link::{Link, Transport},
    machine::{Event, Input, Machine, Now, Output, Profile, Settings},
};

/// Token checks that may wait for the centre; the SCU takes as many.
const MAX_CHECKS: usize = 64;
/// Tickets that may wait for the centre.
const MAX_TICKETS: usize = 16;
/// Questions about the cloud storage that may wait for the centre; the SCU takes as many.
const MAX_CLOUD_CALLS: usize = 16;

/// What a [`Driver`] needs.
pub struct DriverSettings {
    /// SCUs, in the order to try them.
    pub servers: Vec<Server>,
    /// Opens links.
    pub dialer: Dialer,
    /// Times of the dialogue.
    pub machine: Settings,
    /// How often a unit on WebSocket tries QUIC again.
    pub retry_quic: Duration,
    /// Set from the SCU's answers.
    pub clock: Clock,
}

/// Reasons why registering failed that are told apart.
const MAX_REASONS: usize = 16;

type Dial = Pin<Box<dyn Future<Output = Result<Link, DialError>> + Send>>;

/// The one task of the uplink.
pub struct Driver {
    settings: DriverSettings,
    pu: PuId,
    /// What traces call this end.
    name: &'static str,
    machine: Machine,
    watched: Watched,
    commands: mpsc::Receiver<Traced>,
    status: watch::Sender<Status>,
    link: Option<Link>,
    /// The server that `link` goes to, or that is being dialled.
    server: usize,
    dial: Option<Dial>,
    /// A try to come back from WebSocket to QUIC.
    upgrade: Option<Dial>,
    next_upgrade: Option<Instant>,
    checks: HashMap<u64, oneshot::Sender<Reply>>,
    tickets: HashMap<u64, oneshot::Sender<Ticket>>,
    last_check: u64,
    cloud_calls: HashMap<u64, oneshot::Sender<CloudAnswered>>,
    last_cloud_call: u64,
    /// Why registering has failed since it last succeeded; each reason is said once.
    reasons: HashSet<String>,
    /// When the unit was last registered, unless it is.
    lost: Option<Instant>,
    /// The trace that what is sent now belongs to.
    traceparent: Option<String>,
}

enum Wake {
    Input(Input),
    Received(Option<Bytes>),
    Dialled(Result<Link, DialError>),
    Upgraded(Result<Link, DialError>),
    Command(Traced),
    TryUpgrade,
    Timeout,
    End,
}

impl Driver {
    /// A driver, and the handle by which the agent speaks through it.
    #[must_use]
    pub fn new(settings: DriverSettings, profile: Profile, watched: Watched) -> (Self, Uplink) {
        let (commands, queue) = mpsc::channel(QUEUE);
        let status = watch::Sender::new(Status::default());
        let uplink = Uplink { commands, status: status.subscribe() };
        let pu = profile.pu.clone();
        let name = profile.kind.unit();
        let machine = Machine::new(settings.machine.clone(), profile, now());
        let driver = Self {
            settings,
            pu,
            name,
            machine,
            watched,
            commands: queue,
            status,
            link: None,
            server: 0,
            dial: None,
            upgrade: None,
            next_upgrade: None,
            checks: HashMap::new(),
            tickets: HashMap::new(),
            last_check: 0,
            cloud_calls: HashMap::new(),
            last_cloud_call: 0,
            reasons: HashSet::new(),
            lost: None,
            traceparent: None,
        };
        (driver, uplink)
    }

    /// Runs until the agent drops every [`Uplink`] or the task is cancelled.
    pub async fn run(mut self, handler: Arc<dyn Handler>) {
        loop {
            self.drain(handler.as_ref());
            self.traceparent = None;
            match self.wake().await {
                Wake::Input(input) => self.machine.handle_input(now(), input),
                Wake::Received(message) => {
                    let span = self.received(message);
                    span.in_scope(|| self.drain(handler.as_ref()));
                }
                Wake::Dialled(result) => self.dialled(result),
                Wake::Upgraded(result) => self.upgraded(result),
                Wake::Command((command, traceparent)) => {
                    self.traceparent = traceparent;
                    self.command(command);
                    self.drain(handler.as_ref());
                }
                Wake::TryUpgrade => self.try_upgrade(),
                Wake::Timeout => self.machine.handle_timeout(now()),
                Wake::End => return,
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let timeout = self.machine.poll_timeout();
        let Watched { addresses, channels, claim_unlocked } = &mut self.watched;
        tokio::select! {
            message = receive(&mut self.link) => Wake::Received(message),
            result = wait(&mut self.dial) => Wake::Dialled(result),
            result = wait(&mut self.upgrade) => Wake::Upgraded(result),
            command = self.commands.recv() => command.map_or(Wake::End, Wake::Command),
            Ok(()) = addresses.changed() => {
                Wake::Input(Input::Addresses(addresses.borrow_and_update().clone()))
            }
            Ok(()) = channels.changed() => {
                Wake::Input(Input::Channels(channels.borrow_and_update().clone()))
            }
            Ok(()) = claim_unlocked.changed() => {
                Wake::Input(Input::ClaimUnlocked(*claim_unlocked.borrow_and_update()))
            }
            () = sleep_until(self.next_upgrade) => Wake::TryUpgrade,
            () = sleep_until(Some(timeout)) => Wake::Timeout,
        }
    }

    fn drain(&mut self, handler: &dyn Handler) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Dial { server } => self.start_dial(server),
                Output::Send(message) => self.send(&message),
                Output::Close => self.close(),
                Output::Event(event) => self.event(event, handler),
            }
        }
    }

    fn start_dial(&mut self, server: usize) {
        self.server = server;
        let dialer = self.settings.dialer.clone();
        let server = self.settings.servers.get(server).cloned().unwrap_or_default();
        self.dial = Some(Box::pin(async move { dialer.dial(&server).await }));
    }

    fn dialled(&mut self, result: Result<Link, DialError>) {
        self.dial = None;
        match result {
            Ok(link) => self.connected(link),
            Err(error) => {
                self.failed(format!("no connection: {error}"));
                self.machine.handle_input(now(), Input::Failed);
            }
        }
    }

    /// Registering has failed. Each reason is said once, not with every try.
    fn failed(&mut self, why: String) {
        metrics::counter!("sightline_pu_uplink_failures_total").increment(1);
        let known = self.reasons.contains(&why) || self.reasons.len() >= MAX_REASONS;
        if known {
            tracing::debug!(why, server = self.server, "not registered");
        } else {
            tracing::warn!(why, server = self.server, "not registered");
            self.reasons.insert(why.clone());
        }
        self.status.send_modify(|s| s.fault = Some(why));
    }

    fn connected(&mut self, link: Link) {
        self.next_upgrade = (link.transport == Transport::WebSocket
            && self.quic_address().is_some())
        .then(|| Instant::now() + self.settings.retry_quic);
        self.upgrade = None;
        self.link = Some(link);
        self.machine.handle_input(now(), Input::Connected);
    }

    fn quic_address(&self) -> Option<&String> {
        self.settings.servers.get(self.server)?.quic.as_ref()
    }

    fn try_upgrade(&mut self) {
        self.next_upgrade = None;
        let Some(server) = self.quic_address().cloned() else { return };
        let dialer = self.settings.dialer.clone();
        self.upgrade = Some(Box::pin(async move { dialer.dial_quic(&server).await }));
    }

    fn upgraded(&mut self, result: Result<Link, DialError>) {
        self.upgrade = None;
        match result {
            Ok(link) => self.connected(link),
            Err(error) => {
                tracing::debug!(%error, "QUIC is still not possible");
                self.next_upgrade = Some(Instant::now() + self.settings.retry_quic);
            }
        }
    }

    /// Takes what the link brought; returns the span of what it causes.
    fn received(&mut self, message: Option<Bytes>) -> Span {
        let mut span = Span::none();
        let input = match message {
            None => {
                self.close();
                Input::Closed
            }
            Some(bytes) => match sightline_protocol::decode::<ScuToPu>(&bytes) {
                Ok(Envelope { traceparent, body, .. }) => {
                    span = message_span("Ps", body.name(), traceparent.as_deref());
                    match self.take_check(body) {
                        Some(message) => Input::Message(Box::new(message)),
                        None => return span,
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the SCU sent something unreadable");
                    Input::Malformed
                }
            },
        };
        self.machine.handle_input(now(), input);
        span
    }

    /// Gives the answer to a token check, or a ticket, to whoever waits for it.
    fn take_check(&mut self, message: ScuToPu) -> Option<ScuToPu> {
        match message {
            ScuToPu::TokenResult { request, result } if self.machine.is_up() => {
                if let Some(reply) = self.checks.remove(&request) {
                    // An error means that the asker has given up.
                    let _ = reply.send(Ok(result));
                }
                None
            }
            ScuToPu::Ticket { request, result } if self.machine.is_up() => {
                if let Some(reply) = self.tickets.remove(&request) {
                    let _ = reply.send(Ok(result));
                }
                None
            }
            ScuToPu::Cloud(CloudAnswer { request, result }) if self.machine.is_up() => {
                if let Some(reply) = self.cloud_calls.remove(&request) {
                    let _ = reply.send(Ok(result));
                }
                None
            }
            other => Some(other),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Send(message) => self.machine.handle_input(now(), Input::Send(message)),
            Command::Answer { registration, message } => {
                if registration.is_some() && self.status.borrow().registration() == registration {
                    self.machine.handle_input(now(), Input::Send(message));
                } else {
                    tracing::debug!("an answer is dropped: whoever asked has gone");
                }
            }
            Command::Check { reply, .. } if !self.machine.is_up() => {
                let _ = reply.send(Err(CentreAway));
            }
            Command::Cloud { reply, .. } if !self.machine.is_up() => {
                let _ = reply.send(Err(CentreAway));
            }
            Command::Cloud { ask, reply } => {
                self.cloud_calls.retain(|_, waiting| !waiting.is_closed());
                if self.cloud_calls.len() >= MAX_CLOUD_CALLS {
                    let why = "too many requests are waiting";
                    let _ = reply.send(Ok(Err(Problem::new(ProblemKind::Busy, why))));
                    return;
                }
                self.last_cloud_call += 1;
                let request = self.last_cloud_call;
                self.cloud_calls.insert(request, reply);
                let call = PuToScu::Cloud(CloudCall { request, ask: *ask });
                self.machine.handle_input(now(), Input::Send(Box::new(call)));
            }
            Command::Check { token, bearer, reply } => {
                self.checks.retain(|_, waiting| !waiting.is_closed());
                if self.checks.len() >= MAX_CHECKS {
                    let why = "too many requests are waiting; try again";
                    let _ = reply.send(Ok(Err(Problem::new(ProblemKind::Busy, why))));
                    return;
                }
                self.last_check += 1;
                let request = self.last_check;
                self.checks.insert(request, reply);
                let check = PuToScu::TokenCheck { request, token, presented_by: bearer };
                self.machine.handle_input(now(), Input::Send(Box::new(check)));
            }
            Command::Ticket { reply, .. } if !self.machine.is_up() => {
                let _ = reply.send(Err(CentreAway));
            }
            Command::Ticket { camera, reply } => {
                self.tickets.retain(|_, waiting| !waiting.is_closed());
                if self.tickets.len() >= MAX_TICKETS {
                    let why = "too many tickets are waiting; try again";
                    let _ = reply.send(Ok(Err(Problem::new(ProblemKind::Busy, why))));
                    return;
                }
                self.last_check += 1;
                let request = self.last_check;
                self.tickets.insert(request, reply);
                let ask = PuToScu::TicketRequest { request, camera };
                self.machine.handle_input(now(), Input::Send(Box::new(ask)));
            }
        }
    }

    fn send(&mut self, message: &PuToScu) {
        let Some(link) = &self.link else { return };
        let about = message.about().unwrap_or(self.pu.as_str());
        flow::sent("Ps", self.name, "SCU", message.name(), about);
        let traceparent = self.traceparent.clone().or_else(current_traceparent);
        if link.send(sightline_protocol::encode(message, traceparent)).is_err() {
            self.close();
            self.machine.handle_input(now(), Input::Closed);
        }
    }

    fn close(&mut self) {
        self.link = None;
        self.dial = None;
        self.upgrade = None;
        self.next_upgrade = None;
    }

    fn event(&mut self, event: Event, handler: &dyn Handler) {
        match event {
            Event::Up(lease) => {
                let up = self.link.as_ref().map(|link| link.transport);
                let over = up.map_or("nothing", Transport::name);
                tracing::info!(domain = %lease.domain, epoch = lease.epoch, over, "registered");
                if let Some(lost) = self.lost.take() {
                    tracing::info!(after = ?lost.elapsed(), "the uplink is back");
                }
                self.reasons.clear();
                metrics::counter!("sightline_pu_registrations_total", "over" => over).increment(1);
                metrics::gauge!("sightline_pu_uplink_up").set(1.0);
                self.status.send_replace(Status { lease: Some(lease), up, fault: None });
                handler.registered();
            }
            Event::Down(why) => {
                tracing::info!(why, "the uplink is lost");
                self.lost = Some(Instant::now());
                metrics::gauge!("sightline_pu_uplink_up").set(0.0);
                for (_, reply) in self.checks.drain() {
                    let _ = reply.send(Err(CentreAway));
                }
                for (_, reply) in self.tickets.drain() {
                    let _ = reply.send(Err(CentreAway));
                }
                for (_, reply) in self.cloud_calls.drain() {
                    let _ = reply.send(Err(CentreAway));
                }
                self.status.send_modify(|status| {
                    status.up = None;
                    status.fault = Some(why);
                });
            }
            Event::NotUp(why) => self.failed(why),
            Event::Clock { offset_us } => {
                self.settings.clock.set_measured(offset_us);
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                metrics::gauge!("sightline_pu_clock_offset_seconds").set(offset_us as f64 / 1e6);
            }
            Event::Owner(owner) => {
                self.status.send_modify(|status| {
                    if let Some(lease) = &mut status.lease {
                        lease.owner.clone_from(&owner);
                    }
                });
                handler.owner(owner);
            }
            Event::Message(message) => handler.message(*message),
        }
    }
}

async fn receive(link: &mut Option<Link>) -> Option<Bytes> {
    match link {
        Some(link) => link.receive().await,
        None => std::future::pending().await,
    }
}

async fn wait(dial: &mut Option<Dial>) -> Result<Link, DialError> {
    match dial {
        Some(dial) => dial.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn now() -> Now {
    Now { at: Instant::now(), wall: UnixMicros::from(SystemTime::now()) }
}
