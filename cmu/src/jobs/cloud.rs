//! Looks after the cloud storage: finishes what broke off, lets go of what has grown too old or was deleted,
//! tells the store what was said of the rest, and lists objects that are in no list (decisions 0096, 0112).

use std::time::Duration;

use cmu_storage::{Aged, SegmentState};
use sightline_cloud_store::SegmentStore;
use sightline_model::UnixMicros;

use crate::{
    cloud::{CloudError, erase, rebuild, remove, terms},
    state::{App, AppState},
};

const INTERVAL: Duration = Duration::from_secs(60);
/// How often the store is compared with the list.
const COMPARE_EVERY: u32 = 24 * 60;
/// A reservation that nobody has used for so long goes: four times as long as its request works.
const RESERVED: Duration = Duration::from_secs(3_600);
/// Segments that go at once.
const AT_ONCE: u32 = 200;

/// Every minute.
pub async fn run(app: AppState) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count: u32 = 0;
    loop {
        ticks.tick().await;
        let Some(cloud) = &app.cloud else { return };
        if let Err(error) = once(&app, &*cloud.store).await {
            tracing::warn!(%error, "the cloud storage cannot be looked after");
        }
        count = count.wrapping_add(1);
        if count.is_multiple_of(COMPARE_EVERY)
            && let Err(error) = daily(&app, &*cloud.store).await
        {
            tracing::warn!(%error, "the cloud storage cannot be compared with the list");
        }
    }
}

/// Compares the store with the list, and lets go of what explains nothing any more. How many segments were
/// in no list.
///
/// # Errors
/// [`CloudError`]; the next time goes on.
pub async fn daily(app: &App, store: &dyn SegmentStore) -> Result<u64, CloudError> {
    erase::forget_outdated(app, store).await?;
    Ok(rebuild::compare(&app.db, store, app.now()).await?.segments)
}

fn ago(app: &App, time: Duration) -> UnixMicros {
    let us = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    UnixMicros(app.now().0.saturating_sub(us))
}

/// Finishes what broke off, lets go of what is too old, and tells the store what was said of the rest.
///
/// # Errors
/// [`CloudError`]; the next time goes on.
pub async fn once(app: &App, store: &dyn SegmentStore) -> Result<(), CloudError> {
    loop {
        let overdue = app.db.cloud().overdue(ago(app, RESERVED), AT_ONCE).await?;
        let is_all = overdue.len() < AT_ONCE as usize;
        for row in overdue {
            let was_reserved = row.state == SegmentState::Reserved;
            if remove(app, store, &row).await? && was_reserved {
                tracing::info!(chain = row.chain, row.sequence, "a segment never came");
            }
        }
        if is_all {
            break;
        }
    }
    for of in app.db.cloud().aged().await? {
        age(app, store, &of).await?;
    }
    erase::sweep(app, store).await?;
    terms::tell(&app.db, store).await
}

async fn age(app: &App, store: &dyn SegmentStore, of: &Aged) -> Result<(), CloudError> {
    let before = |age_s: Option<u32>| {
        age_s.map_or(UnixMicros(i64::MIN), |s| ago(app, Duration::from_secs(s.into())))
    };
    let all = before(of.max_age_s);
    let events = before(of.event_max_age_s.or(of.max_age_s));
    loop {
        let old = app.db.cloud().older(of, (all, events), AT_ONCE).await?;
        let is_all = old.len() < AT_ONCE as usize;
        for row in old {
            remove(app, store, &row).await?;
        }
        if is_all {
            return Ok(());
        }
    }
}
