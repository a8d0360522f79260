//! The CMU, central management unit (H.626.4 clause 7.1): accounts and their approval, binding of
//! devices to owners, the list of cameras with live presence, play requests and the checking of
//! their tokens, and the web server of the portal.
//!
//! It knows no media and no device connection: SCUs report over the bus (interface Sc) and are
//! asked over it (Sm); customer units speak REST (Cm). The rules are in `cmu-domain`, the memory in
//! `cmu-storage`. Several CMUs of one domain share a database and a bus and nothing else.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use sightline_service_kit::lifecycle::Lifecycle;
//! let lifecycle = Lifecycle::new();
//! let bus = sightline_bus::Bus::in_process();
//! let config = cmu::Config { listen: "127.0.0.1:0".parse()?, ..cmu::Config::default() };
//! let running = cmu::start(config, bus, &lifecycle).await?;
//! println!("http://{}", running.addr);
//! # Ok(()) }
//! ```

mod cameras;
pub mod clock;
mod cloud;
pub mod config;
mod error;
mod extract;
mod jobs;
mod keys;
mod mtus;
mod paths;
mod portal;
mod random;
mod recordings;
mod relations;
mod revoke;
mod routes;
mod sc;
pub mod sms;
mod start;
mod state;
mod tickets;
mod timelines;
mod tokens;

pub use cloud::rebuild::Rebuilt;
pub use config::Config;
pub use error::ProblemDocument;
pub use keys::KeyError;
pub use portal::PortalError;
pub use routes::openapi_json;
pub use start::{Cmu, Running, StartError, operator_add, rebuild_cloud, start};
