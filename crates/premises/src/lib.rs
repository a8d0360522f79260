//! What a device at the premises puts around its cameras, its recorder and its link to the centre: who
//! may watch ([`gate`]), how viewers are answered ([`viewers`], [`ladders`]), which NVR records what
//! ([`relations`]), what is sent to the cloud storage ([`cloud`]), and the order in which all of it is started ([`start()`]). PU and NVR share it.
//!
//! It decides nothing about rights that the centre did not grant, but it enforces every one by itself.
//! While the centre is away, viewers that are there stay.
//!
//! Not here: command lines, and what one kind of device does alone.

mod addresses;
pub mod camera;
pub mod cloud;
pub mod config;
pub mod discovery;
pub mod gate;
pub mod ladders;
pub mod lan;
mod listen;
pub mod outside;
mod quality;
mod reach;
pub mod relations;
mod start;
pub mod supervisor;
pub mod viewers;

pub use sightline_recorder as recorder;
pub use sightline_uplink as uplink;
pub use sightline_uplink::identity;

pub use config::Config;
pub use start::{Device, Numbers, Running, StartError, Started, start};
