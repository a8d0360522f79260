//! Compares files, index and chain.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use sightline_recording::{
    chain::{Expected, FileState, Report, Sign, Verifier},
    statement::{Head, Subject},
};

use crate::{
    Store, StoreError,
    files::digest,
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
        // Whatever expires during the walk would look as if it were lost.
        let _one = self.inner.expiring.lock().await;
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
                let state = match self.file_of(&chain, *number).await? {
                    Some(file) => {
                        let path = self.inner.layout.file(chain.id, file);
                        blocking(move || look_at(&path, level)).await?
                    }
                    None => Ok(FileState::Absent),
                };
                let state = state.map_err(StoreError::io("reading a segment"))?;
                verifier.file(sequence, &segment, state);
            }
            after = page.next;
            if after.is_none() {
                return Ok(Some(VerifyReport { report: verifier.finish(), level }));
            }
        }
    }

    async fn file_of(
        &self,
        chain: &crate::index::ChainRow,
        sequence: sightline_recording::statement::Sequence,
    ) -> Result<Option<u64>, StoreError> {
        let row: Option<(Option<i64>,)> =
            sqlx::query_as("SELECT file FROM entry WHERE chain = $1 AND sequence = $2")
                .bind(chain.row)
                .bind(crate::index::stored(sequence))
                .fetch_optional(&self.inner.index()?.reader)
                .await?;
        Ok(row.and_then(|(file,)| file).and_then(|file| u64::try_from(file).ok()))
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
