//! Where segments in the cloud lie: one seam, [`SegmentStore`], with two implementations, an
//! S3-compatible store ([`S3Store`]) and a folder on this machine's disk ([`LocalStore`]). One suite in
//! `tests/` runs on both (decision 0096).
//!
//! Units and viewers are never given a key of the store: they get a request for one object, signed here,
//! that ends soon. Objects have typed names only, so that no request can lead anywhere else.

mod local;
mod s3;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use sightline_cloud::object::{Meta, ObjectKey};
use sightline_model::{Secret, UnixMicros};
use sightline_protocol::cp::PutRequest;

pub use local::{LOCAL_PATH, LocalStore, Wall};
pub use s3::{S3Config, S3Store};

/// Header that binds the content: SHA-256 in base64.
pub const CONTENT_HASH: &str = "x-amz-checksum-sha256";

/// The store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or fails for now.
    #[error("the cloud storage cannot be reached: {0}")]
    Away(String),
    /// It refuses what we ask, which no later try will change: wrong keys, or a bucket that is not there.
    #[error("the cloud storage refuses: {0}")]
    Refused(String),
    /// It answers what we cannot read.
    #[error("the cloud storage answers something strange: {0}")]
    Strange(String),
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// A file of the store on this machine's disk.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// How it failed.
        source: std::io::Error,
    },
}

/// An object that a unit is to send.
#[derive(Debug, Clone)]
pub struct NewObject<'a> {
    /// Its name.
    pub key: &'a ObjectKey,
    /// Its length, in bytes.
    pub len: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// What it says of itself.
    pub meta: &'a Meta,
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its length, in bytes.
    pub len: u64,
    /// What it says of itself; none: nothing that can be read.
    pub meta: Option<Meta>,
}

/// Objects by their names, in a lasting order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Names, and lengths in bytes. Also what is none of ours.
    pub objects: Vec<(String, u64)>,
    /// To be handed in for the next page; none: this was the last.
    pub next: Option<String>,
}

/// Where segments in the cloud lie.
#[async_trait]
pub trait SegmentStore: fmt::Debug + Send + Sync + 'static {
    /// A request by which exactly this object can be stored, until it expires. Sent again with the same
    /// bytes it changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_request(
        &self,
        new: &NewObject<'_>,
        now: UnixMicros,
        life: Duration,
    ) -> Result<PutRequest, StoreError>;

    /// An address from which exactly this object can be read, whole or in ranges, until it expires.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get_url(
        &self,
        key: &ObjectKey,
        now: UnixMicros,
        life: Duration,
    ) -> Result<Secret<String>, StoreError>;

    /// Whether the store itself refuses bytes that do not hash to what the request says. When it does
    /// not, whoever acknowledges an object has to read it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn checks_content(&self) -> Result<bool, StoreError>;

    /// An object, if it is there.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn look(&self, key: &ObjectKey) -> Result<Option<Found>, StoreError>;

    /// SHA-256 of an object's bytes, if it is there.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn hash(&self, key: &ObjectKey) -> Result<Option<[u8; 32]>, StoreError>;

    /// The first bytes of an object, at most so many, if it is there.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn read(&self, key: &ObjectKey, most: u64) -> Result<Option<Bytes>, StoreError>;

    /// Stores a small object of our own.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError>;

    /// Deletes an object. One that is not there is deleted already.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// Objects whose names begin with `prefix`, which ends with a slash, behind `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError>;
}

/// When something of so long a life ends.
fn ends(now: UnixMicros, life: Duration) -> UnixMicros {
    now.plus(life)
}
