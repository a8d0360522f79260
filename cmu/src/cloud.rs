//! The cloud storage (H.626.4 clause 7.8; A8.7.1): the CMU speaks for it to units and viewers, keeps the
//! list of what lies in it, and lets go of what must (decision 0096).
//!
//! - [`uploads`]: what units ask (Cp, over Sc). [`listing`]: what viewers see. [`playlist`]: HLS.
//! - [`rebuild`]: the list made again from the store. [`terms`]: locks and age limits beside the recordings.
//! - [`erase`]: what is deleted, and what does not stay for ever.

pub mod erase;
pub mod listing;
pub mod playlist;
pub mod proof;
pub mod rebuild;
pub mod terms;
pub mod uploads;

use std::{path::Path, sync::Arc, time::Duration};

use axum::Router;
use cmu_storage::{SegmentRow, StorageError};
use data_encoding::BASE64URL_NOPAD;
use sightline_cloud::{
    from_wire,
    object::{InvalidKey, Kind, Meta, ObjectKey, Place},
};
use sightline_cloud_store::{LocalStore, S3Store, SegmentStore, StoreError};
use sightline_model::{DomainName, Secret};
use sightline_protocol::cp::SignedEntry;
use sightline_recording::statement::{Entry, Sequence};
use sightline_service_kit::{
    config::{read_secret, write_private},
    flow,
};

use crate::{
    clock::Clock,
    config::{CloudConfig, CloudKind},
    state::App,
};

/// How long a request to store an object works. Reservations live longer: see `jobs::cloud`.
pub const PUT_LIFE: Duration = Duration::from_secs(900);
/// How long an address to read works.
pub const GET_LIFE: Duration = Duration::from_secs(300);
/// How long the store may take for one question.
const STORE_TIMEOUT: Duration = Duration::from_secs(4);

/// The store that is configured.
#[derive(Debug, Clone)]
pub struct CloudStore {
    /// It.
    pub store: Arc<dyn SegmentStore>,
    /// The same, where it is a folder that this process serves.
    local: Option<LocalStore>,
    /// Where browsers fetch from, when that is not the portal.
    pub origin: Option<String>,
}

/// Something of the cloud storage failed.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The list holds what no unit says: our own fault.
    #[error("the list of the cloud storage holds a malformed entry")]
    Corrupt,
}

impl From<InvalidKey> for CloudError {
    fn from(_: InvalidKey) -> Self {
        Self::Corrupt
    }
}

impl CloudStore {
    /// The store of the configuration; none: there is no cloud storage.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        config: &CloudConfig,
        data_dir: &Path,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, StoreError> {
        match config.store {
            CloudKind::Off => Ok(None),
            CloudKind::Local => Self::open_local(config, data_dir, clock).map(Some),
            CloudKind::S3 => Self::open_s3(config).map(Some),
        }
    }

    fn open_local(
        config: &CloudConfig,
        data_dir: &Path,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let dir = config.dir.clone().unwrap_or_else(|| data_dir.join("cloud"));
        let secret = local_secret(&data_dir.join("cloud.secret"));
        let secret = secret.map_err(|e| StoreError::Config(format!("cloud.secret: {e}")))?;
        let clock = Arc::clone(clock);
        // Relative to the portal: units and viewers reach it under different names.
        let local = LocalStore::open(dir, "", secret, Arc::new(move || clock.now()))?;
        Ok(Self { store: Arc::new(local.clone()), local: Some(local), origin: None })
    }

    fn open_s3(config: &CloudConfig) -> Result<Self, StoreError> {
        let wrong = |why: &str| StoreError::Config(why.to_owned());
        let Some(s3) = &config.s3 else { return Err(wrong("[cloud.s3] is needed")) };
        let (Some(access), Some(secret)) = (&config.access_key_file, &config.secret_key_file)
        else {
            return Err(wrong("cloud.access_key_file and cloud.secret_key_file are needed"));
        };
        let access = std::fs::read_to_string(access)
            .map_err(|source| StoreError::Io { what: "reading cloud.access_key_file", source })?;
        let secret = read_secret(secret).map_err(|e| StoreError::Config(e.to_string()))?;
        let secret = Secret::new(secret.as_str().to_owned());
        let http = reqwest::Client::builder()
            .connect_timeout(STORE_TIMEOUT)
            .read_timeout(STORE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| StoreError::Config(error.to_string()))?;
        let store = S3Store::new(s3, access.trim(), &secret, http)?;
        let origin = Some(s3.url.origin().ascii_serialization());
        Ok(Self { store: Arc::new(store), local: None, origin })
    }

    /// What serves the objects, where this process does.
    #[must_use]
    pub fn router(&self) -> Option<Router> {
        self.local.as_ref().map(LocalStore::router)
    }
}

fn local_secret(path: &Path) -> std::io::Result<Secret<[u8; 32]>> {
    let malformed = || std::io::Error::other("it is not what this program wrote");
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let bytes = BASE64URL_NOPAD.decode(text.trim().as_bytes()).map_err(|_| malformed())?;
            Ok(Secret::new(bytes.try_into().map_err(|_| malformed())?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
            write_private(path, BASE64URL_NOPAD.encode(&bytes).as_bytes())?;
            Ok(Secret::new(bytes))
        }
        Err(error) => Err(error),
    }
}

/// The name of a segment's object.
pub fn key_of(domain: &DomainName, row: &SegmentRow) -> Result<ObjectKey, CloudError> {
    let place = Place {
        domain: domain.clone(),
        user: row.user.clone(),
        camera: row.camera.clone(),
        tier: row.tier,
        chain: row.chain.parse().map_err(|_| CloudError::Corrupt)?,
    };
    Ok(ObjectKey::new(place, Sequence(row.sequence), Kind::Segment)?)
}

/// An entry of the list, as it was signed.
pub fn entry_of(encoded: &str, signature: sightline_model::Signature) -> Result<Entry, CloudError> {
    let entry = SignedEntry { encoded: encoded.to_owned(), signature };
    from_wire(&entry).ok_or(CloudError::Corrupt)
}

/// What a segment's object says of itself, as it was sent.
pub fn meta_of(row: &SegmentRow, correction_us: i64, time_known: bool) -> Result<Meta, CloudError> {
    let entry = entry_of(&row.encoded, row.signature)?;
    Ok(Meta { entry, correction_us, time_known })
}

/// Lets a segment go: marks it, deletes the object, forgets the row. What breaks in between is finished
/// by `jobs::cloud`. `false`: somebody else was faster, or has locked it.
pub async fn remove(
    app: &App,
    store: &dyn SegmentStore,
    row: &SegmentRow,
) -> Result<bool, CloudError> {
    let is_leaving = row.state == cmu_storage::SegmentState::Leaving;
    if !is_leaving && !app.db.cloud().leave(row, app.now()).await? {
        return Ok(false);
    }
    flow::sent("Su", "CMU", "CS", "delete", row.camera.pu.as_str());
    store.delete(&key_of(app.db.domain(), row)?).await?;
    app.db.cloud().forget(row).await?;
    Ok(true)
}
