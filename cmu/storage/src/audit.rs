//! The audit log: what somebody did or was refused.

use sightline_model::{UnixMicros, UserId};
use sightline_protocol::cm::AuditEntry;
use tracing::instrument;

use crate::{Database, StorageError, query, typed};

/// Repository of the audit log.
#[derive(Debug)]
pub struct Audit<'a>(pub(crate) &'a Database);

/// An entry to store.
#[derive(Debug, Clone)]
pub struct NewEntry<'a> {
    /// 128 random bits in text, so that entries of one microsecond differ.
    pub id: &'a str,
    /// When.
    pub at: UnixMicros,
    /// Who, if known.
    pub user: Option<&'a UserId>,
    /// What, such as `binding.create`.
    pub action: &'a str,
    /// To what.
    pub target: &'a str,
    /// `ok`, or the problem's type.
    pub outcome: &'a str,
}

macro_rules! insert {
    ($access:ident, $db:expr, $entry:expr) => {{
        query::execute!(
            @on $access,
            $db,
            "INSERT INTO audit (domain, id, at, user_id, action, target, outcome)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            $db.domain.as_str(),
            $entry.id,
            $entry.at.0,
            $entry.user.map(UserId::as_str),
            $entry.action,
            $entry.target,
            $entry.outcome
        )?;
        Ok(())
    }};
}

impl Audit<'_> {
    /// Appends an entry.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.audit.insert", skip_all)]
    pub async fn insert(&self, entry: &NewEntry<'_>) -> Result<(), StorageError> {
        insert!(write, self.0, entry)
    }

    /// Appends an entry about something that has itself been written quickly: a power cut within
    /// the second after it may undo both.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.audit.insert_quick", skip_all)]
    pub async fn insert_quick(&self, entry: &NewEntry<'_>) -> Result<(), StorageError> {
        insert!(quick, self.0, entry)
    }

    /// The newest entries first.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.audit.list", skip_all)]
    pub async fn list(&self, limit: u32) -> Result<Vec<AuditEntry>, StorageError> {
        type Row = (i64, Option<String>, String, String, String);
        let rows: Vec<Row> = query::rows!(
            read,
            all,
            self.0,
            Row,
            "SELECT at, user_id, action, target, outcome FROM audit WHERE domain = $1
             ORDER BY at DESC, id LIMIT $2",
            self.0.domain.as_str(),
            i64::from(limit),
        )?;
        rows.into_iter()
            .map(|(at, user, action, target, outcome)| {
                let user = user.map(|u| typed(&u, "user id")).transpose()?;
                Ok(AuditEntry { at: UnixMicros(at), user, action, target, outcome })
            })
            .collect()
    }

    /// Forgets entries older than `before`.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.audit.purge", skip_all)]
    pub async fn purge(&self, before: UnixMicros) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM audit WHERE domain = $1 AND at < $2",
            self.0.domain.as_str(),
            before.0,
        )
    }
}
