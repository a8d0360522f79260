//! What owners have said of their recordings: locks, and for how long the others stay; and which of it has
//! still to be told the store (decision 0112).

use std::{collections::BTreeSet, ops::Range};

use sightline_model::{CameraId, Keep, StreamTier, UnixMicros, UserId};
use tracing::instrument;

use super::{
    Cloud, LONGEST_US, count,
    row::{Row, SegmentRow, segment_columns},
    signed, tier_word, transaction,
};
use crate::{StorageError, channel, query, typed};

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

/// A chain of whose recordings the store has still to be told what their owner has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTerms {
    /// The chain.
    pub chain: String,
    /// The owner.
    pub user: UserId,
    /// Rises with every change.
    pub revision: i64,
}

/// What an owner has said of their recordings of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptTerms {
    /// Numbers of locked segments, rising.
    pub locked: Vec<u64>,
    /// How long segments stay, in seconds since their end.
    pub max_age_s: Option<u32>,
    /// Likewise, clips of events.
    pub event_max_age_s: Option<u32>,
}

/// Binds: domain, chain, user.
const OWE: &str = "INSERT INTO cloud_terms_due (domain, chain, user_id, revision)
     VALUES ($1, $2, $3, 1)
     ON CONFLICT (domain, chain, user_id) DO UPDATE SET revision = cloud_terms_due.revision + 1";

fn seconds(stored: Option<i64>) -> Option<u32> {
    stored.and_then(|s| u32::try_from(s).ok())
}

impl Cloud<'_> {
    /// Locks or unlocks what a user has of a camera in a span: segments, and their bytes.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.lock", skip_all)]
    pub async fn lock(
        &self,
        (user, camera, tier): (&UserId, &CameraId, StreamTier),
        span: Range<UnixMicros>,
        locked: bool,
    ) -> Result<(u64, u64), StorageError> {
        let (domain, user) = (self.domain().as_str(), user.as_str());
        let rows: Vec<(String, i64)> = transaction!(self.0, tx, {
            let rows: Vec<(String, i64)> = sqlx::query_as(
                "UPDATE cloud_segment SET locked = $9
                 WHERE domain = $1 AND user_id = $2 AND pu = $3 AND channel = $4 AND tier = $5
                   AND state = 1 AND start_us >= $6 AND start_us < $7 AND end_us > $8
                 RETURNING chain, bytes",
            )
            .bind(domain)
            .bind(user)
            .bind(camera.pu.as_str())
            .bind(i64::from(camera.channel.0))
            .bind(tier_word(tier))
            .bind(span.start.0.saturating_sub(LONGEST_US))
            .bind(span.end.0)
            .bind(span.start.0)
            .bind(i64::from(locked))
            .fetch_all(&mut *tx)
            .await?;
            let chains: BTreeSet<&str> = rows.iter().map(|(chain, _)| chain.as_str()).collect();
            for chain in chains {
                sqlx::query(OWE).bind(domain).bind(chain).bind(user).execute(&mut *tx).await?;
            }
            rows
        });
        let bytes = rows.iter().map(|(_, bytes)| u64::try_from(*bytes).unwrap_or(0)).sum();
        Ok((rows.len() as u64, bytes))
    }

    /// Locks a user's stored segments of these numbers, the last included; how many there are.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.lock_numbers", skip_all)]
    pub async fn lock_numbers(
        &self,
        (chain, user): (&str, &UserId),
        (first, last): (u64, u64),
    ) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "UPDATE cloud_segment SET locked = 1
             WHERE domain = $1 AND chain = $2 AND user_id = $3 AND state = 1
               AND sequence >= $4 AND sequence <= $5",
            self.domain().as_str(),
            chain,
            user.as_str(),
            i64::try_from(first).unwrap_or(i64::MAX),
            i64::try_from(last).unwrap_or(i64::MAX),
        )
    }

    /// How long a user's recordings of a camera stay from now on.
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
        let (domain, user) = (self.domain().as_str(), user.as_str());
        let (pu, number) = (camera.pu.as_str(), i64::from(camera.channel.0));
        transaction!(self.0, tx, {
            sqlx::query(
                "INSERT INTO cloud_keep (domain, user_id, pu, channel, max_age_s, event_max_age_s)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (domain, user_id, pu, channel) DO UPDATE SET
                     max_age_s = excluded.max_age_s, event_max_age_s = excluded.event_max_age_s",
            )
            .bind(domain)
            .bind(user)
            .bind(pu)
            .bind(number)
            .bind(keep.max_age_s.map(i64::from))
            .bind(keep.event_max_age_s.map(i64::from))
            .execute(&mut *tx)
            .await?;
            let chains: Vec<(String,)> = sqlx::query_as(
                "SELECT DISTINCT chain FROM cloud_segment
                 WHERE domain = $1 AND user_id = $2 AND pu = $3 AND channel = $4",
            )
            .bind(domain)
            .bind(user)
            .bind(pu)
            .bind(number)
            .fetch_all(&mut *tx)
            .await?;
            for (chain,) in &chains {
                let owe = sqlx::query(OWE).bind(domain).bind(chain.as_str()).bind(user);
                owe.execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Cameras whose recordings stay for a time, of whoever has planned that.
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
             WHERE domain = $1 AND (max_age_s IS NOT NULL OR event_max_age_s IS NOT NULL)
             ORDER BY user_id, pu, channel",
            self.domain().as_str(),
        )?;
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

    /// The store is to be told what an owner has said of a chain.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.owe_terms", skip_all)]
    pub async fn owe_terms(&self, chain: &str, user: &UserId) -> Result<(), StorageError> {
        query::execute!(self.0, OWE, self.domain().as_str(), chain, user.as_str())?;
        Ok(())
    }

    /// Chains of which the store has still to be told, at most so many.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.due_terms", skip_all)]
    pub async fn due_terms(&self, limit: u32) -> Result<Vec<DueTerms>, StorageError> {
        let rows: Vec<(String, String, i64)> = query::rows!(
            read,
            all,
            self.0,
            (String, String, i64),
            "SELECT chain, user_id, revision FROM cloud_terms_due
             WHERE domain = $1 ORDER BY chain, user_id LIMIT $2",
            self.domain().as_str(),
            i64::from(limit),
        )?;
        let row = |(chain, user, revision): (String, String, i64)| {
            Ok(DueTerms { chain, user: typed(&user, "user id")?, revision })
        };
        rows.into_iter().map(row).collect()
    }

    /// What an owner has said of their recordings of a chain, which is one of this camera.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.terms", skip_all)]
    pub async fn terms(
        &self,
        (chain, camera): (&str, &CameraId),
        user: &UserId,
    ) -> Result<KeptTerms, StorageError> {
        let rows: Vec<(i64,)> = query::rows!(
            read,
            all,
            self.0,
            (i64,),
            "SELECT sequence FROM cloud_segment
             WHERE domain = $1 AND chain = $2 AND user_id = $3 AND locked = 1 AND state <> 2
             ORDER BY sequence",
            self.domain().as_str(),
            chain,
            user.as_str(),
        )?;
        let keep: Option<(Option<i64>, Option<i64>)> = query::rows!(
            read,
            one,
            self.0,
            (Option<i64>, Option<i64>),
            "SELECT max_age_s, event_max_age_s FROM cloud_keep
             WHERE domain = $1 AND user_id = $2 AND pu = $3 AND channel = $4",
            self.domain().as_str(),
            user.as_str(),
            camera.pu.as_str(),
            i64::from(camera.channel.0),
        )?;
        let (max_age_s, event_max_age_s) = keep.unwrap_or_default();
        let locked: Result<Vec<u64>, _> = rows.into_iter().map(|(number,)| count(number)).collect();
        Ok(KeptTerms {
            locked: locked?,
            max_age_s: seconds(max_age_s),
            event_max_age_s: seconds(event_max_age_s),
        })
    }

    /// The store has been told. `false`: something was said meanwhile.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.terms_told", skip_all)]
    pub async fn terms_told(&self, due: &DueTerms) -> Result<bool, StorageError> {
        let gone = query::execute!(
            self.0,
            "DELETE FROM cloud_terms_due
             WHERE domain = $1 AND chain = $2 AND user_id = $3 AND revision = $4",
            self.domain().as_str(),
            due.chain.as_str(),
            due.user.as_str(),
            due.revision,
        )?;
        Ok(gone > 0)
    }
}
