//! Sources and sinks of media, on tokio: what PU, NVR and MTU share.
//!
//! A source publishes into a [`hub::Hub`]; a sink reads from one. Data flows one way.

pub mod archive;
pub mod assembler;
pub mod camera;
pub mod codec;
pub mod files;
pub mod gate;
pub mod hub;
pub mod onvif;
pub mod rtsp_server;
pub mod source;
pub mod transcode;
pub mod webrtc;
