//! What a user sees of it: by time, and from afar; gaps, and steps of the clock.

use std::ops::Range;

use sightline_model::{CameraId, Signature, StreamTier, UnixMicros, UserId};
use tracing::instrument;

use super::{
    Cloud, LONGEST_US, count,
    row::{Row, SegmentRow, segment_columns},
    signed, tier_word, transaction,
};
use crate::{StorageError, query, typed};

/// An entry that is no segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteRow {
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
    /// From when on it holds, as stated.
    pub from: UnixMicros,
    /// Of gaps: why nothing was recorded, as JSON. None: a step of the clock.
    pub reason: Option<String>,
    /// The entry, base64url.
    pub encoded: String,
    /// The device's signature over it.
    pub signature: Signature,
}

/// An entry that is no segment, as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    /// Its number in its chain.
    pub sequence: u64,
    /// Of gaps: why nothing was recorded, as JSON.
    pub reason: Option<String>,
    /// The entry, base64url.
    pub encoded: String,
    /// The device's signature over it.
    pub signature: Signature,
}

/// A step of the clock that corrects what was dated before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The machine's start.
    pub boot: u64,
    /// To be added, in microseconds.
    pub by_us: i64,
    /// Whether somebody vouches for the time after it.
    pub is_known: bool,
}

/// A step of an outline that has recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins; it is one step long.
    pub from: UnixMicros,
    /// Whether any of it is a clip of an event.
    pub event: bool,
    /// Whether any of it is something else.
    pub other: bool,
}

impl Cloud<'_> {
    /// A user's stored segments of a camera that reach into a span, by their beginnings, at most so
    /// many, behind `after`: beginning, chain and number of the last one that was given.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.segments", skip_all)]
    pub async fn segments(
        &self,
        (user, camera, tier): (&UserId, &CameraId, StreamTier),
        span: Range<UnixMicros>,
        after: Option<(UnixMicros, &str, u64)>,
        limit: u32,
    ) -> Result<Vec<SegmentRow>, StorageError> {
        let earliest = span.start.0.saturating_sub(LONGEST_US);
        let (after_us, after_chain, after_sequence) = after
            .map_or((i64::MIN, "", -1), |(start, chain, sequence)| {
                (start.0, chain, signed(sequence))
            });
        let rows: Vec<Row> = query::rows!(
            read,
            all,
            self.0,
            Row,
            concat!(
                segment_columns!(),
                "WHERE domain = $1 AND user_id = $2 AND pu = $3 AND channel = $4 AND tier = $5
                   AND state = 1 AND start_us >= $6 AND start_us < $7 AND end_us > $8
                   AND (start_us > $9 OR (start_us = $9 AND (chain > $10
                        OR (chain = $10 AND sequence > $11))))
                 ORDER BY start_us, chain, sequence LIMIT $12"
            ),
            self.domain().as_str(),
            user.as_str(),
            camera.pu.as_str(),
            i64::from(camera.channel.0),
            tier_word(tier),
            earliest,
            span.end.0,
            span.start.0,
            after_us,
            after_chain,
            after_sequence,
            i64::from(limit),
        )?;
        rows.into_iter().map(SegmentRow::try_from).collect()
    }

    /// Which steps of a span have recordings: one look-up for each step, however many segments there are.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.outline", skip_all)]
    pub async fn outline(
        &self,
        (user, camera, tier): (&UserId, &CameraId, StreamTier),
        span: Range<UnixMicros>,
        step_us: i64,
    ) -> Result<Vec<Stretch>, StorageError> {
        let rows: Vec<(i64, i64, i64)> = query::rows!(
            read,
            all,
            self.0,
            (i64, i64, i64),
            "WITH RECURSIVE step(at) AS (
                 SELECT CAST($6 AS BIGINT)
                 UNION ALL SELECT at + CAST($8 AS BIGINT) FROM step
                     WHERE at + CAST($8 AS BIGINT) < CAST($7 AS BIGINT)
             ), seen(at, event, other) AS (
                 SELECT at,
                     CASE WHEN EXISTS (SELECT 1 FROM cloud_segment s
                         WHERE s.domain = $1 AND s.user_id = $2 AND s.pu = $3 AND s.channel = $4
                           AND s.tier = $5 AND s.state = 1 AND s.event = 1
                           AND s.start_us >= step.at - $9
                           AND s.start_us < step.at + CAST($8 AS BIGINT) AND s.end_us > step.at)
                         THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END,
                     CASE WHEN EXISTS (SELECT 1 FROM cloud_segment s
                         WHERE s.domain = $1 AND s.user_id = $2 AND s.pu = $3 AND s.channel = $4
                           AND s.tier = $5 AND s.state = 1 AND s.event = 0
                           AND s.start_us >= step.at - $9
                           AND s.start_us < step.at + CAST($8 AS BIGINT) AND s.end_us > step.at)
                         THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END
                 FROM step
             )
             SELECT at, event, other FROM seen WHERE event + other > 0 ORDER BY at",
            self.domain().as_str(),
            user.as_str(),
            camera.pu.as_str(),
            i64::from(camera.channel.0),
            tier_word(tier),
            span.start.0,
            span.end.0,
            step_us.max(1),
            LONGEST_US,
        )?;
        let stretch = |(at, event, other): (i64, i64, i64)| Stretch {
            from: UnixMicros(at),
            event: event != 0,
            other: other != 0,
        };
        Ok(rows.into_iter().map(stretch).collect())
    }

    /// Keeps an entry that is no segment. A step corrects what is listed already and was dated before
    /// it, once. `false`: the entry was known.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.note", skip_all)]
    pub async fn note(&self, new: &NoteRow, step: Option<Step>) -> Result<bool, StorageError> {
        let domain = self.domain().as_str();
        let is_new = transaction!(self.0, tx, {
            let inserted = sqlx::query(
                "INSERT INTO cloud_note (domain, chain, sequence, user_id, pu, channel, tier,
                     from_us, reason, encoded, signature)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                 ON CONFLICT (domain, chain, sequence) DO NOTHING",
            )
            .bind(domain)
            .bind(new.chain.as_str())
            .bind(signed(new.sequence))
            .bind(new.user.as_str())
            .bind(new.camera.pu.as_str())
            .bind(i64::from(new.camera.channel.0))
            .bind(tier_word(new.tier))
            .bind(new.from.0)
            .bind(new.reason.as_deref())
            .bind(new.encoded.as_str())
            .bind(new.signature.to_string())
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if let Some(Step { boot, by_us, is_known }) = step.filter(|_| inserted > 0) {
                // What was told with its correction bears a time that is known.
                sqlx::query(
                    "UPDATE cloud_segment SET start_us = start_us + $5, end_us = end_us + $5,
                         correction_us = correction_us + $5, time_known = $6
                     WHERE domain = $1 AND chain = $2 AND boot = $3 AND sequence < $4
                       AND time_known = 0",
                )
                .bind(domain)
                .bind(new.chain.as_str())
                .bind(format!("{boot:016x}"))
                .bind(signed(new.sequence))
                .bind(by_us)
                .bind(i64::from(is_known))
                .execute(&mut *tx)
                .await?;
            }
            inserted > 0
        });
        Ok(is_new)
    }

    /// A user's gaps of a camera that begin in a span, and the last one before it, in their order. Of
    /// each: from when on, and why as JSON.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.gaps", skip_all)]
    pub async fn gaps(
        &self,
        (user, camera, tier): (&UserId, &CameraId, StreamTier),
        span: Range<UnixMicros>,
        limit: u32,
    ) -> Result<Vec<(UnixMicros, String)>, StorageError> {
        let rows: Vec<(i64, String)> = query::rows!(
            read,
            all,
            self.0,
            (i64, String),
            "SELECT from_us, reason FROM cloud_note
             WHERE domain = $1 AND user_id = $2 AND pu = $3 AND channel = $4 AND tier = $5
               AND reason IS NOT NULL AND from_us < $7 AND from_us >= COALESCE(
                   (SELECT MAX(n.from_us) FROM cloud_note n
                    WHERE n.domain = $1 AND n.user_id = $2 AND n.pu = $3 AND n.channel = $4
                      AND n.tier = $5 AND n.reason IS NOT NULL AND n.from_us <= $6), $6)
             ORDER BY from_us LIMIT $8",
            self.domain().as_str(),
            user.as_str(),
            camera.pu.as_str(),
            i64::from(camera.channel.0),
            tier_word(tier),
            span.start.0,
            span.end.0,
            i64::from(limit),
        )?;
        Ok(rows.into_iter().map(|(from, reason)| (UnixMicros(from), reason)).collect())
    }

    /// When the first segment behind a time begins.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.next", skip_all)]
    pub async fn next_start(
        &self,
        (user, camera, tier): (&UserId, &CameraId, StreamTier),
        after: UnixMicros,
    ) -> Result<Option<UnixMicros>, StorageError> {
        let row: Option<(i64,)> = query::rows!(
            read,
            one,
            self.0,
            (i64,),
            "SELECT start_us FROM cloud_segment
             WHERE domain = $1 AND user_id = $2 AND pu = $3 AND channel = $4 AND tier = $5
               AND state = 1 AND start_us >= $6 ORDER BY start_us LIMIT 1",
            self.domain().as_str(),
            user.as_str(),
            camera.pu.as_str(),
            i64::from(camera.channel.0),
            tier_word(tier),
            after.0,
        )?;
        Ok(row.map(|(start,)| UnixMicros(start)))
    }

    /// Entries of a chain that are no segments, from a number on, at most a thousand.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.notes", skip_all)]
    pub async fn notes(&self, chain: &str, from: u64) -> Result<Vec<SignedNote>, StorageError> {
        type Stored = (i64, Option<String>, String, String);
        let rows: Vec<Stored> = query::rows!(
            read,
            all,
            self.0,
            Stored,
            "SELECT sequence, reason, encoded, signature FROM cloud_note
             WHERE domain = $1 AND chain = $2 AND sequence >= $3 ORDER BY sequence LIMIT 1000",
            self.domain().as_str(),
            chain,
            signed(from),
        )?;
        let row = |(sequence, reason, encoded, signature): Stored| {
            let signature = typed(&signature, "signature")?;
            Ok(SignedNote { sequence: count(sequence)?, reason, encoded, signature })
        };
        rows.into_iter().map(row).collect()
    }
}
