//! What the index tells, beside the writer. Everything is paged and bounded.

mod begun;
mod outline;
mod proof;
mod timeline;

use std::{fs::File, io};

use sightline_model::UnixMicros;
use sightline_recording::{
    chain::decode,
    statement::{Entry, Gap, Head, Segment, Sequence, Subject, What},
};

pub use outline::{MAX_STEPS, Piece};
pub use proof::{ProvenSpan, Wanted, file_name};

use crate::{
    State, Store, StoreError,
    committer::Job,
    index::{self, ChainRow},
    layout::{FoundFile, capacity_bytes},
    store::{Inner, blocking},
};

/// Most rows of one page.
pub const MAX_PAGE: u32 = 1_000;

/// A segment as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Its number in the chain.
    pub sequence: Sequence,
    /// What its entry states.
    pub segment: Segment,
    /// To be added to every time that it states, in microseconds (decision 0090).
    pub correction_us: i64,
    /// Whether somebody vouches for the corrected times.
    pub time_known: bool,
    /// Whether it is kept until it is unlocked.
    pub locked: bool,
    /// Its file was found missing or of another length: to be shown as a gap.
    pub damaged: bool,
}

impl SegmentRow {
    /// When it begins, corrected.
    #[must_use]
    pub const fn start(&self) -> UnixMicros {
        UnixMicros(self.segment.start.0.saturating_add(self.correction_us))
    }

    /// When it ends, corrected.
    #[must_use]
    pub const fn end(&self) -> UnixMicros {
        UnixMicros(self.segment.end().0.saturating_add(self.correction_us))
    }
}

/// A gap as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapRow {
    /// Its number in the chain.
    pub sequence: Sequence,
    /// What its entry states.
    pub gap: Gap,
    /// To be added to the time that it states, in microseconds.
    pub correction_us: i64,
    /// Where the next segment begins, corrected; none: it has not ended.
    pub to: Option<UnixMicros>,
}

impl GapRow {
    /// When it begins, corrected.
    #[must_use]
    pub const fn from(&self) -> UnixMicros {
        UnixMicros(self.gap.from.0.saturating_add(self.correction_us))
    }
}

/// Rows, and from where on there are more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of their numbers.
    pub rows: Vec<T>,
    /// To be handed in as `after` for the next page; none: this was the last.
    pub next: Option<Sequence>,
}

/// What a chain holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of its segments.
    pub bytes: u64,
    /// Where its oldest recording begins, corrected; none: it has none.
    pub oldest: Option<UnixMicros>,
    /// Where its newest recording ends, corrected.
    pub newest: Option<UnixMicros>,
}

/// A segment's file, open for reading. It stays readable when the segment expires meanwhile.
#[derive(Debug)]
pub struct OpenFile {
    /// The file, at its beginning.
    pub file: File,
    /// Its length in bytes.
    pub len: u64,
    /// The segment.
    pub row: SegmentRow,
}

/// What became of opening a segment's file.
#[derive(Debug)]
pub enum Opened {
    /// Here it is.
    File(OpenFile),
    /// It is missing or of another length than was signed: the segment is lost, its entry is not.
    Damaged(SegmentRow),
    /// There is no such segment, or it has expired.
    Expired,
}

impl Opened {
    /// The file, if there is one.
    #[must_use]
    pub fn file(self) -> Option<OpenFile> {
        match self {
            Self::File(opened) => Some(opened),
            Self::Damaged(_) | Self::Expired => None,
        }
    }
}

/// The newest entry of a chain that says whether anything is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Newest {
    /// Nothing was ever recorded, or nothing is left.
    Nothing,
    /// A gap; the newest file is that of the newest segment that is left.
    Gap {
        file: Option<u64>,
    },
    Segment {
        segment: Segment,
        file: u64,
    },
}

impl Newest {
    pub(crate) const fn file(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Gap { file } => *file,
            Self::Segment { file, .. } => Some(*file),
        }
    }
}

/// The columns that every list of segments reads.
#[derive(Debug, sqlx::FromRow)]
struct SegmentColumns {
    id: i64,
    sequence: i64,
    file: i64,
    locked: bool,
    damaged: bool,
    correction_us: i64,
    time_known: bool,
    encoded: Vec<u8>,
    signature: Vec<u8>,
}

impl SegmentColumns {
    fn file(&self) -> Result<u64, StoreError> {
        self.file.try_into().map_err(|_| StoreError::Corrupt("number of a file"))
    }

    fn row(self) -> Result<SegmentRow, StoreError> {
        let entry = index::entry(self.encoded, self.signature)?;
        let Ok(What::Segment(segment)) = decode(&entry).map(|statement| statement.what) else {
            return Err(StoreError::Corrupt("entry of a segment"));
        };
        Ok(SegmentRow {
            sequence: index::sequence(self.sequence)?,
            segment,
            correction_us: self.correction_us,
            time_known: self.time_known,
            locked: self.locked,
            damaged: self.damaged,
        })
    }
}

impl Store {
    /// Whose recordings of what there are.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let mut subjects: Vec<_> = self.inner.chains.lock().keys().cloned().collect();
        subjects.sort_unstable();
        subjects
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.inner.used_bytes()
    }

    /// Size of the file system, in bytes; none: it is not there.
    pub async fn capacity_bytes(&self) -> Option<u64> {
        let dir = self.inner.layout.root().to_path_buf();
        blocking(move || capacity_bytes(&dir)).await.ok()?.ok()
    }

    /// Bytes of a chain's locked segments.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn locked_bytes(&self, subject: &Subject) -> Result<u64, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(0) };
        let bytes: i64 = sqlx::query_scalar(
            "SELECT COALESCE(SUM(bytes), 0) FROM entry WHERE chain = $1 AND locked = 1",
        )
        .bind(chain.row)
        .fetch_one(&self.inner.index()?.reader)
        .await?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Whether anything of a chain was ever let go.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn has_expired(&self, subject: &Subject) -> Result<bool, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(false) };
        // `kind <> 1` again, so that the index of those serves: else all segments are looked at.
        Ok(sqlx::query_scalar(
            "SELECT EXISTS(SELECT 1 FROM entry WHERE chain = $1 AND kind = 4 AND kind <> 1)",
        )
        .bind(chain.row)
        .fetch_one(&self.inner.index()?.reader)
        .await?)
    }

    /// What a chain holds, and of which time.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn usage(&self, subject: &Subject) -> Result<Usage, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(Usage::default()) };
        let (bytes, oldest, newest): (i64, Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT COALESCE(SUM(bytes), 0), MIN(start_us + correction_us), \
             MAX(end_us + correction_us) FROM run WHERE chain = $1 AND bytes > 0",
        )
        .bind(chain.row)
        .fetch_one(&self.inner.index()?.reader)
        .await?;
        Ok(Usage {
            bytes: u64::try_from(bytes).unwrap_or(0),
            oldest: oldest.map(UnixMicros),
            newest: newest.map(UnixMicros),
        })
    }

    /// What the chain has come to, to be reported with the time `at`; none: nothing was recorded.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn head(
        &self,
        subject: &Subject,
        at: UnixMicros,
    ) -> Result<Option<Head>, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(None) };
        let row: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT sequence, encoded FROM entry WHERE chain = $1 ORDER BY sequence DESC LIMIT 1",
        )
        .bind(chain.row)
        .fetch_optional(&self.inner.index()?.reader)
        .await?;
        let Some((sequence, encoded)) = row else { return Ok(None) };
        let hash = sightline_recording::chain::hash(&encoded);
        Ok(Some(Head { chain: chain.id, sequence: index::sequence(sequence)?, hash, at }))
    }

    /// The entries of a chain in their order, with their numbers, without those that are about to go.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn entries(
        &self,
        subject: &Subject,
        after: Option<Sequence>,
        limit: u32,
    ) -> Result<Page<(Sequence, Entry)>, StoreError> {
        let nothing = Page { rows: Vec::new(), next: None };
        let Some(chain) = self.inner.chain(subject) else { return Ok(nothing) };
        let limit = limit.clamp(1, MAX_PAGE);
        let stored: Vec<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT sequence, encoded, signature FROM entry \
             WHERE chain = $1 AND sequence > $2 AND expiring = 0 ORDER BY sequence LIMIT $3",
        )
        .bind(chain.row)
        .bind(after.map_or(-1, index::stored))
        .bind(limit)
        .fetch_all(&self.inner.index()?.reader)
        .await?;
        let mut rows = Vec::with_capacity(stored.len());
        for (number, encoded, signature) in stored {
            rows.push((index::sequence(number)?, index::entry(encoded, signature)?));
        }
        let next = rows.last().map(|(n, _)| *n).filter(|_| rows.len() == limit as usize);
        Ok(Page { rows, next })
    }

    /// One segment; none: there is none of this number.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn segment(
        &self,
        subject: &Subject,
        sequence: Sequence,
    ) -> Result<Option<SegmentRow>, StoreError> {
        self.columns(subject, sequence).await?.map(SegmentColumns::row).transpose()
    }

    /// Opens a segment's file.
    ///
    /// # Errors
    /// When the storage fails. A file that is missing or of another length is no error: its row is
    /// marked, so that it is shown as a gap from now on.
    pub async fn open_file(
        &self,
        subject: &Subject,
        sequence: Sequence,
    ) -> Result<Opened, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(Opened::Expired) };
        let Some(columns) = self.columns(subject, sequence).await? else {
            return Ok(Opened::Expired);
        };
        let path = self.inner.layout.file(chain.id, columns.file()?);
        let opened = blocking(move || -> io::Result<(File, u64)> {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        });
        let opened = opened.await?;
        let (id, row) = (columns.id, columns.row()?);
        match opened {
            Ok((file, len)) if len == row.segment.len => {
                return Ok(Opened::File(OpenFile { file, len, row }));
            }
            Ok(_) => {}
            Err(error) => {
                // It may have expired between the two looks.
                if self.columns(subject, sequence).await?.is_none() {
                    return Ok(Opened::Expired);
                }
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(StoreError::io("opening a segment")(error));
                }
            }
        }
        self.inner.note_damage(&chain, id, row.damaged).await?;
        Ok(Opened::Damaged(SegmentRow { damaged: true, ..row }))
    }

    async fn columns(
        &self,
        subject: &Subject,
        sequence: Sequence,
    ) -> Result<Option<SegmentColumns>, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(None) };
        Ok(sqlx::query_as(
            "SELECT e.id, e.sequence, e.file, e.locked, e.damaged, r.correction_us, r.time_known, \
             e.encoded, e.signature FROM entry e JOIN run r ON r.chain = e.chain AND r.run = e.run \
             WHERE e.chain = $1 AND e.sequence = $2 AND e.kind = 1 AND e.expiring = 0",
        )
        .bind(chain.row)
        .bind(index::stored(sequence))
        .fetch_optional(&self.inner.index()?.reader)
        .await?)
    }
}

impl Inner {
    /// Marks the row of a segment whose file is missing or of another length, unless it `is_known`.
    ///
    /// # Errors
    /// When the storage is away: then no file is there, and none is lost.
    async fn note_damage(
        &self,
        chain: &ChainRow,
        id: i64,
        is_known: bool,
    ) -> Result<(), StoreError> {
        let index = self.index()?;
        if !self.index_is_in_place(&index).await? {
            return Err(StoreError::Unavailable(State::Away));
        }
        if is_known {
            return Ok(());
        }
        tracing::warn!(chain = %chain.id, id, "a segment's file is missing or of another length");
        let job = Job::Damaged { chain: chain.id, ids: vec![id] };
        if let Err(error) = self.commits.change(job).await {
            // Whoever opens it next finds out again.
            tracing::debug!(%error, "a lost segment could not be marked");
        }
        Ok(())
    }

    /// The newest segment or gap of a chain. Read by the writer, which sees what was just committed.
    pub(crate) async fn newest(&self, chain: &ChainRow) -> Result<Newest, StoreError> {
        let index = self.index()?;
        let gap: Option<(i64,)> = sqlx::query_as(
            "SELECT sequence FROM entry WHERE chain = $1 AND kind = 2 ORDER BY sequence DESC LIMIT 1",
        )
        .bind(chain.row)
        .fetch_optional(&index.reader)
        .await?;
        let segment: Option<(i64, i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT sequence, file, encoded, signature FROM entry \
             WHERE chain = $1 AND kind = 1 ORDER BY sequence DESC LIMIT 1",
        )
        .bind(chain.row)
        .fetch_optional(&index.reader)
        .await?;
        let Some((sequence, file, encoded, signature)) = segment else {
            return Ok(if gap.is_some() { Newest::Gap { file: None } } else { Newest::Nothing });
        };
        let file = file.try_into().map_err(|_| StoreError::Corrupt("number of a file"))?;
        if gap.is_some_and(|(gap,)| gap > sequence) {
            return Ok(Newest::Gap { file: Some(file) });
        }
        match decode(&index::entry(encoded, signature)?).map(|statement| statement.what) {
            Ok(What::Segment(segment)) => Ok(Newest::Segment { segment, file }),
            Ok(_) | Err(_) => Err(StoreError::Corrupt("entry of a segment")),
        }
    }

    /// A number that no file of the chain has, nor had as far as can be seen.
    pub(crate) async fn next_file(
        &self,
        chain: &ChainRow,
        newest: Option<u64>,
    ) -> Result<u64, StoreError> {
        let (layout, id) = (self.layout.clone(), chain.id);
        let found = blocking(move || layout.list(id, newest.unwrap_or(0)));
        let (found, _) = found.await?.map_err(StoreError::io("listing segments"))?;
        let on_disk = found.last().map(|FoundFile { number, .. }| *number);
        Ok(newest.max(on_disk).map_or(0, |number| number + 1))
    }
}
