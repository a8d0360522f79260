//! Public halves of the keys that CMUs sign tokens with, so that each accepts the others' tokens.

use sightline_model::{KeyId, PublicKey, UnixMicros};
use tracing::instrument;

use crate::{Database, StorageError, query, typed};

/// Repository of signing keys.
#[derive(Debug)]
pub struct SigningKeys<'a>(pub(crate) &'a Database);

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    /// Its `kid`.
    pub kid: KeyId,
    /// The key.
    pub public_key: PublicKey,
}

impl SigningKeys<'_> {
    /// Makes a key known.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.signing_key.insert", skip_all)]
    pub async fn insert(&self, key: &SigningKeyRow, now: UnixMicros) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "INSERT INTO signing_key (domain, kid, public_key, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (domain, kid) DO NOTHING",
            self.0.domain.as_str(),
            key.kid.as_str(),
            key.public_key.to_string(),
            now.0,
        )?;
        Ok(())
    }

    /// Every key, newest first.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.signing_key.list", skip_all)]
    pub async fn list(&self) -> Result<Vec<SigningKeyRow>, StorageError> {
        let rows: Vec<(String, String)> = query::rows!(
            read,
            all,
            self.0,
            (String, String),
            "SELECT kid, public_key FROM signing_key WHERE domain = $1
             ORDER BY created_at DESC, kid LIMIT 16",
            self.0.domain.as_str(),
        )?;
        rows.into_iter()
            .map(|(kid, key)| {
                let public_key = typed(&key, "public key")?;
                Ok(SigningKeyRow { kid: typed(&kid, "key id")?, public_key })
            })
            .collect()
    }
}
