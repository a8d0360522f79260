//! Records the unit's cameras on its own storage (A6.1.6, A8.7.3).
//!
//! - [`config`]: what the configuration says. [`clock`]: the one clock of all recordings.
//! - A *planner* for each camera carries its plan out and keeps it ([`plans`]); a *track* for each of
//!   its tiers reads the hub and writes the tier's chain.
//! - The store ([`sightline_recording_store`]) is opened as soon as its folder is there, looks after
//!   the storage by itself, and is closed when every track has ended.
//!
//! Tracks read the hub as viewers do: a slow storage holds nobody up. What it does not take in time is
//! a gap in the recording, with its reason.

mod answers;
pub mod clock;
pub mod config;
mod figures;
mod lending;
pub mod owners;
mod planner;
pub mod plans;
mod shown;
mod tape;
mod track;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    panic::{AssertUnwindSafe, resume_unwind},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use sightline_media_io::camera::{Camera, Cameras};
use sightline_model::{
    CameraId, ChannelId, PuId, PublicKey, RecordingPlace, RecordingPlan, Signature, StreamTier,
    UserId,
};
use sightline_protocol::ps::PlanState;
use sightline_recording::{
    chain::Sign,
    coverage::CoverageError,
    segmenter,
    statement::{BootId, Subject},
    strategy::{Input, StrategyError},
};
use sightline_recording_store::{Health, Key, Limits, Setup, State, Store, StoreError};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{identity::Identity, uplink::clock::Clock};
use clock::{READ_EVERY, SharedClock};
use config::FirstPlan;
use owners::{Owners, Visible};
use planner::{Planner, Request};
use plans::PlanFile;
use shown::Shown;
use track::Track;

/// How often a storage that cannot be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(5);
/// How often what has grown too old is let go.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// A camera's recording that broke down is started again after this.
const START_AGAIN: Duration = Duration::from_secs(2);
/// Requests of one camera that may wait; whoever comes then waits too.
const REQUESTS: usize = 16;
/// Orders of one track that may wait; its planner waits then.
const ORDERS: usize = 16;

/// How to record.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The unit, which signs.
    pub identity: Arc<Identity>,
    /// Where plans are kept.
    pub data_dir: PathBuf,
    /// The folder of the recordings.
    pub dir: PathBuf,
    /// What they may use.
    pub limits: Limits,
    /// The plan that holds until another one is set.
    pub first: FirstPlan,
    /// The machine's start.
    pub boot: BootId,
    /// What the uplink knows of the centre's clock.
    pub centre: Clock,
    /// How long segments are.
    pub segments: segmenter::Config,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// There is no such camera: the caller's fault.
    #[error("there is no camera {0}")]
    NoSuchCamera(ChannelId),
    /// The plan or the request cannot be carried out: mostly the fault of who made it.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// It holds, but only until the next start: the unit's storage fails.
    #[error("it holds now, but could not be kept for the next start")]
    NotKept,
    /// There is no such timeline or calendar: the caller's fault.
    #[error(transparent)]
    Coverage(#[from] CoverageError),
    /// Locks are set day by day, or the answer comes too late: the caller's fault.
    #[error("at most 25 hours are locked or unlocked at a time")]
    LongLock,
    /// The storage fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The agent is ending.
    #[error("the recorder is ending")]
    Ended,
}

/// A unit's recorder; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    unit: PuId,
    clock: SharedClock,
    shown: Shown,
    planners: Arc<BTreeMap<ChannelId, Handle>>,
    store: watch::Receiver<Option<Store>>,
    storage: watch::Receiver<Health>,
}

#[derive(Debug)]
struct Handle {
    requests: mpsc::Sender<Request>,
    plan: watch::Receiver<PlanState>,
}

impl Recorder {
    /// Tells a camera's plan something. Returns once it holds and is kept.
    ///
    /// # Errors
    /// [`RecorderError`].
    pub async fn tell(&self, channel: ChannelId, input: Input) -> Result<(), RecorderError> {
        let planner = self.planners.get(&channel).ok_or(RecorderError::NoSuchCamera(channel))?;
        let (reply, answer) = oneshot::channel();
        let sent = planner.requests.send(Request { input, reply }).await;
        sent.map_err(|_| RecorderError::Ended)?;
        answer.await.map_err(|_| RecorderError::Ended)?
    }

    /// A camera's plan, what comes of it, and the changes of both.
    #[must_use]
    pub fn plan(&self, channel: ChannelId) -> Option<watch::Receiver<PlanState>> {
        self.planners.get(&channel).map(|planner| planner.plan.clone())
    }

    /// The centre says whose unit it is: recordings are shown to whom they belong.
    pub fn owner_is(&self, owner: Option<&UserId>) {
        if let Err(error) = self.shown.owner_is(owner, &self.clock.now()) {
            tracing::error!(%error, "whose recordings are whose cannot be kept");
        }
    }

    /// Spans of time whose recordings may be shown. For a moment after a change of the owner it is none.
    #[must_use]
    pub fn visible(&self) -> watch::Receiver<Visible> {
        self.shown.visible()
    }

    /// The recordings; none while the storage could not be opened.
    #[must_use]
    pub fn store(&self) -> watch::Receiver<Option<Store>> {
        self.store.clone()
    }

    /// How the storage is.
    #[must_use]
    pub fn storage(&self) -> watch::Receiver<Health> {
        self.storage.clone()
    }
}

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

/// Starts recording; its tasks belong to `lifecycle`.
#[must_use]
pub fn start(settings: Settings, cameras: &Cameras, lifecycle: &Lifecycle) -> Recorder {
    let clock = SharedClock::new(settings.boot, settings.centre.clone());
    let (opened, store) = watch::channel(None);
    let (health, storage) =
        watch::channel(Health { state: State::Away, detail: "not opened yet".into() });
    let tracks = TaskTracker::new();
    let token = lifecycle.token.child_token();
    let mut planners = BTreeMap::new();
    let unit = settings.identity.pu_id().clone();
    let tracked = tracked(&unit, cameras);
    let share = tracked.len().max(1) as u64;
    for camera in cameras.values() {
        let id = CameraId { pu: unit.clone(), channel: camera.channel };
        let (requests, waiting) = mpsc::channel(REQUESTS);
        let nothing = RecordingPlan::nothing(id.clone(), RecordingPlace::Pu);
        let (plan_tx, plan) = watch::channel(PlanState { plan: nothing, recording: Vec::new() });
        planners.insert(camera.channel, Handle { requests, plan });
        let recording = Recording {
            id,
            camera: camera.clone(),
            first: first_of(&settings.first, camera),
            data_dir: settings.data_dir.clone(),
            segments: settings.segments,
            share_bytes: settings.limits.max_bytes.map_or(0, |most| most / share),
            clock: clock.clone(),
            store: store.clone(),
            requests: Arc::new(Mutex::new(waiting)),
            plan: plan_tx,
        };
        tracks.spawn(recording.run(token.clone()));
    }
    tracks.close();
    let shown = Shown::new(unit.clone(), Owners::open(&settings.data_dir, settings.boot));
    let planners = Arc::new(planners);
    let (dates, shows) = (clock.clone(), shown.clone());
    let keeper = StoreKeeper { clock: dates, shown: shows, tracked, opened, health, tracks };
    lifecycle.spawn_graceful(|token| keeper.run(settings, token));
    Recorder { unit, clock, shown, planners, store, storage }
}

/// What tracks record.
fn tracked(unit: &PuId, cameras: &Cameras) -> BTreeSet<Subject> {
    let subject = |camera: &Camera, tier| {
        let id = CameraId { pu: unit.clone(), channel: camera.channel };
        Subject { recorder: unit.clone(), camera: id, tier }
    };
    let main = cameras.values().map(|camera| subject(camera, StreamTier::Main));
    let has_sub = cameras.values().filter(|camera| camera.sub.is_some());
    main.chain(has_sub.map(|camera| subject(camera, StreamTier::Sub))).collect()
}

/// Everything that records one camera.
struct Recording {
    id: CameraId,
    camera: Camera,
    first: FirstPlan,
    data_dir: PathBuf,
    segments: segmenter::Config,
    share_bytes: u64,
    clock: SharedClock,
    store: watch::Receiver<Option<Store>>,
    requests: Arc<Mutex<mpsc::Receiver<Request>>>,
    plan: watch::Sender<PlanState>,
}

impl Recording {
    /// Planner and tracks, started again together when one of them breaks down.
    async fn run(self, token: CancellationToken) {
        while !token.is_cancelled() {
            let attempt = token.child_token();
            let once = AssertUnwindSafe(self.once(&attempt)).catch_unwind().await;
            attempt.cancel();
            if once.is_ok() {
                continue;
            }
            metrics::counter!("sightline_pu_recording_panics_total").increment(1);
            tracing::error!(camera = %self.id, "recording has broken down; it is being started again");
            tokio::select! {
                () = token.cancelled() => {}
                () = tokio::time::sleep(START_AGAIN) => {}
            }
        }
    }

    /// Until the token is cancelled.
    async fn once(&self, token: &CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut tracks = BTreeMap::new();
        for (tier, hub) in [
            (StreamTier::Main, Some(&self.camera.main)),
            (StreamTier::Sub, self.camera.sub.as_ref()),
        ] {
            let Some(hub) = hub else { continue };
            let (order, orders) = mpsc::channel(ORDERS);
            tracks.insert(tier, order);
            let track = Track::new(track::Parts {
                subject: Subject { recorder: self.id.pu.clone(), camera: self.id.clone(), tier },
                hub: hub.clone(),
                store: self.store.clone(),
                dates: self.clock.dates(),
                config: self.segments,
                figures: figures::Figures::new(self.id.channel, tier, self.clock.clone()),
            });
            tasks.spawn(track.run(orders, token.clone()));
        }
        let planner = planner::Parts {
            camera: self.id.clone(),
            first: self.first.clone(),
            file: PlanFile::new(&self.data_dir, &self.id),
            clock: self.clock.clone(),
            tracks,
            store: self.store.clone(),
            share_bytes: self.share_bytes,
            plan: self.plan.clone(),
        };
        let planner = Planner::restore(planner).await;
        tasks.spawn(planner.run(Arc::clone(&self.requests), token.clone()));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                token.cancel();
                // What the others have open is closed first.
                while tasks.join_next().await.is_some() {}
                if let Ok(panic) = error.try_into_panic() {
                    resume_unwind(panic);
                }
                return;
            }
        }
    }
}

/// Opens the store and closes it at the end.
struct StoreKeeper {
    clock: SharedClock,
    shown: Shown,
    tracked: BTreeSet<Subject>,
    opened: watch::Sender<Option<Store>>,
    health: watch::Sender<Health>,
    tracks: TaskTracker,
}

impl StoreKeeper {
    async fn run(self, settings: Settings, token: CancellationToken) {
        let watched = self.watch_clock();
        let work = async {
            let store = self.open(&settings).await;
            self.leave(&store, settings.identity.pu_id()).await;
            tokio::select! {
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
    async fn leave(&self, store: &Store, unit: &PuId) {
        let dates = self.clock.dates();
        for subject in store.subjects() {
            // Another unit's card may be in.
            if subject.recorder != *unit || self.tracked.contains(&subject) {
                continue;
            }
            if let Err(error) = lending::leave(store, &subject, &dates).await {
                tracing::warn!(camera = %subject.camera, %error, "that it ended cannot be stated");
            }
        }
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

/// The configured plan for one camera: without a small encoding the best one is recorded in its place.
fn first_of(first: &FirstPlan, camera: &Camera) -> FirstPlan {
    let has = |tier: &StreamTier| match tier {
        StreamTier::Main => StreamTier::Main,
        StreamTier::Sub if camera.sub.is_some() => StreamTier::Sub,
        StreamTier::Sub => StreamTier::Main,
    };
    let continuous = first.continuous.iter().map(has).collect();
    FirstPlan { continuous, max_age: first.max_age }
}
