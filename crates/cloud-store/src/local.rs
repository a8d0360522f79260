//! A folder on this machine's disk, served by the centre itself: for who has no S3 store.
//!
//! Addresses are signed with a secret that is made on the first start, and served by
//! [`LocalStore::router`]. An object is there when its name is: it is written beside the tree, checked,
//! synced, and renamed.

mod files;
mod serve;
mod sign;

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use data_encoding::BASE64;
use sightline_cloud::object::ObjectKey;
use sightline_model::{Secret, UnixMicros};
use sightline_protocol::cp::PutRequest;

use crate::{CONTENT_HASH, Found, NewObject, Page, SegmentStore, StoreError, ends};
use sign::{Asked, Signer};

/// Where the objects are served.
pub const LOCAL_PATH: &str = "/cs";

/// The time by which addresses end.
pub type Wall = Arc<dyn Fn() -> UnixMicros + Send + Sync>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

struct Inner {
    files: files::Files,
    signer: Signer,
    base: String,
    now: Wall,
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStore").field("root", &self.inner.files.root()).finish_non_exhaustive()
    }
}

impl LocalStore {
    /// A store in `root`, which is made if need be. What an earlier run left unfinished is removed.
    /// `base` is how units and viewers reach this server, such as `https://cameras.example`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(
        root: PathBuf,
        base: &str,
        secret: Secret<[u8; 32]>,
        now: Wall,
    ) -> Result<Self, StoreError> {
        let files = files::Files::open(root).map_err(io_error("opening the cloud storage"))?;
        let base = format!("{}{LOCAL_PATH}", base.trim_end_matches('/'));
        Ok(Self { inner: Arc::new(Inner { files, signer: Signer::new(secret), base, now }) })
    }

    fn url(&self, asked: &Asked<'_>) -> Secret<String> {
        let Inner { base, signer, .. } = &*self.inner;
        let signature = signer.sign(asked);
        let Asked { key, expires_s, .. } = asked;
        Secret::new(format!("{base}/{key}?expires={expires_s}&signature={signature}"))
    }
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { what, source }
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(io_error(what)),
        Err(error) => Err(StoreError::Io { what, source: io::Error::other(error) }),
    }
}

#[async_trait]
impl SegmentStore for LocalStore {
    fn put_request(
        &self,
        new: &NewObject<'_>,
        now: UnixMicros,
        life: Duration,
    ) -> Result<PutRequest, StoreError> {
        let [entry, time] = new.meta.headers();
        let hash = BASE64.encode(&new.sha256);
        let expires_at = ends(now, life);
        let asked = Asked::put(new.key, expires_at, new.len, &hash, (&entry.1, &time.1));
        let url = self.url(&asked);
        let sent = [(CONTENT_HASH, hash.clone()), entry, time];
        let headers = sent.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(PutRequest { url, headers, expires_at })
    }

    fn get_url(
        &self,
        key: &ObjectKey,
        now: UnixMicros,
        life: Duration,
    ) -> Result<Secret<String>, StoreError> {
        Ok(self.url(&Asked::get(key, ends(now, life))))
    }

    async fn checks_content(&self) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Found>, StoreError> {
        let (files, key) = (self.inner.files.clone(), key.clone());
        blocking("looking for an object", move || files.look(&key)).await
    }

    async fn hash(&self, key: &ObjectKey) -> Result<Option<[u8; 32]>, StoreError> {
        let (files, key) = (self.inner.files.clone(), key.clone());
        blocking("reading an object", move || files.hash(&key)).await
    }

    async fn read(&self, key: &ObjectKey, most: u64) -> Result<Option<Bytes>, StoreError> {
        let (files, key) = (self.inner.files.clone(), key.clone());
        blocking("reading an object", move || files.read(&key, most)).await
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let (files, key) = (self.inner.files.clone(), key.clone());
        blocking("storing an object", move || files.put(&key, &bytes)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let (files, key) = (self.inner.files.clone(), key.clone());
        blocking("deleting an object", move || files.delete(&key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let files = self.inner.files.clone();
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        blocking("listing objects", move || files.list(&prefix, after.as_deref())).await
    }
}
