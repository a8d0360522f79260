//! A shorter way between two allocations of different workers: the worker that owns the second one
//! lends what it takes to reach its client, and the first one sends there itself. A packet then
//! wakes one thread, not two.
//!
//! Only the owner knows permissions and channels. What it lends therefore holds for that one peer,
//! no longer than permission and channel do, and is revoked when the allocation ends or settings
//! change. Every packet is still counted, and held to the limits of both ends.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    client::{ClientId, Transport},
    data::{MAX_PAYLOAD, within},
    driver::Driver,
    limits::Meter,
    server::{Map, Now, Server},
    settings::Limits,
    shared::Shared,
    users::User,
    wire,
};

/// Who lost what was lent is told again after this time.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Shortcuts that one worker keeps; what is beyond them takes the long way.
const MAX_SHORTCUTS: usize = 16_384;
/// How often those that are over are looked for, when there are so many.
const SWEEP: Duration = Duration::from_secs(1);

/// What an allocation's client is sent, counted by whoever sends it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) meter: Meter,
    pub(crate) bytes: AtomicU64,
    pub(crate) packets: AtomicU64,
}

/// How another worker reaches the client of an allocation, for the packets of one peer.
#[derive(Debug)]
pub struct Shortcut {
    client: ClientId,
    channel: u16,
    start: Instant,
    /// In nanoseconds since the start.
    ends: AtomicU64,
    revoked: AtomicBool,
    tally: Arc<Tally>,
    user: Arc<User>,
}

impl Shortcut {
    /// Revoking publishes nothing but itself: a packet that is on its way meanwhile is one that
    /// came a little earlier.
    fn is_open(&self, now: Instant) -> bool {
        self.ends.load(Ordering::Relaxed) > since(self.start, now)
            && !self.revoked.load(Ordering::Relaxed)
    }

    fn admit(&self, limits: &Limits, shared: &Shared, bytes: usize, since: Duration) -> bool {
        bytes <= MAX_PAYLOAD
            && within(limits, shared, (&self.tally.meter, &self.user), bytes, since)
    }
}

/// The owner's end: dropping it revokes.
#[derive(Debug)]
pub(crate) struct Lent {
    shortcut: Arc<Shortcut>,
    told: Instant,
}

impl Lent {
    /// Whether whoever it was lent to should have it by now.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.shortcut.is_open(now) && now.saturating_duration_since(self.told) < TELL_AGAIN
    }

    /// Permission or channel were renewed: what was lent stands as long as they do.
    pub(crate) fn ends_at(&self, ends: Instant) {
        self.shortcut.ends.store(since(self.shortcut.start, ends), Ordering::Relaxed);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.shortcut.revoked.store(true, Ordering::Relaxed);
    }
}

/// What is lent.
pub(crate) struct Terms {
    pub(crate) client: ClientId,
    pub(crate) channel: u16,
    pub(crate) start: Instant,
    pub(crate) ends: Instant,
    pub(crate) tally: Arc<Tally>,
    pub(crate) user: Arc<User>,
}

impl Terms {
    pub(crate) fn lend(self, now: Instant) -> (Lent, Arc<Shortcut>) {
        let Self { client, channel, start, ends, tally, user } = self;
        let (ends, revoked) = (AtomicU64::new(since(start, ends)), AtomicBool::new(false));
        let shortcut = Arc::new(Shortcut { client, channel, start, ends, revoked, tally, user });
        (Lent { shortcut: shortcut.clone(), told: now }, shortcut)
    }
}

fn since(start: Instant, at: Instant) -> u64 {
    at.saturating_duration_since(start).as_nanos() as u64
}

/// The borrower's end.
#[derive(Debug, Default)]
pub(crate) struct Shortcuts {
    /// By from and to.
    all: Map<(SocketAddr, SocketAddr), Arc<Shortcut>>,
    swept: Option<Instant>,
}

impl Shortcuts {
    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    /// Nobody sends from this address any more.
    pub(crate) fn left(&mut self, from: SocketAddr) {
        if !self.all.is_empty() {
            self.all.retain(|(of, _), _| *of != from);
        }
    }

    fn take(&mut self, from: SocketAddr, to: SocketAddr, shortcut: Arc<Shortcut>, now: Instant) {
        let key = (from, to);
        if self.all.len() >= MAX_SHORTCUTS && !self.all.contains_key(&key) {
            // Looking through all of them costs as much as thousands of packets.
            let recent = |at| now.saturating_duration_since(at) < SWEEP;
            if self.swept.is_some_and(recent) {
                return;
            }
            self.swept = Some(now);
            self.all.retain(|_, shortcut| shortcut.is_open(now));
        }
        if self.all.len() < MAX_SHORTCUTS || self.all.contains_key(&key) {
            self.all.insert(key, shortcut);
        }
    }
}

impl Server {
    /// Takes what another worker lent by [`Driver::lend_shortcut`]: packets from this server's
    /// relayed address `from` to that one's `to` need not pass it any more.
    pub fn handle_shortcut(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        shortcut: Arc<Shortcut>,
        now: Now,
    ) {
        if self.by_relayed.contains_key(&from) {
            self.shortcuts.take(from, to, shortcut, now.instant);
        }
    }

    /// Sends to the client of another worker's allocation; `false` if it has to go the long way.
    pub(crate) fn take_shortcut(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        now: Now,
        driver: &mut impl Driver,
    ) -> bool {
        let since = self.since_start(now.instant);
        let Some(shortcut) = self.shortcuts.all.get(&(from, to)) else { return false };
        if !shortcut.is_open(now.instant) {
            self.shortcuts.all.remove(&(from, to));
            return false;
        }
        if !shortcut.admit(&self.settings.limits, &self.shared, payload.len(), since) {
            self.counters.over_bandwidth += 1;
            return true;
        }
        let bytes = payload.len() as u64;
        shortcut.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
        shortcut.tally.packets.fetch_add(1, Ordering::Relaxed);
        self.counters.packets_to_clients += 1;
        self.counters.bytes_to_clients += bytes;
        let head = wire::channel_header(shortcut.channel, payload.len());
        driver.send_to_client(&shortcut.client, &head, payload, &[]);
        true
    }

    /// After a packet from another worker's `from` came the long way to `to`: lends that worker
    /// the short one, if there is one. A stream belongs to one worker, and without a channel a
    /// packet needs more than was lent.
    pub(crate) fn lend(
        &mut self,
        index: usize,
        from: SocketAddr,
        to: SocketAddr,
        now: Now,
        driver: &mut impl Driver,
    ) {
        let Some(allocation) = self.allocations.get_mut(index) else { return };
        if allocation.client.transport != Transport::Udp {
            return;
        }
        let Some(shortcut) = allocation.lend(from, self.shared.start, now.instant) else { return };
        let worker = self.shared.live.owner(from).filter(|worker| *worker != self.worker);
        if let Some(worker) = worker
            && self.settings.peers.allows(&self.shared.live, from)
        {
            driver.lend_shortcut(worker, from, to, shortcut);
        }
    }
}
