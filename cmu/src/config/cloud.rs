//! `[cloud]`.

use std::path::PathBuf;

use serde::Deserialize;
use sightline_cloud_store::S3Config;
use sightline_service_kit::config::ConfigError;

/// The cloud storage.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudConfig {
    /// Where it is.
    pub store: CloudKind,
    /// With `local`: the folder. Empty: `cloud` in the data folder.
    pub dir: Option<PathBuf>,
    /// Bytes that each user may use for nothing.
    pub free_bytes: u64,
    /// With `s3`: how to reach it.
    pub s3: Option<S3Config>,
    /// With `s3`: a file with the access key's id.
    pub access_key_file: Option<PathBuf>,
    /// With `s3`: a file with the secret key.
    pub secret_key_file: Option<PathBuf>,
}

impl Default for CloudConfig {
    fn default() -> Self {
        Self {
            store: CloudKind::Local,
            dir: None,
            free_bytes: 5 << 30,
            s3: None,
            access_key_file: None,
            secret_key_file: None,
        }
    }
}

/// Where the cloud storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudKind {
    /// There is none.
    Off,
    /// In a folder of this machine, served by this process. For one CMU alone.
    Local,
    /// In an S3-compatible store.
    S3,
}

impl CloudConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |text: &str| Err(ConfigError::Unusable(text.to_owned()));
        if self.free_bytes > i64::MAX.unsigned_abs() {
            return wrong("cloud.free_bytes is too large");
        }
        match self.store {
            CloudKind::Off | CloudKind::Local => Ok(()),
            CloudKind::S3 if self.s3.is_none() => wrong("cloud.store = \"s3\" needs [cloud.s3]"),
            CloudKind::S3 if self.access_key_file.is_none() || self.secret_key_file.is_none() => {
                wrong("cloud.access_key_file and cloud.secret_key_file are needed")
            }
            CloudKind::S3 => Ok(()),
        }
    }
}
