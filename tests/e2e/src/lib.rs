//! What whole-system tests share: the real binaries as processes, and other people's programs.
//!
//! Nothing here is a fake. A test whose peer is not installed says so loudly and passes; `cargo
//! xtask setup` installs them all.

mod browser;
mod bus;
mod cameras;
mod capture;
mod centre;
pub mod compose;
mod cu;
mod demo;
mod http;
mod netns;
mod players;
mod process;
mod recordings;
mod rtsp;
mod s3;
mod several;
pub mod trace;

pub use browser::{browsed, browser};
pub use bus::BusTap;
pub use cameras::{GstCamera, IpyCam};
pub use capture::{Capture, Packet};
pub use centre::{Centre, Nvr, Ports, SecondPu, UNITS};
pub use cu::Cu;
pub use demo::{Demo, DemoInfo};
pub use http::{Answer, http, metric};
pub use netns::{Lab, namespaces_allowed};
pub use players::{Said, run};
pub use process::{Process, bin, chromium, free_port, root, tool, wait_for};
pub use recordings::{acknowledged, interruptions, now, stretch, time_text};
pub use rtsp::{Player, RtspTap, RtspUrl};
pub use s3::S3;
pub use several::Several;
