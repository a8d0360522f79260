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
        let (bindings, tokens) = (db.bindings(), db.play_tokens());
        let (names, watched) = tokio::try_join!(bindings.names(user), tokens.watched(user))?;
        Ok(Self { names, watched })
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
    let bindings = db.bindings();
    let (devices, book) = tokio::try_join!(bindings.list(user), Book::read(db, user))?;
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
    // Asked for at once: on a busy machine each question waits longer for its turn than it takes.
    let bindings = db.bindings();
    let (device, book) = tokio::try_join!(bindings.find(pu, user), Book::read(db, user))?;
    Ok(device.map(|device| {
        let cameras = book.cameras(db.domain(), &device, now);
        (device, cameras)
    }))
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
