//! What owners have said of their recordings, beside the recordings in the store (decision 0112): locks and
//! age limits, one object for each chain. The database knows them first; what it has not told the store yet
//! is told within a minute.

use cmu_storage::{ChainRow, Database, DueTerms, KeptTerms};
use sightline_cloud::{
    object::{Kind, ObjectKey, Place},
    terms::{MAX_TERMS_LEN, Terms},
};
use sightline_cloud_store::SegmentStore;
use sightline_model::{Keep, UserId};
use sightline_recording::statement::Sequence;

use super::CloudError;
use crate::state::App;

/// Chains of which the store is told at once.
const AT_ONCE: u32 = 200;

/// Tells the store what has been said.
///
/// # Errors
/// [`CloudError`]; what was not told stays due.
pub async fn tell(db: &Database, store: &dyn SegmentStore) -> Result<(), CloudError> {
    // What becomes due meanwhile has its turn the next time.
    for due in db.cloud().due_terms(AT_ONCE).await? {
        one(db, store, &due).await?;
    }
    Ok(())
}

/// The same for somebody who waits for an answer about something else: what fails is told later.
pub async fn tell_soon(app: &App) {
    let Some(cloud) = &app.cloud else { return };
    if let Err(error) = tell(&app.db, &*cloud.store).await {
        tracing::warn!(%error, "locks and age limits are written to the cloud storage later");
    }
}

async fn one(db: &Database, store: &dyn SegmentStore, due: &DueTerms) -> Result<(), CloudError> {
    if let Some(chain) = db.cloud().chain(&due.chain).await? {
        let key = key(db, &chain, &due.user)?;
        let said = db.cloud().terms((&due.chain, &chain.camera), &due.user).await?;
        let KeptTerms { locked, max_age_s, event_max_age_s } = said;
        let terms = Terms::new(&locked, (max_age_s, event_max_age_s));
        match terms.to_bytes() {
            _ if terms.is_empty() => store.delete(&key).await?,
            Some(bytes) => store.put(&key, bytes.into()).await?,
            None => tracing::error!(%key, "more is locked than can be written beside it"),
        }
    }
    if !db.cloud().terms_told(due).await? {
        // Another CMU may have told something newer before this did.
        db.cloud().owe_terms(&due.chain, &due.user).await?;
    }
    Ok(())
}

fn key(db: &Database, chain: &ChainRow, user: &UserId) -> Result<ObjectKey, CloudError> {
    let place = Place {
        domain: db.domain().clone(),
        user: user.clone(),
        camera: chain.camera.clone(),
        tier: chain.tier,
        chain: chain.chain.parse().map_err(|_| CloudError::Corrupt)?,
    };
    Ok(ObjectKey::new(place, Sequence(0), Kind::Terms)?)
}

/// Takes what the store knows into a list that is made again: how many segments are locked by it; none: it
/// cannot be read. What is locked already stays so.
///
/// # Errors
/// [`CloudError`].
pub async fn take(
    db: &Database,
    store: &dyn SegmentStore,
    key: &ObjectKey,
) -> Result<Option<u64>, CloudError> {
    let bytes = store.read(key, MAX_TERMS_LEN + 1).await?;
    let Some(terms) = bytes.as_deref().and_then(Terms::read) else { return Ok(None) };
    let place = key.place();
    let (chain, mut locked) = (place.chain.to_string(), 0);
    for (first, last) in &terms.locked {
        let of = (chain.as_str(), &place.user);
        locked += db.cloud().lock_numbers(of, (first.0, last.0)).await?;
    }
    let Terms { max_age_s, event_max_age_s, .. } = terms;
    if max_age_s.is_some() || event_max_age_s.is_some() {
        let keep = Keep { max_bytes: None, max_age_s, event_max_age_s };
        db.cloud().set_keep(&place.camera, &place.user, &keep).await?;
    }
    Ok(Some(locked))
}
