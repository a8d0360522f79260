//! How much anybody gets: answers to strangers, in memory that does not grow, and bandwidth.
//!
//! Both count with the generic cell rate algorithm: one number, the time at which what was granted
//! so far would be used up at the allowed rate.

use std::{
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use sightline_model::subscriber;

/// Places in each row.
const PLACES: usize = 8_192;
const ROWS: usize = 2;
/// What may come at once: the grant of so long.
const BURST: Duration = Duration::from_secs(1);

/// A network (/24, of IPv6 /48) gets so many times what one subscriber of it gets: whoever forges
/// sources may forge all of a victim's network.
const NETWORK: u32 = 20;

/// Limits answers to each subscriber, and to each network of them.
#[derive(Debug, Default)]
pub struct Limiter {
    subscribers: Sketch,
    networks: Sketch,
}

impl Limiter {
    /// Whether there is one more for this subscriber, at so many per second.
    pub fn admit(&mut self, source: IpAddr, per_s: u32, since_start: Duration) -> bool {
        let now = since_start.as_micros() as u64;
        let network = network(source);
        let Some(of_network) = self.networks.next(network, per_s.saturating_mul(NETWORK), now)
        else {
            return false;
        };
        let subscriber = subscriber(source);
        let Some(of_subscriber) = self.subscribers.next(subscriber, per_s, now) else {
            return false;
        };
        self.networks.take(network, of_network);
        self.subscribers.take(subscriber, of_subscriber);
        true
    }
}

/// The network that an address most probably was given from, with its neighbours.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 80)).into(),
    }
}

/// What each source has been granted. It has one place in each of two rows, shared with whoever
/// hashes there, and counts as the lesser of the two (a count-min sketch): a flood from many sources
/// takes from others only what collides in both rows, and costs no memory.
#[derive(Debug)]
struct Sketch {
    hashers: [foldhash::quality::RandomState; ROWS],
    /// In microseconds since the start.
    used_up: Box<[[u64; PLACES]; ROWS]>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { hashers: Default::default(), used_up: Box::new([[0; PLACES]; ROWS]) }
    }
}

impl Sketch {
    fn places(&self, source: IpAddr) -> [usize; ROWS] {
        std::array::from_fn(|row| self.hashers[row].hash_one(source) as usize % PLACES)
    }

    /// When one more would be used up; `None` when there is no more for this source.
    fn next(&self, source: IpAddr, per_s: u32, now: u64) -> Option<u64> {
        let places = self.used_up.iter().zip(self.places(source));
        let used_up = places.map(|(row, place)| row[place]).min().unwrap_or(u64::MAX);
        let next = used_up.max(now).saturating_add(1_000_000 / u64::from(per_s.max(1)));
        (per_s > 0 && next <= now + BURST.as_micros() as u64).then_some(next)
    }

    fn take(&mut self, source: IpAddr, next: u64) {
        let places = self.places(source);
        for (row, place) in self.used_up.iter_mut().zip(places) {
            row[place] = row[place].max(next);
        }
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
    fn all_addresses_of_a_network_get_no_more_than_so_many_of_them() {
        let sources = |net: u32| (0..256).map(move |n| IpAddr::from(Ipv4Addr::from_bits(net + n)));
        let mut limiter = Limiter::default();
        let asked = (0..100).flat_map(|_| sources(0xc633_6400));
        let admitted = asked.filter(|ip| limiter.admit(*ip, 10, Duration::ZERO)).count();
        assert_eq!(admitted, 10 * NETWORK as usize);
        // Nor does that take anything from the next network.
        assert!(sources(0xc633_6500).take(100).all(|ip| limiter.admit(ip, 10, Duration::ZERO)));
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
