//! Work that nobody asks for.

pub mod notices;
pub mod purge;
pub mod sweep;
