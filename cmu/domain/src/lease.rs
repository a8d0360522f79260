//! Leases: which SCU speaks for a device. A higher epoch fences every lower one.

use sightline_model::UnixMicros;
use sightline_protocol::ProblemKind;

/// The lease as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseState {
    /// Number of the last registration.
    pub epoch: u64,
    /// When the lease ends without renewal; in the past once released.
    pub expires_at: UnixMicros,
}

impl LeaseState {
    /// Whether an SCU speaks for the device now.
    #[must_use]
    pub fn is_live(self, now: UnixMicros) -> bool {
        self.expires_at > now
    }

    /// Whether whoever holds `epoch` may write.
    ///
    /// A lease that has run out may still write and be renewed as long as nobody has taken over:
    /// its SCU was slow, not replaced.
    ///
    /// # Errors
    /// [`ProblemKind::StaleLease`].
    pub fn admit(self, epoch: u64) -> Result<(), ProblemKind> {
        if epoch == self.epoch { Ok(()) } else { Err(ProblemKind::StaleLease) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_epoch_writes() {
        let lease = LeaseState { epoch: 4, expires_at: UnixMicros(10) };
        assert_eq!(lease.admit(4), Ok(()));
        assert_eq!(lease.admit(3), Err(ProblemKind::StaleLease));
        assert_eq!(lease.admit(5), Err(ProblemKind::StaleLease));
    }

    #[test]
    fn a_lease_ends_at_its_time() {
        let lease = LeaseState { epoch: 4, expires_at: UnixMicros(10) };
        assert!(lease.is_live(UnixMicros(9)));
        assert!(!lease.is_live(UnixMicros(10)));
    }
}
