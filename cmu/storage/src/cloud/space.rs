//! Space: whose is how full, and what goes first.

use sightline_model::{UnixMicros, UserId};
use tracing::instrument;

use super::{
    Cloud,
    row::{Row, SegmentRow, segment_columns},
};
use crate::{StorageError, query};

/// What a user has, and uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are used.
    pub used_bytes: u64,
    /// Bytes that may be used.
    pub quota_bytes: u64,
    /// Whether somebody has set it for this user.
    pub is_set: bool,
}

impl Cloud<'_> {
    pub(super) async fn begin_account(&self, user: &UserId) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "INSERT INTO cloud_account (domain, user_id, used_bytes, quota_bytes)
             VALUES ($1, $2, 0, NULL) ON CONFLICT (domain, user_id) DO NOTHING",
            self.domain().as_str(),
            user.as_str(),
        )?;
        Ok(())
    }

    /// A user's space.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.space", skip_all)]
    pub async fn space(&self, user: &UserId, free_bytes: u64) -> Result<Space, StorageError> {
        let row: Option<(i64, Option<i64>)> = query::rows!(
            read,
            one,
            self.0,
            (i64, Option<i64>),
            "SELECT used_bytes, quota_bytes FROM cloud_account WHERE domain = $1 AND user_id = $2",
            self.domain().as_str(),
            user.as_str(),
        )?;
        let (used, quota) = row.unwrap_or((0, None));
        let quota = quota.map(super::count).transpose()?;
        Ok(Space {
            used_bytes: super::count(used)?,
            quota_bytes: quota.unwrap_or(free_bytes),
            is_set: quota.is_some(),
        })
    }

    /// Sets a user's space; none: the free allowance.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.set_quota", skip_all)]
    pub async fn set_quota(&self, user: &UserId, bytes: Option<u64>) -> Result<(), StorageError> {
        self.begin_account(user).await?;
        query::execute!(
            self.0,
            "UPDATE cloud_account SET quota_bytes = $3 WHERE domain = $1 AND user_id = $2",
            self.domain().as_str(),
            user.as_str(),
            bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        )?;
        Ok(())
    }

    /// A user's oldest segments that may go, the oldest first.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.oldest", skip_all)]
    pub async fn oldest(&self, user: &UserId, limit: u32) -> Result<Vec<SegmentRow>, StorageError> {
        let rows: Vec<Row> = query::rows!(
            read,
            all,
            self.0,
            Row,
            concat!(
                segment_columns!(),
                "WHERE domain = $1 AND user_id = $2 AND state = 1 AND locked = 0
                 ORDER BY end_us, chain, sequence LIMIT $3"
            ),
            self.domain().as_str(),
            user.as_str(),
            i64::from(limit),
        )?;
        rows.into_iter().map(SegmentRow::try_from).collect()
    }

    /// Reservations that nobody has used since `before`, and what is being deleted.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.overdue", skip_all)]
    pub async fn overdue(
        &self,
        before: UnixMicros,
        limit: u32,
    ) -> Result<Vec<SegmentRow>, StorageError> {
        let rows: Vec<Row> = query::rows!(
            read,
            all,
            self.0,
            Row,
            concat!(
                segment_columns!(),
                "WHERE domain = $1 AND (state = 2 OR (state = 0 AND changed_at <= $2))
                 ORDER BY changed_at LIMIT $3"
            ),
            self.domain().as_str(),
            before.0,
            i64::from(limit),
        )?;
        rows.into_iter().map(SegmentRow::try_from).collect()
    }
}
