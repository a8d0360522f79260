//! Two ladders in a simulated network, on virtual time.

mod chaos;
mod credentials;
mod end;
mod home;
mod hostile;
mod moves;
mod nat;
mod nat_test;
mod probing;
mod table;
mod words;
mod world;
