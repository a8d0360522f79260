//! What the servers of all workers have in common.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    limits::Meter,
    live::LiveRelays,
    nonce::Nonces,
    settings::Limits,
    users::{User, Users},
};

/// How long the next port is held (RFC 8656 section 7.2).
const HELD: Duration = Duration::from_secs(30);

/// Made once, given to every [`Server`](crate::Server).
#[derive(Debug)]
pub struct Shared {
    pub(crate) start: Instant,
    pub(crate) live: LiveRelays,
    pub(crate) users: Users,
    pub(crate) nonces: Nonces,
    pub(crate) meter: Meter,
    /// Bytes that connections have carried, both directions together.
    pub(crate) streamed: AtomicU64,
    /// Allocations, and ports that are held for some.
    places: AtomicU32,
    reservations: Mutex<HashMap<[u8; 8], Reservation>>,
}

/// A port that is held for an allocation to come, whose place is taken already: otherwise a client
/// could hold more ports than it may have allocations.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) address: SocketAddr,
    pub(crate) user: Arc<User>,
    user_name: Box<str>,
    ends: Instant,
}

/// Whose bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    OfUser,
    AtAll,
}

impl Shared {
    /// `relay_ips` are the addresses of relays as peers see them; `nonce_key` is random, and
    /// known to nobody else.
    #[must_use]
    pub fn new(
        relay_ips: impl IntoIterator<Item = IpAddr>,
        nonce_key: &[u8; 32],
        start: Instant,
    ) -> Self {
        Self {
            start,
            live: LiveRelays::new(relay_ips),
            users: Users::default(),
            nonces: Nonces::new(nonce_key),
            meter: Meter::default(),
            streamed: AtomicU64::new(0),
            places: AtomicU32::new(0),
            reservations: Mutex::default(),
        }
    }

    /// Allocations of all workers.
    #[must_use]
    pub fn allocations(&self) -> u32 {
        let held = self.reservations.lock().len();
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        self.taken().saturating_sub(held)
    }

    /// What counts for [`Limits::allocations`]: allocations of all workers, and ports that are held
    /// for some.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.places.load(Ordering::Relaxed)
    }

    /// Which relayed addresses are in use.
    #[must_use]
    pub const fn live(&self) -> &LiveRelays {
        &self.live
    }

    /// Users with allocations.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Bytes that relayed connections (RFC 6062) have carried, both directions together.
    #[must_use]
    pub fn streamed_bytes(&self) -> u64 {
        self.streamed.load(Ordering::Relaxed)
    }

    /// Takes a place for an allocation of this user.
    pub(crate) fn enter(&self, user: &str, limits: &Limits) -> Result<Arc<User>, NoPlace> {
        let joined = self.users.join(user, limits.allocations_per_user);
        let joined = joined.ok_or(NoPlace::OfUser)?;
        let enter = |n| (n < limits.allocations).then_some(n + 1);
        if self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_err() {
            self.users.leave(user);
            return Err(NoPlace::AtAll);
        }
        Ok(joined)
    }

    fn exit(&self) {
        self.places.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes over a place that `user` has already. Says until when; `None` when the token is
    /// another one's.
    pub(crate) fn reserve(
        &self,
        token: [u8; 8],
        address: SocketAddr,
        (user_name, user): (&str, Arc<User>),
        now: Instant,
    ) -> Option<Instant> {
        let ends = now + HELD;
        let mut reservations = self.reservations.lock();
        let Entry::Vacant(free) = reservations.entry(token) else { return None };
        free.insert(Reservation { address, user, user_name: user_name.into(), ends });
        Some(ends)
    }

    /// What was reserved for this user under this token, and its place.
    pub(crate) fn redeem(&self, token: [u8; 8], user: &str, now: Instant) -> Option<Reservation> {
        let mut reservations = self.reservations.lock();
        let reservation = reservations.get(&token)?;
        if &*reservation.user_name != user || reservation.ends <= now {
            return None;
        }
        reservations.remove(&token)
    }

    /// Gives back the place of an allocation of this user.
    pub(crate) fn leave(&self, user: &str) {
        self.exit();
        self.users.leave(user);
    }

    /// Addresses whose time is over, and when the next one's is.
    pub(crate) fn lapsed(&self, now: Instant) -> (Vec<SocketAddr>, Option<Instant>) {
        let mut lapsed = vec![];
        let mut reservations = self.reservations.lock();
        reservations.retain(|_, Reservation { address, user_name, ends, .. }| {
            let lasts = *ends > now;
            if !lasts {
                lapsed.push(*address);
                self.leave(user_name);
            }
            lasts
        });
        (lapsed, reservations.values().map(|reservation| reservation.ends).min())
    }
}
