//! Work that nobody asks for.

pub mod cloud;
pub mod flush;
pub mod notices;
pub mod purge;
pub mod sweep;
