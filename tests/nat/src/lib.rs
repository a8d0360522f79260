//! A lab of network namespaces with NATs of the kernel, and the matrix of ways through them.
//!
//! A [`Wan`] is a switch that stands for the Internet; a [`Network`] is what stands at one end: a
//! host, and the routers between it and the switch, as [`Kind`] says. The centre and both ends run
//! as the real programs ([`World`]). What a NAT of the lab does is measured first ([`behaviour`]),
//! so that a cell of the matrix means what it says.
//!
//! It needs root, and a kernel that allows namespaces; what it makes has a name with the process's
//! id, is deleted when dropped, and what a killed run left behind is deleted by the next.

pub mod behaviour;
mod camera;
mod carrier;
mod cell;
mod centre;
mod kind;
mod names;
mod network;
pub mod report;
mod rules;
mod rung;
mod services;
mod space;
mod viewer;
pub mod wan;
mod world;

pub use sightline_model::Rung;

pub use self::{
    camera::Camera,
    cell::{Line, Seen},
    centre::Centre,
    kind::{Dependence, Kind, Theory},
    network::Network,
    rung::{Cell, name},
    services::Speaks,
    space::{Space, lab_allowed},
    viewer::{Person, Via},
    wan::Wan,
    world::World,
};
