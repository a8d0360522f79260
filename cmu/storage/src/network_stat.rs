//! Counts by day and network, for the operator.

use tracing::instrument;

use crate::{Database, StorageError, query};

/// Networks of one side that a day knows by name; what comes from others counts as [`OTHER`].
pub const MAX_NETWORKS_A_DAY: i64 = 10_000;

/// The network of those that came when a day already knew enough of them.
pub const OTHER: &str = "other";

/// The metric that every network of a day has: its sessions.
pub const SESSIONS: &str = "sessions";

/// Which end's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where viewers ask from.
    Viewer,
    /// Where devices are.
    Pu,
}

impl Side {
    const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Pu => "pu",
        }
    }
}

/// A count over several days.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StatRow {
    /// The network.
    pub network: String,
    /// What is counted.
    pub metric: String,
    /// Which part of its distribution.
    pub bucket: i64,
    /// How often.
    pub count: i64,
}

/// Repository of counts.
#[derive(Debug)]
pub struct NetworkStats<'a>(pub(crate) &'a Database);

impl NetworkStats<'_> {
    /// The name under which a network is counted on a day: its own, or [`OTHER`].
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.network_stat.name", skip_all)]
    pub async fn name(
        &self,
        day: i64,
        side: Side,
        network: &str,
        max: i64,
    ) -> Result<String, StorageError> {
        let row: Option<(i64,)> = query::rows!(
            read,
            one,
            self.0,
            (i64,),
            "SELECT CAST(COUNT(*) AS BIGINT) FROM network_stat
             WHERE domain = $1 AND day = $2 AND side = $3 AND metric = 'sessions'
                 AND NOT EXISTS (SELECT 1 FROM network_stat k
                     WHERE k.domain = $1 AND k.day = $2 AND k.side = $3
                         AND k.metric = 'sessions' AND k.network = $4)",
            self.0.domain.as_str(),
            day,
            side.word(),
            network,
        )?;
        let full = row.is_some_and(|(others,)| others >= max);
        Ok(if full { OTHER.to_owned() } else { network.to_owned() })
    }

    /// Counts; `by` may be negative, to take back what was counted.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.network_stat.add", skip_all)]
    pub async fn add(
        &self,
        day: i64,
        side: Side,
        network: &str,
        (metric, bucket): (&str, i64),
        by: i64,
    ) -> Result<(), StorageError> {
        query::execute!(
            quick,
            self.0,
            "INSERT INTO network_stat (domain, day, side, metric, network, bucket, count)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (domain, day, side, metric, network, bucket) DO UPDATE
                 SET count = network_stat.count + excluded.count",
            self.0.domain.as_str(),
            day,
            side.word(),
            metric,
            network,
            bucket,
            by,
        )?;
        Ok(())
    }

    /// Everything that was counted since a day, of the networks with the most sessions.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.network_stat.list", skip_all)]
    pub async fn list(
        &self,
        from_day: i64,
        side: Side,
        networks: u32,
    ) -> Result<Vec<StatRow>, StorageError> {
        query::rows!(
            read,
            all,
            self.0,
            StatRow,
            "SELECT network, metric, bucket, CAST(SUM(count) AS BIGINT) AS count FROM network_stat
             WHERE domain = $1 AND day >= $2 AND side = $3 AND network IN (
                 SELECT network FROM network_stat
                 WHERE domain = $1 AND day >= $2 AND side = $3 AND metric = 'sessions'
                 GROUP BY network ORDER BY SUM(count) DESC, network LIMIT $4)
             GROUP BY network, metric, bucket ORDER BY network, metric, bucket",
            self.0.domain.as_str(),
            from_day,
            side.word(),
            i64::from(networks),
        )
    }

    /// Forgets days before this one.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.network_stat.purge", skip_all)]
    pub async fn purge(&self, before_day: i64) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM network_stat WHERE domain = $1 AND day < $2",
            self.0.domain.as_str(),
            before_day,
        )
    }
}
