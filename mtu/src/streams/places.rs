//! How many connections there may be.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use sightline_model::subscriber;

/// Bounds on connections, in all and of one subscriber.
#[derive(Debug)]
pub(crate) struct Places {
    total: usize,
    per_subscriber: usize,
    taken: AtomicUsize,
    by_subscriber: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    pub(crate) fn new(total: usize, per_subscriber: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_subscriber,
            taken: AtomicUsize::new(0),
            by_subscriber: Mutex::default(),
        })
    }

    /// Connections now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A place, given back when it is dropped.
    pub(crate) fn take(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let subscriber = subscriber(ip);
        let mut by_subscriber = self.by_subscriber.lock();
        if self.taken() >= self.total {
            return None;
        }
        let theirs = by_subscriber.entry(subscriber).or_default();
        if *theirs >= self.per_subscriber {
            return None;
        }
        *theirs += 1;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Place { places: self.clone(), subscriber })
    }
}

/// One connection's.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    subscriber: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_subscriber = self.places.by_subscriber.lock();
        if let Some(theirs) = by_subscriber.get_mut(&self.subscriber) {
            *theirs -= 1;
            if *theirs == 0 {
                by_subscriber.remove(&self.subscriber);
            }
        }
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let places = Places::new(3, 2);
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let first = places.take(one).expect("free");
        let _second = places.take(one).expect("free");
        assert!(places.take(one).is_none(), "a third of one subscriber");
        let _third = places.take(other).expect("free");
        assert!(places.take(other).is_none(), "a fourth in all");
        drop(first);
        let _fourth = places.take(other).expect("given back");
        assert_eq!(places.taken(), 3);
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one() {
        let places = Places::new(10, 1);
        let _first = places.take("2001:db8::1".parse().expect("IPv6")).expect("free");
        assert!(places.take("2001:db8::2".parse().expect("IPv6")).is_none());
        assert!(places.take("2001:db8:0:1::2".parse().expect("IPv6")).is_some());
        drop(_first);
        assert!(places.by_subscriber.lock().is_empty());
    }
}
