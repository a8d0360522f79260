//! Networks as statistics know them, and distributions of times in few numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sightline_model::{NatDependence, NatReport, UnixMicros};
use sightline_protocol::cm::RelayCause;

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

/// Why a session between these two ends is relayed, as far as their NATs tell (RFC 4787).
#[must_use]
pub fn relay_cause(viewer: Option<&NatReport>, pu: Option<&NatReport>) -> RelayCause {
    let blocked = |nat: Option<&NatReport>| nat.is_some_and(|nat| nat.udp == Some(false));
    let symmetric = |nat: Option<&NatReport>| {
        let nat = nat?;
        let mapping = nat.mapping.map(|mapping| mapping != NatDependence::EndpointIndependent);
        mapping.or_else(|| (nat.translated == Some(false)).then_some(false))
    };
    // Whoever lets anything in from a known address can be reached from an unexpected port.
    let strict = |nat: Option<&NatReport>| {
        let filtering = nat.and_then(|nat| nat.filtering);
        filtering.is_none_or(|on| on == NatDependence::AddressAndPortDependent)
    };
    match (symmetric(viewer), symmetric(pu)) {
        _ if blocked(viewer) => RelayCause::ViewerUdpBlocked,
        _ if blocked(pu) => RelayCause::PuUdpBlocked,
        _ if viewer.is_some_and(|nat| nat.nat64 == Some(true)) => RelayCause::ViewerNat64,
        (Some(true), Some(true)) => RelayCause::BothSymmetric,
        (Some(true), _) if strict(pu) => RelayCause::ViewerSymmetric,
        (_, Some(true)) if strict(viewer) => RelayCause::PuSymmetric,
        (Some(_), Some(_)) => RelayCause::NoAnswer,
        (None, _) | (_, None) => RelayCause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_relay_comes_from_both_ends() {
        use NatDependence::{AddressAndPortDependent as Port, AddressDependent as Address};
        let nat = |mapping, filtering| NatReport {
            udp: Some(true),
            mapping: Some(mapping),
            filtering: Some(filtering),
            ..NatReport::default()
        };
        let (symmetric, strict) = (nat(Port, Port), nat(NatDependence::EndpointIndependent, Port));
        let open = nat(NatDependence::EndpointIndependent, Address);
        let blocked = NatReport { udp: Some(false), ..NatReport::default() };
        let none = NatReport { translated: Some(false), ..NatReport::default() };
        let nat64 = NatReport { nat64: Some(true), ..strict.clone() };
        for (viewer, pu, cause) in [
            (Some(&blocked), Some(&symmetric), RelayCause::ViewerUdpBlocked),
            (None, Some(&blocked), RelayCause::PuUdpBlocked),
            (Some(&symmetric), Some(&symmetric), RelayCause::BothSymmetric),
            (Some(&symmetric), Some(&strict), RelayCause::ViewerSymmetric),
            (Some(&symmetric), None, RelayCause::ViewerSymmetric),
            (Some(&strict), Some(&symmetric), RelayCause::PuSymmetric),
            (Some(&symmetric), Some(&open), RelayCause::NoAnswer),
            (Some(&open), Some(&symmetric), RelayCause::NoAnswer),
            (Some(&strict), Some(&none), RelayCause::NoAnswer),
            (Some(&strict), None, RelayCause::Unknown),
            (Some(&nat64), Some(&open), RelayCause::ViewerNat64),
            (Some(&nat64), Some(&symmetric), RelayCause::ViewerNat64),
            (Some(&nat64), Some(&blocked), RelayCause::PuUdpBlocked),
            (Some(&open), Some(&nat64), RelayCause::NoAnswer),
            (None, None, RelayCause::Unknown),
        ] {
            assert_eq!(relay_cause(viewer, pu), cause, "{viewer:?} and {pu:?}");
        }
    }

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
