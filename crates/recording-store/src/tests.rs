//! Tests that break steps.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

/// Breaks a step, and all that come after it: what a crash does.
#[derive(Debug)]
pub(crate) struct Plan {
    left: AtomicU64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { left: AtomicU64::new(u64::MAX) }
    }
}

impl Plan {
    pub(crate) fn take(&self, step: &'static str) -> io::Result<()> {
        let count = |left: u64| Some(left.saturating_sub(1));
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) {
            Ok(0) => Err(io::Error::other(step)),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
