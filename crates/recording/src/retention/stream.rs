//! Rows of one chain and kind, read in batches and given away from the front.

use std::collections::VecDeque;

use sightline_model::UnixMicros;

use super::{BATCH_ROWS, Query, Release, Row, RowsError, Which};
use crate::statement::Sequence;

#[derive(Debug)]
pub(super) struct Stream {
    chain: usize,
    which: Which,
    timed_until: Option<UnixMicros>,
    buffer: VecDeque<Row>,
    after: Option<Sequence>,
    /// The index has no more rows than those in the buffer.
    ended: bool,
    released: Option<Release>,
}

impl Stream {
    pub(super) fn new(chain: usize, which: Which, timed_until: Option<UnixMicros>) -> Self {
        Self {
            chain,
            which,
            timed_until,
            buffer: VecDeque::new(),
            after: None,
            ended: false,
            released: None,
        }
    }

    /// The oldest row that is left; `Err` when it has to be read first.
    pub(super) fn head(&self) -> Result<Option<&Row>, Query> {
        match self.buffer.front() {
            Some(row) => Ok(Some(row)),
            None if self.ended => Ok(None),
            None => Err(Query {
                chain: self.chain,
                which: self.which,
                after: self.after,
                timed_until: self.timed_until,
                limit: BATCH_ROWS,
            }),
        }
    }

    /// Gives the oldest row away; its bytes.
    pub(super) fn release_head(&mut self) -> u64 {
        let Some(row) = self.buffer.pop_front() else { return 0 };
        let none = Release {
            chain: self.chain,
            which: self.which,
            through: row.sequence,
            rows: 0,
            bytes: 0,
        };
        let release = self.released.get_or_insert(none);
        release.through = row.sequence;
        release.rows += 1;
        release.bytes = release.bytes.saturating_add(row.bytes);
        row.bytes
    }

    pub(super) fn release(&self) -> Option<Release> {
        self.released
    }

    /// Takes the rows of an open query, all or none.
    pub(super) fn fill(&mut self, rows: Vec<Row>) -> Result<(), RowsError> {
        if rows.len() > BATCH_ROWS as usize {
            return Err(RowsError::TooMany(rows.len()));
        }
        let mut last = self.after;
        for row in &rows {
            if last.is_some_and(|last| row.sequence <= last) {
                return Err(RowsError::Unordered(row.sequence));
            }
            let timed = self.timed_until.is_none_or(|until| row.time_known && row.end <= until);
            if row.locked || !self.which.has(row.causes) || !timed {
                return Err(RowsError::NotAsAsked(row.sequence));
            }
            last = Some(row.sequence);
        }
        self.ended = rows.len() < BATCH_ROWS as usize;
        self.after = last;
        self.buffer.extend(rows);
        Ok(())
    }
}
