//! What happens to a chain's commands, in their order.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use sightline_model::UnixMicros;
use sightline_recording::{
    segmenter::{Opening, SegmentDraft},
    statement::{Authority, BootId, Causes, Gap, GapReason, RunId},
};
use tokio::sync::mpsc;

use super::{Acknowledged, Command, Order};
use crate::{
    StoreError,
    committer::Draft,
    files::Part,
    index::ChainRow,
    query::Newest,
    repair::{self, ChainRepair},
    store::{Inner, blocking},
};

pub(super) struct Task {
    inner: Arc<Inner>,
    row: ChainRow,
    /// As long as it lives, the chain's writer is out.
    out: Arc<()>,
    failed: Arc<AtomicU64>,
    /// Which index `row` is of.
    epoch: u64,
    next_file: u64,
    open: Option<Open>,
    /// The run that a segment may continue.
    run: Option<RunId>,
    /// Something is to be mended before the next segment.
    broken: Option<Broken>,
}

struct Open {
    number: u64,
    opening: Opening,
    part: Part,
}

/// A segment was cut off or could not begin.
#[derive(Debug, Clone, Copy)]
struct Broken {
    /// When it began, or would have.
    since: UnixMicros,
    boot: BootId,
    authority: Authority,
    reason: GapReason,
}

impl Task {
    pub(super) async fn start(
        inner: Arc<Inner>,
        row: ChainRow,
        failed: Arc<AtomicU64>,
        out: Arc<()>,
    ) -> Result<Self, StoreError> {
        let epoch = inner.epoch.load(Ordering::Acquire);
        let mut task = Self {
            inner,
            row,
            out,
            failed,
            epoch,
            next_file: 0,
            open: None,
            run: None,
            broken: None,
        };
        task.take_up().await?;
        Ok(task)
    }

    /// Finds the chain as it is stored: whatever was open has been repaired before.
    async fn take_up(&mut self) -> Result<(), StoreError> {
        repair::chain(&self.inner, &self.row).await?;
        let newest = self.inner.newest(&self.row).await?;
        self.next_file = self.inner.next_file(&self.row, newest.file()).await?;
        self.run = None;
        if let Newest::Segment { segment, .. } = newest {
            let gap = Gap {
                from: segment.end(),
                boot: segment.boot,
                authority: segment.authority,
                reason: GapReason::RecorderOff,
            };
            self.append(vec![Draft::Gap(gap)]).await?;
        }
        Ok(())
    }

    pub(super) async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Command>) {
        let stop = self.inner.stop.clone();
        loop {
            tokio::select! {
                biased;
                command = waiting.recv() => match command {
                    Some(command) => self.take(command).await,
                    None => break,
                },
                () = stop.cancelled() => waiting.close(),
            }
        }
        let is_cut_off = self.open.take().is_some();
        if is_cut_off || self.broken.is_some() {
            // What fails now is repaired at the next start.
            if let Err(error) = repair::chain(&self.inner, &self.row).await {
                self.inner.fault(&error);
            }
        }
    }

    async fn take(&mut self, command: Command) {
        match command.what {
            Order::Open { number, opening } => {
                if let Err(error) = self.open(number, opening).await {
                    self.fail(number, &opening, &error);
                }
            }
            Order::Append(bytes) => self.write(bytes).await,
            Order::Close(draft, causes, reply) => {
                let _ = reply.send(self.close(draft, causes).await);
            }
            Order::Abandon => self.abandon().await,
            Order::Missed(opening, reason) => self.miss(&opening, reason),
            Order::Gap(gap, reply) => {
                let _ = reply.send(self.state(Draft::Gap(gap)).await);
            }
            Order::ClockStep(step, reply) => {
                let _ = reply.send(self.state(Draft::ClockStep(step)).await);
            }
            Order::Flush(reply) => {
                let _ = reply.send(());
            }
        }
    }

    async fn open(&mut self, number: u64, opening: Opening) -> Result<(), StoreError> {
        let state = self.inner.state();
        if !state.takes_writes() {
            return Err(StoreError::Unavailable(state));
        }
        self.follow_index().await?;
        self.inner.make_room().await?;
        self.mend().await?;
        let file = self.next_file;
        self.next_file += 1;
        let (inner, chain) = (self.inner.clone(), self.row.id);
        let part = blocking(move || Part::create(&inner.layout, chain, file, inner.steps.clone()));
        let part = part.await?.map_err(StoreError::io("beginning a segment"))?;
        self.open = Some(Open { number, opening, part });
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) {
        // Without an open one it failed, and the caller has been told.
        let Some(mut open) = self.open.take() else { return };
        let written = blocking(move || {
            let done = open.part.append(&bytes);
            (open, done)
        });
        match written.await {
            Ok((open, Ok(()))) => self.open = Some(open),
            Ok((open, Err(error))) => {
                let error = StoreError::io("writing a segment")(error);
                self.fail(open.number, &open.opening, &error);
            }
            // The runtime is going; the next start repairs.
            Err(error) => self.inner.fault(&error),
        }
    }

    async fn close(
        &mut self,
        draft: SegmentDraft,
        causes: Causes,
    ) -> Result<Acknowledged, StoreError> {
        let open = self.open.take().ok_or(StoreError::Unavailable(self.inner.state()))?;
        let (number, opening) = (open.number, open.opening);
        let closed = self.finish(open, draft, causes).await;
        if let Err(error) = &closed {
            self.fail(number, &opening, error);
        }
        closed
    }

    async fn finish(
        &mut self,
        open: Open,
        draft: SegmentDraft,
        causes: Causes,
    ) -> Result<Acknowledged, StoreError> {
        let Open { opening, part, .. } = open;
        if draft.opening != opening || (draft.len, draft.content) != part.content() {
            return Err(StoreError::Misuse("the draft is not that of the file"));
        }
        let inner = self.inner.clone();
        let stored = blocking(move || part.finish(&inner.layout))
            .await?
            .map_err(StoreError::io("finishing a segment"))?;
        let run = self.run.filter(|_| !opening.first_of_run);
        // The committer, who numbers it, names a new run.
        let segment = draft.into_segment(run.unwrap_or(RunId(0)), causes, false);
        let draft = Draft::Segment { segment, file: stored.number, run };
        let done = self.append(vec![draft]).await?;
        self.inner.count(self.row.row, stored.len);
        self.run = done.run;
        Ok(done)
    }

    /// States what ends a run, after what went before it.
    async fn state(&mut self, draft: Draft) -> Result<Acknowledged, StoreError> {
        self.run = None;
        self.follow_index().await?;
        self.mend().await?;
        self.append(vec![draft]).await
    }

    /// Appends one entry.
    async fn append(&self, drafts: Vec<Draft>) -> Result<Acknowledged, StoreError> {
        let done = self.inner.commits.append(&self.row, drafts).await?;
        done.last().copied().ok_or(StoreError::Misuse("nothing to append"))
    }

    /// A segment is over before its end. What the disk has of it is mended before the next begins.
    fn fail(&mut self, number: u64, opening: &Opening, error: &StoreError) {
        self.open = None;
        self.failed.fetch_max(number, Ordering::Release);
        self.inner.fault(error);
        tracing::warn!(chain = %self.row.id, %error, "a segment ends before its time");
        let reason = error.state().map_or(GapReason::StorageFailed, crate::State::gap_reason);
        self.miss(opening, reason);
    }

    fn miss(&mut self, opening: &Opening, reason: GapReason) {
        self.run = None;
        let begun = Broken {
            since: opening.start,
            boot: opening.boot,
            authority: opening.authority,
            reason,
        };
        self.broken.get_or_insert(begun);
    }

    async fn abandon(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.fail(open.number, &open.opening, &StoreError::Behind);
        if let Err(error) = self.mend().await {
            self.inner.fault(&error);
        }
    }

    /// Keeps what was written of a segment that was cut off, and states the gap behind it.
    async fn mend(&mut self) -> Result<(), StoreError> {
        if self.broken.is_some() {
            let repaired = repair::chain(&self.inner, &self.row).await?;
            self.note_kept(&repaired);
        }
        let Some(Broken { since: from, boot, authority, reason }) = self.broken else {
            return Ok(());
        };
        self.append(vec![Draft::Gap(Gap { from, boot, authority, reason })]).await?;
        self.broken = None;
        Ok(())
    }

    /// The gap begins where what was kept ends.
    fn note_kept(&mut self, repaired: &ChainRepair) {
        if let Some(broken) = &mut self.broken {
            let kept = repaired.ends.iter().copied().filter(|end| *end >= broken.since).max();
            broken.since = kept.unwrap_or(broken.since);
        }
    }

    /// Another index may have been opened since: a card that was changed has chains of its own.
    async fn follow_index(&mut self) -> Result<(), StoreError> {
        let epoch = self.inner.epoch.load(Ordering::Acquire);
        if epoch == self.epoch {
            return Ok(());
        }
        let inner = self.inner.clone();
        let _lending = inner.lending.lock().await;
        let row = inner.begin(&self.row.subject).await?;
        if row.id != self.row.id {
            inner.lent.lock().insert(row.id, self.out.clone());
            let newest = inner.newest(&row).await?;
            self.next_file = inner.next_file(&row, newest.file()).await?;
            self.run = None;
        }
        (self.row, self.epoch) = (row, epoch);
        let repaired = repair::chain(&inner, &self.row).await?;
        self.note_kept(&repaired);
        Ok(())
    }
}
