//! Puts the NVR together.

use std::sync::Arc;

use sightline_model::DeviceKind;
use sightline_premises::{Device, Running, StartError, Started, lan::Lan};
use sightline_service_kit::{config::ConfigError, lifecycle::Lifecycle};

use crate::{
    Config,
    intake::{
        Shared,
        call::{CallError, Caller},
        dial::Dialler,
    },
    related::Related,
};

/// Starts the NVR; its tasks belong to `lifecycle`. Returns once it listens, registered or not.
///
/// # Errors
/// [`StartError`], in words for whoever runs the NVR.
pub async fn start(config: Config, lifecycle: &Lifecycle) -> Result<Running, StartError> {
    let agent = concat!("Sightline NVR ", env!("CARGO_PKG_VERSION"));
    let device = Device { kind: DeviceKind::Nvr, agent };
    let (data_dir, loopback) = (config.data_dir.clone(), config.announce_loopback);
    // Where the centre names its signalling by a path alone, it is the portal's, or else the SCU's own.
    let of_scu = config.scu.iter().find_map(|scu| scu.websocket.clone());
    let portal = config.portal.clone().or(of_scu);
    let quic = config.quic.listen;
    let started = sightline_premises::start(config.into(), device, lifecycle).await?;
    let Started { running, identity, uplink, cameras, numbers, relations, outside, tls } = started;
    let recorder = running.recorder.clone().ok_or_else(|| {
        let why = "recording.dir must name the folder of the recordings".to_owned();
        StartError::Config(ConfigError::Unusable(why))
    })?;
    let listen = |source| StartError::Listen { what: "related cameras", address: quic, source };
    let dialler = Dialler::new(Arc::clone(&identity)).map_err(listen)?;
    let caller = Caller::new(identity, tls, outside, (portal, loopback))
        .map_err(|error: CallError| listen(std::io::Error::other(error)))?;
    let lan = Lan::look(lifecycle);
    let tasks = lifecycle.tasks.clone();
    let shared = Arc::new(Shared { uplink, dialler, caller, lan, data_dir, tasks });
    let lifecycle_of_cameras = lifecycle.child();
    let related = Related { shared, cameras, numbers, recorder, lifecycle: lifecycle_of_cameras };
    lifecycle.spawn(related.run(relations.watch()));
    tracing::info!(nvr = %running.pu_id, "the NVR runs");
    Ok(running)
}
