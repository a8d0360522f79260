//! Routes of `/sessions`.

pub mod delete;
pub mod post;
pub mod refresh;
