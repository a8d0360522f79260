//! Who uses the relay, over all workers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::limits::Meter;

/// Users that have allocations.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<HashMap<Box<str>, Entry>>);

#[derive(Debug)]
struct Entry {
    user: Arc<User>,
    allocations: u32,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct User {
    pub(crate) meter: Meter,
    pub(crate) bytes_to_peers: AtomicU64,
    pub(crate) bytes_to_client: AtomicU64,
}

/// What a user with allocations has carried since its first one of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserUsage {
    /// The part of the user name after the expiry.
    pub user: Box<str>,
    /// Allocations now.
    pub allocations: u32,
    /// Payload to peers.
    pub bytes_to_peers: u64,
    /// Payload to the client.
    pub bytes_to_client: u64,
}

impl Users {
    /// Counts one allocation more, if there may be one.
    pub(crate) fn join(&self, name: &str, max: u32) -> Option<Arc<User>> {
        let mut users = self.0.lock();
        match users.get_mut(name) {
            Some(entry) if entry.allocations >= max => None,
            Some(entry) => {
                entry.allocations += 1;
                Some(entry.user.clone())
            }
            None if max == 0 => None,
            None => {
                let user = Arc::<User>::default();
                users.insert(name.into(), Entry { user: user.clone(), allocations: 1 });
                Some(user)
            }
        }
    }

    pub(crate) fn leave(&self, name: &str) {
        let mut users = self.0.lock();
        if let Some(entry) = users.get_mut(name) {
            entry.allocations -= 1;
            if entry.allocations == 0 {
                users.remove(name);
            }
        }
    }

    pub(crate) fn usage(&self) -> Vec<UserUsage> {
        let users = self.0.lock();
        let usage = users.iter().map(|(name, Entry { user, allocations })| UserUsage {
            user: name.clone(),
            allocations: *allocations,
            bytes_to_peers: user.bytes_to_peers.load(Ordering::Relaxed),
            bytes_to_client: user.bytes_to_client.load(Ordering::Relaxed),
        });
        usage.collect()
    }
}
