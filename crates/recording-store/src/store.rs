//! Opening and closing the store, and what its parts share.

use std::{
    collections::HashMap,
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sightline_model::{PublicKey, Signature};
use sightline_recording::{
    chain::Sign,
    statement::{ChainId, Subject},
};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    StoreError,
    committer::{self, Commits},
    expiry::ChainKeep,
    files::Steps,
    index::{ChainRow, Index},
    keeper,
    layout::{Layout, is_mount_point, make_dirs},
    repair::{self, RepairReport},
    state::{Health, State},
    writer::ChainWriter,
};

/// The recorder's key, which signs every entry.
#[derive(Clone)]
pub struct Key(Arc<dyn Sign + Send + Sync>);

impl Key {
    /// Wraps whatever holds the key.
    pub fn new(key: impl Sign + Send + Sync + 'static) -> Self {
        Self(Arc::new(key))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public_key())
    }
}

impl Sign for Key {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }
}

/// What the store may use, and how patient it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// All segments together, in bytes; none: as much as there is.
    pub max_bytes: Option<u64>,
    /// What stays free on the file system, in bytes, at least; two segments of every writer when
    /// that is more.
    pub reserve_bytes: u64,
    /// What may wait for the storage, for each chain, in bytes. What comes beyond that ends the open
    /// segment with a gap.
    pub queue_bytes: u32,
    /// How often the storage is looked at, and probed when it failed.
    pub probe_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: None,
            reserve_bytes: 64 << 20,
            queue_bytes: 16 << 20,
            probe_every: Duration::from_secs(5),
        }
    }
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The store's folder. It must exist: else a card that is not mounted would be taken for an
    /// empty one, and the system's own disk would fill.
    pub dir: PathBuf,
    /// What it may use.
    pub limits: Limits,
    /// The key of the recorder that all its chains belong to.
    pub key: Key,
}

/// Segments of one recorder on one disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What the store's tasks share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) limits: Limits,
    pub(crate) key: Key,
    pub(crate) commits: Commits,
    pub(crate) steps: Steps,
    pub(crate) index: watch::Sender<Option<Arc<Index>>>,
    pub(crate) health: watch::Sender<Health>,
    /// Wakes the keeper before its time.
    pub(crate) look: Notify,
    /// A mount point has gone when it is none any more, though its folder is there.
    pub(crate) was_mount_point: bool,
    pub(crate) chains: Mutex<HashMap<Subject, ChainRow>>,
    /// Held by whoever begins chains or lends writers.
    pub(crate) lending: tokio::sync::Mutex<()>,
    /// Chains whose writer is out, as long as the other half lives.
    pub(crate) lent: Mutex<HashMap<ChainId, Arc<()>>>,
    /// Bytes of each chain, by row.
    pub(crate) used: Mutex<HashMap<i64, u64>>,
    pub(crate) keep: Mutex<HashMap<Subject, ChainKeep>>,
    /// One expiry at a time.
    pub(crate) expiring: tokio::sync::Mutex<()>,
    pub(crate) largest_segment: AtomicU64,
    pub(crate) stop: CancellationToken,
    /// The chains' tasks and the keeper.
    pub(crate) tasks: TaskTracker,
    /// The committer goes last.
    pub(crate) stop_committer: CancellationToken,
    pub(crate) committer: TaskTracker,
    /// How often another index was opened: rows of before mean nothing then.
    pub(crate) epoch: AtomicU64,
    /// Something was too slow since the storage was looked at.
    pub(crate) slow: AtomicBool,
}

impl Store {
    /// Opens the store, repairs what a crash left behind, and says what was found.
    ///
    /// # Errors
    /// [`StoreError`] when the folder or the index cannot be used at all. The caller tries again.
    pub async fn open(setup: Setup) -> Result<(Self, RepairReport), StoreError> {
        Self::open_with(setup, Steps::default()).await
    }

    pub(crate) async fn open_with(
        setup: Setup,
        steps: Steps,
    ) -> Result<(Self, RepairReport), StoreError> {
        let layout = Layout::new(setup.dir);
        let prepared = layout.clone();
        blocking(move || prepare(&prepared))
            .await?
            .map_err(StoreError::io("opening the folder of the recordings"))?;
        let index = Arc::new(Index::open(&layout).await?);
        let (commits, waiting) = Commits::channel();
        let inner = Arc::new(Inner {
            was_mount_point: is_mount_point(layout.root()),
            layout,
            limits: setup.limits,
            key: setup.key,
            commits,
            steps,
            index: watch::Sender::new(Some(index)),
            health: watch::Sender::new(Health::ok()),
            look: Notify::new(),
            chains: Mutex::default(),
            lending: tokio::sync::Mutex::default(),
            lent: Mutex::default(),
            used: Mutex::default(),
            keep: Mutex::default(),
            expiring: tokio::sync::Mutex::default(),
            largest_segment: AtomicU64::new(0),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            stop_committer: CancellationToken::new(),
            committer: TaskTracker::new(),
            epoch: AtomicU64::new(0),
            slow: AtomicBool::new(false),
        });
        inner.committer.spawn(committer::run(inner.clone(), waiting));
        let store = Self { inner };
        match store.inner.take_stock().await {
            Ok(report) => {
                store.inner.tasks.spawn(keeper::run(store.inner.clone()));
                Ok((store, report))
            }
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    /// The writer of a subject's chain, which begins when it is new. Only one is out at a time.
    ///
    /// When the chain's newest entry is a segment, a gap "recorder off" is written behind it: nothing
    /// was recorded since, and whatever comes is another run.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] while another writer of the chain is out, or when the subject is another
    /// recorder's; else the storage fails.
    pub async fn writer(&self, subject: &Subject) -> Result<ChainWriter, StoreError> {
        let _lending = self.inner.lending.lock().await;
        let row = self.inner.begin(subject).await?;
        if self.inner.is_lent(row.id) {
            return Err(StoreError::Misuse("the chain's writer is out already"));
        }
        let out = Arc::new(());
        self.inner.lent.lock().insert(row.id, out.clone());
        ChainWriter::start(self.inner.clone(), row, out).await
    }

    /// How the storage is, now and from now on.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.health.subscribe()
    }

    /// Has the storage looked at now, not only when its time comes.
    pub fn look_now(&self) {
        self.inner.look.notify_one();
    }

    /// Ends every task and closes the index. What was handed in before is written; an open segment is
    /// finished as far as it went.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.stop_committer.cancel();
        self.inner.committer.close();
        self.inner.committer.wait().await;
        let index = self.inner.index.send_replace(None);
        if let Some(index) = index {
            index.close().await;
        }
    }
}

/// Makes what belongs into the store's folder.
pub(crate) fn prepare(layout: &Layout) -> io::Result<()> {
    if !layout.root().is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    make_dirs(layout.root(), &layout.segments())
}

/// Runs what blocks where it may block. Its panics are ours and are passed on.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Closed),
    }
}

impl Inner {
    pub(crate) fn index(&self) -> Result<Arc<Index>, StoreError> {
        match &*self.index.borrow() {
            Some(index) => Ok(index.clone()),
            None if self.stop.is_cancelled() => Err(StoreError::Closed),
            None => Err(StoreError::Unavailable(State::Away)),
        }
    }

    /// Reads the chains, counts what they use, and repairs each, but for those whose writer is out:
    /// it may have a segment open, and repairs its chain itself.
    pub(crate) async fn take_stock(&self) -> Result<RepairReport, StoreError> {
        let index = self.index()?;
        let rows = index.chains().await?;
        let used = index.bytes_by_chain().await?;
        *self.used.lock() =
            used.into_iter().map(|(row, bytes)| (row, u64::try_from(bytes).unwrap_or(0))).collect();
        let mut report =
            RepairReport { unknown: self.unknown_folders(&rows).await?, ..Default::default() };
        *self.chains.lock() = rows.iter().map(|row| (row.subject.clone(), row.clone())).collect();
        for row in rows {
            if self.is_lent(row.id) {
                continue;
            }
            let repaired = repair::chain(self, &row).await?;
            if !repaired.is_empty() {
                tracing::info!(chain = %row.id, ?repaired, "recordings were repaired");
                report.chains.push((row.subject, repaired));
            }
        }
        Ok(report)
    }

    /// The subject's chain, which is begun when it is new. Only while `lending` is held.
    pub(crate) async fn begin(&self, subject: &Subject) -> Result<ChainRow, StoreError> {
        if let Some(row) = self.chains.lock().get(subject) {
            return Ok(row.clone());
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| StoreError::Failed(error.to_string()))?;
        let row = self.commits.begin(subject.clone(), ChainId(id)).await?;
        self.chains.lock().insert(subject.clone(), row.clone());
        Ok(row)
    }

    fn is_lent(&self, chain: ChainId) -> bool {
        self.lent.lock().get(&chain).is_some_and(|out| Arc::strong_count(out) > 1)
    }

    pub(crate) fn chain(&self, subject: &Subject) -> Option<ChainRow> {
        self.chains.lock().get(subject).cloned()
    }

    /// Something failed. When that says something of the storage, it is told and probed.
    pub(crate) fn fault(&self, error: &StoreError) {
        let Some(state) = error.state() else { return };
        self.slow.fetch_or(state == State::Slow, Ordering::Relaxed);
        let detail: Arc<str> = error.to_string().into();
        let changed = self.health.send_if_modified(|health| {
            // The keeper knows better than whoever fails next.
            let news = match (health.state, state) {
                (State::Ok, _) => true,
                (State::Slow, new) => new != State::Slow,
                (State::Full | State::ReadOnly | State::Away | State::Failing, _) => false,
            };
            if news {
                *health = Health { state, detail: detail.clone() };
            }
            news
        });
        if changed {
            tracing::warn!(?state, %detail, "the storage of the recordings is not well");
        }
    }

    pub(crate) fn state(&self) -> State {
        self.health.borrow().state
    }

    /// Whether the index that is open is the one that lies in the folder.
    pub(crate) async fn index_is_in_place(&self, index: &Arc<Index>) -> Result<bool, StoreError> {
        let (index, layout) = (index.clone(), self.layout.clone());
        blocking(move || index.is_in_place(&layout))
            .await?
            .map_err(StoreError::io("looking at the index"))
    }

    pub(crate) fn take_step(&self, step: &'static str) -> Result<(), StoreError> {
        self.steps.take(step).map_err(StoreError::io(step))
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used.lock().values().sum()
    }

    pub(crate) fn count(&self, chain: i64, bytes: u64) {
        *self.used.lock().entry(chain).or_default() += bytes;
        self.largest_segment.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(crate) fn discount(&self, chain: i64, bytes: u64) {
        if let Some(used) = self.used.lock().get_mut(&chain) {
            *used = used.saturating_sub(bytes);
        }
    }
}
