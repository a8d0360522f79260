//! Where media comes from: each source publishes into a [`crate::hub::Hub`].

mod percent;
pub mod rtsp;
pub mod synthetic;

pub(crate) use self::percent::percent_decode;
