//! STUN transactions under way, of every session together.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// So many wait for an answer; older ones are forgotten.
const MAX_TRANSACTIONS: usize = 16_384;
/// An answer that comes later is of no use.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Who waits for the answer.
pub(super) enum Waiter {
    Session(u64),
    Query(oneshot::Sender<SocketAddr>),
}

/// All of them.
#[derive(Default)]
pub(crate) struct Transactions {
    waiting: Mutex<HashMap<[u8; 12], (Instant, Waiter)>>,
}

impl Transactions {
    /// Remembers that a session waits for the answer to this check.
    pub(crate) fn expect_answer(&self, session: u64, check: &[u8]) {
        if let Some(Ok(id)) = check.get(8..20).map(<[u8; 12]>::try_from) {
            self.wait_for(id, Waiter::Session(session));
        }
    }

    /// A question of our own; resolves to what the server sees. Dropping the receiver forgets it.
    pub(crate) fn query(&self, transaction: [u8; 12]) -> oneshot::Receiver<SocketAddr> {
        let (sender, receiver) = oneshot::channel();
        self.wait_for(transaction, Waiter::Query(sender));
        receiver
    }

    fn wait_for(&self, transaction: [u8; 12], waiter: Waiter) {
        let now = Instant::now();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_TRANSACTIONS / 2 {
            waiting.retain(|_, (at, _)| now.saturating_duration_since(*at) < ANSWER_WITHIN);
        }
        if waiting.len() < MAX_TRANSACTIONS {
            waiting.insert(transaction, (now, waiter));
        }
    }

    /// The answer has come: to whom it goes.
    pub(super) fn take(&self, transaction: [u8; 12]) -> Option<Waiter> {
        self.waiting.lock().remove(&transaction).map(|(_, waiter)| waiter)
    }
}
