//! Cameras as their owner sees them, always read from the books with the ownership.

use std::collections::{BTreeMap, BTreeSet};

use cmu_domain::{lease::LeaseState, presence::presence};
use cmu_storage::{Database, DeviceRow, StorageError};
use sightline_model::{CameraId, DeviceId, DomainName, PuId, Rights, UnixMicros, UserId};
use sightline_protocol::cm::Camera;

/// Everything that belongs to one user's list.
struct Book {
    names: BTreeMap<CameraId, String>,
    watched: BTreeSet<CameraId>,
}

impl Book {
    async fn read(db: &Database, user: &UserId) -> Result<Self, StorageError> {
        Ok(Self {
            names: db.bindings().names(user).await?,
            watched: db.play_tokens().watched(user).await?,
        })
    }

    fn cameras(&self, domain: &DomainName, device: &DeviceRow, now: UnixMicros) -> Vec<Camera> {
        let lease = LeaseState { epoch: device.epoch, expires_at: device.lease_expires_at };
        let camera = |channel: &sightline_protocol::ps::ChannelStatus| {
            let id = CameraId { pu: device.pu.clone(), channel: channel.channel };
            Camera {
                device: DeviceId { domain: domain.clone(), pu: device.pu.clone() },
                name: self.names.get(&id).unwrap_or(&channel.name).clone(),
                presence: presence(lease, channel, self.watched.contains(&id), now),
                fault: channel.fault.clone(),
                streams: channel.streams.clone(),
                audio: channel.audio,
                device_key: device.public_key,
                rights: Rights::owner(),
                id,
            }
        };
        device.channels.iter().map(camera).collect()
    }
}

/// Every camera of `user`, by name.
///
/// # Errors
/// [`StorageError`].
pub async fn list(
    db: &Database,
    user: &UserId,
    now: UnixMicros,
) -> Result<Vec<Camera>, StorageError> {
    let devices = db.bindings().list(user).await?;
    let book = Book::read(db, user).await?;
    let mut cameras: Vec<Camera> =
        devices.iter().flat_map(|d| book.cameras(db.domain(), d, now)).collect();
    cameras.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(cameras)
}

/// Cameras of one device, if it is `user`'s.
///
/// # Errors
/// [`StorageError`].
pub async fn of_device(
    db: &Database,
    user: &UserId,
    pu: &PuId,
    now: UnixMicros,
) -> Result<Option<(DeviceRow, Vec<Camera>)>, StorageError> {
    let Some(device) = db.bindings().find(pu, user).await? else { return Ok(None) };
    let cameras = Book::read(db, user).await?.cameras(db.domain(), &device, now);
    Ok(Some((device, cameras)))
}

/// One camera, if it is `user`'s.
///
/// # Errors
/// [`StorageError`].
pub async fn one(
    db: &Database,
    user: &UserId,
    id: &CameraId,
    now: UnixMicros,
) -> Result<Option<(DeviceRow, Camera)>, StorageError> {
    let found = of_device(db, user, &id.pu, now).await?;
    Ok(found.and_then(|(device, cameras)| {
        cameras.into_iter().find(|c| c.id == *id).map(|camera| (device, camera))
    }))
}
