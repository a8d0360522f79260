//! Sign-ins: one family of refresh tokens each.

use sightline_model::{ClientId, PublicKey, RefreshId, TokenHash, UnixMicros, UserId};
use tracing::instrument;

use crate::{Account, Database, StorageError, account::AccountRow, query, typed};

/// Repository of sign-ins.
#[derive(Debug)]
pub struct SignIns<'a>(pub(crate) &'a Database);

/// A sign-in to store.
#[derive(Debug, Clone)]
pub struct NewSignIn<'a> {
    /// Its id.
    pub id: &'a RefreshId,
    /// Who.
    pub user: &'a UserId,
    /// Which client.
    pub client: &'a ClientId,
    /// The client's key.
    pub client_key: &'a PublicKey,
    /// What the person calls the client.
    pub client_name: &'a str,
    /// The refresh token that works now.
    pub current: &'a TokenHash,
    /// When.
    pub created_at: UnixMicros,
    /// When it ends unless it is used.
    pub expires_at: UnixMicros,
}

/// A sign-in and whose it is.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// Its id.
    pub id: RefreshId,
    /// Whose account.
    pub account: Account,
    /// Which client.
    pub client: ClientId,
    /// The client's key.
    pub client_key: PublicKey,
    /// Hash of the refresh token that works now.
    pub current: String,
    /// Hash of the one before it.
    pub previous: Option<String>,
    /// When the current one took over.
    pub rotated_at: UnixMicros,
    /// When the sign-in ends unless it is used.
    pub expires_at: UnixMicros,
    /// Signed out, or taken away.
    pub revoked: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    client_id: String,
    client_key: String,
    current_hash: String,
    previous_hash: Option<String>,
    rotated_at: i64,
    expires_at: i64,
    revoked: i64,
    user_id: String,
    phone: String,
    subscription: String,
    is_operator: i64,
    created_at: i64,
}

impl TryFrom<Row> for SignIn {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        let account: AccountRow =
            (row.user_id, row.phone, row.subscription, row.is_operator, row.created_at);
        Ok(Self {
            id: typed(&row.id, "sign-in id")?,
            account: account.try_into()?,
            client: typed(&row.client_id, "client id")?,
            client_key: typed(&row.client_key, "client key")?,
            current: row.current_hash,
            previous: row.previous_hash,
            rotated_at: UnixMicros(row.rotated_at),
            expires_at: UnixMicros(row.expires_at),
            revoked: row.revoked != 0,
        })
    }
}

impl SignIns<'_> {
    /// Stores a sign-in.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.sign_in.insert", skip_all)]
    pub async fn insert(&self, new: &NewSignIn<'_>) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "INSERT INTO sign_in (domain, id, user_id, client_id, client_key, client_name,
                 current_hash, previous_hash, rotated_at, created_at, expires_at, revoked)
             VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, $8, $8, $9, 0)",
            self.0.domain.as_str(),
            new.id.as_str(),
            new.user.as_str(),
            new.client.as_str(),
            new.client_key.to_string(),
            new.client_name,
            new.current.as_str(),
            new.created_at.0,
            new.expires_at.0,
        )?;
        Ok(())
    }

    /// A sign-in with its account.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.sign_in.get", skip_all)]
    pub async fn get(&self, id: &RefreshId) -> Result<Option<SignIn>, StorageError> {
        let row: Option<Row> = query::rows!(
            read,
            one,
            self.0,
            Row,
            "SELECT s.id, s.client_id, s.client_key, s.current_hash, s.previous_hash, s.rotated_at,
                 s.expires_at, s.revoked, a.id AS user_id, a.phone, a.subscription, a.is_operator,
                 a.created_at
             FROM sign_in s JOIN account a ON a.domain = s.domain AND a.id = s.user_id
             WHERE s.domain = $1 AND s.id = $2",
            self.0.domain.as_str(),
            id.as_str(),
        )?;
        row.map(SignIn::try_from).transpose()
    }

    /// Replaces the refresh token `from` by `to`. `false`: `from` is no longer the current one.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.sign_in.rotate", skip_all)]
    pub async fn rotate(
        &self,
        id: &RefreshId,
        from: &str,
        to: &TokenHash,
        now: UnixMicros,
        expires_at: UnixMicros,
    ) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE sign_in SET current_hash = $4, previous_hash = $3, rotated_at = $5,
                 expires_at = $6
             WHERE domain = $1 AND id = $2 AND current_hash = $3 AND revoked = 0",
            self.0.domain.as_str(),
            id.as_str(),
            from,
            to.as_str(),
            now.0,
            expires_at.0,
        )?;
        Ok(changed > 0)
    }

    /// Ends a sign-in.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.sign_in.revoke", skip_all)]
    pub async fn revoke(&self, id: &RefreshId) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE sign_in SET revoked = 1 WHERE domain = $1 AND id = $2 AND revoked = 0",
            self.0.domain.as_str(),
            id.as_str(),
        )?;
        Ok(changed > 0)
    }

    /// Forgets sign-ins that ended before `before`.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.sign_in.purge", skip_all)]
    pub async fn purge(&self, before: UnixMicros) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM sign_in WHERE domain = $1 AND expires_at <= $2",
            self.0.domain.as_str(),
            before.0,
        )
    }
}
