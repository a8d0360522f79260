//! Brings to the disk what was written quickly, so that a power cut undoes a second at most.

use std::time::Duration;

use crate::state::AppState;

const INTERVAL: Duration = Duration::from_secs(1);

/// Flushes every second.
pub async fn run(app: AppState) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = app.db.flush().await {
            tracing::error!(%error, "what was written lately may not survive a power cut");
        }
    }
}
