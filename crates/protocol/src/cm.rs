//! Interface Cm, between CMU and CU (H.626.4 clause 9.10): bodies of the REST API under
//! [`PREFIX`], and of its event stream. Paths and status codes are in the OpenAPI document that
//! the CMU serves.

mod account;
mod camera;
mod cloud;
mod event;
mod nvr;
mod operator;
mod recording;

use serde::{Deserialize, Serialize};

pub use account::*;
pub use camera::*;
pub use cloud::*;
pub use event::*;
pub use nvr::*;
pub use operator::*;
pub use recording::*;

/// Where the API lives.
pub const PREFIX: &str = "/api/v1";

/// `GET /info`: what a CU must know before anybody signs in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Info {
    /// The operator's name, for people.
    pub operator: String,
    /// The home domain.
    pub domain: sightline_model::DomainName,
    /// Version of the centre.
    pub version: String,
    /// Whether a new account waits for the operator.
    pub approval: Approval,
}

/// How new subscriptions are approved (A6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Approval {
    /// At once.
    Automatic,
    /// By a person at the operator.
    Operator,
}
