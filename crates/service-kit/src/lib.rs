//! What every service needs around its own work: configuration, telemetry, lifecycle, health, TLS.
//!
//! It knows no H.626.4 unit and no protocol. A service's `main.rs` is then a few steps:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use sightline_service_kit::{
//!     config, exit::exit_code, lifecycle::Lifecycle, telemetry::{self, TelemetryConfig},
//! };
//!
//! #[derive(Debug, Default, serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config {
//!     telemetry: TelemetryConfig,
//! }
//!
//! # async fn start(_: Config, _: &Lifecycle) -> anyhow::Result<()> { Ok(()) }
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     exit_code(run().await)
//! }
//!
//! async fn run() -> anyhow::Result<()> {
//!     let config: Config = config::load(None)?;
//!     let _guard = telemetry::init("cmu", &config.telemetry)?;
//!     let lifecycle = Lifecycle::new();
//!     start(config, &lifecycle).await?;
//!     lifecycle.run_until_signal().await;
//!     Ok(())
//! }
//! ```

pub mod accept;
pub mod alone;
pub mod config;
pub mod exit;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod telemetry;
pub mod tls;

pub use sightline_protocol::flow;
