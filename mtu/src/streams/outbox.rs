//! What waits for one client of a stream.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::Notify};

/// Bytes that wait for one client. Whatever comes on top is dropped, as a full buffer of the
/// network would ("drop newest"): media that is late is worth nothing.
const MOST: usize = 256 * 1_024;

/// Filled by the thread that has the client's allocation, emptied by the task that has its
/// connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    allocated: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// RFC 6062: the connection that takes over once the answer to CONNECTION-BIND is out.
    pipe: Option<TcpStream>,
    piped: bool,
}

/// What is next for the task.
pub(crate) enum Next {
    /// These bytes.
    Bytes,
    /// These bytes, and then the connection is this peer's.
    Pipe(TcpStream),
}

impl Outbox {
    /// One message in three parts; never waits. `false` when it was dropped.
    pub(crate) fn send(&self, head: &[u8], payload: &[u8], tail: &[u8]) -> bool {
        /// Success response to Allocate.
        const ALLOCATED: [u8; 2] = [0x01, 0x03];
        if head.starts_with(&ALLOCATED) {
            self.allocated.store(true, Ordering::Relaxed);
        }
        let length = head.len() + payload.len() + tail.len();
        let mut waiting = self.waiting.lock();
        if waiting.bytes.len() + length > MOST {
            return false;
        }
        waiting.bytes.extend_from_slice(head);
        waiting.bytes.extend_from_slice(payload);
        waiting.bytes.extend_from_slice(tail);
        waiting.piped = waiting.pipe.is_some();
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// After the next message, the connection is this peer's.
    pub(crate) fn pipe(&self, peer: TcpStream) {
        self.waiting.lock().pipe = Some(peer);
    }

    /// Whether this client has had an allocation.
    pub(crate) fn is_allocated(&self) -> bool {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Waits until there is something, and swaps it with `bytes`, which must be empty.
    pub(crate) async fn take(&self, bytes: &mut Vec<u8>) -> Next {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if !waiting.bytes.is_empty() {
                    std::mem::swap(&mut waiting.bytes, bytes);
                    let pipe = if waiting.piped { waiting.pipe.take() } else { None };
                    return pipe.map_or(Next::Bytes, Next::Pipe);
                }
            }
            self.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_is_dropped_when_nobody_reads() {
        let outbox = Outbox::default();
        assert!(outbox.send(&[0x40, 0, 0, 1], &[7], &[0; 3]));
        let mut bytes = vec![];
        assert!(matches!(outbox.take(&mut bytes).await, Next::Bytes));
        assert_eq!(bytes, [0x40, 0, 0, 1, 7, 0, 0, 0]);
        let packet = vec![0; 1_200];
        let taken = (0..1_000).filter(|_| outbox.send(&[0x40, 0, 4, 0xb0], &packet, &[])).count();
        assert_eq!(taken, MOST / 1_204);
        bytes.clear();
        outbox.take(&mut bytes).await;
        assert!(outbox.send(&[0x40, 0, 4, 0xb0], &packet, &[]), "there is room again");
    }

    #[test]
    fn who_has_an_allocation_is_known() {
        let outbox = Outbox::default();
        outbox.send(&[0x01, 0x13, 0, 0], &[], &[]);
        assert!(!outbox.is_allocated());
        outbox.send(&[0x01, 0x03, 0, 0], &[], &[]);
        assert!(outbox.is_allocated());
    }
}
