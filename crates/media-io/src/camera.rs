//! The cameras of one unit, as sinks see them.

use std::{collections::BTreeMap, sync::Arc};

use sightline_model::{ChannelId, StreamTier};

use crate::hub::Hub;

/// One camera and its encodings.
#[derive(Clone)]
pub struct Camera {
    /// Its place on the unit.
    pub channel: ChannelId,
    /// What the unit calls it.
    pub name: Arc<str>,
    /// Its best encoding.
    pub main: Hub,
    /// Its small encoding, if it has one.
    pub sub: Option<Hub>,
}

impl Camera {
    /// The hub of `tier`; the main one when the camera has no sub stream.
    #[must_use]
    pub fn hub(&self, tier: StreamTier) -> &Hub {
        match tier {
            StreamTier::Main => &self.main,
            StreamTier::Sub => self.sub.as_ref().unwrap_or(&self.main),
        }
    }
}

/// All cameras of one unit.
pub type Cameras = Arc<BTreeMap<ChannelId, Camera>>;
