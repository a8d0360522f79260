//! What goes, and what must not.

use sightline_recording::{
    chain::covers,
    retention::Which,
    statement::{Causes, ExpiredRange, Sequence},
};

use super::{Leaving, Letting, Work, hash, refused};
use crate::{StoreError, index};

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
    encoded: Vec<u8>,
}

impl Work<'_> {
    /// Appends the checkpoint, marks the segments and removes the other entries that go with them.
    pub(super) async fn mark(&mut self, letting: &Letting) -> Result<Vec<Leaving>, StoreError> {
        let Some(through) = letting.up_to.iter().map(|(_, through)| *through).max() else {
            return Ok(Vec::new());
        };
        let candidates: Vec<Candidate> = sqlx::query_as(
            "SELECT id, sequence, kind, locked, event, file, bytes, run, encoded FROM entry \
             WHERE chain = $1 AND sequence > 0 AND sequence <= $2 AND expiring = 0 \
             ORDER BY sequence",
        )
        .bind(letting.chain.row)
        .bind(index::stored(through))
        .fetch_all(&mut *self.tx)
        .await?;
        let mut writer = self.writer(&letting.chain).await?;
        let going = choose(candidates, &letting.up_to, writer.expired())?;
        if going.is_empty() {
            return Ok(Vec::new());
        }
        let mut named = Vec::with_capacity(going.len());
        for entry in &going {
            named.push((index::sequence(entry.sequence)?, hash(&entry.encoded)));
        }
        let made = writer.let_go(named, self.key).map_err(|error| refused(&error))?;
        self.insert(letting.chain.row, 4, &made).await?;
        let mut leaving = Vec::new();
        for entry in &going {
            leaving.extend(self.mark_one(letting.chain.row, entry).await?);
        }
        self.writers.insert(letting.chain.row, writer);
        Ok(leaving)
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

    pub(super) async fn damaged(&mut self, ids: &[i64]) -> Result<u64, StoreError> {
        let mut changed = 0;
        for id in ids {
            changed += sqlx::query("UPDATE entry SET damaged = 1 WHERE id = $1 AND damaged = 0")
                .bind(id)
                .execute(&mut *self.tx)
                .await?
                .rows_affected();
        }
        Ok(changed)
    }
}

/// Which of the candidates go. Segments go as they were let go. What lies between them goes along,
/// unless it lies between segments that all stay: then it would cost a range in every checkpoint to come.
/// A step of the clock stays as long as a segment before it, whose time it may set right.
fn choose(
    candidates: Vec<Candidate>,
    up_to: &[(Which, Sequence)],
    expired: &[ExpiredRange],
) -> Result<Vec<Candidate>, StoreError> {
    let (mut going, mut between) = (Vec::new(), Vec::new());
    let (mut a_segment_stays, mut neighbour_goes) = (false, true);
    for one in candidates {
        let sequence = index::sequence(one.sequence)?;
        let causes = Causes { event: one.event, ..Causes::default() };
        let let_go =
            |(which, through): &(Which, Sequence)| sequence <= *through && which.has(causes);
        neighbour_goes |= sequence.0 > 0 && covers(expired, Sequence(sequence.0 - 1));
        if one.kind != SEGMENT {
            if one.kind != CLOCK_STEP || !a_segment_stays {
                between.push(one);
            }
        } else if !one.locked && up_to.iter().any(let_go) {
            going.append(&mut between);
            going.push(one);
            neighbour_goes = true;
        } else {
            if neighbour_goes {
                going.append(&mut between);
            }
            between.clear();
            (a_segment_stays, neighbour_goes) = (true, false);
        }
    }
    if neighbour_goes {
        going.append(&mut between);
    }
    going.sort_by_key(|one| one.sequence);
    Ok(going)
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
            encoded: Vec::new(),
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
        let all = entries.chars().enumerate().map(candidate).filter(there).collect();
        let going = choose(all, &up_to, &expired).expect("numbers in range");
        going.iter().map(|one| one.sequence).collect()
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
