//! What every service needs around its own work: configuration, telemetry, lifecycle, health, TLS.
//!
//! It knows no H.626.4 unit and no protocol. A service's `main.rs` is then three steps:
//!
//! ```no_run
//! use sightline_service_kit::{config, lifecycle::Lifecycle, telemetry::{self, TelemetryConfig}};
//!
//! #[derive(Debug, Default, serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config {
//!     telemetry: TelemetryConfig,
//! }
//!
//! # async fn start(_: Config, _: &Lifecycle) -> anyhow::Result<()> { Ok(()) }
//! #[tokio::main]
//! async fn main() -> anyhow::Result<()> {
//!     let config: Config = config::load(None)?;
//!     let _guard = telemetry::init("cmu", &config.telemetry)?;
//!     let lifecycle = Lifecycle::new();
//!     start(config, &lifecycle).await?;
//!     lifecycle.run_until_signal().await;
//!     Ok(())
//! }
//! ```

pub mod config;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod telemetry;
pub mod tls;

pub use sightline_protocol::flow;
