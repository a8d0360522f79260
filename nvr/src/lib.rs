//! The network video recorder (H.626.4 clause 7.5; A6.1.7, A8.7.2): records cameras that are related to it,
//! and ONVIF or RTSP cameras of its own, and serves what it recorded straight to viewers.
//!
//! It is a device like a premises unit (decision 0099), and is made of the same parts:
//! [`sightline_premises`]. What it alone does is here: following its relations ([`related`]), and taking
//! their streams from PUs ([`intake`]).
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use sightline_service_kit::{config, lifecycle::Lifecycle};
//! let lifecycle = Lifecycle::new();
//! let config = config::load(Some("nvr.toml".as_ref()))?;
//! let running = nvr::start(config, &lifecycle).await?;
//! println!("{}", running.claim_code);
//! # Ok(()) }
//! ```

pub mod config;
pub mod intake;
pub mod related;
mod start;

pub use config::Config;
pub use sightline_premises::{Running, StartError, identity};
pub use start::start;
