//! What was recorded in a boot of the recorder's machine, by its monotonic clock. Nobody sets that one:
//! so it tells what was recorded before what, whatever the dates say.

use std::ops::Range;

use sightline_model::UnixMicros;
use sightline_recording::{
    chain::decode,
    statement::{BootId, Subject, What},
};
use sqlx::SqlitePool;

use crate::{Store, StoreError, index};

/// The oldest and the newest segment of a run that state a beginning within some bounds.
const OLDEST: &str = "SELECT start_us, end_us, encoded, signature FROM entry WHERE chain = $1 \
                      AND run = $2 AND kind = 1 AND start_us >= $3 AND start_us < $4 \
                      ORDER BY start_us LIMIT 1";
const NEWEST: &str = "SELECT start_us, end_us, encoded, signature FROM entry WHERE chain = $1 \
                      AND run = $2 AND kind = 1 AND start_us >= $3 AND start_us < $4 \
                      ORDER BY start_us DESC LIMIT 1";

/// All of time.
const ALWAYS: Range<i64> = i64::MIN..i64::MAX;

/// A run's segments follow each other in every time that they state.
struct Run<'a> {
    reader: &'a SqlitePool,
    chain: i64,
    run: i64,
}

/// A segment's times, as stated.
struct Stated {
    start_us: i64,
    end_us: i64,
    monotonic_us: u64,
}

impl Store {
    /// The boots in which anything was recorded that a chain still has.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn boots(&self, subject: &Subject) -> Result<Vec<BootId>, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(Vec::new()) };
        let boots: Vec<i64> =
            sqlx::query_scalar("SELECT DISTINCT boot FROM run WHERE chain = $1 AND bytes > 0")
                .bind(chain.row)
                .fetch_all(&self.inner.index()?.reader)
                .await?;
        // The same 64 bits, as SQLite has no unsigned numbers.
        Ok(boots.into_iter().map(|boot| BootId(boot.cast_unsigned())).collect())
    }

    /// When what a chain has was recorded, as far as it was begun in a stretch of a boot's monotonic clock:
    /// a span of corrected times for each run. What ends at `after` or before is left out.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn begun_in(
        &self,
        subject: &Subject,
        (boot, stretch): (BootId, Range<u64>),
        after: UnixMicros,
    ) -> Result<Vec<Range<UnixMicros>>, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(Vec::new()) };
        let reader = &self.inner.index()?.reader;
        let runs: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT run, correction_us FROM run WHERE chain = $1 AND boot = $2 AND bytes > 0 \
             AND end_us + correction_us > $3 ORDER BY run",
        )
        .bind(chain.row)
        .bind(boot.0.cast_signed())
        .bind(after.0)
        .fetch_all(reader)
        .await?;
        let mut spans = Vec::new();
        for (run, correction_us) in runs {
            let run = Run { reader, chain: chain.row, run };
            let Some((from, to)) = run.begun_in(&stretch).await? else { continue };
            let corrected = |at: i64| UnixMicros(at.saturating_add(correction_us));
            spans.push(corrected(from)..corrected(to));
        }
        Ok(spans)
    }
}

impl Run<'_> {
    /// When the first segment begins, and the last one ends, of those that were begun in `stretch`.
    async fn begun_in(&self, stretch: &Range<u64>) -> Result<Option<(i64, i64)>, StoreError> {
        let Some(from) = self.since(stretch.start).await? else { return Ok(None) };
        let to = match stretch.end {
            u64::MAX => ALWAYS.end,
            end => self.since(end).await?.unwrap_or(ALWAYS.end),
        };
        let first = self.find(OLDEST, from..to).await?;
        let last = self.find(NEWEST, from..to).await?;
        Ok(first.zip(last).map(|(first, last)| (first.start_us, last.end_us)))
    }

    /// A time that separates, by their stated beginnings, what was begun before a moment of the
    /// monotonic clock from what was not. None: all was begun before.
    async fn since(&self, monotonic_us: u64) -> Result<Option<i64>, StoreError> {
        let oldest = self.find(OLDEST, ALWAYS).await?;
        let newest = self.find(NEWEST, ALWAYS).await?;
        let Some((oldest, newest)) = oldest.zip(newest) else { return Ok(None) };
        if oldest.monotonic_us >= monotonic_us {
            return Ok(Some(oldest.start_us));
        }
        if newest.monotonic_us < monotonic_us {
            return Ok(None);
        }
        // What begins before `low` was begun before the moment, what begins at `high` or later was not.
        let (mut low, mut high) = (oldest.start_us.saturating_add(1), newest.start_us);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.find(OLDEST, middle..high).await? {
                Some(found) if found.monotonic_us < monotonic_us => {
                    low = found.start_us.saturating_add(1);
                }
                Some(_) | None => high = middle,
            }
        }
        Ok(Some(high))
    }

    async fn find(
        &self,
        query: &'static str,
        stated: Range<i64>,
    ) -> Result<Option<Stated>, StoreError> {
        let found: Option<(i64, i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(query)
            .bind(self.chain)
            .bind(self.run)
            .bind(stated.start)
            .bind(stated.end)
            .fetch_optional(self.reader)
            .await?;
        let Some((start_us, end_us, encoded, signature)) = found else { return Ok(None) };
        let entry = index::entry(encoded, signature)?;
        let Ok(What::Segment(segment)) = decode(&entry).map(|statement| statement.what) else {
            return Err(StoreError::Corrupt("entry of a segment"));
        };
        Ok(Some(Stated { start_us, end_us, monotonic_us: segment.monotonic_us }))
    }
}
