//! What was recorded when: by corrected times.
//!
//! A run's segments follow each other in time and number, and all share one correction. So a span is
//! looked for in the few runs that overlap it, by an index over each run's stated times.

use std::ops::Range;

use sightline_model::UnixMicros;
use sightline_recording::{
    chain::decode,
    statement::{Sequence, Subject, What},
};
use sqlx::SqlitePool;

use super::{GapRow, MAX_PAGE, Page, SegmentColumns, SegmentRow, Wanted};
use crate::{Store, StoreError, index};

/// A segment that overlaps a span begins no earlier than so long before it, in microseconds: more
/// than any keyframe interval. Longer ones are found by their beginning only.
const LONGEST_US: i64 = 3_600_000_000;
/// Most stretches that [`Store::recorded`] is asked for at once.
const MAX_STRETCHES: usize = 400;

#[derive(Debug, sqlx::FromRow)]
struct Run {
    run: i64,
    correction_us: i64,
}

impl Run {
    /// A span of corrected times, as this run states them.
    const fn stated(&self, span: &Range<UnixMicros>) -> (i64, i64) {
        (
            span.start.0.saturating_sub(self.correction_us),
            span.end.0.saturating_sub(self.correction_us),
        )
    }
}

impl Store {
    /// The segments of a chain that overlap a span of corrected times, in the order of their numbers.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn segments(
        &self,
        subject: &Subject,
        span: Range<UnixMicros>,
        after: Option<Sequence>,
        limit: u32,
    ) -> Result<Page<SegmentRow>, StoreError> {
        let mut page = Page { rows: Vec::new(), next: None };
        let Some(chain) = self.inner.chain(subject) else { return Ok(page) };
        let (index, limit) = (self.inner.index()?, limit.clamp(1, MAX_PAGE) as usize);
        // Where the page before ended: whole runs before that need not be looked at.
        let from = match after {
            Some(after) => place(&index.reader, chain.row, after).await?,
            None => None,
        };
        for run in runs(&index.reader, chain.row, &span, from.map_or(0, |(run, _)| run)).await? {
            let left = limit - page.rows.len();
            let begin = from.filter(|(at, _)| *at == run.run).map(|(_, start)| start);
            let found = of_run(&index.reader, chain.row, &run, &span, (begin, after), left).await?;
            for columns in found {
                page.rows.push(columns.row()?);
            }
            if page.rows.len() == limit {
                page.next = page.rows.last().map(|row| row.sequence);
                break;
            }
        }
        Ok(page)
    }

    /// The gaps of a chain that overlap a span of corrected times, in the order of their numbers.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn gaps(
        &self,
        subject: &Subject,
        span: Range<UnixMicros>,
        after: Option<Sequence>,
        limit: u32,
    ) -> Result<Page<GapRow>, StoreError> {
        let nothing = Page { rows: Vec::new(), next: None };
        let Some(chain) = self.inner.chain(subject) else { return Ok(nothing) };
        let limit = limit.clamp(1, MAX_PAGE);
        type Row = (i64, i64, Option<i64>, Vec<u8>, Vec<u8>);
        // `kind <> 1` too, so that the index of what is no segment serves.
        let stored: Vec<Row> = sqlx::query_as(
            "SELECT * FROM (SELECT g.sequence AS sequence, g.correction_us, \
             (SELECT s.start_us + r.correction_us FROM entry s \
              JOIN run r ON r.chain = s.chain AND r.run = s.run \
              WHERE s.chain = g.chain AND s.sequence > g.sequence AND s.kind = 1 \
              ORDER BY s.sequence LIMIT 1) AS until, g.encoded, g.signature \
             FROM entry g WHERE g.chain = $1 AND g.kind = 2 AND g.kind <> 1 AND g.sequence > $2 \
             AND g.start_us + g.correction_us < $4) \
             WHERE until IS NULL OR until > $3 ORDER BY sequence LIMIT $5",
        )
        .bind(chain.row)
        .bind(after.map_or(-1, index::stored))
        .bind(span.start.0)
        .bind(span.end.0)
        .bind(limit)
        .fetch_all(&self.inner.index()?.reader)
        .await?;
        let mut rows = Vec::with_capacity(stored.len());
        for (number, correction_us, until, encoded, signature) in stored {
            let entry = index::entry(encoded, signature)?;
            let Ok(What::Gap(gap)) = decode(&entry).map(|statement| statement.what) else {
                return Err(StoreError::Corrupt("entry of a gap"));
            };
            let sequence = index::sequence(number)?;
            rows.push(GapRow { sequence, gap, correction_us, to: until.map(UnixMicros) });
        }
        let next = rows.last().map(|row| row.sequence).filter(|_| rows.len() == limit as usize);
        Ok(Page { rows, next })
    }

    /// Whether anything was recorded in each of the stretches between neighbouring `bounds`: with
    /// the midnights of a month in the camera's zone, the calendar of the month.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] with more than 401 bounds; else the storage fails.
    pub async fn recorded(
        &self,
        subject: &Subject,
        bounds: &[UnixMicros],
    ) -> Result<Vec<bool>, StoreError> {
        if bounds.len() > MAX_STRETCHES + 1 {
            return Err(StoreError::Misuse("a calendar of more than 400 days"));
        }
        let mut recorded = Vec::with_capacity(bounds.len());
        for stretch in bounds.windows(2) {
            let span = stretch[0]..stretch[1];
            recorded.push(self.has_any(subject, span).await?);
        }
        Ok(recorded)
    }

    /// Whether any segment of a chain overlaps a span of corrected times: by one lookup, however
    /// many runs do.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn has_any(
        &self,
        subject: &Subject,
        span: Range<UnixMicros>,
    ) -> Result<bool, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(false) };
        Ok(sqlx::query_scalar(
            "SELECT EXISTS(SELECT 1 FROM run r WHERE r.chain = $1 \
             AND r.end_us + r.correction_us > $2 AND r.start_us + r.correction_us < $3 \
             AND EXISTS(SELECT 1 FROM entry e WHERE e.chain = r.chain AND e.run = r.run \
             AND e.kind = 1 AND e.expiring = 0 AND e.start_us >= $2 - r.correction_us - $4 \
             AND e.start_us < $3 - r.correction_us AND e.end_us > $2 - r.correction_us))",
        )
        .bind(chain.row)
        .bind(span.start.0)
        .bind(span.end.0)
        .bind(LONGEST_US)
        .fetch_one(&self.inner.index()?.reader)
        .await?)
    }

    /// Locks or unlocks the segments that overlap a span of corrected times; how many changed.
    ///
    /// # Errors
    /// When the storage fails; what was locked before stays so.
    pub async fn lock(
        &self,
        subject: &Subject,
        span: Range<UnixMicros>,
        locked: bool,
    ) -> Result<u64, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(0) };
        let (mut changed, mut after) = (0, None);
        loop {
            let page = self.segments(subject, span.clone(), after, MAX_PAGE).await?;
            let sequences = page.rows.iter().map(|row| row.sequence).collect();
            let job = crate::committer::Job::Lock { chain: chain.row, sequences, locked };
            changed += self.inner.commits.change(job).await?;
            after = page.next;
            if after.is_none() {
                return Ok(changed);
            }
        }
    }
}

/// The numbers of the segments that are wanted, `limit` at most, in no order.
pub(super) async fn numbers(
    reader: &SqlitePool,
    chain: i64,
    Wanted { span, within }: &Wanted,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT e.sequence FROM run r CROSS JOIN entry e ON e.chain = r.chain AND e.run = r.run \
         WHERE r.chain = $1 AND r.end_us + r.correction_us > $2 \
         AND r.start_us + r.correction_us < $3 AND e.kind = 1 AND e.expiring = 0 \
         AND e.start_us >= $2 - r.correction_us - $4 \
         AND e.start_us < $3 - r.correction_us AND e.end_us > $2 - r.correction_us \
         AND e.start_us + r.correction_us >= $5 AND e.end_us + r.correction_us <= $6 LIMIT $7",
    )
    .bind(chain)
    .bind(span.start.0)
    .bind(span.end.0)
    .bind(LONGEST_US)
    .bind(within.start.0)
    .bind(within.end.0)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(reader)
    .await?)
}

/// Run and stated beginning of a segment; none when it has gone.
async fn place(
    reader: &SqlitePool,
    chain: i64,
    sequence: Sequence,
) -> Result<Option<(i64, i64)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT run, start_us FROM entry WHERE chain = $1 AND sequence = $2 AND kind = 1",
    )
    .bind(chain)
    .bind(index::stored(sequence))
    .fetch_optional(reader)
    .await?)
}

/// The runs that overlap a span, from the run `from` on.
async fn runs(
    reader: &SqlitePool,
    chain: i64,
    span: &Range<UnixMicros>,
    from: i64,
) -> Result<Vec<Run>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT run, correction_us FROM run WHERE chain = $1 AND run >= $2 \
         AND end_us + correction_us > $3 AND start_us + correction_us < $4 ORDER BY run",
    )
    .bind(chain)
    .bind(from)
    .bind(span.start.0)
    .bind(span.end.0)
    .fetch_all(reader)
    .await?)
}

async fn of_run(
    reader: &SqlitePool,
    chain: i64,
    run: &Run,
    span: &Range<UnixMicros>,
    (begin, after): (Option<i64>, Option<Sequence>),
    limit: usize,
) -> Result<Vec<SegmentColumns>, StoreError> {
    let (from, to) = run.stated(span);
    let begin = begin.unwrap_or_else(|| from.saturating_sub(LONGEST_US));
    Ok(sqlx::query_as(
        "SELECT e.id, e.sequence, e.file, e.locked, e.damaged, r.correction_us, r.time_known, \
         e.encoded, e.signature FROM run r CROSS JOIN entry e ON e.chain = r.chain AND e.run = r.run \
         WHERE r.chain = $1 AND r.run = $2 AND e.kind = 1 AND e.expiring = 0 \
         AND e.start_us >= $3 AND e.start_us < $4 AND e.end_us > $5 AND e.sequence > $6 \
         ORDER BY e.start_us, e.sequence LIMIT $7",
    )
    .bind(chain)
    .bind(run.run)
    .bind(begin)
    .bind(to)
    .bind(from)
    .bind(after.map_or(-1, index::stored))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(reader)
    .await?)
}
