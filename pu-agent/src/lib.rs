//! The premises unit's agent: takes the cameras of a home, registers with the centre, and gives
//! live media straight to whoever has the right to it (H.626.4 clause 7.4; A8.1, A8.3, A8.4).
//!
//! It decides nothing about rights that the centre did not grant, but it enforces every one by
//! itself: see [`gate`]. What it records stays on its own storage: see
//! [`recorder`]; but for what its owner wants in the cloud: see [`cloud`]. While the centre is away, viewers that are there stay.
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

mod addresses;
pub mod camera;
pub mod cloud;
pub mod config;
pub mod discovery;
pub mod gate;
pub mod identity;
pub mod ladders;
mod listen;
pub mod outside;
mod quality;
pub mod recorder;
mod start;
pub mod supervisor;
pub mod uplink;
pub mod viewers;

pub use config::Config;
pub use start::{Running, StartError, start};
