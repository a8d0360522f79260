//! Segments, gaps and steps of the clock.

use sightline_recording::{
    chain::{NewEntry, Writer},
    statement::{BootId, ClockStep, Gap, RunId, Segment, What},
};

use super::{Draft, Work, refused};
use crate::{
    StoreError,
    index::{self, ChainRow},
    writer::Acknowledged,
};

impl Work<'_> {
    pub(super) async fn append(
        &mut self,
        chain: &ChainRow,
        drafts: Vec<Draft>,
    ) -> Result<Vec<Acknowledged>, StoreError> {
        let mut writer = self.writer(chain).await?;
        let mut made = Vec::with_capacity(drafts.len());
        for draft in drafts {
            made.push(self.make(&mut writer, draft)?);
        }
        let mut acknowledged = Vec::with_capacity(made.len());
        for (draft, entry) in made {
            acknowledged.push(self.store(chain.row, &draft, &entry).await?);
        }
        self.writers.insert(chain.row, writer);
        Ok(acknowledged)
    }

    fn make(&self, writer: &mut Writer, draft: Draft) -> Result<(Draft, NewEntry), StoreError> {
        let draft = match draft {
            Draft::Segment { mut segment, file, run } => {
                segment.run = run.unwrap_or(RunId(writer.next().0));
                Draft::Segment { segment, file, run }
            }
            other => other,
        };
        let what = match &draft {
            Draft::Segment { segment, .. } => What::Segment(segment.clone()),
            Draft::Gap(gap) => What::Gap(*gap),
            Draft::ClockStep(step) => What::ClockStep(*step),
        };
        let made = writer.append(what, self.key).map_err(|error| refused(&error))?;
        Ok((draft, made))
    }

    async fn store(
        &mut self,
        chain: i64,
        draft: &Draft,
        made: &NewEntry,
    ) -> Result<Acknowledged, StoreError> {
        let mut run = None;
        match draft {
            Draft::Segment { segment, file, .. } => {
                self.insert_segment(chain, segment, *file, made).await?;
                run = Some(segment.run);
            }
            Draft::Gap(gap) => self.insert_gap(chain, *gap, made).await?,
            Draft::ClockStep(step) => {
                self.insert(chain, 3, made).await?;
                self.correct(chain, step).await?;
            }
        }
        Ok(Acknowledged { sequence: made.sequence, hash: made.hash, run })
    }

    async fn insert_segment(
        &mut self,
        chain: i64,
        segment: &Segment,
        file: u64,
        made: &NewEntry,
    ) -> Result<(), StoreError> {
        let too_large = |_| StoreError::Misuse("a number of more than 63 bits");
        let bytes = i64::try_from(segment.len).map_err(too_large)?;
        let run = i64::try_from(segment.run.0).map_err(too_large)?;
        let file = i64::try_from(file).map_err(too_large)?;
        sqlx::query(
            "INSERT INTO entry (chain, sequence, kind, start_us, end_us, run, file, bytes, event, \
             encoded, signature) VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(chain)
        .bind(index::stored(made.sequence))
        .bind(segment.start.0)
        .bind(segment.end().0)
        .bind(run)
        .bind(file)
        .bind(bytes)
        .bind(segment.causes.event)
        .bind(&made.entry.encoded)
        .bind(made.entry.signature.as_bytes().as_slice())
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "INSERT INTO run (chain, run, boot, start_us, end_us, bytes, time_known) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (chain, run) DO UPDATE SET \
             end_us = MAX(end_us, excluded.end_us), bytes = bytes + excluded.bytes, \
             time_known = MAX(time_known, excluded.time_known)",
        )
        .bind(chain)
        .bind(run)
        .bind(stored_boot(segment.boot))
        .bind(segment.start.0)
        .bind(segment.end().0)
        .bind(bytes)
        .bind(segment.authority.is_confirmed())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    async fn insert_gap(
        &mut self,
        chain: i64,
        gap: Gap,
        made: &NewEntry,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO entry (chain, sequence, kind, start_us, boot, correction_us, encoded, \
             signature) VALUES ($1, $2, 2, $3, $4, 0, $5, $6)",
        )
        .bind(chain)
        .bind(index::stored(made.sequence))
        .bind(gap.from.0)
        // A confirmed time is never corrected.
        .bind((!gap.authority.is_confirmed()).then(|| stored_boot(gap.boot)))
        .bind(&made.entry.encoded)
        .bind(made.entry.signature.as_bytes().as_slice())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Decision 0090: what this boot recorded by an unconfirmed clock was off by the step's length.
    async fn correct(&mut self, chain: i64, step: &ClockStep) -> Result<(), StoreError> {
        if step.from_authority.is_confirmed() {
            return Ok(());
        }
        let by = step.to.0.saturating_sub(step.from.0);
        sqlx::query(
            "UPDATE entry SET correction_us = correction_us + $1, \
             boot = CASE WHEN $2 THEN NULL ELSE boot END \
             WHERE chain = $3 AND kind = 2 AND boot = $4",
        )
        .bind(by)
        .bind(step.to_authority.is_confirmed())
        .bind(chain)
        .bind(stored_boot(step.boot))
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "UPDATE run SET correction_us = correction_us + $1, time_known = $2 \
             WHERE chain = $3 AND boot = $4 AND time_known = 0",
        )
        .bind(by)
        .bind(step.to_authority.is_confirmed())
        .bind(chain)
        .bind(stored_boot(step.boot))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

/// The same 64 bits, as SQLite has no unsigned numbers.
const fn stored_boot(boot: BootId) -> i64 {
    boot.0.cast_signed()
}
