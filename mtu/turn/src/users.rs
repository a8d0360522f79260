//! Who uses the relay, over all workers.

use std::{collections::HashMap, sync::Arc};

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

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}
