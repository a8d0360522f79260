//! One-time codes: at most one for each number.

use sightline_model::{PhoneNumber, UnixMicros};
use tracing::instrument;

use crate::{Database, StorageError, query};

/// Repository of one-time codes.
#[derive(Debug)]
pub struct SmsCodes<'a>(pub(crate) &'a Database);

impl SmsCodes<'_> {
    /// Stores the code that was just made; an older one no longer works.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.sms_code.replace", skip_all)]
    pub async fn replace(
        &self,
        phone: &PhoneNumber,
        hash: &str,
        expires_at: UnixMicros,
    ) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "INSERT INTO sms_code (domain, phone, hash, tries, expires_at) VALUES ($1, $2, $3, 0, $4)
             ON CONFLICT (domain, phone) DO UPDATE
             SET hash = excluded.hash, tries = 0, expires_at = excluded.expires_at",
            self.0.domain.as_str(),
            phone.expose(),
            hash,
            expires_at.0,
        )?;
        Ok(())
    }

    /// Spends one try and gives the hash to compare with; `None` when there is no code, it is too
    /// old, or `max_tries` have been spent. The try counts before anything is compared, so guesses
    /// made at the same moment count as well.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.sms_code.try_once", skip_all)]
    pub async fn try_once(
        &self,
        phone: &PhoneNumber,
        max_tries: i64,
        now: UnixMicros,
    ) -> Result<Option<String>, StorageError> {
        let row: Option<(String,)> = query::rows!(
            write,
            one,
            self.0,
            (String,),
            "UPDATE sms_code SET tries = tries + 1
             WHERE domain = $1 AND phone = $2 AND tries < $3 AND expires_at > $4 RETURNING hash",
            self.0.domain.as_str(),
            phone.expose(),
            max_tries,
            now.0,
        )?;
        Ok(row.map(|(hash,)| hash))
    }

    /// Uses the code up. `false`: somebody else has just done so.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.sms_code.consume", skip_all)]
    pub async fn consume(&self, phone: &PhoneNumber, hash: &str) -> Result<bool, StorageError> {
        let gone = query::execute!(
            self.0,
            "DELETE FROM sms_code WHERE domain = $1 AND phone = $2 AND hash = $3",
            self.0.domain.as_str(),
            phone.expose(),
            hash,
        )?;
        Ok(gone > 0)
    }

    /// Forgets codes that no longer work.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.sms_code.purge", skip_all)]
    pub async fn purge(&self, now: UnixMicros) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM sms_code WHERE domain = $1 AND expires_at <= $2",
            self.0.domain.as_str(),
            now.0,
        )
    }
}
