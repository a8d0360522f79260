//! The life of a segment: reserved, stored, leaving, gone.

use sightline_model::UnixMicros;
use tracing::instrument;

use super::{
    Cloud,
    row::{Row, SegmentRow, SegmentState, segment_columns},
    signed, tier_word, transaction,
};
use crate::{StorageError, query};

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// The object may be sent.
    Reserved,
    /// It is there already.
    Stored,
    /// It is being deleted: later.
    Leaving,
    /// Another owner's, or another entry of this number.
    Other,
    /// So many bytes are missing in the user's space.
    Full {
        /// Bytes.
        missing_bytes: u64,
    },
}

impl Cloud<'_> {
    /// Counts a segment against its owner's space and lists it as reserved. `free_bytes`: what an owner
    /// has for whom nothing else was set.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.reserve", skip_all)]
    pub async fn reserve(
        &self,
        new: &SegmentRow,
        free_bytes: u64,
        now: UnixMicros,
    ) -> Result<Reservation, StorageError> {
        self.begin_account(&new.user).await?;
        if let Some(known) = self.known(new, now).await? {
            return Ok(known);
        }
        let (domain, user) = (self.domain().as_str(), new.user.as_str());
        let bytes = signed(new.bytes);
        let is_counted = transaction!(self.0, tx, {
            let counted = sqlx::query(
                "UPDATE cloud_account SET used_bytes = used_bytes + $3
                 WHERE domain = $1 AND user_id = $2
                   AND used_bytes + $3 <= COALESCE(quota_bytes, $4)",
            )
            .bind(domain)
            .bind(user)
            .bind(bytes)
            .bind(i64::try_from(free_bytes).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if counted > 0 {
                let inserted = sqlx::query(INSERT)
                    .bind(domain)
                    .bind(new.chain.as_str())
                    .bind(signed(new.sequence))
                    .bind(user)
                    .bind(new.camera.pu.as_str())
                    .bind(i64::from(new.camera.channel.0))
                    .bind(tier_word(new.tier))
                    .bind(new.state.stored())
                    .bind(signed(new.run))
                    .bind(format!("{:016x}", new.boot))
                    .bind(new.start.0)
                    .bind(new.end.0)
                    .bind(new.correction_us)
                    .bind(i64::from(new.time_known))
                    .bind(i64::from(new.event))
                    .bind(i64::from(new.locked))
                    .bind(bytes)
                    .bind(now.0)
                    .bind(new.encoded.as_str())
                    .bind(new.signature.to_string())
                    .execute(&mut *tx)
                    .await?
                    .rows_affected();
                if inserted == 0 {
                    // Another CMU was first: leaving takes the counting back.
                    return Ok(Reservation::Leaving);
                }
            }
            counted > 0
        });
        if is_counted {
            return Ok(Reservation::Reserved);
        }
        let space = self.space(&new.user, free_bytes).await?;
        let wanted = space.used_bytes.saturating_add(new.bytes);
        Ok(Reservation::Full { missing_bytes: wanted.saturating_sub(space.quota_bytes).max(1) })
    }

    /// What is known of a segment that is to be reserved. One that was reserved already lives on.
    async fn known(
        &self,
        new: &SegmentRow,
        now: UnixMicros,
    ) -> Result<Option<Reservation>, StorageError> {
        let Some(known) = self.segment(&new.chain, new.sequence).await? else { return Ok(None) };
        if known.encoded != new.encoded || known.user != new.user {
            return Ok(Some(Reservation::Other));
        }
        match known.state {
            SegmentState::Stored => Ok(Some(Reservation::Stored)),
            SegmentState::Leaving => Ok(Some(Reservation::Leaving)),
            SegmentState::Reserved => {
                let kept = query::execute!(
                    self.0,
                    "UPDATE cloud_segment SET changed_at = $4
                     WHERE domain = $1 AND chain = $2 AND sequence = $3 AND state = 0",
                    self.domain().as_str(),
                    new.chain.as_str(),
                    signed(new.sequence),
                    now.0,
                )?;
                Ok(Some(if kept > 0 { Reservation::Reserved } else { Reservation::Leaving }))
            }
        }
    }

    /// A segment.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.segment", skip_all)]
    pub async fn segment(
        &self,
        chain: &str,
        sequence: u64,
    ) -> Result<Option<SegmentRow>, StorageError> {
        let row: Option<Row> = query::rows!(
            read,
            one,
            self.0,
            Row,
            concat!(segment_columns!(), "WHERE domain = $1 AND chain = $2 AND sequence = $3"),
            self.domain().as_str(),
            chain,
            signed(sequence),
        )?;
        row.map(SegmentRow::try_from).transpose()
    }

    /// The object is there. `false`: nothing was reserved of this name.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.stored", skip_all)]
    pub async fn stored(
        &self,
        chain: &str,
        sequence: u64,
        now: UnixMicros,
    ) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE cloud_segment SET state = 1, changed_at = $4
             WHERE domain = $1 AND chain = $2 AND sequence = $3 AND state IN (0, 1)",
            self.domain().as_str(),
            chain,
            signed(sequence),
            now.0,
        )?;
        Ok(changed > 0)
    }

    /// The object is about to be deleted. `false`: it is being deleted already, or was locked meanwhile.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.leave", skip_all)]
    pub async fn leave(&self, row: &SegmentRow, now: UnixMicros) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE cloud_segment SET state = 2, changed_at = $5
             WHERE domain = $1 AND chain = $2 AND sequence = $3 AND state = $4 AND locked = 0",
            self.domain().as_str(),
            row.chain.as_str(),
            signed(row.sequence),
            row.state.stored(),
            now.0,
        )?;
        Ok(changed > 0)
    }

    /// The object is gone: so is its row, and its owner has the space again.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.forget", skip_all)]
    pub async fn forget(&self, row: &SegmentRow) -> Result<(), StorageError> {
        let domain = self.domain().as_str();
        transaction!(self.0, tx, {
            let gone = sqlx::query(
                "DELETE FROM cloud_segment
                 WHERE domain = $1 AND chain = $2 AND sequence = $3 AND state = 2",
            )
            .bind(domain)
            .bind(row.chain.as_str())
            .bind(signed(row.sequence))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if gone > 0 {
                sqlx::query(
                    "UPDATE cloud_account SET used_bytes = used_bytes - $3
                     WHERE domain = $1 AND user_id = $2",
                )
                .bind(domain)
                .bind(row.user.as_str())
                .bind(signed(row.bytes))
                .execute(&mut *tx)
                .await?;
            }
        });
        Ok(())
    }
}

const INSERT: &str =
    "INSERT INTO cloud_segment (domain, chain, sequence, user_id, pu, channel, tier,
         state, run, boot, start_us, end_us, correction_us, time_known, event, locked, bytes,
         changed_at, encoded, signature)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
         $20)
     ON CONFLICT (domain, chain, sequence) DO NOTHING";
