//! The one writer of the index. What waits together shares one commit.
//!
//! Numbering, linking and signing happen inside the transaction, so an entry's number is never used
//! for two things: when the commit fails, the chains' writers stay as they were.

mod append;
mod release;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use sightline_recording::{
    chain::{Sign, WriteError, Writer},
    retention::Which,
    statement::{ChainId, ClockStep, Digest, Gap, RunId, Segment, Sequence, Subject},
};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use crate::{
    State, StoreError,
    index::{self, ChainRow},
    store::{Inner, Key},
    writer::Acknowledged,
};

/// Most jobs of one commit.
const BATCH: usize = 64;
/// Jobs that may wait: a chain has one at a time, so this is a bound on chains, not on segments.
pub(crate) const QUEUE: usize = 1024;

/// What is to be appended to a chain.
#[derive(Debug, Clone)]
pub(crate) enum Draft {
    /// A segment in the file `file`; `run`: the one that it continues.
    Segment { segment: Segment, file: u64, run: Option<RunId> },
    /// A gap.
    Gap(Gap),
    /// A step of the clock.
    ClockStep(ClockStep),
}

/// A file that the index lets go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) id: i64,
    pub(crate) file: u64,
    pub(crate) bytes: u64,
}

/// What is to be let go of one chain.
#[derive(Debug, Clone)]
pub(crate) struct Letting {
    pub(crate) chain: ChainRow,
    /// All unlocked ones of a kind up to a number.
    pub(crate) up_to: Vec<(Which, Sequence)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Job {
    Begin {
        subject: Subject,
        id: ChainId,
    },
    Append {
        chain: ChainRow,
        drafts: Vec<Draft>,
    },
    /// Appends the checkpoint and marks the rows.
    Mark(Letting),
    /// The files are gone: so go the rows.
    Forget {
        chain: i64,
        ids: Vec<i64>,
    },
    Lock {
        chain: i64,
        sequences: Vec<Sequence>,
        locked: bool,
    },
    Damaged {
        chain: ChainId,
        ids: Vec<i64>,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Done {
    Begun(ChainRow),
    Appended(Vec<Acknowledged>),
    Marked(Vec<Leaving>),
    Changed(u64),
}

type Reply = oneshot::Sender<Result<Done, StoreError>>;

/// The way to the committer.
#[derive(Debug, Clone)]
pub(crate) struct Commits(mpsc::Sender<(Job, Reply)>);

impl Commits {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<(Job, Reply)>) {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        (Self(jobs), waiting)
    }

    async fn run(&self, job: Job) -> Result<Done, StoreError> {
        let (reply, done) = oneshot::channel();
        self.0.send((job, reply)).await.map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn begin(
        &self,
        subject: Subject,
        id: ChainId,
    ) -> Result<ChainRow, StoreError> {
        match self.run(Job::Begin { subject, id }).await? {
            Done::Begun(row) => Ok(row),
            _ => Err(MIXED_UP),
        }
    }

    pub(crate) async fn append(
        &self,
        chain: &ChainRow,
        drafts: Vec<Draft>,
    ) -> Result<Vec<Acknowledged>, StoreError> {
        match self.run(Job::Append { chain: chain.clone(), drafts }).await? {
            Done::Appended(acknowledged) => Ok(acknowledged),
            _ => Err(MIXED_UP),
        }
    }

    pub(crate) async fn mark(&self, letting: Letting) -> Result<Vec<Leaving>, StoreError> {
        match self.run(Job::Mark(letting)).await? {
            Done::Marked(leaving) => Ok(leaving),
            _ => Err(MIXED_UP),
        }
    }

    /// For the jobs that say how many rows they changed.
    pub(crate) async fn change(&self, job: Job) -> Result<u64, StoreError> {
        match self.run(job).await? {
            Done::Changed(rows) => Ok(rows),
            _ => Err(MIXED_UP),
        }
    }
}

const MIXED_UP: StoreError = StoreError::Corrupt("answer of the committer, which is our own fault");

/// Works until it is stopped and nothing waits any more.
pub(crate) async fn run(inner: Arc<Inner>, mut waiting: mpsc::Receiver<(Job, Reply)>) {
    let mut writers = HashMap::new();
    let mut batch = Vec::with_capacity(BATCH);
    let mut epoch = 0;
    loop {
        tokio::select! {
            biased;
            taken = waiting.recv_many(&mut batch, BATCH) => if taken == 0 { return },
            () = inner.stop_committer.cancelled() => {
                waiting.close();
                continue;
            }
        }
        if epoch != inner.epoch.load(Ordering::Acquire) {
            epoch = inner.epoch.load(Ordering::Acquire);
            writers.clear();
        }
        let (jobs, replies): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let span = tracing::debug_span!("db.segment.commit", jobs = jobs.len());
        match commit(&inner, &mut writers, jobs).instrument(span).await {
            Ok(results) => {
                for (reply, result) in replies.into_iter().zip(results) {
                    let _ = reply.send(result);
                }
            }
            Err(error) => fail(&inner, replies, error),
        }
    }
}

/// Nothing was committed. Everybody is told, one of them the error itself.
fn fail(inner: &Inner, replies: Vec<Reply>, error: StoreError) {
    inner.fault(&error);
    let words = error.to_string();
    let state = error.state();
    let mut whole = Some(error);
    for reply in replies {
        let one = whole.take().unwrap_or_else(|| match state {
            Some(state) if !state.takes_writes() => StoreError::Unavailable(state),
            _ => StoreError::Failed(words.clone()),
        });
        let _ = reply.send(Err(one));
    }
}

/// The chains' ends; those that a failed transaction touched are read anew.
type Writers = HashMap<i64, Writer>;

async fn commit(
    inner: &Inner,
    writers: &mut Writers,
    jobs: Vec<Job>,
) -> Result<Vec<Result<Done, StoreError>>, StoreError> {
    let index = inner.index()?;
    if !inner.index_is_in_place(&index).await? {
        return Err(StoreError::Unavailable(State::Away));
    }
    inner.take_step("begin")?;
    let mut connection = index.writer.acquire().await?;
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut work = Work { tx: &mut tx, key: &inner.key, writers: HashMap::new(), known: writers };
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        match work.take(job).await {
            // The storage fails: all of it is undone.
            Err(error @ (StoreError::Index(_) | StoreError::Io { .. })) => return Err(error),
            result => results.push(result),
        }
    }
    let changed = work.writers;
    inner.take_step("commit")?;
    tx.commit().await?;
    writers.extend(changed);
    inner.take_step("committed")?;
    Ok(results)
}

/// One transaction.
struct Work<'w> {
    tx: &'w mut SqliteConnection,
    key: &'w Key,
    /// The ends as this transaction leaves them.
    writers: Writers,
    known: &'w Writers,
}

impl Work<'_> {
    /// Carries a job out, or leaves nothing of it.
    async fn take(&mut self, job: Job) -> Result<Done, StoreError> {
        sqlx::query("SAVEPOINT job").execute(&mut *self.tx).await?;
        let done = self.carry_out(job).await;
        if done.is_err() {
            sqlx::query("ROLLBACK TO job").execute(&mut *self.tx).await?;
        }
        sqlx::query("RELEASE job").execute(&mut *self.tx).await?;
        done
    }

    async fn carry_out(&mut self, job: Job) -> Result<Done, StoreError> {
        match job {
            Job::Begin { subject, id } => self.begin(subject, id).await.map(Done::Begun),
            Job::Append { chain, drafts } => self.append(&chain, drafts).await.map(Done::Appended),
            Job::Mark(letting) => self.mark(&letting).await.map(Done::Marked),
            Job::Forget { chain, ids } => self.forget(chain, &ids).await.map(Done::Changed),
            Job::Lock { chain, sequences, locked } => {
                self.lock(chain, &sequences, locked).await.map(Done::Changed)
            }
            Job::Damaged { chain, ids } => self.damaged(chain, &ids).await.map(Done::Changed),
        }
    }

    async fn begin(&mut self, subject: Subject, id: ChainId) -> Result<ChainRow, StoreError> {
        let (writer, begin) =
            Writer::begin(subject.clone(), id, self.key).map_err(|error| refused(&error))?;
        let (row,): (i64,) = sqlx::query_as(
            "INSERT INTO chain (id, recorder, camera, tier) VALUES ($1, $2, $3, $4) RETURNING chain",
        )
        .bind(id.0.as_slice())
        .bind(subject.recorder.as_str())
        .bind(subject.camera.to_string())
        .bind(index::tier_word(subject.tier))
        .fetch_one(&mut *self.tx)
        .await?;
        self.insert(row, 0, &begin).await?;
        self.writers.insert(row, writer);
        Ok(ChainRow { row, id, subject })
    }

    /// The chain's end, to append to.
    async fn writer(&mut self, chain: &ChainRow) -> Result<Writer, StoreError> {
        let known = self.writers.get(&chain.row).or_else(|| self.known.get(&chain.row));
        let writer = match known {
            Some(writer) => writer.clone(),
            None => self.resume(chain.row).await?,
        };
        // Another card may be in since the caller looked: its rows are other chains.
        if writer.chain() == chain.id {
            Ok(writer)
        } else {
            Err(StoreError::Unavailable(State::Away))
        }
    }

    async fn resume(&mut self, chain: i64) -> Result<Writer, StoreError> {
        type Row = Option<(Vec<u8>, Vec<u8>)>;
        let begin: Row = sqlx::query_as(
            "SELECT encoded, signature FROM entry WHERE chain = $1 AND sequence = 0",
        )
        .bind(chain)
        .fetch_optional(&mut *self.tx)
        .await?;
        let newest: Row = sqlx::query_as(
            "SELECT encoded, signature FROM entry WHERE chain = $1 ORDER BY sequence DESC LIMIT 1",
        )
        .bind(chain)
        .fetch_optional(&mut *self.tx)
        .await?;
        let checkpoint: Row = sqlx::query_as(
            "SELECT encoded, signature FROM entry WHERE chain = $1 AND kind = 4 \
             ORDER BY sequence DESC LIMIT 1",
        )
        .bind(chain)
        .fetch_optional(&mut *self.tx)
        .await?;
        let missing = || StoreError::Corrupt("chain: it has no beginning");
        let (begin, newest) = (begin.ok_or_else(missing)?, newest.ok_or_else(missing)?);
        let begin = index::entry(begin.0, begin.1)?;
        let newest = index::entry(newest.0, newest.1)?;
        let checkpoint = checkpoint.map(|(e, s)| index::entry(e, s)).transpose()?;
        Writer::resume(&begin, &newest, checkpoint.as_ref(), &self.key.public_key())
            .map_err(|error| refused(&error))
    }

    /// Stores an entry that has no columns of its own.
    async fn insert(
        &mut self,
        chain: i64,
        kind: i64,
        made: &sightline_recording::chain::NewEntry,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO entry (chain, sequence, kind, encoded, signature) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(chain)
        .bind(index::stored(made.sequence))
        .bind(kind)
        .bind(&made.entry.encoded)
        .bind(made.entry.signature.as_bytes().as_slice())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

/// What the chain does not take: the caller's values, or what is stored.
fn refused(error: &WriteError) -> StoreError {
    match error {
        WriteError::WrongKey(_) => {
            StoreError::Misuse("the key is not that of the chain's recorder")
        }
        WriteError::Encode(_) => StoreError::Misuse("no reader would believe what is stated"),
        WriteError::NotAppended => StoreError::Misuse("such an entry cannot be appended"),
        WriteError::Expiry(_) => StoreError::Corrupt("list of what has expired"),
        WriteError::Stored(_) | WriteError::NotOurs(_) | WriteError::Mismatch(_) => {
            StoreError::Corrupt("chain: its entries are not as they were written")
        }
    }
}

/// What the hash of an entry is made of is stored; see [`sightline_recording::chain::hash`].
fn hash(encoded: &[u8]) -> Digest {
    sightline_recording::chain::hash(encoded)
}
