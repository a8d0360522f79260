//! What does not stay for ever: what somebody has deleted goes with everything that was beside it, and
//! entries go that explain nothing any more.

use cmu_storage::{Erased, OutdatedNote};
use sightline_cloud::object::{Kind, ObjectKey, Place};
use sightline_cloud_store::SegmentStore;
use sightline_recording::statement::Sequence;

use super::CloudError;
use crate::state::App;

/// Devices, or entries, of one turn.
const AT_ONCE: u32 = 200;

/// Deletes entries and terms of devices of which somebody has deleted all recordings. The segments go by
/// the list.
///
/// # Errors
/// [`CloudError`]; the next time goes on.
pub async fn sweep(app: &App, store: &dyn SegmentStore) -> Result<(), CloudError> {
    for erased in app.db.cloud().erased(AT_ONCE).await? {
        sweep_one(app, store, &erased).await?;
        app.db.cloud().swept(&erased).await?;
    }
    Ok(())
}

async fn sweep_one(app: &App, store: &dyn SegmentStore, erased: &Erased) -> Result<(), CloudError> {
    let device = app.db.devices().get(&erased.pu).await?;
    let is_theirs = device.is_some_and(|device| device.owner.as_ref() == Some(&erased.user));
    if !is_theirs {
        app.db.cloud().forget_keep(erased).await?;
    }
    let prefix = ObjectKey::prefix_of_device(app.db.domain(), &erased.user, &erased.pu)?;
    let mut after: Option<String> = None;
    loop {
        let page = store.list(&prefix, after.as_deref()).await?;
        for (name, _) in &page.objects {
            let Ok(key) = name.parse::<ObjectKey>() else { continue };
            let (chain, number) = (key.place().chain.to_string(), key.sequence());
            let goes = match key.kind() {
                Kind::Segment => false,
                Kind::Terms => true,
                // A unit that goes on recording goes on with its chains, whose beginnings say what they are.
                Kind::Entry if number == Sequence(0) => !is_theirs,
                // What is known has come since.
                Kind::Entry => !app.db.cloud().has_note(&chain, number.0).await?,
            };
            if goes {
                store.delete(&key).await?;
            }
            // What was said since is written again.
            if key.kind() == Kind::Terms {
                app.db.cloud().owe_terms(&chain, &erased.user).await?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Lets go of entries that stand before everything that is left of their chains.
///
/// # Errors
/// [`CloudError`]; the next time goes on.
pub async fn forget_outdated(app: &App, store: &dyn SegmentStore) -> Result<(), CloudError> {
    loop {
        let outdated = app.db.cloud().outdated_notes(AT_ONCE).await?;
        let is_all = outdated.len() < AT_ONCE as usize;
        for note in outdated {
            store.delete(&key(app, &note)?).await?;
            app.db.cloud().forget_note(&note.chain, note.sequence).await?;
        }
        if is_all {
            return Ok(());
        }
    }
}

fn key(app: &App, note: &OutdatedNote) -> Result<ObjectKey, CloudError> {
    let place = Place {
        domain: app.db.domain().clone(),
        user: note.user.clone(),
        camera: note.camera.clone(),
        tier: note.tier,
        chain: note.chain.parse().map_err(|_| CloudError::Corrupt)?,
    };
    Ok(ObjectKey::new(place, Sequence(note.sequence), Kind::Entry)?)
}
