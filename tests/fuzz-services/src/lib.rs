//! Fuzz targets like those of `fuzz-targets`, for parsers that belong to the services themselves, with
//! all that these depend on.

#[path = "../../../sightline/src/centre.rs"]
#[expect(dead_code, reason = "starting a centre takes no bytes from outside")]
mod centre;
mod config;
mod play_token;
#[path = "../../../crates/premises/src/gate/token.rs"]
mod token;

/// What the gate's part that is included above needs of its crate.
mod uplink {
    pub use pu_agent::uplink::Lease;
}

pub use config::{config, problem};
pub use play_token::play_token;

/// A target: its name, which is also that of its folder of seeds, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[("config", config), ("play_token", play_token)];
