//! Choice of the MTU of a call (A7.2): among those that were heard from lately and take sessions,
//! the one with the least load.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sightline_model::MtuId;
use sightline_protocol::sd::MtuStatus;

/// An MTU that has been silent for longer is not chosen. MTUs speak every two seconds.
pub const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// Most MTUs that are remembered; whoever can speak on the bus is a unit of the operator, so this
/// only bounds the damage of a unit that changes its id.
const MAX_MTUS: usize = 1_024;

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

    /// The MTU for a new call.
    #[must_use]
    pub fn choose(&self, now: Instant) -> Option<&MtuStatus> {
        self.alive(now)
            .filter(|status| status.accepting && status.load.is_finite())
            .min_by(|a, b| a.load.total_cmp(&b.load))
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

#[cfg(test)]
mod tests {
    use super::*;
    use sightline_model::UnixMicros;

    fn status(mtu: &str, load: f32, accepting: bool) -> MtuStatus {
        let mtu = mtu.parse().expect("valid id");
        MtuStatus { mtu, urls: vec![], load, accepting, at: UnixMicros(0) }
    }

    #[test]
    fn the_least_loaded_mtu_that_accepts_and_is_heard_of_is_chosen() {
        let (mut mtus, start) = (Mtus::default(), Instant::now());
        mtus.heard(start, status("full", 0.0, false));
        mtus.heard(start, status("silent", 0.1, true));
        let now = start + HEARD_WITHIN;
        mtus.heard(now, status("busy", 0.9, true));
        mtus.heard(now, status("idle", 0.2, true));
        mtus.heard(now, status("broken", f32::NAN, true));
        let chosen = |at| mtus.choose(at).map(|s| s.mtu.to_string());
        assert_eq!(chosen(now).as_deref(), Some("silent"));
        assert_eq!(chosen(now + Duration::from_secs(1)).as_deref(), Some("idle"));
        assert_eq!(chosen(now + HEARD_WITHIN + Duration::from_secs(1)), None);
    }
}
