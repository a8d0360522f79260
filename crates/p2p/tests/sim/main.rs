//! Two ladders in a simulated network, on virtual time.

mod end;
mod moves;
mod nat;
mod table;
mod world;
