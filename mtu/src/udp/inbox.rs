//! What reaches a worker from other threads.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crossbeam_queue::ArrayQueue;
use mio::Waker;
use mtu_turn::{ClientId, RawAttribute, RelayId, Shortcut, Ticket, Usage, WorkerIndex};
use tokio::sync::{mpsc, oneshot};

use super::StreamOut;

/// Messages of streams that wait for one worker; whoever reads the streams then waits too.
const MESSAGES: usize = 1_024;
/// Batches of packets that wait for one worker; further ones are dropped.
const BATCHES: usize = 64;
/// A batch that has so many bytes is full.
const BATCH_BYTES: usize = 256 * 1_024;
/// Batches that are kept for use again.
const SPARE: usize = 256;

/// The worker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay has ended")]
pub struct Gone;

/// What streams and other workers have to say.
pub(super) enum Message {
    Open(ClientId, StreamNumber, Box<dyn StreamOut>),
    Frame(ClientId, StreamNumber, Vec<u8>),
    Close(ClientId, StreamNumber),
    Answer(Ticket, Result<Vec<RawAttribute>, (u16, &'static str)>),
    /// Whether this peer may connect to this relay.
    MayConnect(RelayId, SocketAddr, oneshot::Sender<bool>),
    Offer {
        relay: RelayId,
        peer: SocketAddr,
        connection: u32,
        taken: oneshot::Sender<bool>,
    },
    Usage(oneshot::Sender<Vec<Usage>>),
    /// From, to.
    Shortcut(SocketAddr, SocketAddr, Arc<Shortcut>),
    /// Dies, as by a fault of its own.
    #[cfg(test)]
    Die,
}

/// Tells connections apart that follow each other at the same addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamNumber(u64);

/// One connection of a client, as its worker knows it.
#[derive(Debug)]
pub struct StreamHandle {
    worker: WorkerHandle,
    client: ClientId,
    number: StreamNumber,
}

impl StreamHandle {
    /// One whole message, without padding after ChannelData. Waits while the worker has too much
    /// to do.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn frame(&self, frame: Vec<u8>) -> Result<(), Gone> {
        self.worker.tell(Message::Frame(self.client, self.number, frame)).await
    }

    /// The connection has ended, and its client's allocation with it; not that of another
    /// connection which the same client has opened meanwhile.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn close(self) -> Result<(), Gone> {
        self.worker.tell(Message::Close(self.client, self.number)).await
    }
}

/// Packets from relayed addresses of one worker to those of another.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// From, to, and where the payload ends.
    packets: Vec<(SocketAddr, SocketAddr, usize)>,
}

impl Batch {
    pub(super) fn push(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
        self.packets.push((from, to, self.bytes.len()));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    pub(super) const fn len(&self) -> usize {
        self.packets.len()
    }

    /// From, to, payload.
    pub(super) fn packets(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr, &[u8])> {
        let mut begin = 0;
        self.packets.iter().map(move |&(from, to, end)| {
            let payload = &self.bytes[begin..end];
            begin = end;
            (from, to, payload)
        })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
    }
}

/// A worker, as other threads see it.
#[derive(Clone)]
pub struct WorkerHandle {
    index: WorkerIndex,
    messages: mpsc::Sender<Message>,
    batches: Arc<ArrayQueue<Batch>>,
    waker: Arc<Waker>,
    woken: Arc<AtomicBool>,
    streams: Arc<AtomicU64>,
}

impl std::fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkerHandle")
    }
}

impl WorkerHandle {
    /// Which worker it is.
    #[must_use]
    pub const fn index(&self) -> WorkerIndex {
        self.index
    }

    /// What each of its allocations has carried until now.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn usage(&self) -> Result<Vec<Usage>, Gone> {
        let (taken, usage) = oneshot::channel();
        self.tell(Message::Usage(taken)).await?;
        usage.await.map_err(|_| Gone)
    }

    /// A stream's client has come; what it is sent goes to `out`.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn open(
        &self,
        client: ClientId,
        out: Box<dyn StreamOut>,
    ) -> Result<StreamHandle, Gone> {
        let number = StreamNumber(self.streams.fetch_add(1, Ordering::Relaxed));
        self.tell(Message::Open(client, number, out)).await?;
        Ok(StreamHandle { worker: self.clone(), client, number })
    }

    /// The answer to a request of which [`TcpRelays::extend`](super::TcpRelays) said that it comes
    /// later.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn answer(
        &self,
        ticket: Ticket,
        outcome: Result<Vec<RawAttribute>, (u16, &'static str)>,
    ) -> Result<(), Gone> {
        self.tell(Message::Answer(ticket, outcome)).await
    }

    /// Whether this peer may connect to a TCP relay now.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn may_connect(&self, relay: RelayId, peer: SocketAddr) -> Result<bool, Gone> {
        let (told, answer) = oneshot::channel();
        self.tell(Message::MayConnect(relay, peer, told)).await?;
        answer.await.map_err(|_| Gone)
    }

    /// A peer has connected to a TCP relay: whether its client has been told. If not, the peer
    /// has no permission.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn offer_connection(
        &self,
        relay: RelayId,
        peer: SocketAddr,
        connection: u32,
    ) -> Result<bool, Gone> {
        let (taken, outcome) = oneshot::channel();
        self.tell(Message::Offer { relay, peer, connection, taken }).await?;
        outcome.await.map_err(|_| Gone)
    }

    /// Lets the worker's thread die.
    #[cfg(test)]
    pub(crate) async fn die(&self) -> Result<(), Gone> {
        self.tell(Message::Die).await
    }

    async fn tell(&self, message: Message) -> Result<(), Gone> {
        self.messages.send(message).await.map_err(|_| Gone)?;
        self.wake();
        Ok(())
    }

    pub(super) fn wake(&self) {
        // Once is enough until the worker has looked.
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::warn!(%error, "cannot wake a relay worker");
        }
    }
}

/// The worker's end.
pub(super) struct Inbox {
    pub(super) poll: mio::Poll,
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) batches: Arc<ArrayQueue<Batch>>,
    woken: Arc<AtomicBool>,
}

impl Inbox {
    /// An inbox wakes its worker by this token.
    pub(super) const TOKEN: mio::Token = mio::Token(0);

    pub(super) fn new(index: WorkerIndex) -> std::io::Result<(Self, WorkerHandle)> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Self::TOKEN)?);
        let (sender, messages) = mpsc::channel(MESSAGES);
        let batches = Arc::new(ArrayQueue::new(BATCHES));
        let woken = Arc::new(AtomicBool::new(false));
        let handle = WorkerHandle {
            index,
            messages: sender,
            batches: batches.clone(),
            waker,
            woken: woken.clone(),
            streams: Arc::default(),
        };
        Ok((Self { poll, messages, batches, woken }, handle))
    }

    /// To be called before looking: what comes afterwards wakes again.
    pub(super) fn looked(&self) {
        // Also an acquire: what is looked at next must not have been read before.
        self.woken.swap(false, Ordering::AcqRel);
    }
}

/// Ways to all workers, and batches to be used again.
#[derive(Debug, Clone)]
pub(super) struct Batches {
    workers: Arc<[WorkerHandle]>,
    spare: Arc<ArrayQueue<Batch>>,
}

impl Batches {
    pub(super) fn new(workers: Vec<WorkerHandle>) -> Self {
        Self { workers: workers.into(), spare: Arc::new(ArrayQueue::new(SPARE)) }
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn empty(&self) -> Batch {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn recycle(&self, mut batch: Batch) {
        batch.clear();
        // When there are enough, it is freed.
        let _ = self.spare.push(batch);
    }

    /// If there is no room for it now, the next packet brings another. Nobody is woken: it is for
    /// packets that have yet to come, and those wake.
    pub(super) fn lend(
        &self,
        worker: WorkerIndex,
        from: SocketAddr,
        to: SocketAddr,
        shortcut: Arc<Shortcut>,
    ) {
        if let Some(handle) = self.workers.get(usize::from(worker.0)) {
            let _ = handle.messages.try_send(Message::Shortcut(from, to, shortcut));
        }
    }

    /// Says how many packets were dropped.
    pub(super) fn send(&self, worker: WorkerIndex, batch: Batch) -> usize {
        let Some(handle) = self.workers.get(usize::from(worker.0)) else { return batch.len() };
        match handle.batches.push(batch) {
            Ok(()) => {
                handle.wake();
                0
            }
            Err(batch) => {
                let dropped = batch.len();
                self.recycle(batch);
                dropped
            }
        }
    }
}
