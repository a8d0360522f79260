//! Where media comes from: each source publishes into a [`crate::hub::Hub`].

pub mod rtsp;
pub mod synthetic;
