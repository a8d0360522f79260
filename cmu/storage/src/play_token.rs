//! Play tokens by their hash, and the sessions that they opened (A8.4).

use std::collections::BTreeSet;

use sightline_model::{
    CameraId, Capabilities, ChannelId, MediaSessionId, PuId, RefreshId, Rights, TokenHash, TokenId,
    UnixMicros, UserId,
};
use sightline_protocol::{cm::Subscription, pc::PathReport};
use tracing::instrument;

use crate::{
    Database, StorageError, account::read_subscription, channel, from_json, query, to_json, typed,
};

/// Repository of play tokens.
#[derive(Debug)]
pub struct PlayTokens<'a>(pub(crate) &'a Database);

/// A play token to store.
#[derive(Debug, Clone)]
pub struct NewPlayToken<'a> {
    /// Its hash; the token itself is not stored.
    pub hash: &'a TokenHash,
    /// Its id.
    pub jti: &'a TokenId,
    /// The session that it opens.
    pub session: &'a MediaSessionId,
    /// Who asked for it.
    pub user: &'a UserId,
    /// Where they were signed in; absent: it is an NVR's ticket, which goes with its relation.
    pub sign_in: Option<&'a RefreshId>,
    /// The NVR that takes the stream by its relation.
    pub nvr: Option<&'a PuId>,
    /// The camera.
    pub camera: &'a CameraId,
    /// What it allows.
    pub rights: &'a Rights,
    /// What the CU can take.
    pub capabilities: &'a Capabilities,
    /// Where its CU asked from, as a prefix.
    pub viewer_network: &'a str,
    /// Where the device is, as a prefix.
    pub pu_network: &'a str,
    /// Who alone may use it, when known from the start.
    pub bearer: Option<&'a str>,
    /// When.
    pub now: UnixMicros,
    /// No new use from then on.
    pub expires_at: UnixMicros,
}

/// A token with everything that a check reads from the books at that moment.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// The session that it opens.
    pub session: MediaSessionId,
    /// Who asked for it.
    pub user: UserId,
    /// Which camera of the device.
    pub channel: ChannelId,
    /// What it allows.
    pub rights: Rights,
    /// What the CU can take.
    pub capabilities: Capabilities,
    /// Who has used it, or who alone may.
    pub bearer: Option<String>,
    /// Taken back.
    pub revoked: bool,
    /// No new use from then on.
    pub expires_at: UnixMicros,
    /// The device belongs to the user now; and an NVR's relation holds.
    pub owned: bool,
    /// The user's subscription now.
    pub subscription: Subscription,
    /// The sign-in that it was asked for in has ended.
    pub signed_out: bool,
}

/// A session that may be running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The device.
    pub pu: PuId,
    /// The session.
    pub session: MediaSessionId,
}

#[derive(sqlx::FromRow)]
struct Row {
    session: String,
    user_id: String,
    channel: i64,
    rights: String,
    capabilities: String,
    bearer: Option<String>,
    revoked: i64,
    expires_at: i64,
    owner: Option<String>,
    subscription: String,
    signed_out: i64,
    related: i64,
}

/// Reads [`Row`]s: tokens with the owner, the subscription and the sign-in as they are now.
macro_rules! token_where {
    ($which:literal) => {
        concat!(
            "SELECT t.session, t.user_id, t.channel, t.rights, t.capabilities, t.bearer, t.revoked,
                 t.expires_at, b.user_id AS owner, a.subscription,
                 CASE WHEN t.nvr IS NULL THEN COALESCE(s.revoked, 1) ELSE 0 END AS signed_out,
                 CASE WHEN t.nvr IS NULL THEN 1 ELSE (
                     SELECT COUNT(*) FROM relation r
                     JOIN binding n ON n.domain = r.domain AND n.pu = r.nvr
                         AND n.id = r.nvr_binding AND n.user_id = t.user_id
                     WHERE r.domain = t.domain AND r.nvr = t.nvr AND r.pu = t.pu
                         AND r.channel = t.channel AND r.pu_binding = b.id
                         AND r.ended_at IS NULL) END AS related
             FROM play_token t
             JOIN account a ON a.domain = t.domain AND a.id = t.user_id
             LEFT JOIN sign_in s ON s.domain = t.domain AND s.id = t.sign_in_id
             LEFT JOIN binding b ON b.domain = t.domain AND b.pu = t.pu
             WHERE ",
            $which
        )
    };
}

impl TryFrom<Row> for TokenRow {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        Ok(Self {
            session: typed(&row.session, "session id")?,
            owned: row.owner.as_ref() == Some(&row.user_id) && row.related > 0,
            user: typed(&row.user_id, "user id")?,
            channel: channel(row.channel)?,
            rights: from_json(&row.rights, "set of rights")?,
            capabilities: from_json(&row.capabilities, "set of capabilities")?,
            bearer: row.bearer,
            revoked: row.revoked != 0,
            expires_at: UnixMicros(row.expires_at),
            subscription: read_subscription(&row.subscription)?,
            signed_out: row.signed_out != 0,
        })
    }
}

type SessionRow = (String, String);

fn read_sessions(rows: Vec<SessionRow>) -> Result<Vec<Session>, StorageError> {
    rows.into_iter()
        .map(|(pu, session)| {
            Ok(Session { pu: typed(&pu, "device id")?, session: typed(&session, "session id")? })
        })
        .collect()
}

impl PlayTokens<'_> {
    /// Stores a token. It lives for minutes, so it is written quickly: after a power cut its CU has
    /// to ask again, as after its expiry.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.insert", skip_all)]
    pub async fn insert(&self, new: &NewPlayToken<'_>) -> Result<(), StorageError> {
        query::execute!(
            quick,
            self.0,
            "INSERT INTO play_token (domain, hash, jti, session, user_id, sign_in_id, pu, channel,
                 rights, capabilities, bearer, revoked, created_at, expires_at, viewer_network,
                 pu_network, nvr)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, $13, $14, $15, $16)",
            self.0.domain.as_str(),
            new.hash.as_str(),
            new.jti.as_str(),
            new.session.as_str(),
            new.user.as_str(),
            // Ids are never empty, so this is nobody's.
            new.sign_in.map_or("", RefreshId::as_str),
            new.camera.pu.as_str(),
            i64::from(new.camera.channel.0),
            to_json(new.rights),
            to_json(new.capabilities),
            new.bearer,
            new.now.0,
            new.expires_at.0,
            new.viewer_network,
            new.pu_network,
            new.nvr.map(PuId::as_str),
        )?;
        Ok(())
    }

    /// A token for this device, with the owner, the subscription and the sign-in as they are now.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.get", skip_all)]
    pub async fn get(&self, hash: &str, pu: &PuId) -> Result<Option<TokenRow>, StorageError> {
        let row: Option<Row> = query::rows!(
            read,
            one,
            self.0,
            Row,
            token_where!("t.domain = $1 AND t.hash = $2 AND t.pu = $3"),
            self.0.domain.as_str(),
            hash,
            pu.as_str(),
        )?;
        row.map(TokenRow::try_from).transpose()
    }

    /// The token of a session of this device, if any; else as [`Self::get`].
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.of_session", skip_all)]
    pub async fn of_session(
        &self,
        pu: &PuId,
        session: &MediaSessionId,
    ) -> Result<Option<TokenRow>, StorageError> {
        let row: Option<Row> = query::rows!(
            read,
            one,
            self.0,
            Row,
            token_where!("t.domain = $1 AND t.pu = $2 AND t.session = $3"),
            self.0.domain.as_str(),
            pu.as_str(),
            session.as_str(),
        )?;
        row.map(TokenRow::try_from).transpose()
    }

    /// Remembers `bearer` as the one who uses the token. `false`: another one does.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.claim", skip_all)]
    pub async fn claim(&self, hash: &str, bearer: &str) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE play_token SET bearer = $3
             WHERE domain = $1 AND hash = $2 AND revoked = 0 AND (bearer IS NULL OR bearer = $3)",
            self.0.domain.as_str(),
            hash,
            bearer,
        )?;
        Ok(changed > 0)
    }

    /// Takes back the tokens of `user` for a device.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.revoke_for_device", skip_all)]
    pub async fn revoke_for_device(&self, pu: &PuId, user: &UserId) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "UPDATE play_token SET revoked = 1
             WHERE domain = $1 AND pu = $2 AND user_id = $3 AND revoked = 0",
            self.0.domain.as_str(),
            pu.as_str(),
            user.as_str(),
        )
    }

    /// Takes back the tokens of a sign-in; gives the sessions that may be running with them.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.revoke_for_sign_in", skip_all)]
    pub async fn revoke_for_sign_in(&self, id: &RefreshId) -> Result<Vec<Session>, StorageError> {
        let rows: Vec<SessionRow> = query::rows!(
            write,
            all,
            self.0,
            SessionRow,
            "UPDATE play_token SET revoked = 1
             WHERE domain = $1 AND sign_in_id = $2 AND revoked = 0 AND ended_at IS NULL
             RETURNING pu, session",
            self.0.domain.as_str(),
            id.as_str(),
        )?;
        read_sessions(rows)
    }

    /// Stores what a PU reports of a session; `None` ends it. Gives whether the session's being
    /// watched has changed by it. A session that this device was not asked for changes nothing.
    /// Written quickly: a device reports anew when it registers anew.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.report", skip_all)]
    pub async fn report(
        &self,
        pu: &PuId,
        session: &MediaSessionId,
        path: Option<&PathReport>,
        now: UnixMicros,
    ) -> Result<bool, StorageError> {
        let domain = self.0.domain.as_str();
        let Some(path) = path else {
            let ended = query::execute!(
                quick,
                self.0,
                "UPDATE play_token SET ended_at = $4
                 WHERE domain = $1 AND pu = $2 AND session = $3
                     AND started_at IS NOT NULL AND ended_at IS NULL",
                domain,
                pu.as_str(),
                session.as_str(),
                now.0,
            )?;
            return Ok(ended > 0);
        };
        let begun = query::execute!(
            quick,
            self.0,
            "UPDATE play_token SET started_at = $4, ended_at = NULL
             WHERE domain = $1 AND pu = $2 AND session = $3
                 AND (started_at IS NULL OR ended_at IS NOT NULL)",
            domain,
            pu.as_str(),
            session.as_str(),
            now.0,
        )?;
        query::execute!(
            quick,
            self.0,
            "UPDATE play_token SET path = $4 WHERE domain = $1 AND pu = $2 AND session = $3",
            domain,
            pu.as_str(),
            session.as_str(),
            to_json(path),
        )?;
        Ok(begun > 0)
    }

    /// A device has lost its lease or come anew: whatever was running there no longer counts.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.end_all", skip_all)]
    pub async fn end_all(&self, pu: &PuId, now: UnixMicros) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "UPDATE play_token SET ended_at = $3
             WHERE domain = $1 AND pu = $2 AND started_at IS NOT NULL AND ended_at IS NULL",
            self.0.domain.as_str(),
            pu.as_str(),
            now.0,
        )
    }

    /// Cameras of `owner` that somebody watches; an NVR is nobody.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.watched", skip_all)]
    pub async fn watched(&self, owner: &UserId) -> Result<BTreeSet<CameraId>, StorageError> {
        let rows: Vec<(String, i64)> = query::rows!(
            read,
            all,
            self.0,
            (String, i64),
            "SELECT DISTINCT t.pu, t.channel FROM play_token t
             JOIN binding b ON b.domain = t.domain AND b.pu = t.pu
             WHERE t.domain = $1 AND b.user_id = $2
                 AND t.started_at IS NOT NULL AND t.ended_at IS NULL AND t.nvr IS NULL",
            self.0.domain.as_str(),
            owner.as_str(),
        )?;
        rows.into_iter()
            .map(|(pu, number)| {
                Ok(CameraId { pu: typed(&pu, "device id")?, channel: channel(number)? })
            })
            .collect()
    }

    /// Forgets tokens that expired before `before` and open no running session.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.purge", skip_all)]
    pub async fn purge(&self, before: UnixMicros) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "DELETE FROM play_token WHERE domain = $1 AND expires_at < $2
                 AND (started_at IS NULL OR ended_at IS NOT NULL)",
            self.0.domain.as_str(),
            before.0,
        )
    }
}
