//! x
pub mod gate;
pub mod identity;
pub mod uplink;
pub mod viewers;
