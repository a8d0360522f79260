//! The list of what lies in the cloud storage, and the space of each user (decision 0096).
//!
//! Invariant: a user's `used_bytes` is the sum of their rows, because both change in one transaction.

mod list;
mod space;

use sightline_model::{CameraId, DomainName, PuId, Signature, StreamTier, UnixMicros, UserId};
use tracing::instrument;

use crate::{Database, StorageError, channel, query, typed};

pub use list::{NoteRow, SignedNote, Step, Stretch};
pub use space::{Aged, Space};

/// Repository of what lies in the cloud storage.
#[derive(Debug)]
pub struct Cloud<'a>(pub(crate) &'a Database);

/// Where a segment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// A unit may send it.
    Reserved,
    /// It is there, and listed.
    Stored,
    /// It is being deleted.
    Leaving,
}

impl SegmentState {
    const fn stored(self) -> i64 {
        match self {
            Self::Reserved => 0,
            Self::Stored => 1,
            Self::Leaving => 2,
        }
    }

    fn read(number: i64) -> Result<Self, StorageError> {
        match number {
            0 => Ok(Self::Reserved),
            1 => Ok(Self::Stored),
            2 => Ok(Self::Leaving),
            _ => Err(StorageError::Corrupt("state of a segment in the cloud")),
        }
    }
}

/// A chain that a device has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRow {
    /// Its id, 32 hexadecimal digits.
    pub chain: String,
    /// What is recorded.
    pub camera: CameraId,
    /// Which encoding.
    pub tier: StreamTier,
    /// Its first entry, base64url.
    pub encoded: String,
    /// The device's signature over it.
    pub signature: Signature,
}

/// A segment in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Its chain, 32 hexadecimal digits.
    pub chain: String,
    /// Its number in it.
    pub sequence: u64,
    /// Whose it is.
    pub user: UserId,
    /// Of which camera.
    pub camera: CameraId,
    /// Of which encoding.
    pub tier: StreamTier,
    /// Where it stands.
    pub state: SegmentState,
    /// Its run.
    pub run: u64,
    /// The machine's start whose clock dated it.
    pub boot: u64,
    /// When it begins, corrected.
    pub start: UnixMicros,
    /// When it ends, corrected.
    pub end: UnixMicros,
    /// What was added to the times in its entry, in microseconds.
    pub correction_us: i64,
    /// Whether somebody vouches for its time.
    pub time_known: bool,
    /// Whether it is a clip of an event.
    pub event: bool,
    /// Whether it is kept until it is unlocked.
    pub locked: bool,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Its entry, base64url.
    pub encoded: String,
    /// The device's signature over it.
    pub signature: Signature,
}

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// The object may be sent.
    Reserved,
    /// It is there already.
    Stored,
    /// It is being deleted: later.
    Leaving,
    /// Another owner's, or another entry of this number.
    Other,
    /// So many bytes are missing in the user's space.
    Full {
        /// Bytes.
        missing_bytes: u64,
    },
}

#[derive(sqlx::FromRow)]
struct Row {
    chain: String,
    sequence: i64,
    user_id: String,
    pu: String,
    channel: i64,
    tier: String,
    state: i64,
    run: i64,
    boot: String,
    start_us: i64,
    end_us: i64,
    correction_us: i64,
    time_known: i64,
    event: i64,
    locked: i64,
    bytes: i64,
    encoded: String,
    signature: String,
}

/// Columns of [`Row`], as a literal for `concat!`.
macro_rules! segment_columns {
    () => {
        "SELECT chain, sequence, user_id, pu, channel, tier, state, run, boot, start_us, end_us,
             correction_us, time_known, event, locked, bytes, encoded, signature
         FROM cloud_segment "
    };
}
use segment_columns;

impl TryFrom<Row> for SegmentRow {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        let boot = u64::from_str_radix(&row.boot, 16);
        Ok(Self {
            chain: row.chain,
            sequence: count(row.sequence)?,
            user: typed(&row.user_id, "user id")?,
            camera: CameraId { pu: typed(&row.pu, "device id")?, channel: channel(row.channel)? },
            tier: read_tier(&row.tier)?,
            state: SegmentState::read(row.state)?,
            run: count(row.run)?,
            boot: boot.map_err(|_| StorageError::Corrupt("start of a machine"))?,
            start: UnixMicros(row.start_us),
            end: UnixMicros(row.end_us),
            correction_us: row.correction_us,
            time_known: row.time_known != 0,
            event: row.event != 0,
            locked: row.locked != 0,
            bytes: count(row.bytes)?,
            encoded: row.encoded,
            signature: typed(&row.signature, "signature")?,
        })
    }
}

fn count(number: i64) -> Result<u64, StorageError> {
    u64::try_from(number).map_err(|_| StorageError::Corrupt("number in the list of the cloud"))
}

/// SQL of a number that has no sign. One beyond what SQL can say matches nothing.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

const fn tier_word(tier: StreamTier) -> &'static str {
    match tier {
        StreamTier::Main => "main",
        StreamTier::Sub => "sub",
    }
}

fn read_tier(word: &str) -> Result<StreamTier, StorageError> {
    match word {
        "main" => Ok(StreamTier::Main),
        "sub" => Ok(StreamTier::Sub),
        _ => Err(StorageError::Corrupt("encoding")),
    }
}

/// Runs statements as one, on whichever engine is open. Whoever leaves the block early takes them back.
macro_rules! transaction {
    ($db:expr, $tx:ident, $body:block) => {
        match &$db.backend {
            $crate::pools::Backend::Sqlite(pools) => {
                let mut turn = pools.write().await?;
                let mut $tx = sqlx::Connection::begin(&mut *turn).await?;
                let value = $body;
                $tx.commit().await?;
                value
            }
            $crate::pools::Backend::Postgres(pools) => {
                let mut $tx = pools.write().begin().await?;
                let value = $body;
                $tx.commit().await?;
                value
            }
        }
    };
}
use transaction;

impl Cloud<'_> {
    fn domain(&self) -> &DomainName {
        &self.0.domain
    }

    /// Remembers a chain. `false`: the id is known for something else.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.open", skip_all)]
    pub async fn open(&self, new: &ChainRow) -> Result<bool, StorageError> {
        query::execute!(
            self.0,
            "INSERT INTO cloud_chain (domain, chain, pu, channel, tier, encoded, signature)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (domain, chain) DO NOTHING",
            self.domain().as_str(),
            new.chain.as_str(),
            new.camera.pu.as_str(),
            i64::from(new.camera.channel.0),
            tier_word(new.tier),
            new.encoded.as_str(),
            new.signature.to_string(),
        )?;
        let known = self.chain(&new.chain).await?;
        Ok(known.is_some_and(|known| known.camera == new.camera && known.tier == new.tier))
    }

    /// A chain.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.chain", skip_all)]
    pub async fn chain(&self, chain: &str) -> Result<Option<ChainRow>, StorageError> {
        type Stored = (String, i64, String, String, String);
        let row: Option<Stored> = query::rows!(
            read,
            one,
            self.0,
            Stored,
            "SELECT pu, channel, tier, encoded, signature FROM cloud_chain
             WHERE domain = $1 AND chain = $2",
            self.domain().as_str(),
            chain,
        )?;
        let Some((pu, number, tier, encoded, signature)) = row else { return Ok(None) };
        Ok(Some(ChainRow {
            chain: chain.to_owned(),
            camera: CameraId { pu: typed(&pu, "device id")?, channel: channel(number)? },
            tier: read_tier(&tier)?,
            encoded,
            signature: typed(&signature, "signature")?,
        }))
    }

    /// Counts a segment against its owner's space and lists it as reserved. `free_bytes`: what an owner
    /// has for whom nothing else was set.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.reserve", skip_all)]
    pub async fn reserve(
        &self,
        new: &SegmentRow,
        free_bytes: u64,
        now: UnixMicros,
    ) -> Result<Reservation, StorageError> {
        self.begin_account(&new.user).await?;
        if let Some(known) = self.known(new, now).await? {
            return Ok(known);
        }
        let (domain, user) = (self.domain().as_str(), new.user.as_str());
        let bytes = signed(new.bytes);
        let is_counted = transaction!(self.0, tx, {
            let counted = sqlx::query(
                "UPDATE cloud_account SET used_bytes = used_bytes + $3
                 WHERE domain = $1 AND user_id = $2
                   AND used_bytes + $3 <= COALESCE(quota_bytes, $4)",
            )
            .bind(domain)
            .bind(user)
            .bind(bytes)
            .bind(i64::try_from(free_bytes).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if counted > 0 {
                let inserted = sqlx::query(INSERT)
                    .bind(domain)
                    .bind(new.chain.as_str())
                    .bind(signed(new.sequence))
                    .bind(user)
                    .bind(new.camera.pu.as_str())
                    .bind(i64::from(new.camera.channel.0))
                    .bind(tier_word(new.tier))
                    .bind(new.state.stored())
                    .bind(signed(new.run))
                    .bind(format!("{:016x}", new.boot))
                    .bind(new.start.0)
                    .bind(new.end.0)
                    .bind(new.correction_us)
                    .bind(i64::from(new.time_known))
                    .bind(i64::from(new.event))
                    .bind(i64::from(new.locked))
                    .bind(bytes)
                    .bind(now.0)
                    .bind(new.encoded.as_str())
                    .bind(new.signature.to_string())
                    .execute(&mut *tx)
                    .await?
                    .rows_affected();
                if inserted == 0 {
                    // Another CMU was first: leaving takes the counting back.
                    return Ok(Reservation::Leaving);
                }
            }
            counted > 0
        });
        if is_counted {
            return Ok(Reservation::Reserved);
        }
        let space = self.space(&new.user, free_bytes).await?;
        let wanted = space.used_bytes.saturating_add(new.bytes);
        Ok(Reservation::Full { missing_bytes: wanted.saturating_sub(space.quota_bytes).max(1) })
    }

    /// What is known of a segment that is to be reserved. One that was reserved already lives on.
    async fn known(
        &self,
        new: &SegmentRow,
        now: UnixMicros,
    ) -> Result<Option<Reservation>, StorageError> {
        let Some(known) = self.segment(&new.chain, new.sequence).await? else { return Ok(None) };
        if known.encoded != new.encoded || known.user != new.user {
            return Ok(Some(Reservation::Other));
        }
        match known.state {
            SegmentState::Stored => Ok(Some(Reservation::Stored)),
            SegmentState::Leaving => Ok(Some(Reservation::Leaving)),
            SegmentState::Reserved => {
                let kept = query::execute!(
                    self.0,
                    "UPDATE cloud_segment SET changed_at = $4
                     WHERE domain = $1 AND chain = $2 AND sequence = $3 AND state = 0",
                    self.domain().as_str(),
                    new.chain.as_str(),
                    signed(new.sequence),
                    now.0,
                )?;
                Ok(Some(if kept > 0 { Reservation::Reserved } else { Reservation::Leaving }))
            }
        }
    }

    /// A segment.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.segment", skip_all)]
    pub async fn segment(
        &self,
        chain: &str,
        sequence: u64,
    ) -> Result<Option<SegmentRow>, StorageError> {
        let row: Option<Row> = query::rows!(
            read,
            one,
            self.0,
            Row,
            concat!(segment_columns!(), "WHERE domain = $1 AND chain = $2 AND sequence = $3"),
            self.domain().as_str(),
            chain,
            signed(sequence),
        )?;
        row.map(SegmentRow::try_from).transpose()
    }

    /// The object is there. `false`: nothing was reserved of this name.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.stored", skip_all)]
    pub async fn stored(
        &self,
        chain: &str,
        sequence: u64,
        now: UnixMicros,
    ) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE cloud_segment SET state = 1, changed_at = $4
             WHERE domain = $1 AND chain = $2 AND sequence = $3 AND state IN (0, 1)",
            self.domain().as_str(),
            chain,
            signed(sequence),
            now.0,
        )?;
        Ok(changed > 0)
    }

    /// The object is about to be deleted. `false`: it is being deleted already, or was locked meanwhile.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.leave", skip_all)]
    pub async fn leave(&self, row: &SegmentRow, now: UnixMicros) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE cloud_segment SET state = 2, changed_at = $5
             WHERE domain = $1 AND chain = $2 AND sequence = $3 AND state = $4 AND locked = 0",
            self.domain().as_str(),
            row.chain.as_str(),
            signed(row.sequence),
            row.state.stored(),
            now.0,
        )?;
        Ok(changed > 0)
    }

    /// The object is gone: so is its row, and its owner has the space again.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.forget", skip_all)]
    pub async fn forget(&self, row: &SegmentRow) -> Result<(), StorageError> {
        let domain = self.domain().as_str();
        transaction!(self.0, tx, {
            let gone = sqlx::query(
                "DELETE FROM cloud_segment
                 WHERE domain = $1 AND chain = $2 AND sequence = $3 AND state = 2",
            )
            .bind(domain)
            .bind(row.chain.as_str())
            .bind(signed(row.sequence))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if gone > 0 {
                sqlx::query(
                    "UPDATE cloud_account SET used_bytes = used_bytes - $3
                     WHERE domain = $1 AND user_id = $2",
                )
                .bind(domain)
                .bind(row.user.as_str())
                .bind(signed(row.bytes))
                .execute(&mut *tx)
                .await?;
            }
        });
        Ok(())
    }

    /// Everything that a user has in the cloud of one device is to be deleted, locked or not; how many
    /// segments.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.cloud.leave_device", skip_all)]
    pub async fn leave_device(
        &self,
        user: &UserId,
        pu: &PuId,
        now: UnixMicros,
    ) -> Result<u64, StorageError> {
        let (domain, user, pu) = (self.domain().as_str(), user.as_str(), pu.as_str());
        let leaving = query::execute!(
            self.0,
            "UPDATE cloud_segment SET state = 2, locked = 0, changed_at = $4
             WHERE domain = $1 AND user_id = $2 AND pu = $3 AND state <> 2",
            domain,
            user,
            pu,
            now.0,
        )?;
        query::execute!(
            self.0,
            "DELETE FROM cloud_note WHERE domain = $1 AND user_id = $2 AND pu = $3",
            domain,
            user,
            pu,
        )?;
        Ok(leaving)
    }
}

const INSERT: &str =
    "INSERT INTO cloud_segment (domain, chain, sequence, user_id, pu, channel, tier,
         state, run, boot, start_us, end_us, correction_us, time_known, event, locked, bytes,
         changed_at, encoded, signature)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
         $20)
     ON CONFLICT (domain, chain, sequence) DO NOTHING";
