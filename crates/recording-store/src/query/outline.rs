//! What a long span looks like from afar: pieces to be drawn, by a number of lookups that depends on
//! how finely it is looked at, not on how many segments there are.

use std::ops::Range;

use sightline_model::UnixMicros;
use sightline_recording::{
    chain::decode,
    statement::{Causes, Subject, What},
};
use sqlx::SqlitePool;

use crate::{Store, StoreError, index};

/// Most steps of an outline.
pub const MAX_STEPS: i64 = 4_000;

/// A segment that overlaps a span begins no earlier than so long before it, in microseconds.
const LONGEST_US: i64 = 300_000_000;

/// Something was recorded from `from` to `to`; interruptions shorter than a step may be within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// When the first segment begins, corrected.
    pub from: UnixMicros,
    /// When the last one ends, corrected.
    pub to: UnixMicros,
    /// Why the first was recorded.
    pub causes: Causes,
    /// Whether somebody vouches for its times.
    pub time_known: bool,
}

#[derive(Debug, sqlx::FromRow)]
struct Run {
    run: i64,
    start_us: i64,
    end_us: i64,
    correction_us: i64,
    time_known: bool,
}

/// Stated beginning, stated end, and the first segment's entry.
type Found = (i64, i64, Vec<u8>, Vec<u8>);

impl Store {
    /// The pieces of a chain that overlap a span of corrected times, looked at in steps of so long, in
    /// the order of their beginnings within each run.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] with more than [`MAX_STEPS`]; else the storage fails.
    pub async fn outline(
        &self,
        subject: &Subject,
        span: Range<UnixMicros>,
        step_us: i64,
    ) -> Result<Vec<Piece>, StoreError> {
        let length = span.end.0.saturating_sub(span.start.0);
        if step_us <= 0 || length / step_us > MAX_STEPS {
            return Err(StoreError::Misuse("an outline of too many steps"));
        }
        let Some(chain) = self.inner.chain(subject) else { return Ok(Vec::new()) };
        let reader = &self.inner.index()?.reader;
        let mut pieces = Vec::new();
        for run in runs(reader, chain.row, &span).await? {
            for (from, to, encoded, signature) in
                of_run(reader, chain.row, &run, &span, step_us).await?
            {
                let entry = index::entry(encoded, signature)?;
                let Ok(What::Segment(first)) = decode(&entry).map(|statement| statement.what)
                else {
                    return Err(StoreError::Corrupt("entry of a segment"));
                };
                pieces.push(Piece {
                    from: UnixMicros(from.saturating_add(run.correction_us)),
                    to: UnixMicros(to.saturating_add(run.correction_us)),
                    causes: first.causes,
                    time_known: run.time_known,
                });
            }
        }
        Ok(pieces)
    }
}

async fn runs(
    reader: &SqlitePool,
    chain: i64,
    span: &Range<UnixMicros>,
) -> Result<Vec<Run>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT run, start_us, end_us, correction_us, time_known FROM run WHERE chain = $1 \
         AND bytes > 0 AND end_us + correction_us > $2 AND start_us + correction_us < $3 \
         ORDER BY run",
    )
    .bind(chain)
    .bind(span.start.0)
    .bind(span.end.0)
    .fetch_all(reader)
    .await?)
}

/// Of each step, where its first segment begins and its last one ends.
async fn of_run(
    reader: &SqlitePool,
    chain: i64,
    run: &Run,
    span: &Range<UnixMicros>,
    step_us: i64,
) -> Result<Vec<Found>, StoreError> {
    let stated = |at: UnixMicros| at.0.saturating_sub(run.correction_us);
    // A segment that begins before the span may reach into it.
    let from = stated(span.start).saturating_sub(step_us.max(LONGEST_US)).max(run.start_us);
    let to = stated(span.end).min(run.end_us);
    Ok(sqlx::query_as(
        "WITH RECURSIVE step(at) AS (SELECT $3 UNION ALL SELECT at + $5 FROM step WHERE at + $5 < $4), \
         ends AS (SELECT \
          (SELECT sequence FROM entry WHERE chain = $1 AND run = $2 AND kind = 1 AND expiring = 0 \
           AND start_us >= at AND start_us < at + $5 ORDER BY start_us LIMIT 1) AS first, \
          (SELECT sequence FROM entry WHERE chain = $1 AND run = $2 AND kind = 1 AND expiring = 0 \
           AND start_us >= at AND start_us < at + $5 ORDER BY start_us DESC LIMIT 1) AS last \
          FROM step) \
         SELECT f.start_us, l.end_us, f.encoded, f.signature FROM ends \
         JOIN entry f ON f.chain = $1 AND f.sequence = first \
         JOIN entry l ON l.chain = $1 AND l.sequence = last ORDER BY f.start_us",
    )
    .bind(chain)
    .bind(run.run)
    .bind(from)
    .bind(to)
    .bind(step_us)
    .fetch_all(reader)
    .await?)
}
