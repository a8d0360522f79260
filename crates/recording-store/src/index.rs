//! The index: one connection that writes, several that read beside it.

use std::{
    fs::{File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use sightline_model::{Signature, StreamTier};
use sightline_recording::statement::{ChainId, Entry, Sequence, Subject};
use sqlx::{
    SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    StoreError,
    layout::{Identity, Layout, sync_dir},
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long a caller waits for a connection, and a connection for SQLite's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// A row of `chain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainRow {
    /// Its number in this index.
    pub(crate) row: i64,
    pub(crate) id: ChainId,
    pub(crate) subject: Subject,
}

/// The open index.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) writer: SqlitePool,
    pub(crate) reader: SqlitePool,
    identity: Identity,
    /// The folder, locked: the lock goes with the process, whatever ends it.
    _lock: File,
}

impl Index {
    /// Opens the index in the store's folder, which exists; makes it when it is missing.
    pub(crate) async fn open(layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.index();
        let lock = lock(layout.root())?;
        make_private(&path).map_err(StoreError::io("making the index of the recordings"))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged segment survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool =
            |size| SqlitePoolOptions::new().max_connections(size).acquire_timeout(BUSY_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let reader = pool(READERS).connect_with(options.read_only(true)).await?;
        sync_dir(layout.root()).map_err(StoreError::io("making the index's name durable"))?;
        let identity = Identity::of(&path).map_err(StoreError::io("looking at the index"))?;
        Ok(Self { writer, reader, identity, _lock: lock })
    }

    /// Whether the file at its path is still the one that is open. What is written into another one
    /// is lost when it is closed: its name is gone.
    pub(crate) fn is_in_place(&self, layout: &Layout) -> io::Result<bool> {
        Ok(Identity::of(&layout.index())? == self.identity)
    }

    pub(crate) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    pub(crate) async fn chains(&self) -> Result<Vec<ChainRow>, StoreError> {
        type Row = (i64, Vec<u8>, String, String, String);
        let rows: Vec<Row> =
            sqlx::query_as("SELECT chain, id, recorder, camera, tier FROM chain ORDER BY chain")
                .fetch_all(&self.reader)
                .await?;
        rows.into_iter().map(chain_row).collect()
    }

    /// Bytes of the segments of each chain that are not about to go.
    pub(crate) async fn bytes_by_chain(&self) -> Result<Vec<(i64, i64)>, StoreError> {
        Ok(sqlx::query_as("SELECT chain, SUM(bytes) FROM run GROUP BY chain")
            .fetch_all(&self.reader)
            .await?)
    }
}

/// Sees to it that the folder is nobody else's.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let opened = File::open(dir).map_err(StoreError::io("opening the folder of the recordings"))?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse),
        Err(TryLockError::Error(error)) => {
            Err(StoreError::io("locking the folder of the recordings")(error))
        }
    }
}

fn chain_row(
    (row, id, recorder, camera, tier): (i64, Vec<u8>, String, String, String),
) -> Result<ChainRow, StoreError> {
    let id = ChainId(id.try_into().map_err(|_| StoreError::Corrupt("chain id"))?);
    let subject = Subject {
        recorder: recorder.parse().map_err(|_| StoreError::Corrupt("recorder's id"))?,
        camera: camera.parse().map_err(|_| StoreError::Corrupt("camera's id"))?,
        tier: match tier.as_str() {
            "main" => StreamTier::Main,
            "sub" => StreamTier::Sub,
            _ => return Err(StoreError::Corrupt("tier")),
        },
    };
    Ok(ChainRow { row, id, subject })
}

/// How a tier is stored.
pub(crate) const fn tier_word(tier: StreamTier) -> &'static str {
    match tier {
        StreamTier::Main => "main",
        StreamTier::Sub => "sub",
    }
}

/// A stored entry.
pub(crate) fn entry(encoded: Vec<u8>, signature: Vec<u8>) -> Result<Entry, StoreError> {
    let bytes = signature.try_into().map_err(|_| StoreError::Corrupt("signature"))?;
    Ok(Entry { encoded, signature: Signature::from_bytes(bytes) })
}

/// As SQLite stores it. No chain gets so long that this is not exact.
pub(crate) fn stored(sequence: Sequence) -> i64 {
    i64::try_from(sequence.0).unwrap_or(i64::MAX)
}

pub(crate) fn sequence(stored: i64) -> Result<Sequence, StoreError> {
    stored.try_into().map(Sequence).map_err(|_| StoreError::Corrupt("sequence number"))
}

/// The index tells when somebody was at home: nobody but the service's user may read it. SQLite gives
/// its log the same mode.
fn make_private(file: &Path) -> io::Result<()> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file);
    match opened?.set_permissions(Permissions::from_mode(0o600)) {
        // File systems of cards know no modes.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}
