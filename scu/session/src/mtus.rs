//! Choice of the MTUs of a call (A7.2): two of those that were heard from lately and take
//! sessions, so that a second relay can be allocated beforehand.
//!
//! The choice is a weighted rendezvous: each MTU draws a number from the call's id, and the more
//! capacity it has free, the better it draws. So calls spread as capacity does, also between two
//! announcements, when a choice of the least loaded would send every call of two seconds to one
//! MTU; and the same call is given the same MTUs again.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use sightline_model::MtuId;
use sightline_protocol::sd::MtuStatus;

/// An MTU that has been silent for longer is not chosen. MTUs speak every two seconds, so one
/// announcement may be lost.
pub const HEARD_WITHIN: Duration = Duration::from_millis(4_500);

/// MTUs of one call, if there are so many.
pub const PER_CALL: usize = 2;

/// Most MTUs that are remembered; whoever can speak on the bus is a unit of the operator, so this
/// only bounds the damage of a unit that changes its id.
const MAX_MTUS: usize = 1_024;

/// What an MTU is taken to carry that does not say.
const USUAL_CAPACITY_BPS: u64 = 1_000_000_000;

/// Share of its capacity that a full MTU is taken to have free: it is better than none.
const LEAST_FREE: f64 = 0.001;

/// The MTUs that the SCU has heard of.
#[derive(Debug, Default)]
pub struct Mtus {
    heard: BTreeMap<MtuId, (MtuStatus, Instant)>,
}

impl Mtus {
    /// Takes an announcement.
    pub fn heard(&mut self, now: Instant, status: MtuStatus) {
        self.heard.retain(|_, (_, at)| now.saturating_duration_since(*at) <= HEARD_WITHIN);
        if self.heard.len() < MAX_MTUS || self.heard.contains_key(&status.mtu) {
            self.heard.insert(status.mtu.clone(), (status, now));
        }
    }

    /// The MTUs for a new call, at most [`PER_CALL`], the first choice first.
    #[must_use]
    pub fn choose(&self, now: Instant, call: &str) -> Vec<MtuStatus> {
        self.choose_again(now, call, &[])
    }

    /// The MTUs of a call that these were chosen for: those that still live, though they may take
    /// nothing new by now, and others in place of those that do not.
    #[must_use]
    pub fn choose_again(&self, now: Instant, call: &str, chosen: &[MtuId]) -> Vec<MtuStatus> {
        let before = chosen.iter().filter_map(|mtu| self.alive(now).find(|s| s.mtu == *mtu));
        let mut drawn: Vec<(f64, &MtuStatus)> = self
            .alive(now)
            .filter(|s| s.accepting && !s.draining && s.load.is_finite())
            .filter(|s| !chosen.contains(&s.mtu))
            .map(|s| (draw(s, call), s))
            .collect();
        drawn.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        before.chain(drawn.into_iter().map(|(_, s)| s)).take(PER_CALL).cloned().collect()
    }

    /// The MTU with this id, if it is still heard of.
    #[must_use]
    pub fn get(&self, now: Instant, mtu: &MtuId) -> Option<&MtuStatus> {
        self.alive(now).find(|status| status.mtu == *mtu)
    }

    fn alive(&self, now: Instant) -> impl Iterator<Item = &MtuStatus> {
        self.heard
            .values()
            .filter(move |(_, at)| now.saturating_duration_since(*at) <= HEARD_WITHIN)
            .map(|(status, _)| status)
    }
}

/// What the MTU draws for a call: the highest wins, in proportion to what is free.
fn draw(status: &MtuStatus, call: &str) -> f64 {
    let free = (1.0 - f64::from(status.load)).clamp(LEAST_FREE, 1.0);
    let capacity = status.capacity_bps.unwrap_or(USUAL_CAPACITY_BPS).max(1) as f64;
    let mut hasher = DefaultHasher::new();
    (call, status.mtu.as_str()).hash(&mut hasher);
    // 53 bits, strictly between 0 and 1.
    let uniform = ((hasher.finish() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    capacity * free / -uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sightline_model::UnixMicros;

    fn status(mtu: &str, load: f32, accepting: bool) -> MtuStatus {
        let mtu = mtu.parse().expect("valid id");
        MtuStatus::new(mtu, vec![], load, accepting, UnixMicros(0))
    }

    fn names(chosen: &[MtuStatus]) -> Vec<&str> {
        chosen.iter().map(|s| s.mtu.as_str()).collect()
    }

    #[test]
    fn only_mtus_that_accept_and_are_heard_of_are_chosen() {
        let (mut mtus, start) = (Mtus::default(), Instant::now());
        mtus.heard(start, status("full", 0.0, false));
        mtus.heard(start, MtuStatus { draining: true, ..status("draining", 0.0, true) });
        mtus.heard(start, status("broken", f32::NAN, true));
        mtus.heard(start, status("silent", 0.1, true));
        assert_eq!(names(&mtus.choose(start, "call")), ["silent"]);
        let later = start + HEARD_WITHIN + Duration::from_millis(1);
        mtus.heard(later, status("a", 0.9, true));
        mtus.heard(later, status("b", 1.0, true));
        mtus.heard(later, status("c", 0.2, true));
        assert_eq!(mtus.choose(later, "call").len(), PER_CALL);
        assert!(mtus.choose(later + HEARD_WITHIN + Duration::from_millis(1), "call").is_empty());
    }

    #[test]
    fn calls_spread_as_free_capacity_does() {
        let (mut mtus, now) = (Mtus::default(), Instant::now());
        let big = MtuStatus { capacity_bps: Some(3_000_000_000), ..status("big", 0.0, true) };
        mtus.heard(now, big);
        mtus.heard(
            now,
            MtuStatus { capacity_bps: Some(2_000_000_000), ..status("half", 0.5, true) },
        );
        mtus.heard(now, status("full", 1.0, true));
        let mut first = BTreeMap::<String, u32>::new();
        for call in 0..4_000 {
            let chosen = mtus.choose(now, &format!("call-{call}"));
            assert_ne!(chosen[0].mtu, chosen[1].mtu);
            *first.entry(chosen[0].mtu.to_string()).or_default() += 1;
        }
        assert!((2_800..3_200).contains(&first["big"]), "{first:?}");
        assert!((800..1_200).contains(&first["half"]), "{first:?}");
        assert!(first.get("full").is_none_or(|n| *n < 20), "{first:?}");
    }

    #[test]
    fn a_call_keeps_its_mtus_while_they_live() {
        let (mut mtus, start) = (Mtus::default(), Instant::now());
        for mtu in ["a", "b", "c", "d"] {
            mtus.heard(start, status(mtu, 0.5, true));
        }
        let chosen: Vec<MtuId> = mtus.choose(start, "call").into_iter().map(|s| s.mtu).collect();
        // The first one drains, the second one dies.
        let later = start + HEARD_WITHIN + Duration::from_millis(1);
        for mtu in ["a", "b", "c", "d"] {
            let draining = mtu == chosen[0].as_str();
            if mtu != chosen[1].as_str() {
                mtus.heard(later, MtuStatus { draining, ..status(mtu, 0.5, !draining) });
            }
        }
        let again = mtus.choose_again(later, "call", &chosen);
        assert_eq!(again[0].mtu, chosen[0]);
        assert!(!chosen.contains(&again[1].mtu), "{again:?}");
        assert!(mtus.choose(later, "call").iter().all(|s| !chosen.contains(&s.mtu)));
    }
}
