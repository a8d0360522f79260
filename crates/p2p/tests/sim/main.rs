//! Two ladders in a simulated network, on virtual time.

mod chaos;
mod end;
mod home;
mod hostile;
mod moves;
mod nat;
mod probing;
mod table;
mod world;
