//! The state that all connections of an SCU share, and what carries out its decisions.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use scu_session::{Answer, ConnId, Input, Output, Switchboard, pu::PuSettings};
use sightline_bus::{Bus, BusError, Reply};
use sightline_model::{DomainName, MediaSessionId, PuId, ScuId, UnixMicros};
use sightline_protocol::{
    Envelope, Named, Problem, ProblemKind,
    cs::{CsRequest, MediaOffer, ScuToCu},
    encode,
    ps::ScuToPu,
    sc::{ScReply, ScRequest},
    sm::SmReply,
    subject,
};
use sightline_service_kit::{
    flow,
    lifecycle::Lifecycle,
    telemetry::{current_traceparent, message_span},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    admission::Admission, config::Config, credentials::Minter, viewer_reports::ViewerReports,
};

/// How long the CMU or another SCU may take to answer.
pub(crate) const BUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages to the bus that may wait; more are dropped, and the calls they belong to time out.
const BUS_QUEUE: usize = 4_096;

/// The trace that a message belongs to.
pub(crate) type Traceparent = Option<String>;

/// For the task of a PU's connection.
#[derive(Debug)]
pub(crate) enum PuCommand {
    Send(Box<ScuToPu>, Traceparent),
    Fence,
}

/// The way to a connection's task. When its queue is full, the peer is cut off.
#[derive(Debug)]
enum Line {
    Pu(mpsc::Sender<PuCommand>, CancellationToken),
    Cu(mpsc::Sender<(ScuToCu, Traceparent)>, CancellationToken),
}

/// What the bus task does, in this order.
#[derive(Debug)]
enum BusJob {
    Publish(String, Vec<u8>),
    Reply(Reply, Vec<u8>),
}

/// The SCU.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) settings: PuSettings,
    pub(crate) config: Config,
    pub(crate) bus: Bus,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) admission: Arc<Admission>,
    minter: Minter,
    board: Mutex<Switchboard<Option<Reply>>>,
    lines: Mutex<HashMap<ConnId, Line>>,
    listeners: Mutex<HashMap<MediaSessionId, CancellationToken>>,
    bus_jobs: mpsc::Sender<BusJob>,
    viewer_reports: ViewerReports,
    next_conn: AtomicU64,
    /// The board's next deadline may have come nearer.
    wake: Notify,
    /// Shortest life of a lease that the CMU has named.
    lease_ttl_ms: AtomicU32,
}

/// The clock that PUs and CUs are told.
pub(crate) fn wall() -> UnixMicros {
    SystemTime::now().into()
}

/// Life of a lease before the CMU has named one.
const DEFAULT_LEASE_TTL_MS: u32 = 30_000;

/// What is made before the unit.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) scu: ScuId,
    pub(crate) scu_url: String,
    pub(crate) minter: Minter,
    /// What its first question to a recorder is numbered: random.
    pub(crate) first_question: u64,
}

impl Unit {
    /// Makes the unit and its tasks.
    pub(crate) async fn start(
        parts: Parts,
        bus: Bus,
        lifecycle: &Lifecycle,
    ) -> Result<Arc<Self>, BusError> {
        let (bus_jobs, jobs) = mpsc::channel(BUS_QUEUE);
        let Parts { config, scu, scu_url, minter, first_question } = parts;
        let settings = PuSettings {
            scu,
            domain: config.domain.clone(),
            scu_url,
            keep_alive: config.limits.keep_alive(),
            sign_in_timeout: config.limits.sign_in_timeout(),
            cmu_timeout: 2 * BUS_TIMEOUT,
        };
        let (viewer_reports, lanes) = ViewerReports::new();
        let unit = Arc::new(Self {
            admission: Admission::new(config.limits.connections, config.limits.connections_per_ip),
            settings,
            minter,
            config,
            bus,
            lifecycle: lifecycle.clone(),
            board: Mutex::new(Switchboard::new(first_question)),
            lines: Mutex::default(),
            listeners: Mutex::default(),
            bus_jobs,
            viewer_reports,
            next_conn: AtomicU64::new(1),
            wake: Notify::new(),
            lease_ttl_ms: AtomicU32::new(DEFAULT_LEASE_TTL_MS),
        });
        crate::background::start(&unit).await?;
        crate::orders::start(&unit).await?;
        crate::viewer_reports::start(&unit, lanes);
        // Answers and ends that come up during shutdown still go out.
        lifecycle.spawn_graceful(|token| run_bus_jobs(unit.bus.clone(), jobs, token));
        // So that the gauges are there from the start.
        unit.drive(Input::LeasesLost(vec![]));
        Ok(unit)
    }

    pub(crate) fn domain(&self) -> &DomainName {
        &self.config.domain
    }

    pub(crate) fn attach_pu(&self) -> (ConnId, mpsc::Receiver<PuCommand>, CancellationToken) {
        let (sender, receiver) = mpsc::channel(self.config.limits.queue.into());
        let (conn, cut) = self.attach(|cut| Line::Pu(sender, cut));
        (conn, receiver, cut)
    }

    pub(crate) fn attach_cu(
        &self,
    ) -> (ConnId, mpsc::Receiver<(ScuToCu, Traceparent)>, CancellationToken) {
        let (sender, receiver) = mpsc::channel(self.config.limits.queue.into());
        let (conn, cut) = self.attach(|cut| Line::Cu(sender, cut));
        (conn, receiver, cut)
    }

    fn attach(&self, line: impl FnOnce(CancellationToken) -> Line) -> (ConnId, CancellationToken) {
        let conn = ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed));
        let cut = CancellationToken::new();
        self.lines.lock().insert(conn, line(cut.clone()));
        (conn, cut)
    }

    pub(crate) fn detach(&self, conn: ConnId) {
        self.lines.lock().remove(&conn);
    }

    /// Feeds the switchboard and carries out what it decides.
    pub(crate) fn drive(self: &Arc<Self>, input: Input<Option<Reply>>) {
        let mut board = self.board.lock();
        board.handle_input(Instant::now(), input);
        self.drain(&mut board);
    }

    /// Reads from the switchboard.
    pub(crate) fn with_board<T>(&self, f: impl FnOnce(&Switchboard<Option<Reply>>) -> T) -> T {
        f(&self.board.lock())
    }

    /// Calls the switchboard back when its time has come.
    pub(crate) async fn run_timers(self: Arc<Self>) {
        loop {
            let at = self.with_board(Switchboard::poll_timeout);
            let sleep = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {
                    let mut board = self.board.lock();
                    board.handle_timeout(Instant::now());
                    self.drain(&mut board);
                }
                () = self.wake.notified() => {}
            }
        }
    }

    /// Carries out the outputs under the board's lock, so that their order is kept; nothing here
    /// waits.
    fn drain(self: &Arc<Self>, board: &mut Switchboard<Option<Reply>>) {
        while let Some(output) = board.poll_output() {
            self.carry_out(output);
        }
        metrics::gauge!("sightline_scu_pus").set(board.devices().len() as f64);
        metrics::gauge!("sightline_scu_calls").set(board.calls().len() as f64);
        metrics::gauge!("sightline_scu_viewers").set(board.viewers().len() as f64);
        self.wake.notify_one();
    }

    fn carry_out(self: &Arc<Self>, output: Output<Option<Reply>>) {
        match output {
            Output::ToPu { conn, message } => {
                self.to_pu(conn, PuCommand::Send(message, current_traceparent()));
            }
            Output::OfferToPu { conn, session, mut offer, mtus } => {
                offer.ice_servers = self.minter.for_session(wall(), &mtus, &session);
                let message = Box::new(ScuToPu::MediaOffer { session, offer });
                self.to_pu(conn, PuCommand::Send(message, current_traceparent()));
            }
            Output::FencePu { conn } => self.to_pu(conn, PuCommand::Fence),
            Output::Reply { to, answer } => {
                if let Some(to) = to {
                    let reply = encode(&self.reply(answer), current_traceparent());
                    self.bus_job(BusJob::Reply(to, reply));
                }
            }
            Output::ToCu { conn, message } => self.to_cu(conn, message),
            Output::OfferElsewhere { session, device, offer } => {
                let offering = self.clone().offer_elsewhere(session, device, offer);
                self.lifecycle.spawn(offering.in_current_span());
            }
            Output::Elsewhere { device, request } => {
                let subject = subject::device(self.domain(), &device);
                self.bus_job(BusJob::Publish(subject, encode(&request, current_traceparent())));
            }
            Output::ToCuElsewhere { session, message } => {
                let subject = subject::session(self.domain(), &session);
                self.bus_job(BusJob::Publish(subject, encode(&message, current_traceparent())));
            }
            Output::TellCmu { session, request } => {
                self.viewer_reports.send(&session, request);
            }
            Output::Listen { session } => {
                self.lifecycle.spawn(self.clone().listen_for(session));
            }
            Output::Unlisten { session } => {
                if let Some(listener) = self.listeners.lock().remove(&session) {
                    listener.cancel();
                }
            }
        }
    }

    fn reply(&self, answer: Answer) -> SmReply {
        match answer {
            Answer::Prepared { session, mtus } => {
                let ice_servers = self.minter.for_session(wall(), &mtus, &session);
                flow::sent("Sm", "SCU", "CMU", "prepared", session.as_str());
                SmReply::Prepared { ice_servers }
            }
            Answer::Done => SmReply::Done,
            Answer::Recorded(reply) => {
                flow::sent("Sm", "SCU", "CMU", "recorded", reply.about().unwrap_or_default());
                SmReply::Recorded { reply }
            }
            Answer::Refused(problem) => SmReply::Refused { problem },
        }
    }

    fn to_pu(&self, conn: ConnId, command: PuCommand) {
        if let Some(Line::Pu(queue, cut)) = self.lines.lock().get(&conn) {
            cut_off_if_full(queue.try_send(command), cut);
        }
    }

    fn to_cu(&self, conn: ConnId, message: ScuToCu) {
        if let Some(Line::Cu(queue, cut)) = self.lines.lock().get(&conn) {
            cut_off_if_full(queue.try_send((message, current_traceparent())), cut);
        }
    }

    fn bus_job(&self, job: BusJob) {
        if self.bus_jobs.try_send(job).is_err() {
            metrics::counter!("sightline_scu_bus_dropped_total").increment(1);
        }
    }

    /// Sends an offer to the SCU that holds the device's lease.
    async fn offer_elsewhere(
        self: Arc<Self>,
        session: MediaSessionId,
        device: PuId,
        offer: Box<MediaOffer>,
    ) {
        // Whoever answers must find somebody who listens.
        self.clone().ensure_listening(&session).await;
        let subject = subject::device(self.domain(), &device);
        let request = CsRequest::Offer { session: session.clone(), offer };
        let request = encode(&request, current_traceparent());
        let result = match self.bus.request(&subject, request.into(), BUS_TIMEOUT).await {
            Ok(reply) => match sightline_protocol::decode::<SmReply>(&reply).map(|r| r.body) {
                Ok(SmReply::Refused { problem }) => Err(problem),
                Ok(SmReply::Done | SmReply::Prepared { .. } | SmReply::Recorded { .. }) => Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "another SCU gave an unreadable answer");
                    Err(Problem::new(ProblemKind::Internal, "the centre gave a wrong answer"))
                }
            },
            Err(BusError::NoResponder(_)) => {
                Err(Problem::new(ProblemKind::DeviceOffline, "the camera's device is offline"))
            }
            Err(error) => Err(bus_problem(&error)),
        };
        self.drive(Input::Delivered { session, result });
    }

    async fn listen_for(self: Arc<Self>, session: MediaSessionId) {
        self.ensure_listening(&session).await;
    }

    /// Subscribes to messages for the CU of this session, once.
    async fn ensure_listening(self: Arc<Self>, session: &MediaSessionId) {
        let end = self.lifecycle.token.child_token();
        match self.listeners.lock().entry(session.clone()) {
            std::collections::hash_map::Entry::Occupied(_) => return,
            std::collections::hash_map::Entry::Vacant(free) => free.insert(end.clone()),
        };
        let subject = subject::session(self.domain(), session);
        let mut messages = match self.bus.subscribe(&subject, None).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(%error, "cannot listen for a session");
                self.listeners.lock().remove(session);
                return;
            }
        };
        let unit = self.clone();
        let session = session.clone();
        self.lifecycle.tasks.spawn(end.run_until_cancelled_owned(async move {
            while let Some(message) = messages.next().await {
                match sightline_protocol::decode::<ScuToCu>(&message.payload) {
                    Ok(Envelope { traceparent, body: message, .. }) => {
                        let span = message_span("Cs", message.name(), traceparent.as_deref());
                        let session = session.clone();
                        span.in_scope(|| unit.drive(Input::ForCu { session, message }));
                    }
                    Err(error) => tracing::warn!(%error, "unreadable message of another SCU"),
                }
            }
        }));
    }

    /// Asks the CMU.
    pub(crate) async fn ask_cmu(&self, request: &ScRequest) -> Result<ScReply, Problem> {
        flow::sent("Sc", "SCU", "CMU", request.name(), request.about().unwrap_or_default());
        let subject = subject::cmu(self.domain());
        let reply = self
            .bus
            .request(&subject, encode(request, current_traceparent()).into(), BUS_TIMEOUT)
            .await
            .map_err(|error| bus_problem(&error))?;
        match sightline_protocol::decode::<ScReply>(&reply) {
            Ok(reply) => {
                if let ScReply::Registered(lease) = &reply.body {
                    self.lease_ttl_ms.fetch_min(lease.ttl_ms.max(1_000), Ordering::Relaxed);
                }
                Ok(reply.body)
            }
            Err(error) => {
                tracing::error!(%error, "the CMU gave an unreadable answer");
                Err(Problem::new(ProblemKind::Internal, "the centre gave a wrong answer"))
            }
        }
    }

    /// How long the shortest lease lasts.
    pub(crate) fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.lease_ttl_ms.load(Ordering::Relaxed).into())
    }

    /// Gives back a lease in the background, also while the SCU shuts down.
    pub(crate) fn release(self: &Arc<Self>, request: ScRequest) {
        let unit = self.clone();
        self.lifecycle.tasks.spawn(async move {
            if let Err(problem) = unit.ask_cmu(&request).await {
                tracing::debug!(%problem, "could not give back a lease; it will expire");
            }
        });
    }

    /// The MTUs that a PU may ask for its own address.
    pub(crate) fn stun_servers(&self, pu: &str) -> Vec<sightline_protocol::cm::IceServer> {
        let mtus = self.with_board(|board| board.mtus().choose(Instant::now(), pu));
        crate::credentials::stun_only(&mtus)
    }
}

fn cut_off_if_full<T>(result: Result<(), mpsc::error::TrySendError<T>>, cut: &CancellationToken) {
    if matches!(result, Err(mpsc::error::TrySendError::Full(_))) {
        metrics::counter!("sightline_scu_slow_peers_total").increment(1);
        cut.cancel();
    }
}

fn bus_problem(error: &BusError) -> Problem {
    tracing::warn!(%error, "the bus fails");
    Problem::new(ProblemKind::Timeout, "the centre does not answer; try again")
}

async fn run_bus_jobs(bus: Bus, mut jobs: mpsc::Receiver<BusJob>, token: CancellationToken) {
    loop {
        let job = tokio::select! {
            biased;
            job = jobs.recv() => job,
            // Only once nothing is waiting.
            () = token.cancelled() => None,
        };
        match job {
            None => return,
            Some(BusJob::Reply(reply, payload)) => reply.send(payload.into()).await,
            Some(BusJob::Publish(subject, payload)) => {
                if let Err(error) = bus.publish(&subject, payload.into()).await {
                    tracing::warn!(%error, "could not publish");
                }
            }
        }
    }
}
