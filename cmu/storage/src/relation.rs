//! Which NVR records which camera (A8.7.2, decision 0099).

use sightline_model::{CameraId, ChannelId, PuId, UnixMicros, UserId};
use sightline_protocol::ps::FIRST_RELATED;
use tracing::instrument;

use crate::{Database, Session, StorageError, channel, query, typed};

/// How often a number is drawn that another CMU has taken meanwhile.
const TRIES: usize = 8;

/// Repository of relations.
#[derive(Debug)]
pub struct Relations<'a>(pub(crate) &'a Database);

/// A relation that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationRow {
    /// Who records.
    pub nvr: PuId,
    /// The camera's number there.
    pub number: ChannelId,
    /// The camera.
    pub camera: CameraId,
    /// Whose both are.
    pub owner: UserId,
    /// Since when.
    pub since: UnixMicros,
}

/// What became of a new relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It holds, or held before.
    Holds(RelationRow),
    /// Another NVR records the camera.
    Elsewhere(PuId),
    /// The user does not have both.
    NotTheirs,
}

#[derive(sqlx::FromRow)]
struct Row {
    nvr: String,
    number: i64,
    pu: String,
    channel: i64,
    user_id: String,
    created_at: i64,
}

impl TryFrom<Row> for RelationRow {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        let pu = typed(&row.pu, "device id")?;
        Ok(Self {
            nvr: typed(&row.nvr, "device id")?,
            number: channel(row.number)?,
            camera: CameraId { pu, channel: channel(row.channel)? },
            owner: typed(&row.user_id, "user id")?,
            since: UnixMicros(row.created_at),
        })
    }
}

/// Reads [`Row`]s of relations that hold: both devices are bound as they were, to one user.
macro_rules! relations_where {
    ($which:literal) => {
        concat!(
            "SELECT r.nvr, r.number, r.pu, r.channel, n.user_id, r.created_at
             FROM relation r
             JOIN binding n ON n.domain = r.domain AND n.pu = r.nvr AND n.id = r.nvr_binding
             JOIN binding p ON p.domain = r.domain AND p.pu = r.pu AND p.id = r.pu_binding
                 AND p.user_id = n.user_id
             WHERE r.domain = $1 AND r.ended_at IS NULL AND ",
            $which,
            " ORDER BY r.nvr, r.number"
        )
    };
}

/// What a row of `relation` lacks that does not hold any more.
macro_rules! not_holding {
    () => {
        "NOT EXISTS (
             SELECT 1 FROM binding n
             JOIN binding p ON p.domain = n.domain AND p.user_id = n.user_id
             WHERE n.domain = relation.domain
                 AND n.pu = relation.nvr AND n.id = relation.nvr_binding
                 AND p.pu = relation.pu AND p.id = relation.pu_binding)"
    };
}

impl Relations<'_> {
    /// The NVR of a camera.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relation.of_camera", skip_all)]
    pub async fn of_camera(&self, camera: &CameraId) -> Result<Option<RelationRow>, StorageError> {
        let row: Option<Row> = query::rows!(
            read,
            one,
            self.0,
            Row,
            relations_where!("r.pu = $2 AND r.channel = $3"),
            self.0.domain.as_str(),
            camera.pu.as_str(),
            i64::from(camera.channel.0),
        )?;
        row.map(RelationRow::try_from).transpose()
    }

    /// What an NVR records.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relation.of_nvr", skip_all)]
    pub async fn of_nvr(&self, nvr: &PuId) -> Result<Vec<RelationRow>, StorageError> {
        let rows: Vec<Row> = query::rows!(
            read,
            all,
            self.0,
            Row,
            relations_where!("r.nvr = $2"),
            self.0.domain.as_str(),
            nvr.as_str(),
        )?;
        rows.into_iter().map(RelationRow::try_from).collect()
    }

    /// Who records a unit's cameras.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relation.of_pu", skip_all)]
    pub async fn of_pu(&self, pu: &PuId) -> Result<Vec<RelationRow>, StorageError> {
        let rows: Vec<Row> = query::rows!(
            read,
            all,
            self.0,
            Row,
            relations_where!("r.pu = $2"),
            self.0.domain.as_str(),
            pu.as_str(),
        )?;
        rows.into_iter().map(RelationRow::try_from).collect()
    }

    /// All relations of a user's devices.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relation.of_user", skip_all)]
    pub async fn of_user(&self, user: &UserId) -> Result<Vec<RelationRow>, StorageError> {
        let rows: Vec<Row> = query::rows!(
            read,
            all,
            self.0,
            Row,
            relations_where!("n.user_id = $2"),
            self.0.domain.as_str(),
            user.as_str(),
        )?;
        rows.into_iter().map(RelationRow::try_from).collect()
    }

    /// Relates an NVR to a camera, both of `user`.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relation.insert", skip_all)]
    pub async fn insert(
        &self,
        nvr: &PuId,
        camera: &CameraId,
        user: &UserId,
        now: UnixMicros,
    ) -> Result<Made, StorageError> {
        self.end_stale(&camera.pu, now).await?;
        for _ in 0..TRIES {
            if let Some(holds) = self.of_camera(camera).await? {
                let same = holds.nvr == *nvr && holds.owner == *user;
                return Ok(if same { Made::Holds(holds) } else { Made::Elsewhere(holds.nvr) });
            }
            let bound: Option<(String,)> = query::rows!(
                read,
                one,
                self.0,
                (String,),
                "SELECT n.id FROM binding n
                 JOIN binding p ON p.domain = n.domain AND p.user_id = n.user_id
                 WHERE n.domain = $1 AND n.pu = $2 AND p.pu = $3 AND n.user_id = $4",
                self.0.domain.as_str(),
                nvr.as_str(),
                camera.pu.as_str(),
                user.as_str(),
            )?;
            if bound.is_none() {
                return Ok(Made::NotTheirs);
            }
            let inserted = self.insert_bound(nvr, camera, user, now).await?;
            if inserted > 0 {
                self.changed(nvr).await?;
                self.changed(&camera.pu).await?;
            }
        }
        Err(StorageError::Corrupt("numbers of an NVR"))
    }

    /// Does nothing where the number, or the camera, was taken at this moment.
    async fn insert_bound(
        &self,
        nvr: &PuId,
        camera: &CameraId,
        user: &UserId,
        now: UnixMicros,
    ) -> Result<u64, StorageError> {
        query::execute!(
            self.0,
            "INSERT INTO relation (domain, nvr, number, pu, channel, nvr_binding, pu_binding,
                 created_at)
             SELECT n.domain, n.pu,
                 (SELECT COALESCE(MAX(r.number) + 1, $4) FROM relation r
                  WHERE r.domain = n.domain AND r.nvr = n.pu),
                 p.pu, $5, n.id, p.id, $6
             FROM binding n JOIN binding p ON p.domain = n.domain AND p.user_id = n.user_id
             WHERE n.domain = $1 AND n.pu = $2 AND p.pu = $3 AND n.user_id = $7
             ON CONFLICT DO NOTHING",
            self.0.domain.as_str(),
            nvr.as_str(),
            camera.pu.as_str(),
            i64::from(FIRST_RELATED.0),
            i64::from(camera.channel.0),
            now.0,
            user.as_str(),
        )
    }

    /// Ends a relation. Gives what it was; `None`: it did not hold.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relation.end", skip_all)]
    pub async fn end(
        &self,
        nvr: &PuId,
        camera: &CameraId,
        now: UnixMicros,
    ) -> Result<Option<RelationRow>, StorageError> {
        let Some(held) = self.of_camera(camera).await?.filter(|held| held.nvr == *nvr) else {
            return Ok(None);
        };
        let ended = query::execute!(
            self.0,
            "UPDATE relation SET ended_at = $4
             WHERE domain = $1 AND nvr = $2 AND number = $3 AND ended_at IS NULL",
            self.0.domain.as_str(),
            nvr.as_str(),
            i64::from(held.number.0),
            now.0,
        )?;
        if ended == 0 {
            return Ok(None);
        }
        self.changed(nvr).await?;
        self.changed(&camera.pu).await?;
        Ok(Some(held))
    }

    /// Ends the relations of a device that do not hold any more, since it or the other one is bound
    /// otherwise now. Gives the devices at their other ends.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relation.end_stale", skip_all)]
    pub async fn end_stale(&self, pu: &PuId, now: UnixMicros) -> Result<Vec<PuId>, StorageError> {
        let rows: Vec<(String, String)> = query::rows!(
            write,
            all,
            self.0,
            (String, String),
            concat!(
                "UPDATE relation SET ended_at = $3
                 WHERE domain = $1 AND (nvr = $2 OR pu = $2) AND ended_at IS NULL AND ",
                not_holding!(),
                " RETURNING nvr, pu"
            ),
            self.0.domain.as_str(),
            pu.as_str(),
            now.0,
        )?;
        let mut others = Vec::new();
        for (nvr, of) in rows {
            let other = if nvr == pu.as_str() { of } else { nvr };
            let other: PuId = typed(&other, "device id")?;
            if !others.contains(&other) {
                self.changed(&other).await?;
                others.push(other);
            }
        }
        if !others.is_empty() {
            self.changed(pu).await?;
        }
        Ok(others)
    }

    async fn changed(&self, pu: &PuId) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "UPDATE device SET relations = relations + 1 WHERE domain = $1 AND pu = $2",
            self.0.domain.as_str(),
            pu.as_str(),
        )?;
        Ok(())
    }

    /// The number that rises with every change of a device's relations. Read it before them: what is told
    /// under a number is then never older than that.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relation.revision", skip_all)]
    pub async fn revision(&self, pu: &PuId) -> Result<u64, StorageError> {
        let row: Option<(i64,)> = query::rows!(
            read,
            one,
            self.0,
            (i64,),
            "SELECT relations FROM device WHERE domain = $1 AND pu = $2",
            self.0.domain.as_str(),
            pu.as_str(),
        )?;
        let revision = row.map_or(0, |(revision,)| revision);
        u64::try_from(revision).map_err(|_| StorageError::Corrupt("revision of relations"))
    }

    /// Takes back the tickets of a relation and the tokens that opened its number at the NVR. Gives the
    /// sessions that may be running by them.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.relation.revoke", skip_all)]
    pub async fn revoke(&self, ended: &RelationRow) -> Result<Vec<Session>, StorageError> {
        let rows: Vec<(String, String, Option<i64>)> = query::rows!(
            write,
            all,
            self.0,
            (String, String, Option<i64>),
            "UPDATE play_token SET revoked = 1
             WHERE domain = $1 AND revoked = 0 AND (
                 (pu = $2 AND channel = $3 AND nvr = $4) OR (pu = $4 AND channel = $5))
             RETURNING pu, session, ended_at",
            self.0.domain.as_str(),
            ended.camera.pu.as_str(),
            i64::from(ended.camera.channel.0),
            ended.nvr.as_str(),
            i64::from(ended.number.0),
        )?;
        let running = rows.into_iter().filter(|(_, _, ended)| ended.is_none());
        running
            .map(|(pu, session, _)| {
                let (pu, session) = (typed(&pu, "device id")?, typed(&session, "session id")?);
                Ok(Session { pu, session })
            })
            .collect()
    }
}
