//! DTLS 1.2 in front of TURN (RFC 7350): datagrams in, datagrams and messages out. Sans-IO; one
//! table serves the clients of one thread.
//!
//! A stranger gets a HelloVerifyRequest and is forgotten (RFC 6347 section 4.2.1): whoever spoofs
//! addresses costs no memory. `dimpl` draws its cookie secret anew for each connection, so it
//! would have to keep the connection to know its own cookie again. It draws from a seed, though,
//! where it is given one; here the seed is computed from the client's address under a key that
//! only this process knows, so a connection made later knows the cookie of the one that was
//! forgotten, for that client alone. Keys do not come from the seed: `dimpl` takes those from the
//! system always. See `docs/decisions/0065`.
//!
//! A panic of `dimpl` costs the connection in which it happened, not the worker and its other
//! clients: whatever is asked of a connection is asked through [`guarded`].

mod hello;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use dimpl::{Dtls, DtlsCertificate, Output};
use hello::Hello;
use mtu_turn::limits::Limiter;
use rustls::pki_types::PrivateKeyDer;
use sightline_model::subscriber;

/// Datagrams that are DTLS (RFC 9443).
pub(crate) const FIRST_BYTE: std::ops::RangeInclusive<u8> = 20..=63;

/// How long a cookie is good for: twice this at most.
const SEED_EPOCH: Duration = Duration::from_secs(60);
/// A client that has not finished its handshake by then is forgotten.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A client that has no allocation and says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(660);
/// How often handshakes are looked after; a lost flight is repeated after a second.
const TICK: Duration = Duration::from_millis(250);
/// Largest datagram of a handshake: fits, with the heads of IPv6 and UDP, into whatever carries
/// IPv6 (RFC 8200 section 5). Messages are as long as they are, since a record is one datagram: on
/// narrow paths the system fragments it (RFC 6347 section 4.1.1.1).
const MTU: usize = 1_232;
/// A record holds no more (RFC 6347 section 4.1).
const MAX_RECORD: usize = 1 << 14;

/// Bounds of one table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Clients at a time.
    pub(crate) clients: usize,
    /// Of one subscriber.
    pub(crate) per_subscriber: usize,
    /// Hellos of strangers that are answered per second.
    pub(crate) hellos_per_s: u32,
    /// Of those, from one network (/24, or /48 of IPv6): one that floods leaves room for others.
    pub(crate) hellos_per_network_s: u32,
}

/// Who is at the other end, and at which of our addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// Takes what comes out.
pub(crate) trait Sink {
    /// A datagram for the client.
    fn datagram(&mut self, peer: &Peer, bytes: &[u8]);
    /// A message from the client.
    fn message(&mut self, peer: &Peer, bytes: &[u8]);
    /// The client has gone.
    fn gone(&mut self, peer: &Peer);
    /// Whether the client has an allocation, which must not end because nobody speaks.
    fn has_allocation(&self, peer: &Peer) -> bool;
}

/// The certificate cannot be shown over DTLS.
#[derive(Debug, thiserror::Error)]
#[error("DTLS takes ECDSA keys on P-256 or P-384 only")]
pub(crate) struct UnfitKey;

/// Checks and converts what TLS shows. Of the chain, only the first certificate is sent.
pub(crate) fn certificate(
    chain: &[rustls::pki_types::CertificateDer<'_>],
    key: &PrivateKeyDer<'_>,
) -> Result<DtlsCertificate, UnfitKey> {
    let certificate = chain.first().ok_or(UnfitKey)?.as_ref().to_vec();
    let config = dimpl::Config::default();
    let keys = config.crypto_provider().key_provider;
    // `dimpl` panics on a key that it cannot read.
    keys.load_private_key(key.secret_der()).map_err(|_| UnfitKey)?;
    Ok(DtlsCertificate { certificate, private_key: key.secret_der().to_vec() })
}

struct Session {
    dtls: Dtls,
    /// Of the hello with which it began.
    random: [u8; 32],
    begun: Instant,
    heard: Instant,
    connected: bool,
}

/// What one operator or subscriber may have a whole of.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 80)).into(),
    }
}

/// A fatal alert before there are keys (RFC 5246 section 7.2): who is told no needs no timeout.
fn fatal(alert: u8) -> [u8; 15] {
    const ALERT: u8 = 21;
    [ALERT, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, alert]
}

/// RFC 6347 section 4.3.2.
fn is_hello_verify(datagram: &[u8]) -> bool {
    const HELLO_VERIFY_REQUEST: u8 = 3;
    datagram.get(13) == Some(&HELLO_VERIFY_REQUEST)
}

/// Asks something of a connection; `None` when it panics. Then it may be in the midst of anything,
/// and is only good to be dropped.
fn guarded<T>(ask: impl FnOnce() -> T) -> Option<T> {
    let answer = catch_unwind(AssertUnwindSafe(ask));
    if answer.is_err() {
        metrics::counter!("sightline_mtu_dtls_panics_total").increment(1);
        tracing::error!("a DTLS connection has panicked and is dropped");
    }
    answer.ok()
}

/// Takes everything that a connection has to say; `false` when it panics.
fn poll(dtls: &mut Dtls, buffer: &mut Vec<u8>, mut take: impl FnMut(Output<'_>)) -> bool {
    loop {
        let needed = match guarded(|| dtls.poll_output(buffer)) {
            None => return false,
            Some(Output::Timeout(_)) => return true,
            Some(Output::BufferTooSmall { needed }) => needed,
            Some(output) => {
                take(output);
                continue;
            }
        };
        buffer.resize(needed, 0);
    }
}

/// The clients of one thread.
pub(crate) struct Table {
    certificate: DtlsCertificate,
    bounds: Bounds,
    /// Under which seeds are computed.
    key: hmac::Key,
    begun: Instant,
    sessions: HashMap<Peer, Session>,
    per_subscriber: HashMap<IpAddr, usize>,
    handshaking: HashSet<Peer>,
    /// Without a cookie: their sources may be forged.
    hellos: Hellos,
    /// With a cookie, good or not: a flood of plain ones takes nothing from who has answered.
    cookie_hellos: Hellos,
    next_tick: Instant,
    next_sweep: Instant,
    buffer: Vec<u8>,
}

/// How many hellos are answered, in all and of one network.
struct Hellos {
    per_s: u32,
    per_network_s: u32,
    begun: Instant,
    last: Instant,
    tokens: f64,
    of_networks: Limiter,
}

impl Hellos {
    fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            per_s: bounds.hellos_per_s,
            per_network_s: bounds.hellos_per_network_s,
            begun: now,
            last: now,
            tokens: f64::from(bounds.hellos_per_s),
            of_networks: Limiter::default(),
        }
    }

    fn take(&mut self, now: Instant, from: IpAddr) -> bool {
        let now = now.max(self.last);
        let since = now.saturating_duration_since(self.begun);
        if !self.of_networks.admit(network(from), self.per_network_s, since) {
            return false;
        }
        let most = f64::from(self.per_s);
        let refill = now.saturating_duration_since(self.last).as_secs_f64() * most;
        self.last = now;
        self.tokens = (self.tokens + refill).min(most);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

impl Table {
    pub(crate) fn new(
        certificate: DtlsCertificate,
        bounds: Bounds,
        key: &[u8; 32],
        now: Instant,
    ) -> Self {
        Self {
            certificate,
            bounds,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            begun: now,
            sessions: HashMap::new(),
            per_subscriber: HashMap::new(),
            handshaking: HashSet::new(),
            hellos: Hellos::new(bounds, now),
            cookie_hellos: Hellos::new(bounds, now),
            next_tick: now + TICK,
            next_sweep: now + HANDSHAKE,
            buffer: vec![0; 1 << 14],
        }
    }

    /// New connections show another certificate; old ones go on.
    pub(crate) fn set_certificate(&mut self, certificate: DtlsCertificate) {
        self.certificate = certificate;
    }

    /// Clients with state.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.sessions.len()
    }

    /// A datagram of a client.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        peer: Peer,
        datagram: &[u8],
        sink: &mut impl Sink,
    ) {
        // Who has a connection and starts another one must show a cookie for it, too (RFC 6347
        // section 4.2.8): until then the old one stands.
        if let Some(hello) = Hello::read(datagram)
            && !self.handshaking.contains(&peer)
        {
            return self.handle_hello(now, peer, &hello, sink);
        }
        let Some(session) = self.sessions.get_mut(&peer) else {
            metrics::counter!("sightline_mtu_garbage_dropped_total").increment(1);
            return;
        };
        session.heard = now;
        self.ask(peer, sink, |dtls| {
            dtls.handle_timeout(now).and_then(|()| dtls.handle_packet(datagram))
        });
    }

    /// A message for a client; `false` when there is no such client, or it is longer than a record
    /// may be and so is dropped.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        peer: Peer,
        message: &[u8],
        sink: &mut impl Sink,
    ) -> bool {
        if self.sessions.get(&peer).is_none_or(|session| !session.connected) {
            return false;
        }
        if message.len() > MAX_RECORD {
            metrics::counter!("sightline_mtu_unsent_packets_total").increment(1);
            return false;
        }
        self.ask(peer, sink, |dtls| {
            dtls.handle_timeout(now).and_then(|()| dtls.send_application_data(message))
        });
        true
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.sessions.is_empty() {
            return None;
        }
        let tick = (!self.handshaking.is_empty()).then_some(self.next_tick);
        Some(tick.map_or(self.next_sweep, |tick| tick.min(self.next_sweep)))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            for peer in self.handshaking.iter().copied().collect::<Vec<_>>() {
                let Some(session) = self.sessions.get(&peer) else { continue };
                let late = now.saturating_duration_since(session.begun) >= HANDSHAKE;
                self.ask(peer, sink, |dtls| dtls.handle_timeout(now));
                if late {
                    self.remove(peer, sink);
                }
            }
        }
        if now >= self.next_sweep {
            self.next_sweep = now + HANDSHAKE;
            let idle = |session: &Session| now.saturating_duration_since(session.heard) >= IDLE;
            let sessions = self.sessions.iter().filter(|(_, session)| idle(session));
            let gone = sessions.map(|(peer, _)| *peer).filter(|peer| !sink.has_allocation(peer));
            let gone: Vec<_> = gone.collect();
            for peer in gone {
                self.remove(peer, sink);
            }
        }
    }

    /// Says goodbye to everybody.
    pub(crate) fn close(&mut self, sink: &mut impl Sink) {
        for peer in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.ask(peer, sink, Dtls::close);
            self.remove(peer, sink);
        }
    }

    fn handle_hello(&mut self, now: Instant, peer: Peer, hello: &Hello<'_>, sink: &mut impl Sink) {
        let hellos = if hello.has_cookie() { &mut self.cookie_hellos } else { &mut self.hellos };
        if !hellos.take(now, peer.remote.ip()) {
            metrics::counter!("sightline_mtu_flood_dropped_total").increment(1);
            return;
        }
        if !hello.knows_1_2() {
            const PROTOCOL_VERSION: u8 = 70;
            sink.datagram(&peer, &fatal(PROTOCOL_VERSION));
            return;
        }
        let epoch = self.epoch(now);
        if !hello.has_cookie() {
            let answered = |bytes: &[u8]| sink.datagram(&peer, bytes);
            let _ = self.begin(now, &peer, epoch, hello.datagram(), answered);
            return;
        }
        let subscriber = subscriber(peer.remote.ip());
        let theirs = self.per_subscriber.get(&subscriber).copied().unwrap_or(0);
        let old = self.sessions.get(&peer);
        if old.is_some_and(|old| old.random == hello.random()) {
            // The network brought it twice.
            return;
        }
        let replaces = old.is_some();
        let full = self.sessions.len() >= self.bounds.clients;
        if !replaces && (full || theirs >= self.bounds.per_subscriber) {
            metrics::counter!("sightline_mtu_refused_clients_total", "transport" => "dtls")
                .increment(1);
            return;
        }
        for epoch in [Some(epoch), epoch.checked_sub(1)].into_iter().flatten() {
            let Some((dtls, flight)) = self.verified(now, &peer, epoch, hello) else { continue };
            if replaces {
                self.remove(peer, sink);
            }
            let random = hello.random();
            let session = Session { dtls, random, begun: now, heard: now, connected: false };
            self.sessions.insert(peer, session);
            self.handshaking.insert(peer);
            *self.per_subscriber.entry(subscriber).or_default() += 1;
            for bytes in flight {
                sink.datagram(&peer, &bytes);
            }
            return;
        }
    }

    /// The connection whose cookie the hello shows, if it was made in this epoch for this client.
    fn verified(
        &mut self,
        now: Instant,
        peer: &Peer,
        epoch: u64,
        hello: &Hello<'_>,
    ) -> Option<(Dtls, Vec<Vec<u8>>)> {
        let mut dtls = self.begin(now, peer, epoch, &hello.first(), |_| {})?;
        guarded(|| dtls.handle_packet(hello.datagram()))?.ok()?;
        let mut flight = Vec::new();
        let whole = poll(&mut dtls, &mut self.buffer, |output| {
            if let Output::Packet(bytes) = output {
                flight.push(bytes.to_vec());
            }
        });
        let verified = !flight.is_empty() && !flight.iter().any(|bytes| is_hello_verify(bytes));
        (whole && verified).then_some((dtls, flight))
    }

    /// A connection that has heard the first hello and asked for a cookie.
    fn begin(
        &mut self,
        now: Instant,
        peer: &Peer,
        epoch: u64,
        hello: &[u8],
        mut answered: impl FnMut(&[u8]),
    ) -> Option<Dtls> {
        let config = dimpl::Config::builder()
            .mtu(MTU)
            .require_client_certificate(false)
            .handshake_timeout(HANDSHAKE)
            .dangerously_set_rng_seed(self.seed(peer, epoch))
            .build()
            .ok()?;
        let certificate = self.certificate.clone();
        let mut dtls = guarded(|| Dtls::new_12(Arc::new(config), certificate, now))?;
        guarded(|| dtls.handle_timeout(now).and_then(|()| dtls.handle_packet(hello)))?.ok()?;
        let whole = poll(&mut dtls, &mut self.buffer, |output| {
            if let Output::Packet(bytes) = output {
                answered(bytes);
            }
        });
        whole.then_some(dtls)
    }

    fn epoch(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_secs() / SEED_EPOCH.as_secs()
    }

    fn seed(&self, peer: &Peer, epoch: u64) -> u64 {
        let text = format!("{epoch} {} {}", peer.local, peer.remote);
        let tag = hmac::sign(&self.key, text.as_bytes());
        let bytes = tag.as_ref().first_chunk().copied().unwrap_or_default();
        u64::from_be_bytes(bytes)
    }

    /// Asks something of a connection, and hands on what it says; ends it when it has failed or
    /// panicked, or its client has left.
    fn ask<T>(
        &mut self,
        peer: Peer,
        sink: &mut impl Sink,
        ask: impl FnOnce(&mut Dtls) -> Result<T, dimpl::Error>,
    ) {
        let Some(Session { dtls, connected, .. }) = self.sessions.get_mut(&peer) else { return };
        let Some(asked) = guarded(|| ask(dtls)) else { return self.remove(peer, sink) };
        let mut left = asked.is_err();
        let whole = poll(dtls, &mut self.buffer, |output| match output {
            Output::Packet(bytes) => sink.datagram(&peer, bytes),
            Output::Connected => *connected = true,
            Output::ApplicationData(bytes) => sink.message(&peer, bytes),
            Output::CloseNotify => left = true,
            _ => {}
        });
        if *connected {
            self.handshaking.remove(&peer);
        }
        if left || !whole {
            self.remove(peer, sink);
        }
    }

    fn remove(&mut self, peer: Peer, sink: &mut impl Sink) {
        if self.sessions.remove(&peer).is_none() {
            return;
        }
        self.handshaking.remove(&peer);
        let subscriber = subscriber(peer.remote.ip());
        if let Some(theirs) = self.per_subscriber.get_mut(&subscriber) {
            *theirs -= 1;
            if *theirs == 0 {
                self.per_subscriber.remove(&subscriber);
            }
        }
        sink.gone(&peer);
    }
}

#[cfg(test)]
mod tests;
