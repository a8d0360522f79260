//! Finds devices whose lease has run out.

use std::time::Duration;

use cmu_storage::StorageError;
use sightline_protocol::cm::Notice;

use crate::state::{App, AppState};

const INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps every second.
pub async fn run(app: AppState) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = once(&app).await {
            tracing::error!(%error, "leases could not be swept");
        }
    }
}

/// Sweeps once.
///
/// # Errors
/// [`StorageError`].
pub async fn once(app: &App) -> Result<(), StorageError> {
    for device in app.db.devices().sweep(app.now()).await? {
        tracing::info!(%device, "a device has gone offline");
        app.db.play_tokens().end_all(&device, app.now()).await?;
        app.notify(&Notice::Device { device, lost_by: Vec::new() }).await;
    }
    Ok(())
}
