//! The storage of the recordings: opens it, looks after it, closes it.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use sightline_model::{CameraId, PuId, PublicKey, Signature, StreamTier};
use sightline_recording::{chain::Sign, statement::Subject};
use sightline_recording_store::{Health, Key, Setup, State, Store, StoreError};
use sightline_uplink::identity::Identity;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Planners, Settings,
    clock::{READ_EVERY, SharedClock},
    figures, lending,
    shown::Shown,
};

/// How often a storage that cannot be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(5);
/// How often what has grown too old is let go.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// Signs a chain's entries as the unit.
struct UnitKey(Arc<Identity>);

impl Sign for UnitKey {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }
}

/// Opens the store and closes it at the end.
pub(crate) struct StoreKeeper {
    pub clock: SharedClock,
    pub shown: Shown,
    pub recorded: Planners,
    pub complete: watch::Receiver<bool>,
    pub opened: watch::Sender<Option<Store>>,
    pub health: watch::Sender<Health>,
    pub tracks: TaskTracker,
}

impl StoreKeeper {
    pub async fn run(self, settings: Settings, token: CancellationToken) {
        let watched = self.watch_clock();
        let work = async {
            let store = self.open(&settings).await;
            let unit = settings.identity.pu_id();
            self.leave(&store, unit, |camera| camera.pu == *unit).await;
            tokio::select! {
                () = self.leave_others(&store, unit) => {}
                () = self.look_after(&store) => {}
                () = self.shown.follow(&store, &self.clock) => {}
            }
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = watched => {}
            () = work => {}
        }
        self.tracks.wait().await;
        let store = self.opened.borrow().clone();
        if let Some(store) = store {
            store.close().await;
        }
    }

    async fn watch_clock(&self) {
        let mut every = tokio::time::interval(READ_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.clock.read();
        }
    }

    async fn open(&self, settings: &Settings) -> Store {
        let setup = Setup {
            dir: settings.dir.clone(),
            limits: settings.limits.clone(),
            key: Key::new(UnitKey(Arc::clone(&settings.identity))),
        };
        loop {
            match Store::open(setup.clone()).await {
                // What was repaired is in the store's log.
                Ok((store, _)) => {
                    self.opened.send_replace(Some(store.clone()));
                    return store;
                }
                Err(error) => {
                    let (state, detail) = (state_of(&error), error.to_string().into());
                    self.tell(Health { state, detail });
                }
            }
            tokio::time::sleep(OPEN_AGAIN).await;
        }
    }

    /// A chain that ends with a segment counts as going on: those that nobody writes any more end with
    /// words.
    async fn leave(&self, store: &Store, unit: &PuId, which: impl Fn(&CameraId) -> bool) {
        for subject in store.subjects() {
            // Another unit's card may be in.
            let own = subject.recorder == *unit && which(&subject.camera);
            if own && !self.is_tracked(&subject) {
                leave(store, &subject, &self.clock).await;
            }
        }
    }

    /// The same of cameras of other devices, once it is known which of them are recorded now. A device that
    /// records its own alone is never told.
    async fn leave_others(&self, store: &Store, unit: &PuId) {
        let mut complete = self.complete.clone();
        if complete.wait_for(|complete| *complete).await.is_ok() {
            self.leave(store, unit, |camera| camera.pu != *unit).await;
        }
        std::future::pending().await
    }

    /// Whether a track records it now.
    fn is_tracked(&self, subject: &Subject) -> bool {
        let planners = self.recorded.read();
        let planner = planners.values().find(|planner| planner.camera == subject.camera);
        planner.is_some_and(|planner| subject.tier == StreamTier::Main || planner.tiers > 1)
    }

    /// Follows the storage, and lets go what has grown too old.
    async fn look_after(&self, store: &Store) {
        let mut health = store.health();
        health.mark_changed();
        let mut expire = tokio::time::interval(EXPIRE_EVERY);
        expire.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = health.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = health.borrow_and_update().clone();
                    self.tell(now);
                }
                _ = expire.tick() => self.expire(store).await,
            }
        }
    }

    async fn expire(&self, store: &Store) {
        let now = self.clock.now();
        match store.expire_aged(now.time, now.authority).await {
            Ok(0) => {}
            Ok(segments) => {
                tracing::info!(segments, "recordings that were too old have been let go")
            }
            Err(error) => tracing::warn!(%error, "recordings that are too old could not be let go"),
        }
        figures::used(store.used_bytes());
    }

    fn tell(&self, now: Health) {
        let changed = self.health.send_if_modified(|known| {
            let changed = *known != now;
            known.clone_from(&now);
            changed
        });
        if changed {
            figures::tell(&now);
        }
    }
}

/// States that nothing more is planned to be recorded of a chain.
pub(crate) async fn leave(store: &Store, subject: &Subject, clock: &SharedClock) {
    if let Err(error) = lending::leave(store, subject, &clock.dates()).await {
        tracing::warn!(camera = %subject.camera, %error, "that it ended cannot be stated");
    }
}

/// How a storage is that cannot be opened.
fn state_of(error: &StoreError) -> State {
    match error {
        StoreError::Unavailable(state) => *state,
        StoreError::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => State::Away,
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => State::ReadOnly,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => State::Full,
            _ => State::Failing,
        },
        StoreError::InUse
        | StoreError::Misuse(_)
        | StoreError::Behind
        | StoreError::Index(_)
        | StoreError::Migrate(_)
        | StoreError::Corrupt(_)
        | StoreError::Failed(_)
        | StoreError::Closed => State::Failing,
    }
}
