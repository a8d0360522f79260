//! Routes of `/cameras/{id}/plans` (A8.7.1 to A8.7.3, steps of setting up).
//!
//! A plan lives where it is carried out, and nowhere else: what the centre shows is what the recorder
//! does.

pub mod list;
pub mod manual;
pub mod put;
