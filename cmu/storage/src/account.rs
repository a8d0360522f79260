//! Accounts of users (A6.1.1).

use sightline_model::{PhoneNumber, UnixMicros, UserId};
use sightline_protocol::cm::Subscription;
use tracing::instrument;

use crate::{Database, StorageError, query, typed};

/// Repository of accounts.
#[derive(Debug)]
pub struct Accounts<'a>(pub(crate) &'a Database);

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// Its mobile number.
    pub phone: PhoneNumber,
    /// Whether the operator has approved it.
    pub subscription: Subscription,
    /// Whether the person works for the operator.
    pub is_operator: bool,
    /// When the person signed up.
    pub created_at: UnixMicros,
}

pub(crate) type AccountRow = (String, String, String, i64, i64);

impl TryFrom<AccountRow> for Account {
    type Error = StorageError;
    fn try_from(
        (id, phone, subscription, is_operator, at): AccountRow,
    ) -> Result<Self, StorageError> {
        Ok(Self {
            id: typed(&id, "user id")?,
            phone: typed(&phone, "mobile number")?,
            subscription: read_subscription(&subscription)?,
            is_operator: is_operator != 0,
            created_at: UnixMicros(at),
        })
    }
}

pub(crate) fn read_subscription(text: &str) -> Result<Subscription, StorageError> {
    match text {
        "pending" => Ok(Subscription::Pending),
        "active" => Ok(Subscription::Active),
        "suspended" => Ok(Subscription::Suspended),
        _ => Err(StorageError::Corrupt("subscription")),
    }
}

const fn subscription_text(subscription: Subscription) -> &'static str {
    match subscription {
        Subscription::Pending => "pending",
        Subscription::Active => "active",
        Subscription::Suspended => "suspended",
    }
}

impl Accounts<'_> {
    /// The account of a number, made as `new` when there is none. A present account is not changed.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.account.find_or_insert", skip_all)]
    pub async fn find_or_insert(&self, new: &Account) -> Result<Account, StorageError> {
        let row: Option<AccountRow> = query::rows!(
            write,
            one,
            self.0,
            AccountRow,
            // The update changes nothing; it makes RETURNING give the row that is there.
            "INSERT INTO account (domain, id, phone, subscription, is_operator, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (domain, phone) DO UPDATE SET phone = excluded.phone
             RETURNING id, phone, subscription, is_operator, created_at",
            self.0.domain.as_str(),
            new.id.as_str(),
            new.phone.expose(),
            subscription_text(new.subscription),
            i64::from(new.is_operator),
            new.created_at.0,
        )?;
        row.ok_or(StorageError::Corrupt("account"))?.try_into()
    }

    /// An account by its id.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.account.get", skip_all)]
    pub async fn get(&self, user: &UserId) -> Result<Option<Account>, StorageError> {
        let row: Option<AccountRow> = query::rows!(
            read,
            one,
            self.0,
            AccountRow,
            "SELECT id, phone, subscription, is_operator, created_at FROM account
             WHERE domain = $1 AND id = $2",
            self.0.domain.as_str(),
            user.as_str(),
        )?;
        row.map(Account::try_from).transpose()
    }

    /// Changes a subscription; the account as it is now, or `None` when there is none.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.account.set_subscription", skip_all)]
    pub async fn set_subscription(
        &self,
        user: &UserId,
        subscription: Subscription,
    ) -> Result<Option<Account>, StorageError> {
        let row: Option<AccountRow> = query::rows!(
            write,
            one,
            self.0,
            AccountRow,
            "UPDATE account SET subscription = $3 WHERE domain = $1 AND id = $2
             RETURNING id, phone, subscription, is_operator, created_at",
            self.0.domain.as_str(),
            user.as_str(),
            subscription_text(subscription),
        )?;
        row.map(Account::try_from).transpose()
    }

    /// Makes a person work for the operator, or no longer.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.account.set_operator", skip_all)]
    pub async fn set_operator(&self, user: &UserId, yes: bool) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE account SET is_operator = $3 WHERE domain = $1 AND id = $2",
            self.0.domain.as_str(),
            user.as_str(),
            i64::from(yes),
        )?;
        Ok(changed > 0)
    }

    /// Accounts in the order of signing up, at most `limit`.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.account.list", skip_all)]
    pub async fn list(&self, limit: u32) -> Result<Vec<Account>, StorageError> {
        let rows: Vec<AccountRow> = query::rows!(
            read,
            all,
            self.0,
            AccountRow,
            "SELECT id, phone, subscription, is_operator, created_at FROM account
             WHERE domain = $1 ORDER BY created_at, id LIMIT $2",
            self.0.domain.as_str(),
            i64::from(limit),
        )?;
        rows.into_iter().map(Account::try_from).collect()
    }
}
