//! Places of the unit itself at relays (RFC 8656), taken for one session at a time: only when no
//! direct way was found in time, or UDP does not come through at all. Of two servers both are used,
//! so that one may fail.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use sightline_model::MediaSessionId;
use sightline_p2p_net::{
    Relay, RelayError, RelayOptions,
    relay::Sink,
    server::{RelayServer, RelayTransport, Servers},
};
use sightline_protocol::cm::IceServer;
use str0m::{
    Candidate, Input,
    net::{Protocol, Receive, Transmit},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    super::{
        Command, Relayed,
        session::{Now, Sign},
        sockets::Counts,
    },
    Task, guarded,
};

/// Datagrams from relays that wait for the engine; more are lost, as in any full queue.
pub(super) const QUEUE: usize = 512;
/// Of these handled before sessions get their turn.
pub(super) const TURNS: usize = 64;
/// Servers that one session has a place at.
const SERVERS: usize = 2;
/// How long a session without any path waits until it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How long a session goes without its places before they are given back.
const GIVE_BACK: Duration = Duration::from_secs(60);
/// Largest train of datagrams that is given to a relay at once.
const MAX_TRAIN_BYTES: usize = 60_000;

/// The relays of one session.
pub(super) struct Relays {
    servers: Vec<RelayServer>,
    due: Option<Instant>,
    idle: Idle,
    /// Hosts that are being asked, by the numbers of the relays to come.
    asking: Vec<(u64, String)>,
    held: Vec<Held>,
    token: CancellationToken,
    /// Ends what is being asked, with the session.
    _end: DropGuard,
}

/// How long media has gone without a session's places.
#[derive(Default)]
struct Idle {
    ends: Option<Instant>,
}

impl Idle {
    fn is_over(&mut self, is_idle: bool, now: Instant) -> bool {
        let is_over = is_idle && now >= *self.ends.get_or_insert(now + GIVE_BACK);
        if is_over || !is_idle {
            self.ends = None;
        }
        is_over
    }
}

struct Held {
    number: u64,
    host: String,
    relay: Relay,
    candidates: Vec<Candidate>,
    train: Train,
}

/// Datagrams of one size to one peer.
#[derive(Default)]
struct Train {
    peer: Option<std::net::SocketAddr>,
    segment: usize,
    closed: bool,
    bytes: Vec<u8>,
}

impl Relays {
    pub(super) fn new(list: &[IceServer], due: Instant, token: &CancellationToken) -> Self {
        let token = token.child_token();
        let end = token.clone().drop_guard();
        let servers = Servers::read(list).relays;
        let due = (!servers.is_empty()).then_some(due);
        let (asking, held) = (Vec::new(), Vec::new());
        Self { servers, due, idle: Idle::default(), asking, held, token, _end: end }
    }

    /// A restart of ICE, with credentials that last longer.
    pub(super) fn renew(&mut self, list: &[IceServer], due: Instant) {
        let servers = Servers::read(list).relays;
        if !servers.is_empty() {
            self.servers = servers;
        }
        self.due = (!self.servers.is_empty()).then_some(due);
    }

    /// When to look whether relays are needed.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.due, self.idle.ends].into_iter().flatten().min()
    }

    /// Takes back all places once media has gone without them for long enough.
    fn take_idle(&mut self, is_idle: bool, now: Instant) -> Vec<Held> {
        let is_over = self.idle.is_over(is_idle && !self.held.is_empty(), now);
        if is_over { std::mem::take(&mut self.held) } else { Vec::new() }
    }

    /// Takes a datagram that is to leave from a relayed address.
    pub(super) fn push(&mut self, transmit: &Transmit, counts: &mut Counts) -> bool {
        let from = |held: &&mut Held| held.relay.relayed_addresses().contains(&transmit.source);
        let Some(held) = self.held.iter_mut().find(from) else { return false };
        counts.datagrams_sent += 1;
        let (contents, train) = (&transmit.contents, &held.train);
        let joins = train.peer == Some(transmit.destination)
            && !train.closed
            && contents.len() <= train.segment
            && train.bytes.len() + contents.len() <= MAX_TRAIN_BYTES;
        if !joins {
            held.send(counts);
            held.train.peer = Some(transmit.destination);
            held.train.segment = contents.len();
        }
        held.train.closed = contents.len() < held.train.segment;
        held.train.bytes.extend_from_slice(contents);
        true
    }

    /// Sends what is collected.
    pub(super) fn flush(&mut self, counts: &mut Counts) {
        for held in &mut self.held {
            held.send(counts);
        }
    }

    /// Servers of up to two hosts at which there is no place yet, each with all its transports.
    fn hosts(&self) -> Vec<Vec<RelayServer>> {
        let mut hosts: Vec<Vec<RelayServer>> = Vec::new();
        for server in &self.servers {
            let of = |host: &Vec<RelayServer>| host[0].place.host == server.place.host;
            match hosts.iter().position(of) {
                Some(at) => hosts[at].push(server.clone()),
                None if hosts.len() < SERVERS => hosts.push(vec![server.clone()]),
                None => {}
            }
        }
        hosts.retain(|host| !self.held.iter().any(|held| held.host == host[0].place.host));
        hosts
    }
}

impl Held {
    fn send(&mut self, counts: &mut Counts) {
        let Some(peer) = self.train.peer.take() else { return };
        counts.sends += 1;
        let many = self.train.bytes.len() > self.train.segment;
        let segment = many.then_some(self.train.segment);
        // A full socket loses it, as any queue would; a dead relay is told of besides.
        if self.relay.send(peer, &self.train.bytes, segment).is_err() {
            counts.dropped += 1;
        }
        self.train.bytes.clear();
    }
}

impl Task {
    /// Gives back what sessions have found a direct way without.
    fn give_back_relays(&mut self, now: Now) {
        for seat in self.seats.values_mut() {
            let is_idle = seat.session.has_path() && !seat.session.is_over_own_relay();
            for held in seat.relays.take_idle(is_idle, now.instant) {
                tracing::debug!(session = %seat.session.id, "a relay is given back");
                self.relay_seats.remove(&held.number);
                for candidate in held.candidates {
                    guarded(seat, &mut self.stats, |session| {
                        session.drop_local(&candidate, now, &mut self.feeds);
                    });
                }
            }
        }
    }

    /// Asks for relays where one is needed, and gives back those that are not.
    pub(super) fn ask_relays(&mut self, now: Now) {
        self.give_back_relays(now);
        let blocked = self.stun.udp_is_blocked(now.instant);
        let mut asks = Vec::new();
        for (id, seat) in &mut self.seats {
            let Some(due) = seat.relays.due else { continue };
            if now.instant < due && !blocked {
                continue;
            }
            // While ICE starts over and the old way still carries, a direct one is waited for.
            let waits = !seat.session.has_path() && seat.session.is_carried(now);
            seat.relays.due = waits.then(|| now.instant + self.config.relay_after);
            if waits || seat.session.has_path() || !seat.relays.asking.is_empty() {
                continue;
            }
            for servers in seat.relays.hosts() {
                self.next_relay += 1;
                let host = servers[0].place.host.clone();
                seat.relays.asking.push((self.next_relay, host));
                let options = RelayOptions {
                    tls: self.config.relay_tls.clone(),
                    nat64: self.local.nat64,
                    both_families: false,
                };
                let ask = Ask {
                    session: id.clone(),
                    number: self.next_relay,
                    servers,
                    blocked,
                    options,
                    token: seat.relays.token.clone(),
                };
                self.relay_seats.insert(ask.number, id.clone());
                asks.push(ask);
            }
        }
        for ask in asks {
            self.spawn_ask(ask);
        }
    }

    fn spawn_ask(&self, ask: Ask) {
        let (number, queue) = (ask.number, self.relayed_tx.clone());
        let sink: Sink = Arc::new(move |from, bytes| {
            // A full queue loses it, as any router's would.
            let _ = queue.try_send(Relayed { relay: number, from, bytes });
        });
        let (commands, tasks) = (self.commands.clone(), self.tasks.clone());
        let token = ask.token.clone();
        self.tasks.spawn(token.run_until_cancelled_owned(async move {
            let result = ask.best(sink, &tasks).await;
            let dead = result.as_ref().ok().map(Relay::dead);
            let up = Command::RelayUp(ask.session.clone(), number, result);
            let Some(to) = commands.upgrade() else { return };
            if to.send(up).await.is_err() {
                return;
            }
            drop(to);
            let Some(mut dead) = dead else { return };
            // An error means that the relay's task is gone: as dead.
            let _ = dead.wait_for(Option::is_some).await;
            if let Some(to) = commands.upgrade() {
                let _ = to.send(Command::RelayDown(ask.session, number)).await;
            }
        }));
    }

    pub(super) fn relay_up(
        &mut self,
        id: &MediaSessionId,
        number: u64,
        result: Result<Relay, RelayError>,
        now: Now,
    ) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let asking = &mut seat.relays.asking;
        let Some(at) = asking.iter().position(|(asked, _)| *asked == number) else { return };
        let (_, host) = asking.swap_remove(at);
        let relay = match result {
            Ok(relay) => relay,
            Err(error) => {
                tracing::debug!(session = %id, %error, "no relay");
                self.relay_seats.remove(&number);
                if seat.relays.asking.is_empty() && seat.relays.held.is_empty() {
                    seat.relays.due = Some(now.instant + ASK_AGAIN);
                }
                return;
            }
        };
        let rung = relay.transport().rung();
        tracing::info!(session = %id, ?rung, "a relay stands by");
        let addresses = relay.relayed_addresses().iter();
        let candidates: Vec<Candidate> = addresses
            .filter_map(|at| Candidate::relayed(*at, relay.local(), Protocol::Udp).ok())
            .collect();
        for candidate in candidates.clone() {
            guarded(seat, &mut self.stats, |session| {
                session.relayed(&candidate, rung, now, &mut self.feeds);
            });
        }
        let train = Train::default();
        seat.relays.held.push(Held { number, host, relay, candidates, train });
    }

    pub(super) fn relay_down(&mut self, id: &MediaSessionId, number: u64, now: Now) {
        self.relay_seats.remove(&number);
        let Some(seat) = self.seats.get_mut(id) else { return };
        let held = &mut seat.relays.held;
        let Some(at) = held.iter().position(|held| held.number == number) else { return };
        let gone = held.swap_remove(at);
        tracing::info!(session = %id, "a relay has gone");
        for candidate in gone.candidates {
            guarded(seat, &mut self.stats, |session| {
                session.drop_local(&candidate, now, &mut self.feeds);
            });
        }
        seat.relays.due = Some(now.instant + self.config.relay_after);
    }

    /// A datagram that came through a relay.
    pub(super) fn relayed(&mut self, datagram: &Relayed, now: Now) {
        let Relayed { relay: number, from, bytes } = datagram;
        let Some(id) = self.relay_seats.get(number).cloned() else { return };
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let held = seat.relays.held.iter().find(|held| held.number == *number);
        let addresses = held.map(|held| held.relay.relayed_addresses()).unwrap_or_default();
        let at = addresses.iter().find(|at| at.is_ipv4() == from.is_ipv4());
        let Some(at) = at.copied() else { return };
        let Ok(receive) = Receive::new(Protocol::Udp, *from, at, bytes) else { return };
        let sign = Sign::of(bytes);
        let input = Input::Receive(now.instant, receive);
        // As for datagrams of the sockets: media only from where ICE's password has been shown.
        let known = match sign {
            Sign::Media => self.addresses.get(from) == Some(&id),
            Sign::Nomination | Sign::Answer | Sign::Check => seat.session.accepts(&input),
        };
        let Input::Receive(_, receive) = input else { return };
        if !known {
            self.stats.strangers += 1;
            return;
        }
        if sign != Sign::Media {
            self.learn(*from, &id);
        }
        self.give(&id, receive, sign, now);
    }
}

/// One host that is being asked.
struct Ask {
    session: MediaSessionId,
    number: u64,
    servers: Vec<RelayServer>,
    /// Whether UDP is known not to come through.
    blocked: bool,
    options: RelayOptions,
    token: CancellationToken,
}

impl Ask {
    /// The first transport that answers; the better ones have a head start.
    async fn best(
        &self,
        sink: Sink,
        tasks: &tokio_util::task::TaskTracker,
    ) -> Result<Relay, RelayError> {
        let mut tries: FuturesUnordered<_> = self
            .servers
            .iter()
            .map(|server| {
                let sink = Arc::clone(&sink);
                async move {
                    tokio::time::sleep(self.head_start(server.transport)).await;
                    Relay::allocate(server, &self.options, sink, &self.token, tasks).await
                }
            })
            .collect();
        let mut last = RelayError::Silent;
        while let Some(result) = tries.next().await {
            match result {
                Ok(relay) => return Ok(relay),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    const fn head_start(&self, transport: RelayTransport) -> Duration {
        let ms = match (transport, self.blocked) {
            (RelayTransport::Udp, false) | (RelayTransport::Tcp, true) => 0,
            (RelayTransport::Tcp, false) => 500,
            (RelayTransport::Tls, true) => 200,
            (RelayTransport::Udp, true) | (RelayTransport::Tls, false) => 1_000,
        };
        Duration::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_after_a_while_without_media_and_not_before() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut idle = Idle::default();
        assert!(!idle.is_over(true, at(0)));
        assert_eq!(idle.ends, Some(at(60)), "the engine wakes for it");
        assert!(!idle.is_over(true, at(59)));
        assert!(!idle.is_over(false, at(59)), "media has come back");
        assert_eq!(idle.ends, None);
        assert!(!idle.is_over(true, at(60)));
        assert!(!idle.is_over(true, at(119)));
        assert!(idle.is_over(true, at(120)));
        assert_eq!(idle.ends, None, "the engine may sleep");
    }
}
