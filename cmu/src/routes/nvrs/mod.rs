//! Routes of `/nvrs` (A6.1.7, A8.7.2): which NVR records which camera. An NVR is bound and released as every
//! device is.

pub mod list;
pub mod relate;
pub mod unrelate;
