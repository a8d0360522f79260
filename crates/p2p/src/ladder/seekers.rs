//! How many ladders of a machine try ports at the same time: each sends hundreds of packets a second
//! to one router.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The places for them; cheap to clone, and shared by all ladders of the machine
/// ([`Ladder::within`](super::Ladder::within)).
#[derive(Clone, Debug)]
pub struct Seekers(Arc<AtomicUsize>);

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seeker(Arc<AtomicUsize>);

impl Seekers {
    /// So many places.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(places)))
    }

    pub(super) fn enter(&self) -> Option<Seeker> {
        self.0.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(1)).ok()?;
        Some(Seeker(Arc::clone(&self.0)))
    }
}

impl Drop for Seeker {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}
