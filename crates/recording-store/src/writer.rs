//! One chain's writer: a handle that never waits, and a task that does the work.

mod task;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use sightline_recording::{
    segmenter::{Opening, SegmentDraft},
    statement::{Causes, ClockStep, Digest, Gap, GapReason, RunId, Sequence},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinHandle,
};

use crate::{State, StoreError, index::ChainRow, store::Inner};

/// What a command without bytes takes of the queue's room.
const COMMAND_BYTES: u32 = 256;

/// It is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its number in the chain.
    pub sequence: Sequence,
    /// Its hash.
    pub hash: Digest,
    /// The run of a segment.
    pub run: Option<RunId>,
}

/// What will be acknowledged once it is durable. Dropping it changes nothing.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Acknowledged, StoreError>>);

impl Pending {
    /// Waits until it is durable.
    ///
    /// # Errors
    /// When it could not be written. A segment's whole fragments that had reached the disk are not
    /// lost: they become a recovered segment as soon as the storage takes writes again.
    pub async fn wait(self) -> Result<Acknowledged, StoreError> {
        self.0.await.map_err(|_| StoreError::Closed)?
    }
}

/// Writes the entries of one chain. Nothing waits for the disk here: all is queued, within
/// [`crate::Limits::queue_bytes`].
///
/// A segment that fails or does not fit the queue is over: every call that concerns it fails from
/// then on. The caller ends the segmenter's run and begins another one at a keyframe. The store keeps
/// what had been written of it and states the gap behind it.
///
/// Dropping it ends an open segment as far as it went.
#[derive(Debug)]
pub struct ChainWriter {
    inner: Arc<Inner>,
    commands: mpsc::UnboundedSender<Command>,
    /// Bounds what is queued.
    room: Arc<Semaphore>,
    /// Number of the newest segment that failed, of those that this writer opened.
    failed: Arc<AtomicU64>,
    /// Number of the newest segment that was opened.
    opened: u64,
    is_open: bool,
    /// The gap that began is known to the task.
    missing: bool,
    task: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Command {
    what: Order,
    _room: Option<OwnedSemaphorePermit>,
}

type Reply = oneshot::Sender<Result<Acknowledged, StoreError>>;

#[derive(Debug)]
enum Order {
    Open {
        number: u64,
        opening: Opening,
    },
    Append(Bytes),
    Close(SegmentDraft, Causes, Reply),
    /// The open segment did not fit the queue.
    Abandon,
    /// A segment was refused that would have begun then.
    Missed(Opening, GapReason),
    Gap(Gap, Reply),
    ClockStep(ClockStep, Reply),
    Flush(oneshot::Sender<()>),
}

impl ChainWriter {
    pub(crate) async fn start(
        inner: Arc<Inner>,
        row: ChainRow,
        out: Arc<()>,
    ) -> Result<Self, StoreError> {
        let failed = Arc::new(AtomicU64::new(0));
        let task = task::Task::start(inner.clone(), row, failed.clone(), out).await?;
        let (commands, waiting) = mpsc::unbounded_channel();
        let task = inner.tasks.spawn(task.run(waiting));
        let room = Semaphore::new(inner.limits.queue_bytes.max(COMMAND_BYTES) as usize);
        let room = Arc::new(room);
        Ok(Self { inner, commands, room, failed, opened: 0, is_open: false, missing: false, task })
    }

    /// Begins a segment: `Output::Open` of the segmenter.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] when one is open; [`StoreError::Unavailable`] when the storage takes no
    /// writes: the caller tries again at the next keyframe. The store states the gap.
    pub fn open_segment(&mut self, opening: Opening) -> Result<(), StoreError> {
        if self.is_open {
            return Err(StoreError::Misuse("a segment is open already"));
        }
        let state = self.inner.state();
        if !state.takes_writes() {
            self.miss(opening, state);
            return Err(StoreError::Unavailable(state));
        }
        self.opened += 1;
        let number = self.opened;
        let Some(room) = self.take_room(0) else {
            self.miss(opening, State::Slow);
            self.inner.fault(&StoreError::Behind);
            return Err(StoreError::Behind);
        };
        self.send(Order::Open { number, opening }, Some(room))?;
        (self.is_open, self.missing) = (true, false);
        Ok(())
    }

    /// Appends to the open segment: `Output::Append` of the segmenter.
    ///
    /// # Errors
    /// [`StoreError::Behind`] when it does not fit the queue, and what the segment failed with: it is
    /// over then.
    pub fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.check_open()?;
        let Some(room) = self.take_room(bytes.len()) else { return Err(self.abandon()) };
        self.send(Order::Append(bytes), Some(room))
    }

    /// Ends the open segment: `Output::Close` of the segmenter, and why it was recorded.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn close_segment(
        &mut self,
        draft: SegmentDraft,
        causes: Causes,
    ) -> Result<Pending, StoreError> {
        self.check_open()?;
        let Some(room) = self.take_room(0) else { return Err(self.abandon()) };
        self.is_open = false;
        self.ask(room, |reply| Order::Close(draft, causes, reply))
    }

    /// Nothing is recorded from here on.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] when a segment is open, [`StoreError::Behind`] when the queue is full.
    pub fn gap(&mut self, gap: Gap) -> Result<Pending, StoreError> {
        if self.is_open {
            return Err(StoreError::Misuse("a gap cannot begin within a segment"));
        }
        let room = self.take_room(0).ok_or(StoreError::Behind)?;
        self.ask(room, |reply| Order::Gap(gap, reply))
    }

    /// The recorder's clock was set. The next segment begins a run.
    ///
    /// # Errors
    /// As [`Self::gap`].
    pub fn clock_step(&mut self, step: ClockStep) -> Result<Pending, StoreError> {
        if self.is_open {
            return Err(StoreError::Misuse("a run ends before the clock is set"));
        }
        let room = self.take_room(0).ok_or(StoreError::Behind)?;
        self.ask(room, |reply| Order::ClockStep(step, reply))
    }

    /// Waits until all that was handed in before is written, or has failed.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the store was closed meanwhile.
    pub async fn flush(&mut self) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        self.send(Order::Flush(reply), None)?;
        done.await.map_err(|_| StoreError::Closed)
    }

    /// Writes what was handed in and gives the chain's writer back: another may be lent then.
    pub async fn end(self) {
        let Self { commands, task, .. } = self;
        drop(commands);
        // A panic was reported where it happened; there is nothing left to end.
        let _ = task.await;
    }

    fn check_open(&mut self) -> Result<(), StoreError> {
        if !self.is_open {
            return Err(StoreError::Misuse("no segment is open"));
        }
        if self.failed.load(Ordering::Acquire) != self.opened {
            return Ok(());
        }
        self.is_open = false;
        let state = self.inner.state();
        Err(if state.takes_writes() {
            StoreError::Failed("the open segment was given up".into())
        } else {
            StoreError::Unavailable(state)
        })
    }

    /// The rule for a full queue: the open segment ends here.
    fn abandon(&mut self) -> StoreError {
        self.is_open = false;
        self.inner.fault(&StoreError::Behind);
        match self.send(Order::Abandon, None) {
            Ok(()) => StoreError::Behind,
            Err(error) => error,
        }
    }

    fn miss(&mut self, opening: Opening, state: State) {
        // Once for each gap: the queue must not grow by what is refused.
        if !std::mem::replace(&mut self.missing, true) {
            let _ = self.send(Order::Missed(opening, state.gap_reason()), None);
        }
    }

    fn take_room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?.max(COMMAND_BYTES);
        self.room.clone().try_acquire_many_owned(bytes).ok()
    }

    fn ask(
        &self,
        room: OwnedSemaphorePermit,
        order: impl FnOnce(Reply) -> Order,
    ) -> Result<Pending, StoreError> {
        let (reply, pending) = oneshot::channel();
        self.send(order(reply), Some(room))?;
        Ok(Pending(pending))
    }

    fn send(&self, what: Order, room: Option<OwnedSemaphorePermit>) -> Result<(), StoreError> {
        self.commands.send(Command { what, _room: room }).map_err(|_| StoreError::Closed)
    }
}
