//! Hands notices of every CMU of the domain to this one's event streams.

use sightline_bus::Subscription;
use sightline_protocol::{cm::Notice, decode};

use crate::state::AppState;

/// Runs until the bus ends.
pub async fn run(app: AppState, mut notices: Subscription) {
    while let Some(message) = notices.next().await {
        match decode::<Notice>(&message.payload) {
            // Without a listener there is nothing to do.
            Ok(envelope) => drop(app.notices.send(envelope.body)),
            Err(error) => tracing::warn!(%error, "a CMU sent a notice that cannot be read"),
        }
    }
}
