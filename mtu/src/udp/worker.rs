//! The loop of one thread.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::{ArcSwap, Cache};
use mio::{Events, Interest, Token, unix::SourceFd};
use mtu_turn::{ClientId, Now, RelayId, Server, Settings, Shared, Transport, Usage, WorkerIndex};
use quinn_udp::RecvMeta;
use std::os::fd::AsRawFd;
use tokio::sync::mpsc;

use super::{
    alarm::Alarm,
    batch::Buffers,
    icmp,
    inbox::{Batches, Inbox, Message, WorkerHandle},
    io::{Io, Parts},
    metrics::Reported,
    options::Options,
    relays::{FIRST_TOKEN, Held, Relays},
    sockets::Udp,
    transmit::is_about_another,
    veiled::{DtlsOptions, Veiled},
};
use crate::dtls;

/// Sockets that are ready at a time; others are told of next time.
const EVENTS: usize = 1_024;
/// Batches that one socket gets before others have their turn.
const TURNS: usize = 4;
/// Messages of streams that are taken before sockets have their turn.
const MESSAGES: usize = 256;
/// How often metrics are told, and settings looked at.
const TICK: Duration = Duration::from_secs(1);
/// Arrivals in [`LOAD`] from which on waiting for more of them pays. A train is one: what comes
/// together already gains nothing by waiting, and would only be late.
const BUSY: u64 = 100;
const LOAD: Duration = Duration::from_millis(10);

/// Behind the listeners, before the relays.
const ALARM: Token = Token(FIRST_TOKEN - 1);

/// What all workers have in common.
pub(super) struct Common {
    pub(super) options: Arc<Options>,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<ArcSwap<Settings>>,
    pub(super) usage: mpsc::Sender<Usage>,
    pub(super) stopping: Arc<AtomicBool>,
    /// Payload relayed by all workers.
    pub(super) relayed_bytes: Arc<AtomicU64>,
    pub(super) batches: Batches,
    pub(super) held: Held,
    pub(super) dtls: Option<DtlsOptions>,
}

pub(super) struct Worker {
    server: Server,
    io: Io,
    veiled: Option<Veiled>,
    inbox: Inbox,
    alarm: Alarm,
    batches: Batches,
    buffers: Buffers,
    settings: Cache<Arc<ArcSwap<Settings>>, Arc<Settings>>,
    stopping: Arc<AtomicBool>,
    relayed_bytes: Arc<AtomicU64>,
    /// Sockets that have more to give than their turn.
    unfinished: Vec<Token>,
    coalesce: Duration,
    reported: Reported,
    /// Datagrams and trains of them.
    arrived: u64,
    load: Load,
}

impl Worker {
    pub(super) fn new(
        index: WorkerIndex,
        common: &Common,
        me: WorkerHandle,
        inbox: Inbox,
        sockets: Vec<(SocketAddr, Udp)>,
    ) -> io::Result<Self> {
        let registry = inbox.poll.registry();
        for (at, (_, udp)) in sockets.iter().enumerate() {
            let fd = udp.socket.as_raw_fd();
            registry.register(&mut SourceFd(&fd), listener_token(at), Interest::READABLE)?;
        }
        let alarm = Alarm::new(registry, ALARM)?;
        let io = Io::new(Parts {
            sockets,
            held: common.held.clone(),
            batches: common.batches.clone(),
            options: common.options.clone(),
            shared: common.shared.clone(),
            registry: registry.try_clone()?,
            usage: common.usage.clone(),
            me,
        });
        let mut settings = Cache::new(common.settings.clone());
        let server = Server::new(index, common.shared.clone(), settings.load().clone());
        Ok(Self {
            server,
            io,
            veiled: common.dtls.clone().map(Veiled::new),
            inbox,
            alarm,
            batches: common.batches.clone(),
            buffers: Buffers::new(),
            settings,
            stopping: common.stopping.clone(),
            relayed_bytes: common.relayed_bytes.clone(),
            unfinished: vec![],
            coalesce: common.options.coalesce,
            reported: Reported::default(),
            arrived: 0,
            load: Load::default(),
        })
    }

    pub(super) fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut tick = Instant::now();
        while !self.stopping.load(Ordering::Acquire) {
            let woken = match self.wait(&mut events, tick) {
                Ok(now) => now,
                Err(error) => {
                    tracing::error!(%error, "a relay worker cannot wait for its sockets");
                    break;
                }
            };
            let now = at(woken);
            self.reload(woken);
            for token in std::mem::take(&mut self.unfinished) {
                self.read(token, now);
            }
            for event in &events {
                if [Inbox::TOKEN, ALARM].contains(&event.token()) {
                    continue;
                }
                if event.is_error() {
                    self.take_errors(event.token(), now);
                }
                self.read(event.token(), now);
            }
            self.read_inbox(now);
            self.tell_errors(now);
            self.server.handle_timeout(now, &mut self.io);
            self.serve_veiled(now);
            self.io.flush();
            if woken >= tick {
                tick = woken + TICK;
                self.report();
            }
            self.linger(woken);
        }
        let now = at(Instant::now());
        if let Some(veiled) = &mut self.veiled {
            veiled.close(&mut self.server, &mut self.io, now);
        }
        self.server.close(now, &mut self.io);
        self.io.flush();
        self.report();
    }

    /// Until something happens, or is due.
    fn wait(&mut self, events: &mut Events, tick: Instant) -> io::Result<Instant> {
        let veiled = self.veiled.as_ref().and_then(Veiled::poll_timeout);
        let due = self.server.poll_timeout().into_iter().chain(veiled).fold(tick, Instant::min);
        let now = Instant::now();
        let timeout = if self.unfinished.is_empty() && now < due {
            self.alarm.set(now, due)?;
            None
        } else {
            Some(Duration::ZERO)
        };
        match self.inbox.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            other => other?,
        }
        Ok(Instant::now())
    }

    /// Under load, lets packets come together: a call costs more than the packets in it.
    fn linger(&mut self, woken: Instant) {
        let now = Instant::now();
        if self.coalesce.is_zero() || !self.load.is_busy(self.arrived, now) {
            return;
        }
        let spent = now.saturating_duration_since(woken);
        if let Some(left) = self.coalesce.checked_sub(spent) {
            std::thread::sleep(left);
        }
    }

    fn reload(&mut self, now: Instant) {
        if let Some(veiled) = &mut self.veiled {
            veiled.reload(now);
        }
        let settings = self.settings.load();
        if !Arc::ptr_eq(settings, self.server.settings()) {
            self.server.set_settings(settings.clone());
        }
    }

    /// DTLS has timers of its own, and encrypts what the server sent.
    fn serve_veiled(&mut self, now: Now) {
        let Some(veiled) = &mut self.veiled else { return };
        if veiled.poll_timeout().is_some_and(|due| due <= now.instant) {
            veiled.handle_timeout(&mut self.server, &mut self.io, now);
        }
        if !self.io.veiled.is_empty() {
            veiled.send(&mut self.server, &mut self.io, now);
        }
    }

    fn report(&mut self) {
        let counters = *self.server.counters();
        let relayed = self.reported.report(counters, self.io.groups.sent, self.io.losses);
        self.relayed_bytes.fetch_add(relayed, Ordering::Relaxed);
    }

    fn read(&mut self, token: Token, now: Now) {
        let done = match Relays::relay(token) {
            Some(relay) => self.read_relay(relay, now),
            None => self.read_listener(token.0 - 1, now),
        };
        if !done {
            self.unfinished.push(token);
        }
    }

    /// Whether it has nothing more to give.
    fn read_listener(&mut self, at: usize, now: Now) -> bool {
        for _ in 0..TURNS {
            let Some(listener) = self.io.listeners.get(at) else { return true };
            let local = listener.local;
            let received = match self.buffers.receive(&listener.udp) {
                Ok(received) => received,
                Err(error) if is_about_another(&error) => continue,
                Err(error) => {
                    tracing::debug!(%error, "a listening socket reports an error");
                    return true;
                }
            };
            self.arrived += received.count as u64;
            for n in 0..received.count {
                let (meta, train) = self.buffers.get(n);
                let client = ClientId::new(Transport::Udp, meta.addr, local_of(local, meta));
                let is_dtls = train.first().is_some_and(|first| dtls::FIRST_BYTE.contains(first));
                match &mut self.veiled {
                    Some(veiled) if is_dtls => {
                        let both = (&mut self.server, &mut self.io);
                        veiled.handle_train(&client, train, meta.stride, both, now);
                    }
                    _ => self.server.handle_input(&client, train, meta.stride, now, &mut self.io),
                }
            }
            if received.drained {
                return true;
            }
        }
        false
    }

    /// Whether it has nothing more to give.
    fn read_relay(&mut self, relay: RelayId, now: Now) -> bool {
        for _ in 0..TURNS {
            let Some(udp) = self.io.relays.get(relay) else { return true };
            let received = match self.buffers.receive(udp) {
                Ok(received) => received,
                // Reported once, of one packet; what waits is still there.
                Err(error) if is_about_another(&error) => continue,
                Err(error) => {
                    tracing::debug!(%error, "a relay's socket reports an error");
                    return true;
                }
            };
            self.arrived += received.count as u64;
            for n in 0..received.count {
                let (meta, train) = self.buffers.get(n);
                let (peer, stride) = (meta.addr, meta.stride);
                self.server.handle_peer_input(relay, peer, train, stride, now, &mut self.io);
            }
            if received.drained {
                return true;
            }
        }
        false
    }

    fn take_errors(&mut self, token: Token, now: Now) {
        let Some(relay) = Relays::relay(token) else { return };
        let Some(udp) = self.io.relays.get(relay) else { return };
        for (peer, error) in icmp::take(udp) {
            self.server.handle_icmp(relay, peer, error, now, &mut self.io);
        }
    }

    fn tell_errors(&mut self, now: Now) {
        for (relay, peer, error) in std::mem::take(&mut self.io.errors) {
            self.server.handle_icmp(relay, peer, error, now, &mut self.io);
        }
    }

    fn read_inbox(&mut self, now: Now) {
        self.inbox.looked();
        for _ in 0..self.inbox.batches.len() {
            let Some(batch) = self.inbox.batches.pop() else { break };
            for (from, to, payload) in batch.packets() {
                self.server.handle_relayed(from, to, payload, now, &mut self.io);
            }
            self.batches.recycle(batch);
        }
        for _ in 0..MESSAGES {
            let Ok(message) = self.inbox.messages.try_recv() else { return };
            self.take(message, now);
        }
        // The rest comes with the next turn.
        self.io.me.wake();
    }

    fn take(&mut self, message: Message, now: Now) {
        let io = &mut self.io;
        match message {
            Message::Open(client, number, out) => {
                // The connection before it at the same addresses has ended, whether or not that
                // has been told yet: what it had is not the new one's.
                self.server.handle_gone(&client, now, io);
                io.streams.insert(client, (number, out));
            }
            Message::Frame(client, number, frame) => {
                if io.is_current(&client, number) {
                    self.server.handle_input(&client, &frame, frame.len(), now, io);
                }
            }
            Message::Close(client, number) => {
                if io.is_current(&client, number) {
                    self.server.handle_gone(&client, now, io);
                    io.streams.remove(&client);
                }
            }
            Message::Answer(ticket, outcome) => self.server.answer(&ticket, outcome, io),
            Message::MayConnect(relay, peer, told) => {
                // Whoever asked may have gone.
                let _ = told.send(self.server.may_connect(relay, peer, now));
            }
            Message::Offer { relay, peer, connection, taken } => {
                let told = self.server.offer_connection(relay, peer, connection, now, io);
                // Whoever asked may have gone.
                let _ = taken.send(told);
            }
            Message::Shortcut(from, to, shortcut) => {
                self.server.handle_shortcut(from, to, shortcut, now);
            }
            Message::Usage(taken) => {
                let _ = taken.send(self.server.usage(now).collect());
            }
            #[cfg(test)]
            Message::Die => panic!("asked to die"),
        }
    }
}

/// How much there is to do, over short spans of time.
#[derive(Debug, Default)]
struct Load {
    began: Option<Instant>,
    arrived: u64,
    busy: bool,
}

impl Load {
    fn is_busy(&mut self, arrived: u64, now: Instant) -> bool {
        let span = self.began.map(|began| now.saturating_duration_since(began));
        match span {
            Some(span) if span < LOAD => {}
            Some(span) => {
                // Of a longer span, its share.
                let spans = (span.as_micros() / LOAD.as_micros()).max(1) as u64;
                self.busy = (arrived - self.arrived) / spans >= BUSY;
                (self.began, self.arrived) = (Some(now), arrived);
            }
            None => (self.began, self.arrived) = (Some(now), arrived),
        }
        self.busy
    }
}

fn at(instant: Instant) -> Now {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Now { instant, unix_s }
}

const fn listener_token(at: usize) -> Token {
    Token(at + 1)
}

/// Which of our addresses a packet came to.
fn local_of(local: SocketAddr, meta: &RecvMeta) -> SocketAddr {
    let named = |ip: &IpAddr| !ip.is_unspecified();
    match meta.dst_ip.filter(named).filter(|_| local.ip().is_unspecified()) {
        Some(ip) => SocketAddr::new(ip, local.port()),
        None => local,
    }
}
