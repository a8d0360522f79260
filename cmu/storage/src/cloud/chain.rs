//! Chains that devices have begun.

use sightline_model::{CameraId, Signature, StreamTier};
use tracing::instrument;

use super::{Cloud, read_tier, tier_word};
use crate::{StorageError, channel, query, typed};

/// A chain that a device has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRow {
    /// Its id, 32 hexadecimal digits.
    pub chain: String,
    /// What is recorded.
    pub camera: CameraId,
    /// Which encoding.
    pub tier: StreamTier,
    /// Its first entry, base64url.
    pub encoded: String,
    /// The device's signature over it.
    pub signature: Signature,
}

impl Cloud<'_> {
    /// Remembers a chain. `false`: the id is known for something else.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.open", skip_all)]
    pub async fn open(&self, new: &ChainRow) -> Result<bool, StorageError> {
        query::execute!(
            self.0,
            "INSERT INTO cloud_chain (domain, chain, pu, channel, tier, encoded, signature)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (domain, chain) DO NOTHING",
            self.domain().as_str(),
            new.chain.as_str(),
            new.camera.pu.as_str(),
            i64::from(new.camera.channel.0),
            tier_word(new.tier),
            new.encoded.as_str(),
            new.signature.to_string(),
        )?;
        let known = self.chain(&new.chain).await?;
        Ok(known.is_some_and(|known| known.camera == new.camera && known.tier == new.tier))
    }

    /// A chain.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.chain", skip_all)]
    pub async fn chain(&self, chain: &str) -> Result<Option<ChainRow>, StorageError> {
        type Stored = (String, i64, String, String, String);
        let row: Option<Stored> = query::rows!(
            read,
            one,
            self.0,
            Stored,
            "SELECT pu, channel, tier, encoded, signature FROM cloud_chain
             WHERE domain = $1 AND chain = $2",
            self.domain().as_str(),
            chain,
        )?;
        let Some((pu, number, tier, encoded, signature)) = row else { return Ok(None) };
        Ok(Some(ChainRow {
            chain: chain.to_owned(),
            camera: CameraId { pu: typed(&pu, "device id")?, channel: channel(number)? },
            tier: read_tier(&tier)?,
            encoded,
            signature: typed(&signature, "signature")?,
        }))
    }
}
