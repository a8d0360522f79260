//! How much anybody gets: answers to strangers, in memory that does not grow, and bandwidth.
//!
//! Both count with the generic cell rate algorithm: one number, the time at which what was granted
//! so far would be used up at the allowed rate.

use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use sightline_model::subscriber;

/// Places in each row.
const PLACES: usize = 8_192;
const ROWS: usize = 2;
/// What may come at once: the grant of so long.
const BURST: Duration = Duration::from_secs(1);

/// Limits answers to each subscriber. A subscriber has one place in each of two rows, shared with
/// whoever hashes there, and counts as the lesser of the two (a count-min sketch): a flood from
/// many sources takes from others only what collides in both rows, and costs no memory.
#[derive(Debug)]
pub struct Limiter {
    hashers: [foldhash::quality::RandomState; ROWS],
    /// In microseconds since the start.
    used_up: Box<[[u64; PLACES]; ROWS]>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { hashers: Default::default(), used_up: Box::new([[0; PLACES]; ROWS]) }
    }
}

impl Limiter {
    /// Whether there is one more for this subscriber, at so many per second.
    pub fn admit(&mut self, source: IpAddr, per_s: u32, since_start: Duration) -> bool {
        let subscriber = subscriber(source);
        let now = since_start.as_micros() as u64;
        let place = |row: usize| self.hashers[row].hash_one(subscriber) as usize % PLACES;
        let places = [place(0), place(1)];
        let mut used_up = u64::MAX;
        for (row, place) in self.used_up.iter().zip(places) {
            used_up = used_up.min(row[place]);
        }
        let next = used_up.max(now) + 1_000_000 / u64::from(per_s.max(1));
        if per_s == 0 || next > now + BURST.as_micros() as u64 {
            return false;
        }
        for (row, place) in self.used_up.iter_mut().zip(places) {
            row[place] = row[place].max(next);
        }
        true
    }
}

/// Limits bytes; shared by threads.
#[derive(Debug, Default)]
pub struct Meter {
    /// In nanoseconds since the start.
    used_up: AtomicU64,
}

impl Meter {
    /// Whether so many bytes more may pass at this rate.
    pub fn admit(&self, bytes: usize, bytes_per_s: u64, since_start: Duration) -> bool {
        let now = since_start.as_nanos() as u64;
        let cost = (bytes as u64).saturating_mul(1_000_000_000) / bytes_per_s.max(1);
        let burst = BURST.as_nanos() as u64;
        self.used_up
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used_up| {
                let used_up = used_up.max(now);
                // Whoever has anything left may pass: a large packet is paid for later.
                (used_up <= now + burst).then_some(used_up + cost)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn a_subscriber_has_its_rate_and_no_more() {
        let mut limiter = Limiter::default();
        let one = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        let mut admitted = 0;
        for ms in 0..10_000 {
            admitted += u32::from(limiter.admit(one, 10, Duration::from_millis(ms)));
        }
        assert!((100..=120).contains(&admitted), "{admitted} in ten seconds");
        assert!(limiter.admit(Ipv4Addr::new(192, 0, 2, 2).into(), 10, Duration::from_secs(10)));
        assert!(!limiter.admit(one, 0, Duration::from_secs(100)), "none means none");
    }

    #[test]
    fn addresses_of_one_v6_subscriber_count_together() {
        let mut limiter = Limiter::default();
        let admitted = (0..1_000u128)
            .filter(|n| {
                let ip = Ipv6Addr::from_bits(0x2001_0db8 << 96 | n);
                limiter.admit(ip.into(), 10, Duration::ZERO)
            })
            .count();
        assert_eq!(admitted, 10);
    }

    #[test]
    fn a_flood_from_everywhere_leaves_room_for_others() {
        let mut limiter = Limiter::default();
        for n in 0..20_000u32 {
            let _ = limiter.admit(Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 50, Duration::ZERO);
        }
        let served = (0..1_000u32)
            .filter(|n| {
                let ip = Ipv4Addr::from_bits(0xc000_0200 + n);
                limiter.admit(ip.into(), 50, Duration::ZERO)
            })
            .count();
        assert_eq!(served, 1_000);
    }

    #[test]
    fn a_meter_lets_its_rate_pass() {
        let meter = Meter::default();
        let passed: usize = (0..100_000u64)
            .filter(|n| meter.admit(1_200, 1_000_000, Duration::from_micros(n * 100)))
            .count();
        let bytes = passed * 1_200;
        assert!((9_900_000..=11_100_000).contains(&bytes), "{bytes} in ten seconds");
    }
}
