//! Forgets what is over: codes, budgets, tokens, sign-ins, old audit entries and
//! figures.

use std::time::Duration;

use cmu_domain::network;
use cmu_storage::StorageError;
use sightline_model::UnixMicros;

use crate::state::{App, AppState};

const INTERVAL: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Purges every ten minutes.
pub async fn run(app: AppState) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = once(&app).await {
            tracing::error!(%error, "old rows could not be removed");
        }
    }
}

async fn once(app: &App) -> Result<(), StorageError> {
    let now = app.now();
    let ago = |time: Duration| {
        UnixMicros(now.0.saturating_sub(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    };
    app.db.sms_codes().purge(now).await?;
    app.db.rate_limits().purge(now).await?;
    app.db.play_tokens().purge(ago(DAY)).await?;
    // A play token's sign-in must outlive it.
    app.db.sign_ins().purge(ago(2 * DAY)).await?;
    app.db.audit().purge(ago(DAY * app.config.audit.keep_days)).await?;
    app.db.relay_usages().purge(ago(DAY * app.config.usage.keep_days)).await?;
    let oldest = network::day(ago(DAY * app.config.usage.network_days));
    app.db.network_stats().purge(oldest).await?;
    Ok(())
}
