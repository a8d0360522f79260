//! A unit that records one camera: its folders outlive its runs.

#![allow(dead_code, reason = "every test file uses a part")]

pub mod agent;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use pu_agent::{
    identity::Identity,
    recorder::{self, Purpose, Recorder, Settings, clock::boot_id, config::FirstPlan},
    uplink::clock::Clock,
};
use sightline_media::ring;
use sightline_media_io::{
    camera::Camera,
    hub::{Hub, Next},
    source::synthetic::{self, SyntheticConfig},
};
use sightline_model::{CameraId, ChannelId, PuId, PublicKey, Signature, StreamTier, UnixMicros};
use sightline_recording::{
    chain::{Report, Sign},
    segmenter,
    statement::{GapReason, Subject},
};
use sightline_recording_store::{GapRow, Key, Level, Limits, SegmentRow, Setup, Store};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let search = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("never: {what}"))
}

struct UnitKey(Arc<Identity>);

impl Sign for UnitKey {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }
}

/// The folders and the key of a unit.
pub struct Unit {
    root: tempfile::TempDir,
    card: PathBuf,
    identity: Arc<Identity>,
}

impl Unit {
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("temporary folder");
        let card = root.path().join("card");
        std::fs::create_dir(&card).expect("own folder");
        Self::with(root, card)
    }

    /// One that records into a folder elsewhere, which exists.
    pub fn on(card: PathBuf) -> Self {
        Self::with(tempfile::tempdir().expect("temporary folder"), card)
    }

    fn with(root: tempfile::TempDir, card: PathBuf) -> Self {
        let identity = Identity::load_or_create(&root.path().join("data")).expect("made");
        Self { root, card, identity: Arc::new(identity) }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn dir(&self) -> PathBuf {
        self.card.clone()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub fn camera(&self) -> CameraId {
        CameraId { pu: self.identity.pu_id().clone(), channel: ChannelId(0) }
    }

    pub fn camera_of_nobody() -> CameraId {
        let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        CameraId { pu, channel: ChannelId(0) }
    }

    pub fn subject(&self) -> Subject {
        let camera = self.camera();
        Subject { recorder: camera.pu.clone(), camera, tier: StreamTier::Main }
    }

    /// The recordings, while no recorder runs.
    pub async fn open(&self) -> Store {
        let key = Key::new(UnitKey(Arc::clone(&self.identity)));
        let setup = Setup { dir: self.dir(), limits: Limits::default(), key };
        Store::open(setup).await.expect("opened").0
    }

    /// The machine is started anew: its monotonic clock, too.
    pub fn reboot(&self) {
        std::fs::remove_file(self.data_dir().join("recording-boot.json")).expect("it ran");
    }

    /// Starts recording everything of a camera that does not play yet.
    pub async fn start(&self, limits: Limits) -> Run<'_> {
        self.start_with(limits, [StreamTier::Main].into(), true)
    }

    /// Starts with nothing planned.
    pub async fn start_idle(&self) -> Run<'_> {
        self.start_with(Limits::default(), BTreeSet::new(), true)
    }

    pub async fn start_without_cameras(&self) -> Run<'_> {
        self.start_with(Limits::default(), BTreeSet::new(), false)
    }

    fn start_with(
        &self,
        limits: Limits,
        continuous: BTreeSet<StreamTier>,
        has_camera: bool,
    ) -> Run<'_> {
        let lifecycle = Lifecycle::new();
        let hub = Hub::unwritten(ring::Limits::default());
        let camera =
            Camera { channel: ChannelId(0), name: "Yard".into(), main: hub.clone(), sub: None };
        let centre = Clock::default();
        let settings = Settings {
            identity: Arc::clone(&self.identity),
            data_dir: self.data_dir(),
            dir: self.dir(),
            limits: Limits { probe_every: Duration::from_millis(100), ..limits },
            first: FirstPlan { continuous, max_age: None },
            purpose: Purpose::Device,
            boot: boot_id(&self.data_dir()).expect("random numbers"),
            centre: centre.clone(),
            segments: segmenter::Config {
                target: Duration::from_millis(400),
                ..segmenter::Config::default()
            },
        };
        let cameras = has_camera.then_some((ChannelId(0), camera));
        let cameras = cameras.into_iter().collect();
        let recorder = recorder::start(settings, &cameras, &lifecycle);
        Run {
            unit: self,
            camera: Feed { hub, playing: Mutex::default() },
            recorder,
            lifecycle,
            centre,
        }
    }

    pub async fn segments(&self, store: &Store) -> Vec<SegmentRow> {
        store.segments(&self.subject(), always(), None, 1_000).await.expect("listed").rows
    }

    pub async fn gaps(&self, store: &Store) -> Vec<GapRow> {
        store.gaps(&self.subject(), always(), None, 1_000).await.expect("listed").rows
    }

    pub async fn verify(&self, store: &Store, level: Level) -> Report {
        let report = store.verify(&self.subject(), level, None).await.expect("verified");
        report.expect("something was recorded").report
    }
}

/// Everything below a folder that is no folder.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(files_below(&path)),
            path => files.push(path),
        }
    }
    files
}

/// All time.
pub fn always() -> std::ops::Range<UnixMicros> {
    UnixMicros(0)..UnixMicros(i64::MAX / 2)
}

/// A running recorder.
pub struct Run<'u> {
    unit: &'u Unit,
    pub camera: Feed,
    pub recorder: Recorder,
    lifecycle: Lifecycle,
    pub centre: Clock,
}

impl Run<'_> {
    pub async fn store(&self) -> Store {
        let mut store = self.recorder.store();
        let opened = tokio::time::timeout(PATIENCE, store.wait_for(Option::is_some));
        let opened = opened.await.expect("opened in time").expect("the recorder runs").clone();
        opened.expect("waited for it")
    }

    /// All segments, once there are so many.
    pub async fn segments(&self, least: usize) -> Vec<SegmentRow> {
        let store = self.store().await;
        until("that many segments", async || {
            let rows = self.unit.segments(&store).await;
            (rows.len() >= least).then_some(rows)
        })
        .await
    }

    /// The newest gap, once it is for this reason.
    pub async fn gap(&self, reason: GapReason) -> GapRow {
        let store = self.store().await;
        until("a gap for the reason", async || {
            let newest = self.unit.gaps(&store).await.pop()?;
            (newest.gap.reason == reason).then_some(newest)
        })
        .await
    }

    /// As SIGTERM ends a unit, but that a busy machine may take its time.
    pub async fn end(self) {
        self.lifecycle.token.cancel();
        self.lifecycle.tasks.close();
        let ended = tokio::time::timeout(PATIENCE, self.lifecycle.tasks.wait()).await;
        assert!(ended.is_ok(), "tasks were left");
        self.camera.stop().await;
    }
}

/// The camera.
pub struct Feed {
    hub: Hub,
    playing: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

impl Feed {
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    pub fn play(&self) {
        let config = SyntheticConfig {
            width: 160,
            height: 90,
            fps: 25,
            gop_s: 0.2,
            bitrate_bps: 4_000_000,
            tone_hz: 0.0,
            ..SyntheticConfig::default()
        };
        let (publisher, token) = (self.hub.publisher(), CancellationToken::new());
        let run = synthetic::run(config, publisher, token.clone());
        let task = tokio::spawn(async move { run.await.expect("a good form") });
        assert!(self.playing.lock().replace((token, task)).is_none(), "it plays already");
    }

    pub async fn unplug(&self, why: &str) {
        assert!(self.stop().await, "it plays");
        self.hub.publisher().offline(why);
    }

    /// Ends it, and waits until nothing more comes; whether it played.
    async fn stop(&self) -> bool {
        let playing = self.playing.lock().take();
        let Some((token, task)) = playing else { return false };
        token.cancel();
        task.await.expect("no panic");
        true
    }

    /// When the newest of what it gave was taken.
    pub fn newest(&self) -> UnixMicros {
        let mut reader = self.hub.subscribe();
        let given = std::iter::from_fn(|| reader.try_next());
        let taken = given.filter_map(|next| match next {
            Next::Unit(unit) => Some(unit.captured_at()),
            Next::Skipped(_) | Next::State(_) => None,
        });
        taken.last().expect("it plays")
    }
}
