//! The one task that owns sockets and sessions.

mod addresses;
mod fresh;
mod offers;
mod relays;

use std::{
    collections::HashMap,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
    time::Instant,
};

use sightline_model::MediaSessionId;
use sightline_protocol::{Problem, ProblemKind};
use str0m::{
    Candidate, Input,
    config::DtlsCert,
    net::{Protocol, Receive},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    addresses::Asked,
    fresh::{Fresh, is_from},
    relays::Relays,
};
use super::{
    Command, LocalCandidates, Relayed, Sources, StartError, WebrtcConfig,
    feed::Feeds,
    session::{Around, Now, Session, Sign},
    sockets::{Counts, Datagram, Socket},
};

/// Batches read before sessions get their turn.
const RECEIVE_TURNS: usize = 8;
/// Commands handled before sessions get their turn.
const COMMAND_TURNS: usize = 32;
/// Addresses of viewers that are remembered per session.
const ADDRESSES_PER_SESSION: usize = 32;

/// Figures of the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions now.
    pub sessions: usize,
    /// Of these, with media.
    pub connected: usize,
    /// Sessions begun since the start.
    pub started: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// System calls that sent them.
    pub sends: u64,
    /// Sends given up because the kernel's queue was full.
    pub dropped: u64,
    /// Datagrams that belong to no session.
    pub strangers: u64,
    /// Control messages of viewers that were ignored.
    pub control_ignored: u64,
    /// Pictures left out for viewers that were too slow.
    pub skipped: u64,
    /// Sessions ended by a fault of our own.
    pub panics: u64,
}

pub(super) struct Parts {
    pub(super) config: WebrtcConfig,
    pub(super) local: LocalCandidates,
    pub(super) sources: Sources,
    pub(super) token: CancellationToken,
    pub(super) tasks: TaskTracker,
}

struct Seat {
    session: Session,
    addresses: Vec<SocketAddr>,
    /// Cancels the watcher of the admission.
    watch: CancellationToken,
    relays: Relays,
    /// Which fresh sockets it has moved to.
    fresh: Option<u64>,
}

pub(super) struct Task {
    config: WebrtcConfig,
    /// The fixed ones first, then those of `fresh`.
    sockets: Vec<Socket>,
    fresh: Vec<Fresh>,
    cert: DtlsCert,
    local: LocalCandidates,
    /// With what viewers are told besides.
    candidates: Vec<(Candidate, &'static str)>,
    /// Where a NAT64 shows the fixed sockets.
    translated: Vec<SocketAddr>,
    around: Arc<Around>,
    stun: Asked,
    feeds: Feeds,
    seats: HashMap<MediaSessionId, Seat>,
    /// Learned only from STUN that a session has authenticated.
    addresses: HashMap<SocketAddr, MediaSessionId>,
    /// Whose relays these are.
    relay_seats: HashMap<u64, MediaSessionId>,
    next_relay: u64,
    relayed: mpsc::Receiver<Relayed>,
    relayed_tx: mpsc::Sender<Relayed>,
    inbox: mpsc::Receiver<Command>,
    commands: mpsc::WeakSender<Command>,
    wake: Arc<Notify>,
    token: CancellationToken,
    tasks: TaskTracker,
    counts: Counts,
    stats: Stats,
}

enum Wake {
    Command(Option<Command>),
    Sockets,
    Relayed(Relayed),
    Hubs,
    Time,
    Shutdown,
}

impl Task {
    pub(super) fn new(
        parts: Parts,
        inbox: mpsc::Receiver<Command>,
        commands: mpsc::WeakSender<Command>,
    ) -> Result<Self, StartError> {
        let Parts { config, local, sources, token, tasks } = parts;
        let provider = str0m::crypto::from_feature_flags();
        let cert = provider.dtls_provider.generate_certificate().ok_or(StartError::Certificate)?;
        // Fails when another engine of this process has done it: the same provider.
        provider.install_process_default();
        let sockets: Vec<Socket> =
            config.bind.iter().map(|address| Socket::open(*address)).collect::<Result<_, _>>()?;
        if sockets.is_empty() {
            return Err(StartError::NoAddress);
        }
        let wake = Arc::new(Notify::new());
        let feeds = Feeds::new(sources, Arc::clone(&wake), tasks.clone());
        let (relayed_tx, relayed) = mpsc::channel(relays::QUEUE);
        let mut task = Self {
            config,
            sockets,
            fresh: Vec::new(),
            cert,
            local: LocalCandidates::default(),
            candidates: Vec::new(),
            translated: Vec::new(),
            around: Arc::default(),
            stun: Asked::new(Instant::now()),
            feeds,
            seats: HashMap::new(),
            addresses: HashMap::new(),
            relay_seats: HashMap::new(),
            next_relay: 0,
            relayed,
            relayed_tx,
            inbox,
            commands,
            wake,
            token,
            tasks,
            counts: Counts::default(),
            stats: Stats::default(),
        };
        task.set_local(local, Now::read());
        Ok(task)
    }

    pub(super) fn bound(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.local).collect()
    }

    pub(super) async fn run(mut self) {
        loop {
            let wake = self.wait().await;
            let now = Now::read();
            match wake {
                Wake::Shutdown | Wake::Command(None) => break,
                Wake::Command(Some(command)) => {
                    self.command(command, now);
                    for _ in 0..COMMAND_TURNS {
                        let Ok(command) = self.inbox.try_recv() else { break };
                        self.command(command, now);
                    }
                }
                Wake::Sockets => self.receive(now),
                Wake::Relayed(datagram) => {
                    self.relayed(&datagram, now);
                    for _ in 0..relays::TURNS {
                        let Ok(datagram) = self.relayed.try_recv() else { break };
                        self.relayed(&datagram, now);
                    }
                }
                Wake::Hubs | Wake::Time => {}
            }
            self.ask_stun(now);
            self.ask_relays(now);
            self.turn(Now::read());
        }
        self.shut_down();
    }

    async fn wait(&mut self) -> Wake {
        let seats = self.seats.values();
        let wakes = seats.flat_map(|s| [Some(s.session.next_wake()), s.relays.due()]);
        let next = wakes.flatten().fold(self.stun.next, Instant::min);
        let sockets = &self.sockets;
        let ready = poll_fn(|cx| {
            // All are asked, so that each registers the wake-up.
            let mut any = false;
            for socket in sockets {
                any |= socket.poll_readable(cx).is_ready();
                any |= socket.is_blocked() && socket.poll_writable(cx).is_ready();
            }
            if any { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            biased;
            () = self.token.cancelled() => Wake::Shutdown,
            command = self.inbox.recv() => Wake::Command(command),
            () = ready => Wake::Sockets,
            Some(datagram) = self.relayed.recv() => Wake::Relayed(datagram),
            () = self.wake.notified() => Wake::Hubs,
            () = tokio::time::sleep_until(next.into()) => Wake::Time,
        }
    }

    /// Gives every session whose time or hub has come its turn, and sends what they say.
    fn turn(&mut self, now: Now) {
        let fresh = self.feeds.take_dirty();
        let mut over = Vec::new();
        for (id, seat) in &mut self.seats {
            let due = fresh.contains(&seat.session.channel())
                || seat.session.next_wake() <= now.instant
                || seat.session.has_replay_news();
            if due && !guarded(seat, &mut self.stats, |s| s.step(now, &mut self.feeds)) {
                over.push(id.clone());
                continue;
            }
            transmit(seat, &mut self.sockets, &mut self.counts);
            if seat.session.is_closed() {
                over.push(id.clone());
            }
        }
        for socket in &mut self.sockets {
            socket.flush(&mut self.counts);
        }
        for id in over {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &MediaSessionId) {
        let Some(seat) = self.seats.remove(id) else { return };
        seat.watch.cancel();
        self.relay_seats.retain(|_, session| session != id);
        for address in &seat.addresses {
            if self.addresses.get(address) == Some(id) {
                self.addresses.remove(address);
            }
        }
        self.stats.control_ignored += seat.session.ignored();
        self.stats.skipped += seat.session.video.as_ref().map_or(0, |video| video.skipped);
        // A session that has panicked may do so again when it is dropped.
        if catch_unwind(AssertUnwindSafe(|| drop(seat))).is_err() {
            self.stats.panics += 1;
        }
        tracing::debug!(session = %id, "viewer gone");
    }

    fn receive(&mut self, now: Now) {
        let mut sockets = std::mem::take(&mut self.sockets);
        for socket in &mut sockets {
            let local = socket.local;
            socket.retry(&mut self.counts);
            for _ in 0..RECEIVE_TURNS {
                if !socket.receive(|datagram| self.datagram(local, &datagram, now)) {
                    break;
                }
            }
        }
        self.sockets = sockets;
    }

    fn datagram(&mut self, socket: SocketAddr, datagram: &Datagram<'_>, now: Now) {
        let &Datagram { source, destination, bytes } = datagram;
        let is_stun = bytes.first().is_some_and(|first| *first < 4);
        if is_stun && self.stun_answer(socket, bytes, now) {
            return;
        }
        let destination = self.known_local(destination);
        let Ok(receive) = Receive::new(Protocol::Udp, source, destination, bytes) else {
            self.stats.strangers += 1;
            return;
        };
        let input = Input::Receive(now.instant, receive);
        let known = self.addresses.get(&source).cloned();
        let id = match known {
            Some(id) if !is_stun => Some(id),
            // A viewer may have come back under an address of another: STUN says whose it is.
            Some(id) if self.seats.get(&id).is_some_and(|s| s.session.accepts(&input)) => Some(id),
            Some(_) | None if is_stun => {
                let taken = self.seats.iter().find(|(_, seat)| seat.session.accepts(&input));
                taken.map(|(id, _)| id.clone())
            }
            // Neither DTLS nor RTP from where nobody has shown the ICE password.
            Some(_) | None => None,
        };
        let (Some(id), Input::Receive(_, receive)) = (id, input) else {
            self.stats.strangers += 1;
            return;
        };
        if is_stun {
            self.learn(source, &id);
        }
        self.give(&id, receive, Sign::of(bytes), now);
    }

    fn give(&mut self, id: &MediaSessionId, receive: Receive<'_>, sign: Sign, now: Now) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        if !guarded(seat, &mut self.stats, |s| s.receive(receive, sign, now, &mut self.feeds)) {
            self.remove(id);
        }
    }

    fn learn(&mut self, source: SocketAddr, id: &MediaSessionId) {
        if self.addresses.get(&source) == Some(id) {
            return;
        }
        let Some(seat) = self.seats.get_mut(id) else { return };
        if seat.addresses.len() == ADDRESSES_PER_SESSION {
            let oldest = seat.addresses.remove(0);
            self.addresses.remove(&oldest);
        }
        seat.addresses.push(source);
        self.addresses.insert(source, id.clone());
    }

    /// The library knows our addresses by the candidates we gave it.
    fn known_local(&self, destination: SocketAddr) -> SocketAddr {
        let bases = || self.bases();
        if bases().any(|base| base == destination) {
            return destination;
        }
        let of_socket = bases().find(|base| is_from(destination, *base));
        let of_family = || bases().find(|base| base.is_ipv4() == destination.is_ipv4());
        of_socket.or_else(of_family).unwrap_or(destination)
    }

    fn command(&mut self, command: Command, now: Now) {
        match command {
            Command::Offer(request, reply) => {
                let answer = self.offer(*request, now);
                // The asker may have given up; the session then times out.
                let _ = reply.send(answer);
            }
            Command::Candidate(id, line) => {
                if let Some(seat) = self.seats.get_mut(&id)
                    && !guarded(seat, &mut self.stats, |s| {
                        s.remote_candidate(&line, now, &mut self.feeds);
                    })
                {
                    self.remove(&id);
                }
            }
            Command::End(id, problem) => self.end(&id, problem, now),
            Command::Revoked(id, generation, problem) => {
                if self.seats.get(&id).is_some_and(|s| s.session.generation == generation) {
                    self.end(&id, Some(problem), now);
                }
            }
            Command::Candidates(local) => self.set_local(local, now),
            Command::RelayUp(id, number, result) => self.relay_up(&id, number, result, now),
            Command::RelayDown(id, number) => self.relay_down(&id, number, now),
            Command::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
        }
    }

    fn end(&mut self, id: &MediaSessionId, problem: Option<Problem>, now: Now) {
        if let Some(seat) = self.seats.get_mut(id)
            && !guarded(seat, &mut self.stats, |s| s.end(problem, now, &mut self.feeds))
        {
            self.remove(id);
        }
    }

    fn stats(&self) -> Stats {
        let sessions = || self.seats.values().map(|seat| &seat.session);
        let ignored: u64 = sessions().map(Session::ignored).sum();
        let skipped: u64 = sessions().filter_map(|s| s.video.as_ref()).map(|v| v.skipped).sum();
        Stats {
            sessions: self.seats.len(),
            connected: sessions().filter(|s| s.is_connected()).count(),
            datagrams_sent: self.counts.datagrams_sent,
            sends: self.counts.sends,
            dropped: self.counts.dropped,
            control_ignored: self.stats.control_ignored + ignored,
            skipped: self.stats.skipped + skipped,
            ..self.stats
        }
    }

    /// Tells the viewers, once; nobody waits for their answer.
    fn shut_down(mut self) {
        let now = Now::read();
        let problem = Problem::new(ProblemKind::DeviceOffline, "the camera is shutting down");
        for seat in self.seats.values_mut() {
            guarded(seat, &mut self.stats, |session| {
                session.end(Some(problem.clone()), now, &mut self.feeds);
                session.end_now(now, &mut self.feeds);
            });
            transmit(seat, &mut self.sockets, &mut self.counts);
            seat.watch.cancel();
        }
        for socket in &mut self.sockets {
            socket.flush(&mut self.counts);
        }
    }
}

/// Runs `work` so that a panic costs this session alone; false when it did.
fn guarded(seat: &mut Seat, stats: &mut Stats, work: impl FnOnce(&mut Session)) -> bool {
    let whole = catch_unwind(AssertUnwindSafe(|| work(&mut seat.session))).is_ok();
    if !whole {
        stats.panics += 1;
        tracing::error!(session = %seat.session.id, "session ended by a fault of our own");
    }
    whole
}

fn transmit(seat: &mut Seat, sockets: &mut [Socket], counts: &mut Counts) {
    for transmit in seat.session.out.drain(..) {
        if seat.relays.push(&transmit, counts) {
            continue;
        }
        let source: IpAddr = transmit.source.ip();
        let family = |socket: &&mut Socket| socket.local.is_ipv4() == source.is_ipv4();
        let exact = sockets.iter().position(|socket| is_from(socket.local, transmit.source));
        let socket = match exact {
            Some(index) => sockets.get_mut(index),
            None => sockets.iter_mut().find(family),
        };
        let Some(socket) = socket else { continue };
        // Only a socket on all addresses needs to be told which one to send from.
        let from = socket.local.ip().is_unspecified().then_some(source);
        socket.push(from, transmit.destination, &transmit.contents, counts);
    }
    seat.relays.flush(counts);
}
