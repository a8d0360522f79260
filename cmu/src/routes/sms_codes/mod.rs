//! Routes of `/sms-codes`.

pub mod post;
