//! What proves segments: their entries, and those from elsewhere that explain them (decision 0091).
//!
//! A proof holds no segment that was not asked for: recordings of the same seconds may lie far apart
//! in the chain, where the clock was set back, and what lies between them may belong to somebody else.
//! So each stretch of the chain is proven by itself, and how much is loaded depends on what was asked
//! for alone.

use std::{collections::HashSet, ops::Range};

use sightline_model::UnixMicros;
use sightline_recording::{
    chain::{ChainProof, MAX_CHAINS, ProvenEntry, Sign, decode},
    statement::{BootId, Entry, Sequence, Subject, What},
};
use sqlx::{Sqlite, Transaction};

use super::{MAX_PAGE, timeline};
use crate::{Store, StoreError, index};

/// Which segments are asked for, by their corrected times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Those that overlap this,
    pub span: Range<UnixMicros>,
    /// and of them those that lie in this whole.
    pub within: Range<UnixMicros>,
}

impl Wanted {
    /// Whether a segment of these times is asked for.
    #[must_use]
    pub fn has(&self, segment: &Range<UnixMicros>) -> bool {
        segment.start < self.span.end
            && segment.end > self.span.start
            && segment.start >= self.within.start
            && segment.end <= self.within.end
    }
}

/// Segments between which the chain has no others, and what proves them.
#[derive(Debug, Clone)]
pub struct ProvenSpan {
    /// The proof; each segment's file is named [`file_name`].
    pub proof: ChainProof,
    /// The segments, in the order of their numbers.
    pub segments: Vec<Sequence>,
}

/// How a segment's file is named beside a proof.
#[must_use]
pub fn file_name(sequence: Sequence) -> String {
    format!("{:012}.mp4", sequence.0)
}

/// An entry as it is stored: number, whether it is a segment, statement, signature.
type Stored = (i64, bool, Vec<u8>, Vec<u8>);

impl Store {
    /// Proves what a chain has of what is wanted, each stretch of the chain by itself; empty: it has
    /// nothing of it.
    ///
    /// Segments whose files are known to be missing are proven, too: that they were recorded.
    ///
    /// # Errors
    /// When the storage fails; [`StoreError::Misuse`] for more than `max` segments in all, for more
    /// than as many other entries between them, or for more stretches than one proof can have.
    pub async fn prove(
        &self,
        subject: &Subject,
        wanted: &[Wanted],
        max: usize,
    ) -> Result<Vec<ProvenSpan>, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(Vec::new()) };
        let index = self.inner.index()?;
        // Counted before anything is loaded.
        let mut numbers = Vec::new();
        for one in wanted {
            let left = max.saturating_sub(numbers.len()).saturating_add(1);
            numbers.extend(timeline::numbers(&index.reader, chain.row, one, left).await?);
            if numbers.len() > max {
                return Err(StoreError::Misuse("a proof of too many segments"));
            }
        }
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        numbers.sort_unstable();
        numbers.dedup();
        // One view of the index: what expires meanwhile would tear a hole.
        let view = index.reader.begin().await?;
        let mut walk = Walk { view, chain: chain.row, left: max.saturating_mul(2) };
        let groups = walk.groups(&numbers).await?;
        let begin = walk.one(BEGIN).await?;
        let checkpoint = walk.one(CHECKPOINT).await?;
        let mut proven = Vec::with_capacity(groups.len());
        for Group { entries, segments, boots, .. } in groups {
            let last = segments.last().copied().map_or(0, index::stored);
            let mut context: Vec<_> = begin.iter().cloned().map(|(_, entry)| entry).collect();
            context.extend(walk.steps(last, &boots).await?);
            let later = checkpoint.iter().filter(|(number, _)| *number > last);
            context.extend(later.cloned().map(|(_, entry)| entry));
            let recorder_key = self.inner.key.public_key();
            let proof = ChainProof { recorder_key, context, entries };
            proven.push(ProvenSpan { proof, segments });
        }
        walk.view.rollback().await?;
        Ok(proven)
    }
}

/// Whose recording of what it is.
const BEGIN: &str = "SELECT sequence, FALSE, encoded, signature FROM entry \
                     WHERE chain = $1 AND sequence = 0";
/// What has expired. `kind <> 1` again, so that the index of those serves: else all segments are
/// looked at.
const CHECKPOINT: &str = "SELECT sequence, FALSE, encoded, signature FROM entry \
                          WHERE chain = $1 AND kind = 4 AND kind <> 1 \
                          ORDER BY sequence DESC LIMIT 1";

/// Entries between whose segments there are no others.
#[derive(Debug, Default)]
struct Group {
    entries: Vec<ProvenEntry>,
    segments: Vec<Sequence>,
    /// Entries up to the newest segment.
    whole: usize,
    /// The machine's starts by whose unconfirmed clocks something in it is dated.
    boots: HashSet<BootId>,
}

impl Group {
    fn take(&mut self, (number, is_segment, encoded, signature): Stored) -> Result<(), StoreError> {
        let entry = index::entry(encoded, signature)?;
        self.boots.extend(doubtful(&entry));
        let mut proven = ProvenEntry::new(entry);
        if is_segment {
            let sequence = index::sequence(number)?;
            proven.file = Some(file_name(sequence));
            self.segments.push(sequence);
            self.whole = self.entries.len() + 1;
        }
        self.entries.push(proven);
        Ok(())
    }
}

/// The machine's start whose unconfirmed clock an entry is dated by. What cannot be read is given as
/// it is: whoever verifies is told.
fn doubtful(entry: &Entry) -> Option<BootId> {
    let (boot, authority) = match decode(entry).ok()?.what {
        What::Segment(segment) => (segment.boot, segment.authority),
        What::Gap(gap) => (gap.boot, gap.authority),
        What::ClockStep(step) => (step.boot, step.to_authority),
        What::Begin { .. } | What::Checkpoint(_) => return None,
    };
    (!authority.is_confirmed()).then_some(boot)
}

/// One view of a chain, and how many entries may still be taken from it.
struct Walk {
    view: Transaction<'static, Sqlite>,
    chain: i64,
    left: usize,
}

impl Walk {
    /// The entries from each of the segments `numbers` to the last one before a segment that is none
    /// of them.
    async fn groups(&mut self, numbers: &[i64]) -> Result<Vec<Group>, StoreError> {
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
            return Ok(Vec::new());
        };
        let (mut groups, mut group) = (Vec::new(), Group::default());
        let mut at = *first;
        loop {
            let page = self.page(at, *last).await?;
            let mut goes_on = page.len() == MAX_PAGE as usize;
            for entry in page {
                let (number, is_segment) = (entry.0, entry.1);
                at = number + 1;
                if is_segment && numbers.binary_search(&number).is_err() {
                    // What lies between is passed over unread, however much it is.
                    let next =
                        numbers[numbers.partition_point(|wanted| *wanted < number)..].first();
                    (at, goes_on) = (next.copied().unwrap_or(at), next.is_some());
                    close(&mut groups, std::mem::take(&mut group))?;
                    break;
                }
                // Nothing in front of the first segment explains it.
                if is_segment || !group.entries.is_empty() {
                    self.count()?;
                    group.take(entry)?;
                }
            }
            if !goes_on {
                break;
            }
        }
        close(&mut groups, group)?;
        Ok(groups)
    }

    async fn page(&mut self, first: i64, last: i64) -> Result<Vec<Stored>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT sequence, kind = 1, encoded, signature FROM entry WHERE chain = $1 \
             AND sequence >= $2 AND sequence <= $3 AND expiring = 0 ORDER BY sequence LIMIT $4",
        )
        .bind(self.chain)
        .bind(first)
        .bind(last)
        .bind(MAX_PAGE)
        .fetch_all(&mut *self.view)
        .await?)
    }

    async fn one(&mut self, query: &'static str) -> Result<Option<(i64, ProvenEntry)>, StoreError> {
        let stored: Option<Stored> =
            sqlx::query_as(query).bind(self.chain).fetch_optional(&mut *self.view).await?;
        let Some((number, _, encoded, signature)) = stored else { return Ok(None) };
        Ok(Some((number, ProvenEntry::new(index::entry(encoded, signature)?))))
    }

    /// The steps behind a number of the clocks that were not confirmed: by them the times before it
    /// are corrected. Other steps are nobody's business.
    async fn steps(
        &mut self,
        mut after: i64,
        boots: &HashSet<BootId>,
    ) -> Result<Vec<ProvenEntry>, StoreError> {
        let mut steps = Vec::new();
        if boots.is_empty() {
            return Ok(steps);
        }
        loop {
            // `kind <> 1` as for the checkpoint.
            let page: Vec<Stored> = sqlx::query_as(
                "SELECT sequence, FALSE, encoded, signature FROM entry WHERE chain = $1 \
                 AND sequence > $2 AND kind = 3 AND kind <> 1 ORDER BY sequence LIMIT $3",
            )
            .bind(self.chain)
            .bind(after)
            .bind(MAX_PAGE)
            .fetch_all(&mut *self.view)
            .await?;
            let is_last = page.len() < MAX_PAGE as usize;
            for (number, _, encoded, signature) in page {
                after = number;
                let entry = index::entry(encoded, signature)?;
                if corrects(&entry, boots) {
                    self.count()?;
                    steps.push(ProvenEntry::new(entry));
                }
            }
            if is_last {
                return Ok(steps);
            }
        }
    }

    fn count(&mut self) -> Result<(), StoreError> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or(StoreError::Misuse("a proof of too many entries"))?;
        Ok(())
    }
}

/// Whether it is a step by which a time that one of these clocks stated is corrected.
fn corrects(entry: &Entry, boots: &HashSet<BootId>) -> bool {
    match decode(entry).map(|statement| statement.what) {
        Ok(What::ClockStep(step)) => {
            boots.contains(&step.boot) && !step.from_authority.is_confirmed()
        }
        Ok(What::Begin { .. } | What::Segment(_) | What::Gap(_) | What::Checkpoint(_)) | Err(_) => {
            false
        }
    }
}

/// Ends a group with its last segment.
fn close(groups: &mut Vec<Group>, mut group: Group) -> Result<(), StoreError> {
    group.entries.truncate(group.whole);
    if group.entries.is_empty() {
        return Ok(());
    }
    if groups.len() == MAX_CHAINS {
        return Err(StoreError::Misuse("a proof of too many stretches of a chain"));
    }
    groups.push(group);
    Ok(())
}
