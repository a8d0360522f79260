//! The parts of a device, each made of its configuration and of what it needs of the others.

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use sightline_archive::StoreArchive;
use sightline_media_io::camera::Cameras;
use sightline_model::{CameraId, ChannelId, DeviceKind};
use sightline_protocol::ps::{Addresses, FIRST_RELATED};
use sightline_recording::segmenter;
use sightline_recording_store::Limits;
use sightline_service_kit::{config::ConfigError, lifecycle::Lifecycle};
use tokio::sync::watch;

use super::{Device, Numbers, StartError};
use crate::{
    camera,
    cloud::{self, Uploads},
    config::{CheckedCamera, Config},
    discovery,
    gate::{self, GateSettings, PuGate},
    identity::{Identity, IdentityError},
    recorder::{self, Purpose, Recorder, Recorders, config::FirstPlan},
    relations::RelationBook,
    uplink::{
        Driver, DriverSettings, Uplink, Watched,
        clock::Clock,
        dial::Dialer,
        machine::{Profile, Settings},
    },
};

/// How often a unit that is on WebSocket tries QUIC.
const RETRY_QUIC: Duration = Duration::from_secs(30);

/// What all parts are made of.
pub(super) struct Parts<'a> {
    pub config: &'a Config,
    pub device: Device,
    pub identity: &'a Arc<Identity>,
    pub lifecycle: &'a Lifecycle,
}

/// Tells the centre what changes.
pub(super) struct Told {
    pub addresses: watch::Sender<Addresses>,
    pub unlocked: watch::Sender<bool>,
}

impl Parts<'_> {
    /// Two agents with one identity would throw each other out of the centre for ever.
    pub fn hold_lock(&self) -> Result<(), StartError> {
        let path = self.config.data_dir.join("agent.lock");
        let file = File::create(&path).map_err(|source| IdentityError::File { path, source })?;
        file.try_lock().map_err(|_| StartError::Twice(self.config.data_dir.clone()))?;
        self.lifecycle.spawn_graceful(|token| async move {
            token.cancelled().await;
            drop(file);
        });
        Ok(())
    }

    pub async fn find_cameras(&self) -> Result<Vec<CheckedCamera>, ConfigError> {
        let configured = self.config.cameras_of(self.device.kind)?;
        if !configured.is_empty() || !self.config.discover {
            return Ok(configured);
        }
        let found = discovery::look(self.config.onvif.credentials()?).await;
        Ok(found.into_iter().map(CheckedCamera::from).collect())
    }

    /// What is told of the device while it runs.
    pub fn watched(&self, cameras: &Cameras, addresses: Addresses) -> (Told, Watched) {
        let channels = camera::watch(cameras, self.lifecycle);
        let (addresses_tx, addresses) = watch::channel(addresses);
        let (unlocked, claim_unlocked) = watch::channel(self.identity.claim_unlocked());
        let told = Told { addresses: addresses_tx, unlocked };
        (told, Watched { addresses, channels, claim_unlocked })
    }

    /// The link to the centre.
    pub fn link(
        &self,
        dialer: Dialer,
        clock: &Clock,
        watched: Watched,
    ) -> Result<(Driver, Uplink), StartError> {
        let servers = self.config.servers()?;
        let seed = getrandom::u64().map_err(StartError::Random)?;
        let settings = DriverSettings {
            machine: Settings::new(servers.len(), seed),
            servers,
            dialer,
            retry_quic: RETRY_QUIC,
            clock: clock.clone(),
        };
        let signer = Arc::clone(self.identity);
        let profile = Profile {
            pu: self.identity.pu_id().clone(),
            public_key: self.identity.public_key(),
            claim: self.identity.claim_code().hash(),
            claim_unlocked: *watched.claim_unlocked.borrow(),
            agent: self.device.agent.to_owned(),
            kind: self.device.kind,
            addresses: watched.addresses.borrow().clone(),
            channels: watched.channels.borrow().clone(),
            sign: Box::new(move |bytes| signer.sign(bytes)),
        };
        Ok(Driver::new(settings, profile, watched))
    }

    pub fn gate(&self, relations: &RelationBook, uplink: &Uplink, clock: Clock) -> PuGate {
        let settings = GateSettings {
            memory: Some(self.config.data_dir.join(gate::MEMORY_FILE)),
            relations: Some(relations.clone()),
            ..GateSettings::new(self.identity.pu_id().clone(), self.config.max_sessions)
        };
        PuGate::new(settings, uplink.clone(), clock, self.lifecycle)
    }

    /// What records, on the device's own storage and for the cloud storage.
    pub fn recorders(&self, centre: &Clock, cameras: &Cameras) -> Result<Recorders, StartError> {
        let recording = self.config.recording.check()?;
        let unit = recording.map(|recording| {
            let limits = Limits { max_bytes: recording.max_bytes, ..Limits::default() };
            let settings = self.recorder(recording.dir, limits, centre)?;
            let settings = recorder::Settings { first: recording.first, ..settings };
            Ok::<_, StartError>(recorder::start(settings, cameras, self.lifecycle))
        });
        // What is planned for the cloud storage goes into a spool of its own (decision 0096).
        let spool = self.config.cloud.check(self.config.portal.as_ref())?;
        let cloud = spool.map(|cloud| {
            let limits = Limits { max_bytes: Some(cloud.spool_max_bytes), ..Limits::default() };
            let settings = self.recorder(cloud.spool_dir, limits, centre)?;
            let settings = recorder::Settings { purpose: Purpose::Cloud, ..settings };
            Ok::<_, StartError>(recorder::start(settings, cameras, self.lifecycle))
        });
        Ok(Recorders { unit: unit.transpose()?, cloud: cloud.transpose()? })
    }

    fn recorder(
        &self,
        dir: PathBuf,
        limits: Limits,
        centre: &Clock,
    ) -> Result<recorder::Settings, StartError> {
        Ok(recorder::Settings {
            identity: Arc::clone(self.identity),
            data_dir: self.config.data_dir.clone(),
            dir,
            limits,
            first: FirstPlan::default(),
            purpose: Purpose::Device,
            boot: recorder::clock::boot_id(&self.config.data_dir).map_err(StartError::Random)?,
            centre: centre.clone(),
            segments: segmenter::Config::default(),
        })
    }

    /// Tells the centre how recording goes, and sends what is for the cloud storage.
    pub fn report(&self, recorders: &Recorders, uplink: &Uplink) -> Result<(), StartError> {
        if let Some(recorder) = recorders.unit.clone() {
            self.lifecycle.spawn(recorder.report_changes(uplink.clone()));
        }
        let checked = self.config.cloud.check(self.config.portal.as_ref())?;
        let Some((spool, checked)) = recorders.cloud.clone().zip(checked) else { return Ok(()) };
        let way = cloud::Way::new(&checked, self.config.centre_ca.as_deref())?;
        let (spool, data_dir) = ((spool, self.device.kind), &self.config.data_dir);
        let uploads = Uploads::new(checked, data_dir, spool, uplink.clone(), way);
        self.lifecycle.spawn(uploads.run());
        Ok(())
    }

    /// What was recorded, for whoever looks back.
    pub fn recordings(&self, recorder: &Recorder, numbers: &Numbers) -> Arc<StoreArchive> {
        let own = self.identity.pu_id().clone();
        let (store, visible) = (recorder.store(), recorder.visible());
        if self.device.kind == DeviceKind::Pu {
            return StoreArchive::of_unit(store, own, visible);
        }
        let (numbers, recorder) = (Arc::clone(numbers), own.clone());
        let camera_of = move |channel: ChannelId| match numbers.read().get(&channel) {
            Some(related) => Some(related.clone()),
            // What is not related any more is shown to nobody.
            None => (channel < FIRST_RELATED).then(|| CameraId { pu: own.clone(), channel }),
        };
        StoreArchive::of_recorder(store, recorder, camera_of, visible)
    }
}
