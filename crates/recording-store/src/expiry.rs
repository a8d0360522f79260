//! Letting go: which segments, by `sightline_recording::retention`, and in which order on the disk
//! (decision 0092): checkpoint and mark, unlink, sync the folders, remove the rows.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sightline_model::UnixMicros;
use sightline_recording::{
    retention::{
        AgeRule, Aging, ChainUse, EventClips, Query, Row, RowsError, Space, Step, Verdict, Which,
    },
    statement::{Authority, Causes, Sequence, Subject},
};
use tracing::Instrument;

use crate::{
    State, Store, StoreError,
    committer::{Job, Letting},
    files::{BALLAST_BYTES, unlink},
    index::{self, ChainRow},
    layout::free_bytes,
    store::{Inner, blocking},
};

/// So many files go before the rows of the first are removed.
const FILES_AT_ONCE: usize = 256;
/// When something has to go, so much more goes, in bytes: one checkpoint for many segments.
const SLACK_BYTES: u64 = 64 << 20;
/// And never more than this part of a limit.
const SLACK_PART: u64 = 64;

/// How long a chain's recordings stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainKeep {
    /// Most bytes of the chain; none: until space is needed.
    pub max_bytes: Option<u64>,
    /// What it may use before it gives for other chains, in bytes.
    pub share_bytes: u64,
    /// How long, from a segment's corrected end on; none: until space is needed.
    pub max_age: Option<Duration>,
    /// The same for clips of events, at least as long; none: as all others.
    pub event_max_age: Option<Duration>,
    /// Whether clips of events go after everything else.
    pub event_clips: EventClips,
}

impl Store {
    /// How long the recordings of a subject stay, from now on.
    pub fn set_keep(&self, subject: &Subject, keep: ChainKeep) {
        self.inner.keep.lock().insert(subject.clone(), keep);
    }

    /// Lets go what has grown too old, by the recorder's clock; how many segments went. To be called
    /// every minute or so. An unconfirmed clock lets nothing go.
    ///
    /// # Errors
    /// When the storage fails; what was begun is carried through later.
    pub async fn expire_aged(
        &self,
        now: UnixMicros,
        authority: Authority,
    ) -> Result<u64, StoreError> {
        let _one = self.inner.expiring.lock().await;
        let mut gone = 0;
        loop {
            let chains = self.inner.rows();
            let mut rules = Vec::with_capacity(chains.len());
            for chain in &chains {
                let keep = self.inner.keep_of(&chain.subject);
                rules.push(AgeRule {
                    max_age: keep.max_age,
                    event_max_age: keep.event_max_age,
                    expired_ranges: self.inner.expired_ranges(chain).await?,
                });
            }
            let mut aging = Aging::new(now, authority, &rules);
            while let Step::Read(query) = aging.poll() {
                let rows = self.inner.rows_for(&chains, query).await?;
                aging.handle_rows(rows).map_err(|error| strange_rows(&error))?;
            }
            let verdict = aging.into_verdict();
            gone += self.inner.release(&chains, &verdict).await?;
            if !verdict.more {
                return Ok(gone);
            }
        }
    }

    /// Lets go what is kept elsewhere by now: unlocked segments of a kind, up to a number; how many went.
    ///
    /// # Errors
    /// When the storage fails; what was begun is carried through later.
    pub async fn let_go(
        &self,
        subject: &Subject,
        which: Which,
        through: Sequence,
    ) -> Result<u64, StoreError> {
        let _one = self.inner.expiring.lock().await;
        let Some(chain) = self.inner.chain(subject) else { return Ok(0) };
        self.inner.let_go(&chain, vec![(which, through)]).await
    }

    /// Lets go what is over the limits by bytes, now. The store does so itself before each segment.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with [`State::Full`] when nothing may go; else the storage fails.
    pub async fn expire_for_space(&self) -> Result<(), StoreError> {
        self.inner.make_room().await
    }
}

const fn strange_rows(_: &RowsError) -> StoreError {
    StoreError::Corrupt("list of what may expire")
}

impl Inner {
    pub(crate) fn rows(&self) -> Vec<ChainRow> {
        let mut rows: Vec<_> = self.chains.lock().values().cloned().collect();
        rows.sort_unstable_by_key(|chain| chain.row);
        rows
    }

    fn keep_of(&self, subject: &Subject) -> ChainKeep {
        self.keep.lock().get(subject).copied().unwrap_or_default()
    }

    /// Sees to it that a segment of every writer fits.
    pub(crate) async fn make_room(&self) -> Result<(), StoreError> {
        if self.need().await? == 0 && !self.some_chain_is_over() {
            return Ok(());
        }
        let _one = self.expiring.lock().await;
        loop {
            // Another may have made room meanwhile.
            let need = self.need().await?;
            if need == 0 && !self.some_chain_is_over() {
                return Ok(());
            }
            let before = self.used_bytes();
            let verdict = self.space(need).await?;
            let span = tracing::debug_span!("db.segment.expire", need);
            self.release(&self.rows(), &verdict).instrument(span).await?;
            if self.need().await? == 0 {
                return Ok(());
            }
            if self.used_bytes() >= before {
                return Err(StoreError::Unavailable(State::Full));
            }
        }
    }

    /// Bytes that have to go before every writer's next segment fits.
    async fn need(&self) -> Result<u64, StoreError> {
        let is_out = |out: &&Arc<()>| Arc::strong_count(out) > 1;
        let writers = self.lent.lock().values().filter(is_out).count() as u64;
        let segments = 2 * writers * self.largest_segment.load(Ordering::Relaxed);
        let layout = self.layout.clone();
        let free = blocking(move || -> io::Result<u64> {
            // What is to be laid again is not free.
            let owed = if layout.ballast().exists() { 0 } else { BALLAST_BYTES };
            Ok(free_bytes(layout.root())?.saturating_sub(owed))
        });
        let free = free.await?.map_err(StoreError::io("asking for the free space"))?;
        let for_disk = self.limits.reserve_bytes.max(segments).saturating_sub(free);
        let over = |max: u64| self.used_bytes().saturating_add(segments / 2).saturating_sub(max);
        Ok(for_disk.max(self.limits.max_bytes.map_or(0, over)))
    }

    fn some_chain_is_over(&self) -> bool {
        let (used, keep) = (self.used.lock(), self.keep.lock());
        self.chains.lock().values().any(|chain| {
            let max = keep.get(&chain.subject).and_then(|keep| keep.max_bytes);
            max.is_some_and(|max| used.get(&chain.row).is_some_and(|used| *used > max))
        })
    }

    async fn space(&self, need: u64) -> Result<Verdict, StoreError> {
        let chains = self.rows();
        let mut uses = Vec::with_capacity(chains.len());
        for chain in &chains {
            let keep = self.keep_of(&chain.subject);
            let bytes = self.used.lock().get(&chain.row).copied().unwrap_or(0);
            let mut used = ChainUse::new(bytes, keep.share_bytes);
            // Once it is over, it goes below by the slack.
            used.max_bytes = keep.max_bytes.map(|max| match bytes > max {
                true => max - slack(max),
                false => max,
            });
            used.event_clips = keep.event_clips;
            used.expired_ranges = self.expired_ranges(chain).await?;
            uses.push(used);
        }
        let limit = self.limits.max_bytes.unwrap_or_else(|| self.used_bytes());
        let mut space = Space::new(if need == 0 { 0 } else { need + slack(limit) }, uses);
        while let Step::Read(query) = space.poll() {
            let rows = self.rows_for(&chains, query).await?;
            space.handle_rows(rows).map_err(|error| strange_rows(&error))?;
        }
        Ok(space.into_verdict())
    }

    /// Ranges in the chain's newest checkpoint.
    async fn expired_ranges(&self, chain: &ChainRow) -> Result<u32, StoreError> {
        let newest: Option<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT encoded, signature FROM entry WHERE chain = $1 AND kind = 4 \
             ORDER BY sequence DESC LIMIT 1",
        )
        .bind(chain.row)
        .fetch_optional(&self.index()?.reader)
        .await?;
        let Some((encoded, signature)) = newest else { return Ok(0) };
        let entry = index::entry(encoded, signature)?;
        match sightline_recording::chain::decode(&entry).map(|statement| statement.what) {
            Ok(sightline_recording::statement::What::Checkpoint(checkpoint)) => {
                Ok(u32::try_from(checkpoint.expired.len()).unwrap_or(u32::MAX))
            }
            Ok(_) | Err(_) => Err(StoreError::Corrupt("checkpoint")),
        }
    }

    async fn rows_for(&self, chains: &[ChainRow], query: Query) -> Result<Vec<Row>, StoreError> {
        let chain = chains.get(query.chain).ok_or(StoreError::Corrupt("list of chains"))?;
        let event = match query.which {
            Which::All => None,
            Which::WithoutEvent => Some(false),
            Which::WithEvent => Some(true),
        };
        type Stored = (i64, i64, bool, i64, bool);
        let rows: Vec<Stored> = sqlx::query_as(
            "SELECT e.sequence, e.end_us + r.correction_us, r.time_known, e.bytes, e.event \
             FROM entry e CROSS JOIN run r ON r.chain = e.chain AND r.run = e.run \
             WHERE e.chain = $1 AND e.sequence > $2 AND e.kind = 1 AND e.locked = 0 \
             AND e.expiring = 0 AND ($3 IS NULL OR e.event = $3) \
             AND ($4 IS NULL OR (r.time_known = 1 AND e.end_us + r.correction_us <= $4)) \
             ORDER BY e.sequence LIMIT $5",
        )
        .bind(chain.row)
        .bind(query.after.map_or(-1, index::stored))
        .bind(event)
        .bind(query.timed_until.map(|until| until.0))
        .bind(query.limit)
        .fetch_all(&self.index()?.reader)
        .await?;
        let row = |(number, end, time_known, bytes, event): Stored| {
            Ok(Row {
                sequence: index::sequence(number)?,
                end: UnixMicros(end),
                time_known,
                bytes: bytes.try_into().map_err(|_| StoreError::Corrupt("length of a file"))?,
                locked: false,
                causes: Causes { event, ..Causes::default() },
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Carries a verdict out; how many segments went.
    async fn release(&self, chains: &[ChainRow], verdict: &Verdict) -> Result<u64, StoreError> {
        let mut gone = 0;
        for (n, chain) in chains.iter().enumerate() {
            let of_chain = verdict.releases.iter().filter(|release| release.chain == n);
            let up_to: Vec<_> = of_chain.map(|r| (r.which, r.through)).collect();
            if !up_to.is_empty() {
                gone += self.let_go(chain, up_to).await?;
            }
        }
        Ok(gone)
    }

    async fn let_go(
        &self,
        chain: &ChainRow,
        up_to: Vec<(Which, Sequence)>,
    ) -> Result<u64, StoreError> {
        let leaving = self.commits.mark(Letting { chain: chain.clone(), up_to }).await?;
        self.discount(chain.row, leaving.iter().map(|one| one.bytes).sum());
        let newest = self.newest(chain).await?.file().unwrap_or(0);
        let mut gone = 0;
        for some in leaving.chunks(FILES_AT_ONCE) {
            let files: Vec<_> = some.iter().map(|one| one.file).collect();
            let (layout, id, steps) = (self.layout.clone(), chain.id, self.steps.clone());
            blocking(move || unlink(&layout, id, &files, newest, &steps))
                .await?
                .map_err(StoreError::io("removing expired segments"))?;
            let ids = some.iter().map(|one| one.id).collect();
            gone += self.commits.change(Job::Forget { chain: chain.row, ids }).await?;
        }
        Ok(gone)
    }
}

fn slack(limit: u64) -> u64 {
    SLACK_BYTES.min(limit / SLACK_PART)
}
