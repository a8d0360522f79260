//! Records cameras on a device's own storage: a PU its own (A6.1.6, A8.7.3), an NVR those that are related to
//! it as well (A6.1.7, A8.7.2); or into the spool of the cloud storage (A6.1.13, A8.7.1). Cameras are taken and
//! let go while it runs. A device may have one recorder of each kind: see [`Recorders`].
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
mod keeper;
mod lending;
pub mod owners;
mod places;
mod planner;
pub mod plans;
mod shown;
mod tape;
mod track;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, resume_unwind},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::RwLock;
use sightline_media_io::camera::{Camera, Cameras};
use sightline_model::{
    CameraId, ChannelId, PuId, RecordingPlace, RecordingPlan, StreamTier, UnixMicros, UserId,
};
use sightline_protocol::ps::PlanState;
use sightline_recording::{
    coverage::CoverageError,
    segmenter,
    statement::{BootId, Subject},
    strategy::{Input, StrategyError},
};
use sightline_recording_store::{Health, Limits, State, Store, StoreError};
use sightline_service_kit::lifecycle::Lifecycle;
use sightline_uplink::{clock::Clock, identity::Identity};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use clock::SharedClock;
use config::FirstPlan;
use keeper::StoreKeeper;
use owners::{Owners, Visible};
pub use places::Recorders;
use planner::{Planner, Request};
use plans::PlanFile;
use shown::Shown;
use track::Track;

/// A camera's recording that broke down is started again after this.
const START_AGAIN: Duration = Duration::from_secs(2);
/// Requests of one camera that may wait; whoever comes then waits too.
const REQUESTS: usize = 16;
/// Orders of one track that may wait; its planner waits then.
const ORDERS: usize = 16;

/// What a recorder records for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The device's own storage.
    Device,
    /// The cloud storage: the folder is the spool, from which recordings are sent (decision 0096).
    Cloud,
}

impl Purpose {
    /// Where its recordings of a camera lie, as plans and timelines call it.
    #[must_use]
    pub fn place(self, recorder: &PuId, camera: &CameraId) -> RecordingPlace {
        match self {
            Self::Device if camera.pu == *recorder => RecordingPlace::Pu,
            Self::Device => RecordingPlace::Nvr,
            Self::Cloud => RecordingPlace::Cs,
        }
    }
}

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
    /// What it records for.
    pub purpose: Purpose,
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
    /// A number is taken, or a camera is recorded already: our own fault.
    #[error("camera {0} is recorded already, or its number is taken")]
    Taken(CameraId),
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

/// A device's recorder; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    unit: PuId,
    clock: SharedClock,
    shown: Shown,
    planners: Planners,
    studio: Arc<Studio>,
    store: watch::Receiver<Option<Store>>,
    storage: watch::Receiver<Health>,
}

/// The cameras that are recorded, by their numbers at this device.
type Planners = Arc<RwLock<BTreeMap<ChannelId, Handle>>>;

#[derive(Debug, Clone)]
struct Handle {
    camera: CameraId,
    requests: mpsc::Sender<Request>,
    plan: watch::Receiver<PlanState>,
    /// Its encodings.
    tiers: usize,
    token: CancellationToken,
}

/// What every camera's recording is made with.
#[derive(Debug)]
struct Studio {
    unit: PuId,
    purpose: Purpose,
    data_dir: PathBuf,
    segments: segmenter::Config,
    max_bytes: Option<u64>,
    /// What each track may use before it gives for others, in bytes; changes with their number.
    share: watch::Sender<u64>,
    /// Whether it is known which cameras of other devices are recorded now.
    complete: watch::Sender<bool>,
    clock: SharedClock,
    store: watch::Receiver<Option<Store>>,
    tracks: TaskTracker,
    token: CancellationToken,
}

impl Recorder {
    /// Tells a camera's plan something. Returns once it holds and is kept.
    ///
    /// # Errors
    /// [`RecorderError`].
    pub async fn tell(&self, channel: ChannelId, input: Input) -> Result<(), RecorderError> {
        let planner = self.planners.read().get(&channel).map(|planner| planner.requests.clone());
        let planner = planner.ok_or(RecorderError::NoSuchCamera(channel))?;
        let (reply, answer) = oneshot::channel();
        let sent = planner.send(Request { input, reply }).await;
        sent.map_err(|_| RecorderError::Ended)?;
        answer.await.map_err(|_| RecorderError::Ended)?
    }

    /// A camera's plan, what comes of it, and the changes of both.
    #[must_use]
    pub fn plan(&self, channel: ChannelId) -> Option<watch::Receiver<PlanState>> {
        self.planners.read().get(&channel).map(|planner| planner.plan.clone())
    }

    /// Records one more camera from now on, as its plan says: the one that was kept, else `first`.
    ///
    /// # Errors
    /// [`RecorderError::Taken`] when the camera or its number is recorded already.
    pub fn take(
        &self,
        id: CameraId,
        camera: &Camera,
        first: &FirstPlan,
    ) -> Result<(), RecorderError> {
        let mut planners = self.planners.write();
        let taken = planners.values().any(|planner| planner.camera == id);
        if taken || planners.contains_key(&camera.channel) {
            return Err(RecorderError::Taken(id));
        }
        let (handle, recording) = self.studio.begin(id, camera, first);
        let token = handle.token.clone();
        planners.insert(camera.channel, handle);
        self.studio.divide(&planners);
        self.studio.tracks.spawn(recording.run(token));
        Ok(())
    }

    /// Records a camera no more. What is open is closed, and the chains say that nothing more is planned.
    /// Its plan stays for the day on which it is taken again.
    pub fn let_go(&self, channel: ChannelId) {
        let mut planners = self.planners.write();
        let Some(handle) = planners.remove(&channel) else { return };
        handle.token.cancel();
        self.studio.divide(&planners);
    }

    /// Every camera of another device that is to be recorded now has been taken: chains of the others, which
    /// an earlier run has left behind, are ended with words.
    pub fn all_taken(&self) {
        self.studio.complete.send_replace(true);
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

    /// The centre's clock as recordings are dated by it, in microseconds since 1970.
    #[must_use]
    pub fn now(&self) -> UnixMicros {
        self.clock.now().time
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

/// Starts recording; its tasks belong to `lifecycle`.
#[must_use]
pub fn start(settings: Settings, cameras: &Cameras, lifecycle: &Lifecycle) -> Recorder {
    let clock = SharedClock::new(settings.boot, settings.centre.clone());
    let (opened, store) = watch::channel(None);
    let (health, storage) =
        watch::channel(Health { state: State::Away, detail: "not opened yet".into() });
    let unit = settings.identity.pu_id().clone();
    let studio = Arc::new(Studio {
        unit: unit.clone(),
        purpose: settings.purpose,
        data_dir: settings.data_dir.clone(),
        segments: settings.segments,
        max_bytes: settings.limits.max_bytes,
        share: watch::Sender::new(0),
        complete: watch::Sender::new(false),
        clock: clock.clone(),
        store: store.clone(),
        tracks: TaskTracker::new(),
        token: lifecycle.token.child_token(),
    });
    let mut table = BTreeMap::new();
    let mut recordings = Vec::new();
    for camera in cameras.all().values() {
        let id = CameraId { pu: unit.clone(), channel: camera.channel };
        let (handle, recording) = studio.begin(id, camera, &settings.first);
        recordings.push((recording, handle.token.clone()));
        table.insert(camera.channel, handle);
    }
    studio.divide(&table);
    for (recording, token) in recordings {
        studio.tracks.spawn(recording.run(token));
    }
    studio.tracks.close();
    let planners = Arc::new(RwLock::new(table));
    let shown = Shown::new(unit.clone(), Owners::open(&settings.data_dir, settings.boot));
    let (dates, shows) = (clock.clone(), shown.clone());
    let (recorded, tracks) = (Arc::clone(&planners), studio.tracks.clone());
    let complete = studio.complete.subscribe();
    let keeper =
        StoreKeeper { clock: dates, shown: shows, recorded, complete, opened, health, tracks };
    lifecycle.spawn_graceful(|token| keeper.run(settings, token));
    Recorder { unit, clock, shown, planners, studio, store, storage }
}

impl Studio {
    fn begin(
        self: &Arc<Self>,
        id: CameraId,
        camera: &Camera,
        first: &FirstPlan,
    ) -> (Handle, Recording) {
        let (requests, waiting) = mpsc::channel(REQUESTS);
        let place = self.purpose.place(&self.unit, &id);
        let nothing = RecordingPlan::nothing(id.clone(), place);
        let (plan_tx, plan) = watch::channel(PlanState { plan: nothing, recording: Vec::new() });
        let tiers = 1 + usize::from(camera.sub.is_some());
        let token = self.token.child_token();
        let handle = Handle { camera: id.clone(), requests, plan, tiers, token };
        let recording = Recording {
            id,
            camera: camera.clone(),
            first: first_of(first, camera),
            studio: Arc::clone(self),
            requests: Arc::new(Mutex::new(waiting)),
            plan: plan_tx,
        };
        (handle, recording)
    }

    /// Divides the storage among the tracks that there are.
    fn divide(&self, planners: &BTreeMap<ChannelId, Handle>) {
        let tracks = planners.values().map(|planner| planner.tiers as u64).sum::<u64>().max(1);
        let share = self.max_bytes.map_or(0, |most| most / tracks);
        self.share.send_if_modified(|known| std::mem::replace(known, share) != share);
    }
}

/// Everything that records one camera.
struct Recording {
    id: CameraId,
    camera: Camera,
    first: FirstPlan,
    studio: Arc<Studio>,
    requests: Arc<Mutex<mpsc::Receiver<Request>>>,
    plan: watch::Sender<PlanState>,
}

impl Recording {
    /// Until the token is cancelled. A camera that was let go, while the device goes on, leaves chains that
    /// end with words.
    async fn run(self, token: CancellationToken) {
        self.keep_on(&token).await;
        if self.studio.token.is_cancelled() {
            return;
        }
        let store = self.studio.store.borrow().clone();
        let Some(store) = store else { return };
        let recorder = &self.studio.unit;
        for tier in [StreamTier::Main, StreamTier::Sub] {
            let subject = Subject { recorder: recorder.clone(), camera: self.id.clone(), tier };
            if store.subjects().contains(&subject) {
                keeper::leave(&store, &subject, &self.studio.clock).await;
            }
        }
    }

    /// Planner and tracks, started again together when one of them breaks down.
    async fn keep_on(&self, token: &CancellationToken) {
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
        let studio = &self.studio;
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
                subject: Subject { recorder: studio.unit.clone(), camera: self.id.clone(), tier },
                hub: hub.clone(),
                store: studio.store.clone(),
                dates: studio.clock.dates(),
                config: studio.segments,
                figures: figures::Figures::new(self.camera.channel, tier, studio.clock.clone()),
            });
            tasks.spawn(track.run(orders, token.clone()));
        }
        let place = studio.purpose.place(&studio.unit, &self.id);
        let planner = planner::Parts {
            recorder: studio.unit.clone(),
            camera: self.id.clone(),
            first: self.first.clone(),
            place,
            file: PlanFile::new(&studio.data_dir, &studio.unit, &self.id, place),
            clock: studio.clock.clone(),
            tracks,
            store: studio.store.clone(),
            share: studio.share.subscribe(),
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
