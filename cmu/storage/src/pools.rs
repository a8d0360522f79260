//! The connections to either engine.
//!
//! Two ways to write. `write` is what the rest of the system builds upon: once it has returned, it
//! survives a power cut. `quick` is for what is worth less than the time of a disk's flush while a
//! person waits for a picture: it survives the end of the process at once, but a power cut within
//! the second after it may undo it. A quick write never overtakes a durable one.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    PgPool, Sqlite, SqliteConnection, SqlitePool,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{MIGRATIONS, StorageError, make_private};

/// How long a connection waits for SQLite's write lock, and a caller for a connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The engine that is open.
#[derive(Debug, Clone)]
pub(crate) enum Backend {
    /// A file.
    Sqlite(SqlitePools),
    /// A server.
    Postgres(PgPools),
}

/// Connections to a file: one for each way to write, several to read.
#[derive(Debug, Clone)]
pub(crate) struct SqlitePools {
    writer: SqlitePool,
    quick: SqlitePool,
    flusher: SqlitePool,
    reader: SqlitePool,
    /// Whose turn it is to write. SQLite would let the two wait for each other by polling.
    turn: Arc<Mutex<()>>,
    /// Something quick was written since the last flush.
    unflushed: Arc<AtomicBool>,
}

/// A connection whose turn it is to write.
pub(crate) struct Turn {
    connection: PoolConnection<Sqlite>,
    _turn: OwnedMutexGuard<()>,
}

impl Deref for Turn {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl SqlitePools {
    pub(crate) async fn open(options: SqliteConnectOptions) -> Result<Self, StorageError> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged binding must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        make_private(options.get_filename()).map_err(sqlx::Error::Io)?;
        let pool =
            |size| SqlitePoolOptions::new().max_connections(size).acquire_timeout(BUSY_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let normal = options.clone().synchronous(SqliteSynchronous::Normal);
        Ok(Self {
            writer,
            quick: pool(1).connect_with(normal).await?,
            flusher: pool(1).connect_lazy_with(options.clone()),
            reader: pool(4).connect_with(options.read_only(true)).await?,
            turn: Arc::default(),
            unflushed: Arc::default(),
        })
    }

    async fn turn(&self, pool: &SqlitePool) -> Result<Turn, sqlx::Error> {
        let turn = tokio::time::timeout(BUSY_TIMEOUT, self.turn.clone().lock_owned());
        let turn = turn.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        Ok(Turn { connection: pool.acquire().await?, _turn: turn })
    }

    pub(crate) async fn write(&self) -> Result<Turn, sqlx::Error> {
        self.turn(&self.writer).await
    }

    pub(crate) async fn quick(&self) -> Result<Turn, sqlx::Error> {
        let turn = self.turn(&self.quick).await?;
        self.unflushed.store(true, Ordering::Relaxed);
        Ok(turn)
    }

    pub(crate) async fn read(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        self.reader.acquire().await
    }

    /// Brings to the disk what was written quickly. Nobody waits for it: SQLite lets others read
    /// and write meanwhile.
    pub(crate) async fn flush(&self) -> Result<(), sqlx::Error> {
        if self.unflushed.swap(false, Ordering::Relaxed) {
            let checkpoint = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)");
            if let Err(error) = checkpoint.execute(&self.flusher).await {
                self.unflushed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    pub(crate) async fn close(&self) {
        for pool in [&self.reader, &self.flusher, &self.quick, &self.writer] {
            pool.close().await;
        }
    }
}

/// Connections to a server. It flushes quick writes by itself within a second.
#[derive(Debug, Clone)]
pub(crate) struct PgPools {
    durable: PgPool,
    quick: PgPool,
}

impl PgPools {
    pub(crate) async fn open(url: &str) -> Result<Self, StorageError> {
        let options: PgConnectOptions = url.parse()?;
        let pool = |size| PgPoolOptions::new().max_connections(size).acquire_timeout(BUSY_TIMEOUT);
        let durable = pool(16).connect_with(options.clone()).await?;
        MIGRATIONS.run(&durable).await?;
        let quick = options.options([("synchronous_commit", "off")]);
        Ok(Self { durable, quick: pool(8).connect_lazy_with(quick) })
    }

    pub(crate) const fn read(&self) -> &PgPool {
        &self.durable
    }

    pub(crate) const fn write(&self) -> &PgPool {
        &self.durable
    }

    pub(crate) const fn quick(&self) -> &PgPool {
        &self.quick
    }

    pub(crate) async fn close(&self) {
        self.quick.close().await;
        self.durable.close().await;
    }
}
