//! The premises unit's agent: takes the cameras of a home, registers with the centre, and gives
//! live media straight to whoever has the right to it (H.626.4 clause 7.4; A8.1, A8.3, A8.4).
//!
//! It decides nothing about rights that the centre did not grant, but it enforces every one by
//! itself: see [`gate`]. What it records stays on its own storage, see [`recorder`], but for what its owner
//! wants in the cloud: see [`cloud`]. While the centre is away, viewers that are there stay.
//!
//! All of it is shared with the NVR: see [`sightline_premises`].
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use sightline_service_kit::{config, lifecycle::Lifecycle};
//! let lifecycle = Lifecycle::new();
//! let config = config::load(Some("pu-agent.toml".as_ref()))?;
//! let running = pu_agent::start(config, &lifecycle).await?;
//! println!("{}", running.claim_code);
//! # Ok(()) }
//! ```

pub use sightline_premises::{
    Config, Running, StartError, camera, cloud, config, discovery, gate, identity, ladders,
    outside, recorder, relations, supervisor, uplink, viewers,
};

use sightline_model::DeviceKind;
use sightline_premises::Device;
use sightline_service_kit::lifecycle::Lifecycle;

/// Starts the agent; its tasks belong to `lifecycle`. Returns once it listens, registered or not.
///
/// # Errors
/// [`StartError`], in words for whoever runs the unit.
pub async fn start(config: Config, lifecycle: &Lifecycle) -> Result<Running, StartError> {
    let agent = concat!("Sightline PU agent ", env!("CARGO_PKG_VERSION"));
    let device = Device { kind: DeviceKind::Pu, agent };
    let started = sightline_premises::start(config, device, lifecycle).await?;
    tracing::info!(pu = %started.running.pu_id, "the agent runs");
    Ok(started.running)
}
