//! What viewers report of their sessions.

use sightline_model::{MediaSessionId, NatReport, PuId, Rung, UnixMicros};
use sightline_protocol::{cs::StageTimes, pc::PathReport};
use tracing::instrument;

use crate::{PlayTokens, StorageError, query, to_json};

/// A session as statistics see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPlace {
    /// Where its viewer asked from.
    pub viewer_network: Option<String>,
    /// Where its device was.
    pub pu_network: Option<String>,
    /// The rung that it counts for, as its word; empty: none yet.
    pub rung: String,
    /// Whether its viewer has reported.
    pub viewer_reported: bool,
    /// When it was asked for.
    pub created_at: UnixMicros,
}

#[derive(sqlx::FromRow)]
struct Row {
    viewer_network: Option<String>,
    pu_network: Option<String>,
    rung: String,
    viewer_reported: i64,
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
                 CAST(CASE WHEN viewer_path IS NULL THEN 0 ELSE 1 END AS BIGINT) AS viewer_reported,
                 created_at
             FROM play_token
             WHERE domain = $1 AND pu = $2 AND session = $3 AND revoked = 0",
            self.0.domain.as_str(),
            pu.as_str(),
            session.as_str(),
        )?;
        Ok(row.map(|row| SessionPlace {
            viewer_network: row.viewer_network,
            pu_network: row.pu_network,
            rung: row.rung,
            viewer_reported: row.viewer_reported != 0,
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

    /// The session now counts for this rung instead of `before` (empty: none). `false`: it counts
    /// for another one by now, and nothing has changed.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.play_token.set_rung", skip_all)]
    pub async fn set_rung(
        &self,
        pu: &PuId,
        session: &MediaSessionId,
        before: &str,
        rung: Rung,
    ) -> Result<bool, StorageError> {
        let changed = query::execute!(
            quick,
            self.0,
            "UPDATE play_token SET rung = $5
             WHERE domain = $1 AND pu = $2 AND session = $3 AND COALESCE(rung, '') = $4",
            self.0.domain.as_str(),
            pu.as_str(),
            session.as_str(),
            before,
            rung_word(rung),
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
