//! What a crash left behind (decision 0092). Nothing is removed that the store does not know.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
};

use bytes::Bytes;

use sightline_model::UnixMicros;
use sightline_recording::{
    segmenter::{Recovered, SegmentDraft, recover},
    statement::{Causes, RunId, Subject},
};

use crate::{
    StoreError,
    committer::{Draft, Job},
    files::{Part, Stored, unlink},
    index::ChainRow,
    layout::{FoundFile, entries, remove},
    query::Newest,
    store::{Inner, blocking},
};

/// So many of the newest files are looked at on every start: those that a loss of power can have
/// damaged. [`crate::Store::verify`] looks at all.
const NEWEST: u32 = 1_000;

/// A file longer than this is not one that the segmenter makes; in bytes.
const LONGEST: u64 = 1 << 30;

/// What was repaired in a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainRepair {
    /// Where the segments end that were found unfinished and finished as far as they went.
    pub ends: Vec<UnixMicros>,
    /// Files without a picture that were removed.
    pub removed: u64,
    /// Segments whose expiry was carried through.
    pub expired: u64,
    /// Segments whose file was found missing or of another length.
    pub damaged: u64,
    /// Files that are not of the store's making, or cannot be placed; they are left alone.
    pub left_alone: u64,
}

impl ChainRepair {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What was repaired when the store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// The chains where anything was found.
    pub chains: Vec<(Subject, ChainRepair)>,
    /// Folders beside the chains' that are not of this index; they are left alone.
    pub unknown: u64,
}

/// A file without a row.
enum Orphan {
    Finished(SegmentDraft, Stored),
    Removed,
    LeftAlone,
}

/// Repairs one chain. Its writer must not have a segment open.
pub(crate) async fn chain(inner: &Inner, chain: &ChainRow) -> Result<ChainRepair, StoreError> {
    let expired = finish_expiry(inner, chain).await?;
    let mut repaired = ChainRepair { expired, ..Default::default() };
    let newest = inner.newest(chain).await?;
    let (layout, id, from) = (inner.layout.clone(), chain.id, newest.file());
    let found = blocking(move || layout.list(id, from.unwrap_or(0)));
    let (found, others) = found.await?.map_err(StoreError::io("listing segments"))?;
    repaired.left_alone = others;
    for file in found.into_iter().filter(|file| newest.file().is_none_or(|n| file.number > n)) {
        match settle(inner, chain, file).await? {
            Orphan::Finished(draft, stored) => match adopt(inner, chain, draft, stored).await {
                Ok(end) => repaired.ends.push(end),
                Err(StoreError::Misuse(_)) => repaired.left_alone += 1,
                Err(error) => return Err(error),
            },
            Orphan::Removed => repaired.removed += 1,
            Orphan::LeftAlone => repaired.left_alone += 1,
        }
    }
    repaired.damaged = mark_damaged(inner, chain).await?;
    Ok(repaired)
}

/// Rows that were marked: their files go, then they.
async fn finish_expiry(inner: &Inner, chain: &ChainRow) -> Result<u64, StoreError> {
    let marked: Vec<(i64, i64)> =
        sqlx::query_as("SELECT id, file FROM entry WHERE expiring = 1 AND chain = $1 ORDER BY id")
            .bind(chain.row)
            .fetch_all(&inner.index()?.reader)
            .await?;
    if marked.is_empty() {
        return Ok(0);
    }
    let (ids, files): (Vec<_>, Vec<_>) = marked.into_iter().unzip();
    let files: Result<Vec<u64>, _> = files.into_iter().map(u64::try_from).collect();
    let files = files.map_err(|_| StoreError::Corrupt("number of a file"))?;
    let (layout, id, steps) = (inner.layout.clone(), chain.id, inner.steps.clone());
    blocking(move || unlink(&layout, id, &files, 0, &steps))
        .await?
        .map_err(StoreError::io("removing expired segments"))?;
    inner.commits.change(Job::Forget { chain: chain.row, ids }).await
}

/// Finishes or removes a file that has no row.
async fn settle(inner: &Inner, chain: &ChainRow, file: FoundFile) -> Result<Orphan, StoreError> {
    let (layout, steps, chain) = (inner.layout.clone(), inner.steps.clone(), chain.clone());
    let settled = blocking(move || {
        let path = match file.is_part {
            true => layout.part(chain.id, file.number),
            false => layout.file(chain.id, file.number),
        };
        let mut opened = OpenOptions::new().read(true).write(true).open(&path)?;
        match look_into(&mut opened)? {
            Some(Recovered { len, draft }) => {
                let part = Part::take_up(opened, chain.id, file, len, steps)?;
                Ok(Orphan::Finished(draft, part.finish(&layout)?))
            }
            None if file.is_part => {
                drop::<File>(opened);
                steps.take("remove")?;
                remove(&path)?;
                Ok(Orphan::Removed)
            }
            None => Ok(Orphan::LeftAlone),
        }
    });
    settled.await?.map_err(StoreError::io("repairing a segment"))
}

/// What is to be kept of a file; none: it is damaged, or holds no picture.
fn look_into(file: &mut File) -> io::Result<Option<Recovered>> {
    if file.metadata()?.len() > LONGEST {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(recover(&Bytes::from(content)).ok().flatten())
}

/// Gives a file its row and entry.
async fn adopt(
    inner: &Inner,
    chain: &ChainRow,
    draft: SegmentDraft,
    stored: Stored,
) -> Result<UnixMicros, StoreError> {
    let continued = continued(&inner.newest(chain).await?, &draft);
    let run = continued.map(|(run, _)| run);
    let causes = continued.map(|(_, causes)| causes).unwrap_or_default();
    // The committer, who numbers it, names a new run.
    let mut segment = draft.into_segment(run.unwrap_or(RunId(0)), causes, true);
    (segment.len, segment.content) = (stored.len, stored.content);
    let end = segment.end();
    let draft = Draft::Segment { segment, file: stored.number, run };
    inner.commits.append(chain, vec![draft]).await?;
    inner.count(chain.row, stored.len);
    Ok(end)
}

/// The run that a found segment continues without a seam, and why that one was recorded.
fn continued(newest: &Newest, found: &SegmentDraft) -> Option<(RunId, Causes)> {
    let Newest::Segment { segment: before, .. } = newest else { return None };
    let opening = &found.opening;
    let end_90k = u128::from(before.position_90k) + u128::from(before.duration_us) * 9 / 100;
    // The duration is rounded to microseconds: less than a tick either way.
    let fits = u128::from(opening.position_90k).abs_diff(end_90k) <= 1;
    let same = !opening.first_of_run && opening.boot == before.boot;
    (fits && same).then_some((before.run, before.causes))
}

/// Looks whether the newest files are there in their length.
async fn mark_damaged(inner: &Inner, chain: &ChainRow) -> Result<u64, StoreError> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT id, file, bytes FROM entry WHERE chain = $1 AND kind = 1 AND expiring = 0 \
         AND damaged = 0 ORDER BY sequence DESC LIMIT $2",
    )
    .bind(chain.row)
    .bind(NEWEST)
    .fetch_all(&inner.index()?.reader)
    .await?;
    let (layout, id) = (inner.layout.clone(), chain.id);
    let damaged = blocking(move || {
        let is_whole = |file: i64, bytes: i64| {
            let file = u64::try_from(file).ok()?;
            let len = fs::metadata(layout.file(id, file)).ok()?.len();
            (i64::try_from(len) == Ok(bytes)).then_some(())
        };
        let damaged = rows.into_iter().filter(|(_, file, len)| is_whole(*file, *len).is_none());
        damaged.map(|(id, ..)| id).collect::<Vec<_>>()
    });
    let ids = damaged.await?;
    if ids.is_empty() {
        return Ok(0);
    }
    inner.commits.change(Job::Damaged { chain: id, ids }).await
}

impl Inner {
    /// How many folders beside the chains' are not known.
    pub(crate) async fn unknown_folders(&self, chains: &[ChainRow]) -> Result<u64, StoreError> {
        let segments = self.layout.segments();
        let known: Vec<_> = chains.iter().map(|chain| self.layout.chain(chain.id)).collect();
        let unknown = blocking(move || -> io::Result<u64> {
            let unknown = entries(&segments)?.into_iter().filter(|e| !known.contains(&e.path()));
            Ok(unknown.count() as u64)
        });
        unknown.await?.map_err(StoreError::io("listing the folders of the recordings"))
    }
}
