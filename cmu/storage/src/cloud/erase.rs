//! What a user deletes, and what else must not stay for ever.

use sightline_model::{CameraId, PuId, StreamTier, UnixMicros, UserId};
use tracing::instrument;

use super::{Cloud, count, read_tier, signed, transaction};
use crate::{StorageError, channel, query, typed};

/// A device of which a user has deleted everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// Whose recordings they were.
    pub user: UserId,
    /// The device.
    pub pu: PuId,
}

/// What a user has of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The device.
    pub pu: PuId,
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest begins.
    pub from: UnixMicros,
    /// When the newest ends.
    pub to: UnixMicros,
}

/// An entry that explains nothing any more: all segments of its chain come after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutdatedNote {
    /// Its chain.
    pub chain: String,
    /// Its number in it.
    pub sequence: u64,
    /// Whose it is.
    pub user: UserId,
    /// Of which camera.
    pub camera: CameraId,
    /// Of which encoding.
    pub tier: StreamTier,
}

impl Cloud<'_> {
    /// Everything that a user has in the cloud of one device is to be deleted, locked or not; how many
    /// segments.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.leave_device", skip_all)]
    pub async fn leave_device(
        &self,
        user: &UserId,
        pu: &PuId,
        now: UnixMicros,
    ) -> Result<u64, StorageError> {
        let (domain, user, pu) = (self.domain().as_str(), user.as_str(), pu.as_str());
        let leaving = transaction!(self.0, tx, {
            let leaving = sqlx::query(
                "UPDATE cloud_segment SET state = 2, locked = 0, changed_at = $4
                 WHERE domain = $1 AND user_id = $2 AND pu = $3 AND state <> 2",
            )
            .bind(domain)
            .bind(user)
            .bind(pu)
            .bind(now.0)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            for statement in [
                "DELETE FROM cloud_note WHERE domain = $1 AND user_id = $2 AND pu = $3",
                "INSERT INTO cloud_erase (domain, user_id, pu) VALUES ($1, $2, $3)
                 ON CONFLICT (domain, user_id, pu) DO NOTHING",
            ] {
                let statement = sqlx::query(statement).bind(domain).bind(user).bind(pu);
                statement.execute(&mut *tx).await?;
            }
            leaving
        });
        Ok(leaving)
    }

    /// Devices of which somebody has deleted everything, and of which something may still lie in the store.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.erased", skip_all)]
    pub async fn erased(&self, limit: u32) -> Result<Vec<Erased>, StorageError> {
        let rows: Vec<(String, String)> = query::rows!(
            read,
            all,
            self.0,
            (String, String),
            "SELECT user_id, pu FROM cloud_erase WHERE domain = $1 ORDER BY user_id, pu LIMIT $2",
            self.domain().as_str(),
            i64::from(limit),
        )?;
        let row = |(user, pu): (String, String)| {
            Ok(Erased { user: typed(&user, "user id")?, pu: typed(&pu, "device id")? })
        };
        rows.into_iter().map(row).collect()
    }

    /// How long recordings stay is nobody's wish any more: the device is not this user's, and nothing is left.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.forget_keep", skip_all)]
    pub async fn forget_keep(&self, erased: &Erased) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM cloud_keep WHERE domain = $1 AND user_id = $2 AND pu = $3",
            self.domain().as_str(),
            erased.user.as_str(),
            erased.pu.as_str(),
        )?;
        Ok(())
    }

    /// Nothing of it is left in the store.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.swept", skip_all)]
    pub async fn swept(&self, erased: &Erased) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM cloud_erase WHERE domain = $1 AND user_id = $2 AND pu = $3",
            self.domain().as_str(),
            erased.user.as_str(),
            erased.pu.as_str(),
        )?;
        Ok(())
    }

    /// What a user has, device by device, those that were released included.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.used", skip_all)]
    pub async fn used(&self, user: &UserId) -> Result<Vec<Used>, StorageError> {
        type Stored = (String, i64, i64, i64, i64);
        let rows: Vec<Stored> = query::rows!(
            read,
            all,
            self.0,
            Stored,
            "SELECT pu, COUNT(*), CAST(SUM(bytes) AS BIGINT), MIN(start_us), MAX(end_us)
             FROM cloud_segment WHERE domain = $1 AND user_id = $2 AND state = 1
             GROUP BY pu ORDER BY pu",
            self.domain().as_str(),
            user.as_str(),
        )?;
        let row = |(pu, segments, bytes, from, to): Stored| {
            let (from, to) = (UnixMicros(from), UnixMicros(to));
            let (segments, bytes) = (count(segments)?, count(bytes)?);
            Ok(Used { pu: typed(&pu, "device id")?, segments, bytes, from, to })
        };
        rows.into_iter().map(row).collect()
    }

    /// Entries that explain nothing any more, since what they stood before is gone.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.outdated_notes", skip_all)]
    pub async fn outdated_notes(&self, limit: u32) -> Result<Vec<OutdatedNote>, StorageError> {
        type Stored = (String, i64, String, String, i64, String);
        let rows: Vec<Stored> = query::rows!(
            read,
            all,
            self.0,
            Stored,
            "SELECT n.chain, n.sequence, n.user_id, n.pu, n.channel, n.tier FROM cloud_note n
             WHERE n.domain = $1 AND n.sequence < (SELECT MIN(s.sequence) FROM cloud_segment s
                 WHERE s.domain = n.domain AND s.chain = n.chain)
             ORDER BY n.chain, n.sequence LIMIT $2",
            self.domain().as_str(),
            i64::from(limit),
        )?;
        let row = |(chain, sequence, user, pu, number, tier): Stored| {
            Ok(OutdatedNote {
                chain,
                sequence: count(sequence)?,
                user: typed(&user, "user id")?,
                camera: CameraId { pu: typed(&pu, "device id")?, channel: channel(number)? },
                tier: read_tier(&tier)?,
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Whether an entry that is no segment is known.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.has_note", skip_all)]
    pub async fn has_note(&self, chain: &str, sequence: u64) -> Result<bool, StorageError> {
        let row: Option<(i64,)> = query::rows!(
            read,
            one,
            self.0,
            (i64,),
            "SELECT sequence FROM cloud_note WHERE domain = $1 AND chain = $2 AND sequence = $3",
            self.domain().as_str(),
            chain,
            signed(sequence),
        )?;
        Ok(row.is_some())
    }

    /// An entry is gone from the store: so it is here.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.forget_note", skip_all)]
    pub async fn forget_note(&self, chain: &str, sequence: u64) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM cloud_note WHERE domain = $1 AND chain = $2 AND sequence = $3",
            self.domain().as_str(),
            chain,
            signed(sequence),
        )?;
        Ok(())
    }
}
