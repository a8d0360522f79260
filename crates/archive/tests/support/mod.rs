//! A store with a recorded film whose pictures carry their number, and a unit that serves it.

pub mod film;
pub mod http;
pub mod unit;
