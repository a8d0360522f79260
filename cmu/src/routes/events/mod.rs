//! Routes of `/events`.

pub mod get;
