//! What whole-system tests share: the real binaries as processes, and other people's programs.
//!
//! Nothing here is a fake. A test whose peer is not installed says so loudly and passes; `cargo
//! xtask setup` installs them all.

mod cameras;
mod centre;
mod cu;
mod demo;
mod netns;
mod process;

pub use cameras::{GstCamera, IpyCam};
pub use centre::{Centre, Ports, UNITS};
pub use cu::Cu;
pub use demo::{Demo, DemoInfo};
pub use netns::{Lab, namespaces_allowed};
pub use process::{Process, bin, free_port, root, tool, wait_for};
