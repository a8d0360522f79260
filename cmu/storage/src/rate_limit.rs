//! Rate limits: one stored time for each key (generic cell rate algorithm). The rule itself is
//! `cmu_domain::limit`; here it is one statement, so that CMUs share the budget exactly.

use sightline_model::UnixMicros;
use tracing::instrument;

use crate::{Database, StorageError, query};

/// Repository of rate limits.
#[derive(Debug)]
pub struct RateLimits<'a>(pub(crate) &'a Database);

impl RateLimits<'_> {
    /// Takes one use of `key`, which costs `cost_us`, unless the stored time runs more than
    /// `tolerance_us` ahead of now. `Ok(None)`: taken. `Ok(Some(stored))`: refused. Written quickly:
    /// nobody gains by a power cut.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.rate_limit.take", skip_all)]
    pub async fn take(
        &self,
        key: &str,
        cost_us: i64,
        tolerance_us: i64,
        now: UnixMicros,
    ) -> Result<Option<UnixMicros>, StorageError> {
        let row: Option<(i64,)> = query::rows!(
            quick,
            one,
            self.0,
            (i64,),
            "INSERT INTO rate_limit (domain, key, full_at) VALUES ($1, $2, $3 + $4)
             ON CONFLICT (domain, key) DO UPDATE SET full_at = $4 +
                 CASE WHEN rate_limit.full_at > $3 THEN rate_limit.full_at ELSE $3 END
             WHERE rate_limit.full_at - $3 <= $5
             RETURNING full_at",
            self.0.domain.as_str(),
            key,
            now.0,
            cost_us,
            tolerance_us,
        )?;
        if row.is_some() {
            return Ok(None);
        }
        Ok(Some(self.peek(key).await?.unwrap_or(now)))
    }

    /// The stored time of a key.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.rate_limit.peek", skip_all)]
    pub async fn peek(&self, key: &str) -> Result<Option<UnixMicros>, StorageError> {
        let row: Option<(i64,)> = query::rows!(
            read,
            one,
            self.0,
            (i64,),
            "SELECT full_at FROM rate_limit WHERE domain = $1 AND key = $2",
            self.0.domain.as_str(),
            key,
        )?;
        Ok(row.map(|(at,)| UnixMicros(at)))
    }

    /// Forgets keys whose budget is full.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.rate_limit.purge", skip_all)]
    pub async fn purge(&self, now: UnixMicros) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM rate_limit WHERE domain = $1 AND full_at <= $2",
            self.0.domain.as_str(),
            now.0,
        )
    }
}
