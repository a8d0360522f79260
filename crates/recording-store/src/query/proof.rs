//! What proves a span: its entries, and those from outside of it that explain them (decision 0091).

use std::ops::Range;

use sightline_model::UnixMicros;
use sightline_recording::{
    chain::{ChainProof, ProvenEntry, Sign},
    statement::{Sequence, Subject},
};
use sqlx::{Sqlite, Transaction};

use super::{MAX_PAGE, SegmentRow};
use crate::{Store, StoreError, index};

/// A span's proof, and its segments.
#[derive(Debug, Clone)]
pub struct ProvenSpan {
    /// The proof; each segment's file is named [`file_name`].
    pub proof: ChainProof,
    /// The segments, in the order of their numbers.
    pub segments: Vec<SegmentRow>,
}

/// How a segment's file is named beside a proof.
#[must_use]
pub fn file_name(sequence: Sequence) -> String {
    format!("{:012}.mp4", sequence.0)
}

/// An entry as it is stored: number, whether it is a segment, statement, signature.
type Stored = (i64, bool, Vec<u8>, Vec<u8>);

impl Store {
    /// Proves what a chain has of a span of corrected times. None: it has nothing of it.
    ///
    /// Segments whose files are known to be missing are proven, too: that they were recorded.
    ///
    /// # Errors
    /// When the storage fails; [`StoreError::Misuse`] for more than `max` segments.
    pub async fn prove(
        &self,
        subject: &Subject,
        span: Range<UnixMicros>,
        max: usize,
    ) -> Result<Option<ProvenSpan>, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(None) };
        let (mut segments, mut after) = (Vec::new(), None);
        loop {
            let page = self.segments(subject, span.clone(), after, MAX_PAGE).await?;
            segments.extend(page.rows);
            after = page.next;
            if segments.len() > max {
                return Err(StoreError::Misuse("a proof of too many segments"));
            }
            if after.is_none() {
                break;
            }
        }
        segments.sort_by_key(|row| row.sequence);
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Ok(None);
        };
        let (first, last) = (index::stored(first.sequence), index::stored(last.sequence));
        // One view of the index: what expires meanwhile would tear a hole.
        let mut view = self.inner.index()?.reader.begin().await?;
        let entries = between(&mut view, chain.row, (first, last)).await?;
        let mut context = between(&mut view, chain.row, (0, 0)).await?;
        context.extend(behind(&mut view, chain.row, last).await?);
        view.rollback().await?;
        let gone = |row: &SegmentRow| {
            let number = index::stored(row.sequence);
            entries.binary_search_by_key(&number, |(number, ..)| *number).is_err()
        };
        segments.retain(|row| !gone(row));
        let proof = ChainProof {
            recorder_key: self.inner.key.public_key(),
            context: context.into_iter().map(proven).collect::<Result<_, _>>()?,
            entries: entries.into_iter().map(proven).collect::<Result<_, _>>()?,
        };
        Ok(Some(ProvenSpan { proof, segments }))
    }
}

async fn between(
    view: &mut Transaction<'_, Sqlite>,
    chain: i64,
    (first, last): (i64, i64),
) -> Result<Vec<Stored>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT sequence, kind = 1, encoded, signature FROM entry \
         WHERE chain = $1 AND sequence >= $2 AND sequence <= $3 AND expiring = 0 ORDER BY sequence",
    )
    .bind(chain)
    .bind(first)
    .bind(last)
    .fetch_all(&mut **view)
    .await?)
}

/// The steps of the clock behind a number, and the newest checkpoint.
async fn behind(
    view: &mut Transaction<'_, Sqlite>,
    chain: i64,
    last: i64,
) -> Result<Vec<Stored>, StoreError> {
    // `kind <> 1` again, so that the index of those serves: else all segments are looked at.
    Ok(sqlx::query_as(
        "SELECT sequence, FALSE, encoded, signature FROM entry \
         WHERE chain = $1 AND sequence > $2 AND kind <> 1 AND (kind = 3 OR (kind = 4 AND sequence = \
         (SELECT MAX(sequence) FROM entry WHERE chain = $1 AND kind = 4 AND kind <> 1))) \
         ORDER BY sequence",
    )
    .bind(chain)
    .bind(last)
    .fetch_all(&mut **view)
    .await?)
}

fn proven((number, is_segment, encoded, signature): Stored) -> Result<ProvenEntry, StoreError> {
    let entry = ProvenEntry::new(index::entry(encoded, signature)?);
    let file = is_segment.then(|| index::sequence(number).map(file_name)).transpose()?;
    Ok(ProvenEntry { file, ..entry })
}
