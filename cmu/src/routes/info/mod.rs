//! Routes of `/info`.

pub mod get;
