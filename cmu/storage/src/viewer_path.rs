//! What viewers report of their sessions.

use sightline_model::{MediaSessionId, NatReport, PuId, Rung, UnixMicros};
use sightline_protocol::{cs::StageTimes, pc::PathReport};
use tracing::instrument;

use crate::{PlayTokens, StorageError, from_json, query, to_json};

/// What a session counts for: the word of its rung, and that of the cause why it is relayed;
/// empty: none.
pub type Standing<'a> = (&'a str, &'a str);

/// A session as statistics see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPlace {
    /// Where its viewer asked from.
    pub viewer_network: Option<String>,
    /// Where its device was.
    pub pu_network: Option<String>,
    /// The rung that it counts for, as its word; empty: none yet.
    pub rung: String,
    /// The cause that it counts for, as its word; empty: it is not relayed.
    pub relay_cause: String,
    /// Whether its viewer has reported.
    pub viewer_reported: bool,
    /// What its viewer has measured of its NATs.
    pub viewer_nat: Option<NatReport>,
    /// When it was asked for.
    pub created_at: UnixMicros,
}

#[derive(sqlx::FromRow)]
struct Row {
    viewer_network: Option<String>,
    pu_network: Option<String>,
    rung: String,
    relay_cause: String,
    viewer_reported: i64,
    viewer_nat: Option<String>,
    created_at: i64,
}

/// The word of a rung, as it is stored and counted.
#[must_use]
pub fn rung_word(rung: Rung) -> &'static str {
    match rung {
        Rung::Host => "host",
        Rung::Mapped => "mapped",
        Rung::Punched => "punched",
        Rung::Probed => "probed",
        Rung::RelayUdp => "relay_udp",
        Rung::RelayTcp => "relay_tcp",
        Rung::RelayTls => "relay_tls",
    }
}

impl PlayTokens<'_> {
    /// The session as statistics see it; `None` when the device has no such session, or its right
    /// was taken back.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.place", skip_all)]
    pub async fn place(
        &self,
        pu: &PuId,
        session: &MediaSessionId,
    ) -> Result<Option<SessionPlace>, StorageError> {
        let row: Option<Row> = query::rows!(
            read,
            one,
            self.0,
            Row,
            "SELECT viewer_network, pu_network, COALESCE(rung, '') AS rung,
                 COALESCE(relay_cause, '') AS relay_cause,
                 CAST(CASE WHEN viewer_path IS NULL THEN 0 ELSE 1 END AS BIGINT) AS viewer_reported,
                 viewer_nat, created_at
             FROM play_token
             WHERE domain = $1 AND pu = $2 AND session = $3 AND revoked = 0",
            self.0.domain.as_str(),
            pu.as_str(),
            session.as_str(),
        )?;
        let Some(row) = row else { return Ok(None) };
        let nat = row.viewer_nat.map(|nat| from_json(&nat, "report of NATs")).transpose()?;
        Ok(Some(SessionPlace {
            viewer_network: row.viewer_network,
            pu_network: row.pu_network,
            rung: row.rung,
            relay_cause: row.relay_cause,
            viewer_reported: row.viewer_reported != 0,
            viewer_nat: nat,
            created_at: UnixMicros(row.created_at),
        }))
    }

    /// Stores the path of a session as its viewer sees it, and what the viewer has measured of its
    /// NATs, if anything.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.viewer_report", skip_all)]
    pub async fn viewer_report(
        &self,
        pu: &PuId,
        session: &MediaSessionId,
        path: &PathReport,
        nat: Option<&NatReport>,
    ) -> Result<(), StorageError> {
        query::execute!(
            quick,
            self.0,
            "UPDATE play_token SET viewer_path = $4, viewer_nat = COALESCE($5, viewer_nat)
             WHERE domain = $1 AND pu = $2 AND session = $3",
            self.0.domain.as_str(),
            pu.as_str(),
            session.as_str(),
            to_json(path),
            nat.map(to_json),
        )?;
        Ok(())
    }

    /// The session now counts for this instead of `before`. `false`: it counts for something else
    /// by now, and nothing has changed.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.set_standing", skip_all)]
    pub async fn set_standing(
        &self,
        pu: &PuId,
        session: &MediaSessionId,
        before: Standing<'_>,
        now: Standing<'_>,
    ) -> Result<bool, StorageError> {
        let changed = query::execute!(
            quick,
            self.0,
            "UPDATE play_token SET rung = $6, relay_cause = $7
             WHERE domain = $1 AND pu = $2 AND session = $3 AND COALESCE(rung, '') = $4
                 AND COALESCE(relay_cause, '') = $5",
            self.0.domain.as_str(),
            pu.as_str(),
            session.as_str(),
            before.0,
            before.1,
            now.0,
            now.1,
        )?;
        Ok(changed > 0)
    }

    /// Stores the stages from click to first frame, once. `false`: they are known already.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.set_stages", skip_all)]
    pub async fn set_stages(
        &self,
        pu: &PuId,
        session: &MediaSessionId,
        stages: &StageTimes,
    ) -> Result<bool, StorageError> {
        let changed = query::execute!(
            quick,
            self.0,
            "UPDATE play_token SET stages = $4
             WHERE domain = $1 AND pu = $2 AND session = $3 AND stages IS NULL",
            self.0.domain.as_str(),
            pu.as_str(),
            session.as_str(),
            to_json(stages),
        )?;
        Ok(changed > 0)
    }
}
