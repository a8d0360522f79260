//! Compares files, index and chain.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use sightline_recording::{
    chain::{Expected, FileState, Report, Sign, Verifier},
    statement::{Head, Sequence, Subject},
};

use crate::{
    Store, StoreError,
    files::digest,
    index::{self, ChainRow},
    query::MAX_PAGE,
    store::blocking,
};

/// How closely files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whether they are there.
    Present,
    /// Their length as well.
    Size,
    /// All their bytes.
    Hash,
}

/// What [`Store::verify`] has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// What the chain's verifier says.
    pub report: Report,
    /// How closely files were looked at.
    pub level: Level,
}

impl Store {
    /// Verifies a chain and its files. `head`: what had been reported of its end. None: nothing was
    /// recorded of this subject.
    ///
    /// What is recorded meanwhile is not an error, nor is what expires.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn verify(
        &self,
        subject: &Subject,
        level: Level,
        head: Option<Head>,
    ) -> Result<Option<VerifyReport>, StoreError> {
        let Some(chain) = self.inner.chain(subject) else { return Ok(None) };
        let expected = Expected {
            subject: Some(subject.clone()),
            chain: Some(chain.id),
            head,
            ..Expected::of(subject.recorder.clone())
        };
        let mut verifier = Verifier::new(self.inner.key.public_key(), expected);
        let mut after = None;
        loop {
            let page = self.entries(subject, after, MAX_PAGE).await?;
            for (number, entry) in &page.rows {
                let Some((sequence, segment)) = verifier.push(entry) else { continue };
                if let Some(state) = self.look_at(&chain, *number, level).await? {
                    verifier.file(sequence, &segment, state);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(Some(VerifyReport { report: verifier.finish(), level }));
            }
        }
    }

    /// Looks at a segment's file; none: it has expired since its entry was read.
    async fn look_at(
        &self,
        chain: &ChainRow,
        sequence: Sequence,
        level: Level,
    ) -> Result<Option<FileState>, StoreError> {
        let Some(file) = self.file_of(chain, sequence).await? else { return Ok(None) };
        let path = self.inner.layout.file(chain.id, file);
        let state = blocking(move || look_at(&path, level)).await?;
        let state = state.map_err(StoreError::io("reading a segment"))?;
        // It may have expired between the two looks.
        if state == FileState::Absent && self.file_of(chain, sequence).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(state))
    }

    async fn file_of(
        &self,
        chain: &ChainRow,
        sequence: Sequence,
    ) -> Result<Option<u64>, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT file FROM entry \
             WHERE chain = $1 AND sequence = $2 AND kind = 1 AND expiring = 0",
        )
        .bind(chain.row)
        .bind(index::stored(sequence))
        .fetch_optional(&self.inner.index()?.reader)
        .await?;
        row.map(|(file,)| u64::try_from(file).map_err(|_| StoreError::Corrupt("number of a file")))
            .transpose()
    }
}

fn look_at(path: &Path, level: Level) -> io::Result<FileState> {
    let found = match level {
        Level::Present => fs::metadata(path).map(|_| FileState::Present),
        Level::Size => fs::metadata(path).map(|stat| FileState::Length(stat.len())),
        Level::Hash => File::open(path).and_then(|mut file| {
            let (content, len) = digest(&mut file)?;
            Ok(FileState::Hashed { len, content })
        }),
    };
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileState::Absent),
        other => other,
    }
}
