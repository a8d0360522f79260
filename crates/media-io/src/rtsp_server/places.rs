//! How many there may be at once, in all and of one subscriber.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use sightline_model::subscriber;
use tokio::sync::{Notify, watch};

/// A bounded number of places.
pub(super) struct Places {
    max: usize,
    max_of_one: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Of those who have one or more, and nobody else: strangers must not make it grow.
    by_subscriber: HashMap<IpAddr, usize>,
}

/// One of them; gives itself back.
pub(super) struct Place {
    of: Arc<Places>,
    subscriber: IpAddr,
}

impl Places {
    pub(super) fn new(max: usize, max_of_one: usize) -> Arc<Self> {
        Arc::new(Self { max, max_of_one, taken: Mutex::default(), freed: Notify::new() })
    }

    /// A place for whoever is at this address, if there is one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let subscriber = subscriber(address);
        let mut taken = self.taken.lock();
        let theirs = taken.by_subscriber.get(&subscriber).copied().unwrap_or(0);
        if taken.all >= self.max || theirs >= self.max_of_one {
            return None;
        }
        taken.all += 1;
        taken.by_subscriber.insert(subscriber, theirs + 1);
        Some(Place { of: Arc::clone(self), subscriber })
    }

    /// Places that are taken now.
    pub(super) fn taken(&self) -> usize {
        self.taken.lock().all
    }

    /// Places that there are.
    pub(super) const fn max(&self) -> usize {
        self.max
    }

    /// Resolves when a place has been given back.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(theirs) = taken.by_subscriber.get_mut(&self.subscriber) {
            *theirs -= 1;
            if *theirs == 0 {
                taken.by_subscriber.remove(&self.subscriber);
            }
        }
        drop(taken);
        self.of.freed.notify_one();
    }
}

/// How many dialogues of one carrier have an accepted token.
#[derive(Clone, Default)]
pub(crate) struct Admitted(watch::Sender<usize>);

/// One of these dialogues; dropping it counts it off.
pub(crate) struct AdmittedOne(Admitted);

impl Admitted {
    pub(crate) fn one(&self) -> AdmittedOne {
        self.0.send_modify(|count| *count += 1);
        AdmittedOne(self.clone())
    }

    /// Resolves when there has been none for so long.
    pub(super) async fn none_for(&self, limit: std::time::Duration) {
        let mut count = self.0.subscribe();
        loop {
            // Cannot fail: the sender is ours.
            let some = count.wait_for(|count| *count > 0);
            if tokio::time::timeout(limit, some).await.is_err() {
                return;
            }
            let _ = count.wait_for(|count| *count == 0).await;
        }
    }
}

impl Drop for AdmittedOne {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_subscriber_has_a_share_whatever_its_addresses() {
        let places = Places::new(9, 2);
        let first = places.take(ip("2001:db8::1")).expect("free");
        let _second = places.take(ip("2001:db8::ffff:0:0:2")).expect("free");
        assert!(places.take(ip("2001:db8::3")).is_none(), "the same /64");
        let _neighbour = places.take(ip("2001:db8:0:1::3")).expect("another /64");
        drop(first);
        let _again = places.take(ip("2001:db8::3")).expect("given back");

        let _old = places.take(ip("192.0.2.1")).expect("free");
        let _mapped = places.take(ip("::ffff:192.0.2.1")).expect("free");
        assert!(places.take(ip("192.0.2.1")).is_none(), "the same address, written otherwise");
        assert!(places.take(ip("192.0.2.2")).is_some(), "IPv4 is counted by address");
    }

    #[test]
    fn who_is_refused_leaves_nothing_behind() {
        let places = Places::new(2, 1);
        let subscribers = || places.taken.lock().by_subscriber.len();
        let held = [ip("192.0.2.1"), ip("192.0.2.2")].map(|ip| places.take(ip).expect("free"));
        for host in 3..=255 {
            assert!(places.take(IpAddr::from([192, 0, 2, host])).is_none(), "full");
        }
        assert!(places.take(ip("192.0.2.1")).is_none());
        assert_eq!((places.taken(), subscribers()), (2, 2));
        drop(held);
        assert_eq!((places.taken(), subscribers()), (0, 0));
        assert!(Places::new(2, 0).take(ip("192.0.2.1")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_carrier_is_idle_when_none_was_admitted_for_long() {
        let (admitted, limit) = (Admitted::default(), Duration::from_secs(10));
        let begun = tokio::time::Instant::now();
        admitted.none_for(limit).await;
        assert_eq!(begun.elapsed(), limit);

        let first = admitted.one();
        let second = admitted.one();
        let idle = admitted.none_for(limit);
        tokio::pin!(idle);
        drop(first);
        let long = tokio::time::timeout(10 * limit, &mut idle).await;
        assert!(long.is_err(), "the second one is there");
        drop(second);
        let begun = tokio::time::Instant::now();
        idle.await;
        assert_eq!(begun.elapsed(), limit, "counted from the end of the last");
    }
}
