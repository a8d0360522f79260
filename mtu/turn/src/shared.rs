//! What the servers of all workers have in common.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{limits::Meter, live::LiveRelays, nonce::Nonces, users::Users};

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
    allocations: AtomicU32,
    reservations: Mutex<HashMap<[u8; 8], Reservation>>,
}

#[derive(Debug)]
struct Reservation {
    address: SocketAddr,
    user: Box<str>,
    ends: Instant,
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
            allocations: AtomicU32::new(0),
            reservations: Mutex::default(),
        }
    }

    /// Allocations of all workers.
    #[must_use]
    pub fn allocations(&self) -> u32 {
        self.allocations.load(Ordering::Relaxed)
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

    /// Takes a place for an allocation, if one is left.
    pub(crate) fn enter(&self, max: u32) -> bool {
        let enter = |n| (n < max).then_some(n + 1);
        self.allocations.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_ok()
    }

    pub(crate) fn exit(&self) {
        self.allocations.fetch_sub(1, Ordering::Relaxed);
    }

    /// Says until when.
    pub(crate) fn reserve(
        &self,
        token: [u8; 8],
        address: SocketAddr,
        user: &str,
        now: Instant,
    ) -> Instant {
        let ends = now + HELD;
        let reservation = Reservation { address, user: user.into(), ends };
        self.reservations.lock().insert(token, reservation);
        ends
    }

    /// The address that was reserved for this user under this token.
    pub(crate) fn redeem(&self, token: [u8; 8], user: &str, now: Instant) -> Option<SocketAddr> {
        let mut reservations = self.reservations.lock();
        let reservation = reservations.get(&token)?;
        if &*reservation.user != user || reservation.ends <= now {
            return None;
        }
        reservations.remove(&token).map(|reservation| reservation.address)
    }

    /// Addresses whose time is over, and when the next one's is.
    pub(crate) fn lapsed(&self, now: Instant) -> (Vec<SocketAddr>, Option<Instant>) {
        let mut lapsed = vec![];
        let mut reservations = self.reservations.lock();
        reservations.retain(|_, Reservation { address, ends, .. }| {
            let lasts = *ends > now;
            if !lasts {
                lapsed.push(*address);
            }
            lasts
        });
        (lapsed, reservations.values().map(|reservation| reservation.ends).min())
    }
}
