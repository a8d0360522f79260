//! Planners over random recordings in virtual time, and what a receiver makes of their units.

mod actions;
mod examples;
mod in_step;
mod sim;
mod speeds;
