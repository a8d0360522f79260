//! Who owns which device (A8.2), and what owners call their cameras.

use std::collections::BTreeMap;

use sightline_model::{BindingId, CameraId, PuId, UnixMicros, UserId};
use tracing::instrument;

use crate::{Database, DeviceRow, StorageError, channel, device, query, typed};

/// Repository of bindings.
#[derive(Debug)]
pub struct Bindings<'a>(pub(crate) &'a Database);

/// A binding to store.
#[derive(Debug, Clone)]
pub struct NewBinding<'a> {
    /// Its id.
    pub id: &'a BindingId,
    /// The device.
    pub pu: &'a PuId,
    /// Its new owner.
    pub user: &'a UserId,
    /// Whose it was when the caller decided; nothing is stored when that has changed.
    pub from: Option<&'a UserId>,
    /// When.
    pub now: UnixMicros,
}

impl Bindings<'_> {
    /// Makes a device somebody's. `false`: it has meanwhile become somebody else's.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.binding.insert", skip_all)]
    pub async fn insert(&self, new: &NewBinding<'_>) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "INSERT INTO binding (domain, pu, id, user_id, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (domain, pu) DO UPDATE SET id = excluded.id, user_id = excluded.user_id,
                 created_at = excluded.created_at
             WHERE binding.user_id = $6",
            self.0.domain.as_str(),
            new.pu.as_str(),
            new.id.as_str(),
            new.user.as_str(),
            new.now.0,
            // Ids are never empty, so this matches no owner.
            new.from.map_or("", UserId::as_str),
        )?;
        Ok(changed > 0)
    }

    /// Releases a device of `user`. `false`: it is not theirs.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.binding.delete", skip_all)]
    pub async fn delete(&self, pu: &PuId, user: &UserId) -> Result<bool, StorageError> {
        let row: Option<(String,)> = query::rows!(
            write,
            one,
            self.0,
            (String,),
            "DELETE FROM binding WHERE domain = $1 AND pu = $2 AND user_id = $3 RETURNING id",
            self.0.domain.as_str(),
            pu.as_str(),
            user.as_str(),
        )?;
        let Some((id,)) = row else { return Ok(false) };
        query::execute!(
            self.0,
            "DELETE FROM camera_name WHERE domain = $1 AND binding_id = $2",
            self.0.domain.as_str(),
            id,
        )?;
        Ok(true)
    }

    /// A device if it is `user`'s. A device of somebody else, an unbound one and an unknown one
    /// take the same statement.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.binding.find", skip_all)]
    pub async fn find(&self, pu: &PuId, user: &UserId) -> Result<Option<DeviceRow>, StorageError> {
        let row: Option<device::Row> = query::rows!(
            read,
            one,
            self.0,
            device::Row,
            concat!(
                device::device_columns!(),
                "FROM binding b JOIN device d ON d.domain = b.domain AND d.pu = b.pu
                 WHERE b.domain = $1 AND b.pu = $2 AND b.user_id = $3"
            ),
            self.0.domain.as_str(),
            pu.as_str(),
            user.as_str(),
        )?;
        row.map(DeviceRow::try_from).transpose()
    }

    /// Every device of `user`, at most 1000.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.binding.list", skip_all)]
    pub async fn list(&self, user: &UserId) -> Result<Vec<DeviceRow>, StorageError> {
        let rows: Vec<device::Row> = query::rows!(
            read,
            all,
            self.0,
            device::Row,
            concat!(
                device::device_columns!(),
                "FROM binding b JOIN device d ON d.domain = b.domain AND d.pu = b.pu
                 WHERE b.domain = $1 AND b.user_id = $2 ORDER BY b.created_at, b.pu LIMIT 1000"
            ),
            self.0.domain.as_str(),
            user.as_str(),
        )?;
        rows.into_iter().map(DeviceRow::try_from).collect()
    }

    /// What `user` calls their cameras.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.binding.names", skip_all)]
    pub async fn names(&self, user: &UserId) -> Result<BTreeMap<CameraId, String>, StorageError> {
        let rows: Vec<(String, i64, String)> = query::rows!(
            read,
            all,
            self.0,
            (String, i64, String),
            "SELECT b.pu, n.channel, n.name FROM binding b
             JOIN camera_name n ON n.domain = b.domain AND n.binding_id = b.id
             WHERE b.domain = $1 AND b.user_id = $2",
            self.0.domain.as_str(),
            user.as_str(),
        )?;
        rows.into_iter()
            .map(|(pu, number, name)| {
                let id = CameraId { pu: typed(&pu, "device id")?, channel: channel(number)? };
                Ok((id, name))
            })
            .collect()
    }

    /// Names a camera of `user`. `false`: its device is not theirs.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.binding.set_name", skip_all)]
    pub async fn set_name(
        &self,
        camera: &CameraId,
        user: &UserId,
        name: &str,
    ) -> Result<bool, StorageError> {
        let row: Option<(String,)> = query::rows!(
            write,
            one,
            self.0,
            (String,),
            "INSERT INTO camera_name (domain, binding_id, channel, name)
             SELECT b.domain, b.id, $4, $5 FROM binding b
             WHERE b.domain = $1 AND b.pu = $2 AND b.user_id = $3
             ON CONFLICT (domain, binding_id, channel) DO UPDATE SET name = excluded.name
             RETURNING name",
            self.0.domain.as_str(),
            camera.pu.as_str(),
            user.as_str(),
            i64::from(camera.channel.0),
            name,
        )?;
        Ok(row.is_some())
    }
}
