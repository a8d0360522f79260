//! What the unit's owner may see: their own time, less what somebody else's recordings claim of it by
//! their dates.
//!
//! The dates of what is stored change as the clock is set right, so the storage is looked at again and
//! again. Until it has been, nothing is shown where there was another owner.

use std::{ops::Range, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sightline_model::{PuId, UnixMicros, UserId};
use sightline_recording::clock::Moment;
use sightline_recording_store::{Store, StoreError};
use tokio::sync::{Notify, watch};

use super::{
    clock::SharedClock,
    owners::{Own, Owners, Visible},
};

/// How often the storage is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After a step of the clock: by then it stands in the chains.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// What lies between two of another's recordings goes with them when it is no longer, in microseconds:
/// every span that is left is searched on its own.
const TOGETHER_US: i64 = 3_600_000_000;
/// Most stretches that are taken out of the owner's time.
const MOST_CLAIMED: usize = 64;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shown {
    unit: PuId,
    owners: Owners,
    /// What holds now of the owners' times.
    present: Arc<Mutex<(Visible, Own)>>,
    visible: watch::Sender<Visible>,
    changed: Arc<Notify>,
}

impl Shown {
    pub fn new(unit: PuId, owners: Owners) -> Self {
        let present = owners.present();
        let visible = watch::Sender::new(unseen(&present));
        let (present, changed) = (Arc::new(Mutex::new(present)), Arc::default());
        Self { unit, owners, present, visible, changed }
    }

    /// Spans of time whose recordings may be shown, and their changes.
    pub fn visible(&self) -> watch::Receiver<Visible> {
        self.visible.subscribe()
    }

    /// As [`Owners::owner_is`].
    pub fn owner_is(&self, owner: Option<&UserId>, now: &Moment) -> std::io::Result<()> {
        let kept = self.owners.owner_is(owner, now);
        let mut present = self.present.lock();
        let new = self.owners.present();
        if *present != new {
            self.visible.send_replace(unseen(&new));
            *present = new;
            self.changed.notify_one();
        }
        kept
    }

    /// Looks at the storage whenever something may have changed. Never ends.
    pub async fn follow(&self, store: &Store, clock: &SharedClock) {
        let mut news = clock.news();
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.changed.notified() => {}
                Ok(()) = news.changed() => every.reset_after(LOOK_SOON),
            }
            if let Err(error) = self.look(store).await {
                // The storage tells by itself how it is.
                tracing::debug!(%error, "whose recordings are whose cannot be looked up");
            }
        }
    }

    async fn look(&self, store: &Store) -> Result<(), StoreError> {
        let present = self.present.lock().clone();
        let (own_time, own) = &present;
        let Some(earliest) = own_time.first().map(|span| span.start) else { return Ok(()) };
        if own.is_all() {
            return Ok(());
        }
        let mut claimed = Vec::new();
        for subject in store.subjects() {
            // Another unit's card may be in.
            if subject.camera.pu != self.unit {
                continue;
            }
            for boot in store.boots(&subject).await? {
                for stretch in own.foreign(boot) {
                    claimed.extend(store.begun_in(&subject, (boot, stretch), earliest).await?);
                }
            }
        }
        let left = without(own_time, claimed);
        let now = self.present.lock();
        // Else it is looked at anew.
        if *now == present {
            self.visible.send_if_modified(|visible| {
                let changed = *visible != left;
                *visible = left;
                changed
            });
        }
        Ok(())
    }
}

/// What may be shown before the storage has been looked at.
fn unseen((own_time, own): &(Visible, Own)) -> Visible {
    if own.is_all() { Arc::clone(own_time) } else { Arc::new([]) }
}

/// The owner's time without what is claimed of it.
fn without(own_time: &[Range<UnixMicros>], mut claimed: Vec<Range<UnixMicros>>) -> Visible {
    let overlap = |a: &Range<UnixMicros>, b: &Range<UnixMicros>| a.start < b.end && b.start < a.end;
    claimed.retain(|one| own_time.iter().any(|span| overlap(span, one)));
    let claimed = joined(claimed);
    let mut left = Vec::new();
    for span in own_time {
        let mut from = span.start;
        for one in claimed.iter().filter(|one| overlap(span, one)) {
            if from < one.start {
                left.push(from..one.start);
            }
            from = one.end;
        }
        if from < span.end {
            left.push(from..span.end);
        }
    }
    left.into()
}

/// In order, none near the next one, and no more than are searched for.
fn joined(mut spans: Vec<Range<UnixMicros>>) -> Vec<Range<UnixMicros>> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut joined: Vec<Range<UnixMicros>> = Vec::new();
    for span in spans {
        let is_full = joined.len() == MOST_CLAIMED;
        match joined.last_mut() {
            Some(last) if is_full || span.start.0.saturating_sub(last.end.0) <= TOGETHER_US => {
                last.end = last.end.max(span.end);
            }
            Some(_) | None => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn spans(hours: &[(i64, i64)]) -> Vec<Range<UnixMicros>> {
        let span = |(from, to): &(i64, i64)| UnixMicros(from * HOUR)..UnixMicros(to * HOUR);
        hours.iter().map(span).collect()
    }

    #[test]
    fn what_others_claim_is_taken_out_of_the_owners_time() {
        let left = |own: &[(i64, i64)], claimed: &[(i64, i64)]| {
            without(&spans(own), spans(claimed)).to_vec()
        };
        let own = [(10, 20), (30, 50)];
        assert_eq!(left(&own, &[]), spans(&own));
        assert_eq!(left(&own, &[(0, 10), (20, 30), (50, 60)]), spans(&own));
        assert_eq!(left(&own, &[(12, 13), (40, 60)]), spans(&[(10, 12), (13, 20), (30, 40)]));
        assert_eq!(left(&own, &[(5, 11), (18, 32)]), spans(&[(11, 18), (32, 50)]));
        assert_eq!(left(&own, &[(0, 99)]), []);
        // In any order, one within another, and an hour between two of them.
        let claimed = [(33, 34), (14, 15), (31, 40), (12, 13)];
        assert_eq!(left(&own, &claimed), spans(&[(10, 12), (15, 20), (30, 31), (40, 50)]));
    }

    #[test]
    fn what_others_claim_outside_of_the_owners_time_costs_none_of_it() {
        let many = (0..500).map(|n| (3 * n, 3 * n + 1));
        let own = [(2_000, 3_000)];
        let left = |claimed: &[(i64, i64)]| without(&spans(&own), spans(claimed)).to_vec();
        let mut last: Vec<_> = many.collect();
        last.push((2_100, 2_101));
        assert_eq!(left(&last), spans(&[(2_000, 2_100), (2_101, 3_000)]));
        // Inside, they are taken together when they are too many.
        let inside: Vec<_> = (0..200).map(|n| (2_000 + 3 * n, 2_001 + 3 * n)).collect();
        let all = left(&inside);
        assert_eq!(all.len(), MOST_CLAIMED);
        assert_eq!(all.last(), spans(&[(2_598, 3_000)]).last());
    }
}
