//! Routes of `/me`.

pub mod get;
