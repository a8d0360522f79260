//! What waits for one client of a stream.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::tcp_relays::Connection;

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
    messages: Messages,
    /// RFC 6062: the connection that takes over once the answer to CONNECTION-BIND is out.
    pipe: Option<Connection>,
    piped: bool,
}

/// Whole messages, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    /// Where each one ends.
    ends: Vec<usize>,
}

impl Messages {
    fn push(&mut self, parts: [&[u8]; 3]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// All of them.
    pub(crate) fn together(&self) -> &[u8] {
        &self.bytes
    }

    /// One by one.
    pub(crate) fn apart(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().map(move |&end| {
            let message = &self.bytes[begin..end];
            begin = end;
            message
        })
    }
}

/// What is next for the task.
pub(crate) enum Next {
    /// These messages.
    Messages,
    /// These messages, and then the connection is this peer's.
    Pipe(Connection),
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
        if waiting.messages.bytes.len() + length > MOST {
            return false;
        }
        waiting.messages.push([head, payload, tail]);
        waiting.piped = waiting.pipe.is_some();
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// After the next message, the connection is this peer's.
    pub(crate) fn pipe(&self, peer: Connection) {
        self.waiting.lock().pipe = Some(peer);
    }

    /// The client's allocation has ended.
    pub(crate) fn released(&self) {
        self.allocated.store(false, Ordering::Relaxed);
    }

    /// Whether this client has an allocation.
    pub(crate) fn is_allocated(&self) -> bool {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Waits until there is something, and swaps it with `messages`, which must be empty.
    pub(crate) async fn take(&self, messages: &mut Messages) -> Next {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if !waiting.messages.ends.is_empty() {
                    std::mem::swap(&mut waiting.messages, messages);
                    let pipe = if waiting.piped { waiting.pipe.take() } else { None };
                    return pipe.map_or(Next::Messages, Next::Pipe);
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
        assert!(outbox.send(&[0x41, 0, 0, 0], &[], &[]));
        let mut messages = Messages::default();
        assert!(matches!(outbox.take(&mut messages).await, Next::Messages));
        let both: [&[u8]; 2] = [&[0x40, 0, 0, 1, 7, 0, 0, 0], &[0x41, 0, 0, 0]];
        assert_eq!(messages.apart().collect::<Vec<_>>(), both);
        assert_eq!(messages.together(), both.concat());
        let packet = vec![0; 1_200];
        let taken = (0..1_000).filter(|_| outbox.send(&[0x40, 0, 4, 0xb0], &packet, &[])).count();
        assert_eq!(taken, MOST / 1_204);
        messages.clear();
        outbox.take(&mut messages).await;
        assert!(outbox.send(&[0x40, 0, 4, 0xb0], &packet, &[]), "there is room again");
    }

    #[test]
    fn who_has_an_allocation_is_known() {
        let outbox = Outbox::default();
        outbox.send(&[0x01, 0x13, 0, 0], &[], &[]);
        assert!(!outbox.is_allocated());
        outbox.send(&[0x01, 0x03, 0, 0], &[], &[]);
        assert!(outbox.is_allocated());
        outbox.released();
        assert!(!outbox.is_allocated());
    }
}
