//! Routes of `/bindings`.

pub mod post;
