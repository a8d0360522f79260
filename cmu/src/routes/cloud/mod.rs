//! Routes of `/cloud` (A6.1.13).

pub mod delete_device;
pub mod get;
