//! What goes, and what must not.

use sightline_recording::{
    chain::covers,
    retention::Which,
    statement::{Causes, ChainId, Digest, ExpiredRange, Sequence},
};

use super::{Leaving, Letting, Work, hash, refused};
use crate::{MAX_PAGE, StoreError, index};

const SEGMENT: i64 = 1;
const CLOCK_STEP: i64 = 3;

/// An entry that may go.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Candidate {
    id: i64,
    sequence: i64,
    kind: i64,
    locked: bool,
    event: bool,
    file: Option<i64>,
    bytes: Option<i64>,
    run: Option<i64>,
}

impl Work<'_> {
    /// Appends the checkpoint, marks the segments and removes the other entries that go with them.
    pub(super) async fn mark(&mut self, letting: &Letting) -> Result<Vec<Leaving>, StoreError> {
        let Some(through) = letting.up_to.iter().map(|(_, through)| *through).max() else {
            return Ok(Vec::new());
        };
        let chain = letting.chain.row;
        let mut writer = self.writer(&letting.chain).await?;
        let mut choice = Choice::new(&letting.up_to, writer.expired());
        let mut after = 0;
        // What is locked, or kept for longer, lies below `through` from one time to the next.
        loop {
            let page = self.candidates(chain, after, through).await?;
            let is_last = page.len() < MAX_PAGE as usize;
            for one in page {
                after = one.sequence;
                choice.take(one)?;
            }
            if is_last {
                break;
            }
        }
        let going = choice.finish();
        if going.is_empty() {
            return Ok(Vec::new());
        }
        let mut named = Vec::with_capacity(going.len());
        for entry in &going {
            named.push((index::sequence(entry.sequence)?, self.hash_of(entry).await?));
        }
        let made = writer.let_go(named, self.key).map_err(|error| refused(&error))?;
        self.insert(chain, 4, &made).await?;
        let mut leaving = Vec::new();
        for entry in &going {
            leaving.extend(self.mark_one(chain, entry).await?);
        }
        self.writers.insert(chain, writer);
        Ok(leaving)
    }

    /// The next entries up to a number, without what they state: that is most of their bytes.
    async fn candidates(
        &mut self,
        chain: i64,
        after: i64,
        through: Sequence,
    ) -> Result<Vec<Candidate>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT id, sequence, kind, locked, event, file, bytes, run FROM entry \
             WHERE chain = $1 AND sequence > $2 AND sequence <= $3 AND expiring = 0 \
             ORDER BY sequence LIMIT $4",
        )
        .bind(chain)
        .bind(after)
        .bind(index::stored(through))
        .bind(MAX_PAGE)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    async fn hash_of(&mut self, entry: &Candidate) -> Result<Digest, StoreError> {
        let encoded: Vec<u8> = sqlx::query_scalar("SELECT encoded FROM entry WHERE id = $1")
            .bind(entry.id)
            .fetch_one(&mut *self.tx)
            .await?;
        Ok(hash(&encoded))
    }

    async fn mark_one(
        &mut self,
        chain: i64,
        entry: &Candidate,
    ) -> Result<Option<Leaving>, StoreError> {
        let file = entry.file.map(u64::try_from).transpose();
        let file = file.map_err(|_| StoreError::Corrupt("number of a file"))?;
        let Some(file) = file else {
            sqlx::query("DELETE FROM entry WHERE id = $1")
                .bind(entry.id)
                .execute(&mut *self.tx)
                .await?;
            return Ok(None);
        };
        sqlx::query("UPDATE entry SET expiring = 1 WHERE id = $1")
            .bind(entry.id)
            .execute(&mut *self.tx)
            .await?;
        sqlx::query("UPDATE run SET bytes = bytes - $1 WHERE chain = $2 AND run = $3")
            .bind(entry.bytes)
            .bind(chain)
            .bind(entry.run)
            .execute(&mut *self.tx)
            .await?;
        let bytes = entry.bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        Ok(Some(Leaving { id: entry.id, file, bytes }))
    }

    pub(super) async fn forget(&mut self, chain: i64, ids: &[i64]) -> Result<u64, StoreError> {
        let (mut gone, mut runs) = (0, Vec::new());
        for id in ids {
            let run: Option<(Option<i64>,)> =
                sqlx::query_as("DELETE FROM entry WHERE id = $1 AND expiring = 1 RETURNING run")
                    .bind(id)
                    .fetch_optional(&mut *self.tx)
                    .await?;
            gone += u64::from(run.is_some());
            runs.extend(run.and_then(|(run,)| run));
        }
        runs.dedup();
        for run in runs {
            self.shorten(chain, run).await?;
        }
        Ok(gone)
    }

    /// The run begins later now, or is no more.
    async fn shorten(&mut self, chain: i64, run: i64) -> Result<(), StoreError> {
        let (start,): (Option<i64>,) = sqlx::query_as(
            "SELECT MIN(start_us) FROM entry WHERE chain = $1 AND run = $2 AND kind = 1",
        )
        .bind(chain)
        .bind(run)
        .fetch_one(&mut *self.tx)
        .await?;
        let change = match start {
            Some(start) => {
                sqlx::query("UPDATE run SET start_us = $3 WHERE chain = $1 AND run = $2")
                    .bind(chain)
                    .bind(run)
                    .bind(start)
            }
            None => {
                sqlx::query("DELETE FROM run WHERE chain = $1 AND run = $2").bind(chain).bind(run)
            }
        };
        change.execute(&mut *self.tx).await?;
        Ok(())
    }

    pub(super) async fn lock(
        &mut self,
        chain: i64,
        sequences: &[Sequence],
        locked: bool,
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        for sequence in sequences {
            changed += sqlx::query(
                "UPDATE entry SET locked = $1 WHERE chain = $2 AND sequence = $3 AND kind = 1 \
                 AND expiring = 0 AND locked <> $1",
            )
            .bind(locked)
            .bind(chain)
            .bind(index::stored(*sequence))
            .execute(&mut *self.tx)
            .await?
            .rows_affected();
        }
        Ok(changed)
    }

    /// Only where they are this chain's: another card may be in since the caller looked.
    pub(super) async fn damaged(&mut self, chain: ChainId, ids: &[i64]) -> Result<u64, StoreError> {
        let mut changed = 0;
        for id in ids {
            changed += sqlx::query(
                "UPDATE entry SET damaged = 1 WHERE id = $1 AND damaged = 0 \
                 AND chain = (SELECT chain FROM chain WHERE id = $2)",
            )
            .bind(id)
            .bind(chain.0.as_slice())
            .execute(&mut *self.tx)
            .await?
            .rows_affected();
        }
        Ok(changed)
    }
}

/// Which of the candidates go, which come in the order of their numbers. Segments go as they were let go.
/// What lies between them goes along, unless it lies between segments that all stay: then it would cost
/// a range in every checkpoint to come. A step of the clock stays as long as a segment before it, whose
/// time it may set right.
struct Choice<'a> {
    up_to: &'a [(Which, Sequence)],
    expired: &'a [ExpiredRange],
    going: Vec<Candidate>,
    /// Since the newest segment.
    between: Vec<Candidate>,
    a_segment_stays: bool,
    neighbour_goes: bool,
}

impl<'a> Choice<'a> {
    fn new(up_to: &'a [(Which, Sequence)], expired: &'a [ExpiredRange]) -> Self {
        let (going, between) = (Vec::new(), Vec::new());
        Self { up_to, expired, going, between, a_segment_stays: false, neighbour_goes: true }
    }

    fn take(&mut self, one: Candidate) -> Result<(), StoreError> {
        let sequence = index::sequence(one.sequence)?;
        let causes = Causes { event: one.event, ..Causes::default() };
        let let_go =
            |(which, through): &(Which, Sequence)| sequence <= *through && which.has(causes);
        self.neighbour_goes |= sequence.0 > 0 && covers(self.expired, Sequence(sequence.0 - 1));
        if one.kind != SEGMENT {
            if one.kind != CLOCK_STEP || !self.a_segment_stays {
                self.between.push(one);
            }
        } else if !one.locked && self.up_to.iter().any(let_go) {
            self.going.append(&mut self.between);
            self.going.push(one);
            self.neighbour_goes = true;
        } else {
            if self.neighbour_goes {
                self.going.append(&mut self.between);
            }
            self.between.clear();
            (self.a_segment_stays, self.neighbour_goes) = (true, false);
        }
        Ok(())
    }

    /// In the order of their numbers.
    fn finish(mut self) -> Vec<Candidate> {
        if self.neighbour_goes {
            self.going.append(&mut self.between);
        }
        self.going.sort_by_key(|one| one.sequence);
        self.going
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `s` a segment, `L` a locked one, `e` one of an event, `g` a gap, `c` a step of the clock.
    fn going(entries: &str, up_to: &[(Which, u64)], expired: &[(u64, u64)]) -> Vec<i64> {
        let candidate = |(n, kind): (usize, char)| Candidate {
            id: n as i64,
            sequence: n as i64 + 1,
            kind: match kind {
                'g' => 2,
                'c' => CLOCK_STEP,
                _ => SEGMENT,
            },
            locked: kind == 'L',
            event: kind == 'e',
            file: None,
            bytes: None,
            run: None,
        };
        let range = |(first, last): &(u64, u64)| ExpiredRange {
            first: Sequence(*first),
            last: Sequence(*last),
            last_hash: hash(b""),
        };
        let expired: Vec<_> = expired.iter().map(range).collect();
        let up_to: Vec<_> = up_to.iter().map(|(which, n)| (*which, Sequence(*n))).collect();
        // What is expired is no candidate.
        let there = |one: &Candidate| !covers(&expired, Sequence(one.sequence as u64));
        let mut choice = Choice::new(&up_to, &expired);
        for one in entries.chars().enumerate().map(candidate).filter(there) {
            choice.take(one).expect("a number in range");
        }
        choice.finish().iter().map(|one| one.sequence).collect()
    }

    #[test]
    fn what_lies_between_goes_along() {
        assert_eq!(going("gsgcs", &[(Which::All, 5)], &[]), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn locked_segments_stay_and_so_do_the_steps_behind_them() {
        assert_eq!(going("sLcgs", &[(Which::All, 5)], &[]), [1, 4, 5]);
    }

    #[test]
    fn nothing_between_two_that_stay_goes() {
        assert_eq!(going("sLgLs", &[(Which::All, 5)], &[]), [1, 5]);
        assert_eq!(going("LgLs", &[(Which::All, 4)], &[]), [4]);
    }

    #[test]
    fn what_follows_an_expired_range_joins_it() {
        assert_eq!(going("ssgLs", &[(Which::All, 5)], &[(1, 2)]), [3, 5]);
    }

    #[test]
    fn clips_of_events_outlast_the_rest() {
        assert_eq!(going("sesg", &[(Which::WithoutEvent, 3)], &[]), [1, 3, 4]);
        assert_eq!(
            going("ses", &[(Which::WithoutEvent, 3), (Which::WithEvent, 2)], &[]),
            [1, 2, 3]
        );
    }
}
