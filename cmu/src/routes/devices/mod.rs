//! Routes of `/devices`.

pub mod delete_binding;
