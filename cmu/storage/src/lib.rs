//! What the CMU remembers: repositories over SQLite (the default) or PostgreSQL.
//!
//! One SQL text serves both engines (`$n` placeholders, `RETURNING`, `ON CONFLICT`); a conformance
//! suite in `tests/` runs every repository on both. A decision that two CMUs could take at once is
//! one statement, so that it is atomic on either engine without explicit transactions.
//!
//! Not found is `Ok(None)`; an `Err` is always our own fault or the database's. Every row carries
//! the domain that the [`Database`] was opened for, and no statement reaches beyond it.
//!
//! SQLite runs in WAL mode; writers take turns, readers wait for nobody. What is written is durable
//! when the call returns, but for what the `pools` module calls quick.

mod account;
mod audit;
mod binding;
mod cloud;
mod device;
mod network_stat;
mod play_token;
mod pools;
mod query;
mod rate_limit;
mod recorder;
mod relation;
mod relay_usage;
mod sign_in;
mod signing_key;
mod sms_code;
mod viewer_path;

use std::{
    fs::{OpenOptions, Permissions},
    path::Path,
    str::FromStr,
};

use sightline_model::{ChannelId, DomainName};
use sqlx::{migrate::Migrator, sqlite::SqliteConnectOptions};

use pools::{Backend, PgPools, SqlitePools};

pub use account::{Account, Accounts};
pub use audit::{Audit, NewEntry};
pub use binding::{Bindings, NewBinding};
pub use cloud::{
    Aged, ChainRow, Cloud, DueTerms, Erased, KeptTerms, NoteRow, OutdatedNote, Reservation,
    SegmentRow, SegmentState, SignedNote, Space, Step, Stretch, Used,
};
pub use device::{DeviceRow, Devices, NewRegistration};
pub use network_stat::{MAX_NETWORKS_A_DAY, NetworkStats, OTHER, SESSIONS, Side, StatRow};
pub use play_token::{NewPlayToken, PlayTokens, Session, TokenRow};
pub use rate_limit::RateLimits;
pub use recorder::{MAX_CHAINS, Reported};
pub use relation::{Made, RelationRow, Relations};
pub use relay_usage::RelayUsages;
pub use sign_in::{NewSignIn, SignIn, SignIns};
pub use signing_key::{SigningKeyRow, SigningKeys};
pub use sms_code::SmsCodes;
pub use viewer_path::{SessionPlace, Standing, rung_word};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The database cannot do its work. Never the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The URL is neither `sqlite:…` nor `postgres:…`.
    #[error("database.url must begin with sqlite: or postgres:")]
    Url,
    /// The engine failed or cannot be reached.
    #[error("the database fails: {0}")]
    Engine(#[from] sqlx::Error),
    /// The tables cannot be brought up to date.
    #[error("the database cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A stored value does not have its form.
    #[error("the database holds a malformed {0}")]
    Corrupt(&'static str),
}

/// Handle to the database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    backend: Backend,
    domain: DomainName,
}

impl Database {
    /// Opens `url` (`sqlite:PATH` or `postgres://…`), makes the file when it is missing, and brings
    /// the tables up to date.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn connect(url: &str, domain: DomainName) -> Result<Self, StorageError> {
        let backend = match url.split_once(':') {
            Some(("sqlite", _)) => {
                let options = SqliteConnectOptions::from_str(url)?;
                Backend::Sqlite(SqlitePools::open(options).await?)
            }
            Some(("postgres" | "postgresql", _)) => Backend::Postgres(PgPools::open(url).await?),
            _ => return Err(StorageError::Url),
        };
        Ok(Self { backend, domain })
    }

    /// The domain whose rows this handle sees.
    #[must_use]
    pub const fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// Whether the engine answers.
    ///
    /// # Errors
    /// [`StorageError::Engine`].
    pub async fn ping(&self) -> Result<(), StorageError> {
        query::rows!(read, all, self, (i64,), "SELECT CAST(1 AS BIGINT)").map(|_| ())
    }

    /// Closes every connection; SQLite then merges its log into the file.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(pools) => pools.close().await,
            Backend::Postgres(pools) => pools.close().await,
        }
    }

    /// Brings to the disk what repositories have written quickly; the service calls it every
    /// second. Most writes are durable before they return and do not need it.
    ///
    /// # Errors
    /// [`StorageError::Engine`].
    pub async fn flush(&self) -> Result<(), StorageError> {
        match &self.backend {
            Backend::Sqlite(pools) => Ok(pools.flush().await?),
            Backend::Postgres(_) => Ok(()),
        }
    }

    /// Accounts of users.
    #[must_use]
    pub const fn accounts(&self) -> Accounts<'_> {
        Accounts(self)
    }
    /// One-time codes.
    #[must_use]
    pub const fn sms_codes(&self) -> SmsCodes<'_> {
        SmsCodes(self)
    }
    /// Rate limits.
    #[must_use]
    pub const fn rate_limits(&self) -> RateLimits<'_> {
        RateLimits(self)
    }
    /// Sign-ins.
    #[must_use]
    pub const fn sign_ins(&self) -> SignIns<'_> {
        SignIns(self)
    }
    /// Devices and their leases.
    #[must_use]
    pub const fn devices(&self) -> Devices<'_> {
        Devices(self)
    }
    /// Who owns which device.
    #[must_use]
    pub const fn bindings(&self) -> Bindings<'_> {
        Bindings(self)
    }
    /// What lies in the cloud storage.
    #[must_use]
    pub const fn cloud(&self) -> Cloud<'_> {
        Cloud(self)
    }
    /// Play tokens and the sessions that they opened.
    #[must_use]
    pub const fn play_tokens(&self) -> PlayTokens<'_> {
        PlayTokens(self)
    }
    /// Which NVR records which camera.
    #[must_use]
    pub const fn relations(&self) -> Relations<'_> {
        Relations(self)
    }
    /// The audit log.
    #[must_use]
    pub const fn audit(&self) -> Audit<'_> {
        Audit(self)
    }
    /// Counts by day and network.
    #[must_use]
    pub const fn network_stats(&self) -> NetworkStats<'_> {
        NetworkStats(self)
    }
    /// What MTUs relayed.
    #[must_use]
    pub const fn relay_usages(&self) -> RelayUsages<'_> {
        RelayUsages(self)
    }
    /// Public signing keys.
    #[must_use]
    pub const fn signing_keys(&self) -> SigningKeys<'_> {
        SigningKeys(self)
    }
}

/// The file holds telephone numbers: nobody but the service's user may read it. SQLite gives its
/// log the same mode.
fn make_private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    if file.as_os_str().is_empty() || file.starts_with(":memory:") {
        return Ok(());
    }
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file);
    opened?.set_permissions(Permissions::from_mode(0o600))
}

/// Reads a stored text as its type.
fn typed<T: FromStr>(text: &str, what: &'static str) -> Result<T, StorageError> {
    text.parse().map_err(|_| StorageError::Corrupt(what))
}

/// Reads a stored number of a camera.
fn channel(number: i64) -> Result<ChannelId, StorageError> {
    number.try_into().map(ChannelId).map_err(|_| StorageError::Corrupt("channel number"))
}

/// Reads stored JSON.
fn from_json<T: serde::de::DeserializeOwned>(
    text: &str,
    what: &'static str,
) -> Result<T, StorageError> {
    serde_json::from_str(text).map_err(|_| StorageError::Corrupt(what))
}

/// Writes JSON to store.
fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("stored types have string keys and no failing serializer")
}
