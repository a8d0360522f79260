//! Networks as statistics know them, and distributions of times in few numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sightline_model::UnixMicros;

/// The network that an address lies in: a /24, or a /48, which is what one site has (RFC 6177).
/// Coarse enough to say nothing of a person, fine enough to tell providers apart.
#[must_use]
pub fn prefix(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(ip) => format!("{}/24", Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8))),
        IpAddr::V6(ip) => format!("{}/48", Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 80))),
    }
}

/// Days since 1970, in UTC.
#[must_use]
pub const fn day(at: UnixMicros) -> i64 {
    at.0.div_euclid(86_400_000_000)
}

/// The beginning of a day.
#[must_use]
pub const fn begin_of(day: i64) -> UnixMicros {
    UnixMicros(day.saturating_mul(86_400_000_000))
}

/// Buckets in which a time doubles: each is 9 % wide.
const PER_DOUBLING: f64 = 8.0;

/// The bucket that a time is counted in. Times beyond an hour count as an hour.
#[must_use]
pub fn bucket(ms: u32) -> i64 {
    let ms = f64::from(ms.clamp(1, 3_600_000));
    // At most 8 · log2(3,600,000) = 175.
    (PER_DOUBLING * ms.log2()).ceil() as i64
}

/// The longest time that is counted in a bucket.
#[must_use]
pub fn longest_ms(bucket: i64) -> u32 {
    2_f64.powf(bucket.clamp(0, 200) as f64 / PER_DOUBLING).floor() as u32
}

/// The time that `percent` of those counted did not exceed; counts by rising bucket. `None`: there
/// are none.
#[must_use]
pub fn percentile_ms(counts: &[(i64, i64)], percent: u32) -> Option<u32> {
    let total: i64 = counts.iter().map(|(_, count)| count.max(&0)).sum();
    let rank = (total * i64::from(percent) + 99) / 100;
    let mut seen = 0;
    let found = counts.iter().find(|(_, count)| {
        seen += count.max(&0);
        seen >= rank && seen > 0
    });
    found.map(|(bucket, _)| longest_ms(*bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_names_nobody() {
        let of = |text: &str| prefix(text.parse().expect("an address"));
        assert_eq!(of("203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1::/48");
    }

    #[test]
    fn a_day_begins_at_midnight() {
        assert_eq!((day(UnixMicros(0)), day(UnixMicros(86_399_999_999))), (0, 0));
        assert_eq!((day(UnixMicros(86_400_000_000)), day(UnixMicros(-1))), (1, -1));
        assert_eq!(day(begin_of(20_000)), 20_000);
    }

    #[test]
    fn a_bucket_is_at_most_a_tenth_too_long() {
        for ms in (1..3_000).chain([59_999, 3_600_000]) {
            let (longest, bucket) = (longest_ms(bucket(ms)), bucket(ms));
            assert!((ms..=ms + ms / 10 + 1).contains(&longest), "{ms}: {bucket} {longest}");
        }
        assert_eq!(bucket(u32::MAX), bucket(3_600_000));
        assert_eq!(bucket(0), bucket(1));
    }

    #[test]
    fn percentiles_come_from_the_counts() {
        let counts: Vec<(i64, i64)> = (1..=100).map(|ms| (bucket(ms * 10), 1)).collect();
        let p = |percent| percentile_ms(&counts, percent).expect("there are some");
        assert!((500..=550).contains(&p(50)), "{}", p(50));
        assert!((950..=1_045).contains(&p(95)), "{}", p(95));
        assert_eq!(percentile_ms(&[], 50), None);
        assert_eq!(percentile_ms(&[(8, 0)], 50), None);
        assert_eq!(percentile_ms(&[(8, 1)], 95), Some(2));
    }
}
