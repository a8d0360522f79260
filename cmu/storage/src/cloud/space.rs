//! Space: whose is how full, what goes first, and what is to go by its age.

use sightline_model::{CameraId, Keep, UnixMicros, UserId};
use tracing::instrument;

use super::{Cloud, Row, SegmentRow, segment_columns};
use crate::{StorageError, channel, query, typed};

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

/// A camera whose recordings stay for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aged {
    /// Which.
    pub camera: CameraId,
    /// Who has planned it.
    pub user: UserId,
    /// How long, in seconds since a segment's end.
    pub max_age_s: Option<u32>,
    /// Likewise, clips of events.
    pub event_max_age_s: Option<u32>,
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

    /// How long recordings of a camera stay from now on.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.set_keep", skip_all)]
    pub async fn set_keep(
        &self,
        camera: &CameraId,
        user: &UserId,
        keep: &Keep,
    ) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "INSERT INTO cloud_keep (domain, pu, channel, user_id, max_age_s, event_max_age_s)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (domain, pu, channel) DO UPDATE SET user_id = excluded.user_id,
                 max_age_s = excluded.max_age_s, event_max_age_s = excluded.event_max_age_s",
            self.domain().as_str(),
            camera.pu.as_str(),
            i64::from(camera.channel.0),
            user.as_str(),
            keep.max_age_s.map(i64::from),
            keep.event_max_age_s.map(i64::from),
        )?;
        Ok(())
    }

    /// Cameras whose recordings stay for a time.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.aged", skip_all)]
    pub async fn aged(&self) -> Result<Vec<Aged>, StorageError> {
        type Stored = (String, i64, String, Option<i64>, Option<i64>);
        let rows: Vec<Stored> = query::rows!(
            read,
            all,
            self.0,
            Stored,
            "SELECT pu, channel, user_id, max_age_s, event_max_age_s FROM cloud_keep
             WHERE domain = $1 AND (max_age_s IS NOT NULL OR event_max_age_s IS NOT NULL)",
            self.domain().as_str(),
        )?;
        let seconds = |s: Option<i64>| s.and_then(|s| u32::try_from(s).ok());
        let row = |(pu, number, user, max_age_s, event_max_age_s): Stored| {
            Ok(Aged {
                camera: CameraId { pu: typed(&pu, "device id")?, channel: channel(number)? },
                user: typed(&user, "user id")?,
                max_age_s: seconds(max_age_s),
                event_max_age_s: seconds(event_max_age_s),
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Segments of a camera that ended before these times: clips of events, and others.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.older", skip_all)]
    pub async fn older(
        &self,
        of: &Aged,
        (before, event_before): (UnixMicros, UnixMicros),
        limit: u32,
    ) -> Result<Vec<SegmentRow>, StorageError> {
        let rows: Vec<Row> = query::rows!(
            read,
            all,
            self.0,
            Row,
            concat!(
                segment_columns!(),
                "WHERE domain = $1 AND user_id = $2 AND pu = $3 AND channel = $4 AND state = 1
                   AND locked = 0 AND time_known = 1
                   AND ((event = 0 AND end_us <= $5) OR (event = 1 AND end_us <= $6))
                 ORDER BY end_us LIMIT $7"
            ),
            self.domain().as_str(),
            of.user.as_str(),
            of.camera.pu.as_str(),
            i64::from(of.camera.channel.0),
            before.0,
            event_before.0,
            i64::from(limit),
        )?;
        rows.into_iter().map(SegmentRow::try_from).collect()
    }
}
