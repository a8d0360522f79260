//! What passes through the connections of an allocation (RFC 6062): held to the same limits as
//! datagrams, and counted for the same account.
//!
//! Whoever drives the server copies the bytes, in pieces. A datagram beyond a limit is dropped; of a
//! stream nothing may be lost, and it can wait: so a piece waits until half of what may come at once
//! is left, and whoever sends it is slowed down. The other half is left to datagrams, which cannot
//! wait.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{limits::Meter, settings::Limits, shared::Shared, users::User};

/// A piece takes up no more than the tenth part of a second of any rate, so that others find room
/// behind it.
const PIECES_PER_S: u64 = 10;
/// Shorter pieces cost more than they carry.
const MIN_PIECE: usize = 512;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client.
    ToPeer,
    /// To the client.
    ToClient,
}

/// Meters all connections of one allocation.
#[derive(Debug)]
pub struct StreamMeter {
    shared: Arc<Shared>,
    user: Arc<User>,
    meter: Meter,
    carried: Mutex<Carried>,
}

/// What connections have carried.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    pub(crate) bytes_to_peers: u64,
    pub(crate) bytes_to_client: u64,
    pub(crate) pieces: u64,
    over: bool,
}

impl StreamMeter {
    /// For an allocation of somebody who has nothing else.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self::of(shared, Arc::default())
    }

    pub(crate) fn of(shared: Arc<Shared>, user: Arc<User>) -> Self {
        Self { shared, user, meter: Meter::default(), carried: Mutex::default() }
    }

    /// The rates that hold, in bytes per second, each with its meter.
    fn rates(&self, limits: &Limits) -> impl Iterator<Item = (u64, &Meter)> {
        [
            (limits.allocation_bytes_per_s, &self.meter),
            (limits.user_bytes_per_s, &self.user.meter),
            (limits.server_bytes_per_s, &self.shared.meter),
        ]
        .into_iter()
        .filter_map(|(rate, meter)| Some((rate?, meter)))
    }

    /// How many bytes may go on at a time, of `most` that could.
    #[must_use]
    pub fn piece(&self, most: usize, limits: &Limits) -> usize {
        let slowest = self.rates(limits).map(|(rate, _)| rate).min();
        let share = slowest.map_or(usize::MAX, |rate| (rate / PIECES_PER_S) as usize);
        share.max(MIN_PIECE).min(most)
    }

    /// How long the next piece has to wait, before it is asked again; `None`: it may go on.
    #[must_use]
    pub fn wait(&self, limits: &Limits, now: Instant) -> Option<Duration> {
        let since = self.since_start(now);
        let longest = self.rates(limits).map(|(_, meter)| meter.wait(since)).max();
        longest.filter(|wait| !wait.is_zero())
    }

    /// Counts a piece that goes on. `false`: the allocation has ended, and nothing may.
    #[must_use]
    pub fn pass(&self, direction: Direction, bytes: usize, limits: &Limits, now: Instant) -> bool {
        let passed = bytes as u64;
        let mut carried = self.carried.lock();
        if carried.over {
            return false;
        }
        match direction {
            Direction::ToPeer => carried.bytes_to_peers += passed,
            Direction::ToClient => carried.bytes_to_client += passed,
        }
        carried.pieces += 1;
        drop(carried);
        self.shared.streamed.fetch_add(passed, Ordering::Relaxed);
        let since = self.since_start(now);
        for (rate, meter) in self.rates(limits) {
            meter.take(bytes, rate, since);
        }
        true
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.shared.start)
    }

    pub(crate) fn carried(&self) -> Carried {
        *self.carried.lock()
    }

    /// Nothing passes any more: what was carried is what will be accounted for.
    pub(crate) fn close(&self) {
        self.carried.lock().over = true;
    }
}
