//! What MTUs relayed, for accounting (Dm).

use sightline_model::{MediaSessionId, MtuId, UnixMicros, UserId};
use sightline_protocol::{
    cm::{MtuShare, UsageRow},
    sd::UsageEntry,
};
use tracing::instrument;

use crate::{Database, StorageError, network_stat::Side, query, typed};

/// Repository of usage.
#[derive(Debug)]
pub struct RelayUsages<'a>(pub(crate) &'a Database);

#[derive(sqlx::FromRow)]
struct Row {
    user_id: Option<String>,
    session: String,
    mtus: i64,
    bytes: i64,
    packets: i64,
    allocated_s: i64,
    from_at: i64,
    to_at: i64,
}

impl TryFrom<Row> for UsageRow {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        Ok(Self {
            user: row.user_id.map(|u| typed(&u, "user id")).transpose()?,
            session: typed(&row.session, "session id")?,
            mtus: u32::try_from(row.mtus).unwrap_or(0),
            bytes: row.bytes.cast_unsigned(),
            packets: row.packets.cast_unsigned(),
            allocated_s: row.allocated_s.cast_unsigned(),
            from: UnixMicros(row.from_at),
            to: UnixMicros(row.to_at),
        })
    }
}

/// SQL has no numbers without a sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl RelayUsages<'_> {
    /// Stores what one allocation has relayed so far. An older report than the one that is stored
    /// changes nothing, so reports may come late and twice.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relay_usage.store", skip_all)]
    pub async fn store(
        &self,
        mtu: &MtuId,
        run: &str,
        session: &MediaSessionId,
        entry: &UsageEntry,
    ) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "INSERT INTO relay_usage (domain, mtu, run, allocation, session, bytes_to_peers,
                 bytes_from_peers, packets, from_at, to_at, allocated_s, ended, user_id,
                 viewer_network, pu_network)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                 (SELECT MAX(user_id) FROM play_token WHERE domain = $1 AND session = $5),
                 (SELECT MAX(viewer_network) FROM play_token WHERE domain = $1 AND session = $5),
                 (SELECT MAX(pu_network) FROM play_token WHERE domain = $1 AND session = $5))
             ON CONFLICT (domain, mtu, run, allocation) DO UPDATE SET
                 bytes_to_peers = excluded.bytes_to_peers,
                 bytes_from_peers = excluded.bytes_from_peers, packets = excluded.packets,
                 to_at = excluded.to_at, allocated_s = excluded.allocated_s, ended = excluded.ended
             WHERE relay_usage.ended <= excluded.ended AND relay_usage.to_at <= excluded.to_at
                 AND relay_usage.session = excluded.session",
            self.0.domain.as_str(),
            mtu.as_str(),
            run,
            signed(entry.allocation),
            session.as_str(),
            signed(entry.bytes_to_peers),
            signed(entry.bytes_from_peers),
            signed(entry.packets),
            entry.from.0,
            entry.to.0,
            i64::from(entry.allocated_s),
            i64::from(entry.ended),
        )?;
        Ok(())
    }

    /// Sessions that were relayed since then, those that began last first; of one user or of all.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relay_usage.sessions", skip_all)]
    pub async fn sessions(
        &self,
        since: UnixMicros,
        user: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<UsageRow>, StorageError> {
        let rows: Vec<Row> = query::rows!(
            read,
            all,
            self.0,
            Row,
            "SELECT user_id, session, CAST(COUNT(DISTINCT mtu) AS BIGINT) AS mtus,
                 CAST(SUM(bytes_to_peers + bytes_from_peers) AS BIGINT) AS bytes,
                 CAST(SUM(packets) AS BIGINT) AS packets,
                 CAST(SUM(allocated_s) AS BIGINT) AS allocated_s,
                 MIN(from_at) AS from_at, MAX(to_at) AS to_at
             FROM relay_usage WHERE domain = $1 AND from_at >= $2 AND ($3 = '' OR user_id = $3)
             GROUP BY user_id, session ORDER BY MIN(from_at) DESC, session LIMIT $4",
            self.0.domain.as_str(),
            since.0,
            user.map_or("", UserId::as_str),
            i64::from(limit),
        )?;
        rows.into_iter().map(UsageRow::try_from).collect()
    }

    /// Bytes that were relayed since then, by MTU, those with the most first; of one user or of all.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relay_usage.by_mtu", skip_all)]
    pub async fn by_mtu(
        &self,
        since: UnixMicros,
        user: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<MtuShare>, StorageError> {
        type Pair = (String, i64);
        let rows: Vec<Pair> = query::rows!(
            read,
            all,
            self.0,
            Pair,
            "SELECT mtu, CAST(SUM(bytes_to_peers + bytes_from_peers) AS BIGINT) AS bytes
             FROM relay_usage WHERE domain = $1 AND from_at >= $2 AND ($3 = '' OR user_id = $3)
             GROUP BY mtu ORDER BY bytes DESC, mtu LIMIT $4",
            self.0.domain.as_str(),
            since.0,
            user.map_or("", UserId::as_str),
            i64::from(limit),
        )?;
        let share = |(mtu, bytes): Pair| {
            Ok(MtuShare { mtu: typed(&mtu, "MTU id")?, bytes: bytes.cast_unsigned() })
        };
        rows.into_iter().map(share).collect()
    }

    /// Bytes that were relayed since then, by network.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relay_usage.by_network", skip_all)]
    pub async fn by_network(
        &self,
        since: UnixMicros,
        side: Side,
    ) -> Result<Vec<(String, u64)>, StorageError> {
        type Pair = (String, i64);
        macro_rules! sum_by {
            ($column:literal) => {
                query::rows!(
                    read,
                    all,
                    self.0,
                    Pair,
                    concat!(
                        "SELECT COALESCE(",
                        $column,
                        ", 'unknown'), CAST(SUM(bytes_to_peers + bytes_from_peers) AS BIGINT)
                         FROM relay_usage WHERE domain = $1 AND from_at >= $2
                         GROUP BY COALESCE(",
                        $column,
                        ", 'unknown')"
                    ),
                    self.0.domain.as_str(),
                    since.0,
                )?
            };
        }
        let rows: Vec<Pair> = match side {
            Side::Viewer => sum_by!("viewer_network"),
            Side::Pu => sum_by!("pu_network"),
        };
        Ok(rows.into_iter().map(|(network, bytes)| (network, bytes.cast_unsigned())).collect())
    }

    /// Forgets what ended before then.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relay_usage.purge", skip_all)]
    pub async fn purge(&self, before: UnixMicros) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM relay_usage WHERE domain = $1 AND to_at < $2",
            self.0.domain.as_str(),
            before.0,
        )
    }
}
