//! An NVR and a premises unit in one process, with a small centre that can be killed: what is related is
//! taken over Pn and recorded, also when the centre is away, and only as long as it is related.

#[path = "../../pu-agent/tests/support/mod.rs"]
mod support;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use nvr::identity::Identity;
use sightline_model::{
    CameraId, ChannelId, DeviceId, PuId, PublicKey, RecordingPlace, RecordingPlan, Right, Rights,
    Strategy, StreamTier, Trigger, UnixMicros,
};
use sightline_premises::config::{CameraConfig, Listen, ScuConfig, SyntheticForm};
use sightline_premises::recorder::config::RecordingConfig;
use sightline_protocol::{
    cm::PlayAnswer,
    ps::{
        FIRST_RELATED, PlayClaims, PuToScu, RecordingCall, RecordingRequest, RelatedCamera,
        RelatedNvr, Relations, ScuToPu,
    },
};
use sightline_recording::{statement::Subject, strategy::Input};
use sightline_recording_store::Store;
use sightline_service_kit::lifecycle::Lifecycle;
use support::{Centre, DOMAIN, FakeScu};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
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

/// Folders and keys of the two devices, and where their centre is.
struct World {
    centre: Centre,
    root: tempfile::TempDir,
    scu: ScuConfig,
    unit: (PuId, PublicKey),
    nvr: (PuId, PublicKey),
}

/// A device that runs.
struct Device<R> {
    running: R,
    lifecycle: Lifecycle,
}

impl<R> Device<R> {
    async fn end(self) {
        self.lifecycle.token.cancel();
        self.lifecycle.tasks.close();
        let ended = tokio::time::timeout(PATIENCE, self.lifecycle.tasks.wait()).await;
        assert!(ended.is_ok(), "tasks were left");
    }
}

type Nvr = Device<nvr::Running>;

impl World {
    async fn new() -> (Self, FakeScu) {
        let (centre, root) = (Centre::new(), tempfile::tempdir().expect("temporary folder"));
        std::fs::create_dir(root.path().join("disk")).expect("own folder");
        let scu = FakeScu::on_any_port(&centre).await;
        let known = |folder: &str| {
            let identity = Identity::load_or_create(&root.path().join(folder)).expect("made");
            (identity.pu_id().clone(), identity.public_key())
        };
        let config = ScuConfig {
            quic: Some(format!("localhost:{}", scu.quic.port())),
            websocket: format!("ws://127.0.0.1:{}/ps/v1", scu.websocket.port()).parse().ok(),
        };
        let (unit, nvr) = (known("unit"), known("nvr"));
        let world = Self { centre, root, scu: config, unit, nvr };
        *world.centre.relations.lock().expect("not poisoned") = Some(world.relations(1, true));
        (world, scu)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Of both devices: each reads its own part.
    fn relations(&self, revision: u64, holds: bool) -> Relations {
        let record = RelatedCamera {
            camera: self.camera(),
            channel: FIRST_RELATED,
            name: "Yard".into(),
            device_key: self.unit.1,
        };
        let recorder = RelatedNvr { nvr: self.nvr.0.clone(), channel: ChannelId(0) };
        let (records, recorded_by) =
            if holds { (vec![record], vec![recorder]) } else { (Vec::new(), Vec::new()) };
        Relations { revision, records, recorded_by }
    }

    fn camera(&self) -> CameraId {
        CameraId { pu: self.unit.0.clone(), channel: ChannelId(0) }
    }

    fn subject(&self) -> Subject {
        Subject { recorder: self.nvr.0.clone(), camera: self.camera(), tier: StreamTier::Main }
    }

    async fn start_unit(&self) -> Device<pu_agent::Running> {
        let config = pu_agent::Config {
            data_dir: self.folder("unit"),
            centre_ca: Some(self.centre.ca()),
            scu: vec![self.scu.clone()],
            camera: vec![synthetic("Yard")],
            announce_loopback: true,
            map_ports: false,
            rtsp: any(),
            quic: any(),
            webrtc: any(),
            http: any(),
            ..pu_agent::Config::default()
        };
        let lifecycle = Lifecycle::new();
        let running = pu_agent::start(config, &lifecycle).await.expect("started");
        Device { running, lifecycle }
    }

    async fn start_nvr(&self, camera: Vec<CameraConfig>) -> Nvr {
        let config = nvr::Config {
            data_dir: self.folder("nvr"),
            centre_ca: Some(self.centre.ca()),
            scu: vec![self.scu.clone()],
            camera,
            announce_loopback: true,
            map_ports: false,
            recording: RecordingConfig {
                dir: Some(self.folder("disk")),
                ..RecordingConfig::default()
            },
            rtsp: any(),
            quic: any(),
            webrtc: any(),
            http: any(),
            ..nvr::Config::default()
        };
        let lifecycle = Lifecycle::new();
        let running = nvr::start(config, &lifecycle).await.expect("started");
        Device { running, lifecycle }
    }

    /// What the centre signs for the NVR.
    fn claims(&self) -> PlayClaims {
        let mut claims = self.centre.claims(&self.unit.0);
        claims.exp += 7 * 86_400;
        claims.rights = Rights([Right::View, Right::Listen].into());
        claims.cnf = Some(self.nvr.1);
        claims.nvr = Some(self.nvr.0.clone());
        claims
    }

    /// Answers the NVR's next question, as the centre does.
    async fn give_ticket(&self, scu: &mut FakeScu, quic: SocketAddr) {
        let asked = scu.heard(|message| match message {
            PuToScu::TicketRequest { request, camera } => Some((request, camera)),
            _ => None,
        });
        let (request, camera) = asked.await;
        assert_eq!(camera, self.camera());
        let claims = self.claims();
        let token = self.centre.sign(&claims);
        self.centre.grant(&token, &claims);
        let domain = DOMAIN.parse().expect("domain");
        let ticket = PlayAnswer {
            session: claims.sid,
            device: DeviceId { domain, pu: self.unit.0.clone() },
            camera,
            token,
            expires_at: UnixMicros(claims.exp * 1_000_000),
            device_key: self.unit.1,
            rtsp_urls: Vec::new(),
            quic: vec![quic],
            signal_url: String::new(),
            ice_servers: Vec::new(),
        };
        scu.say(ScuToPu::Ticket { request, result: Ok(Box::new(ticket)) });
    }
}

fn any() -> Listen {
    Listen { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }
}

fn synthetic(name: &str) -> CameraConfig {
    let form = SyntheticForm { width: 320, height: 180, gop_s: 1.0, ..SyntheticForm::default() };
    CameraConfig {
        name: name.into(),
        source: "synthetic".into(),
        synthetic: form,
        ..CameraConfig::default()
    }
}

/// Everything of the camera, all the time.
fn always(camera: CameraId) -> RecordingPlan {
    let id = "always".parse().expect("a name");
    let strategy = Strategy { id, tier: StreamTier::Main, trigger: Trigger::Continuous };
    RecordingPlan {
        revision: 1,
        strategies: vec![strategy],
        ..RecordingPlan::nothing(camera, RecordingPlace::Nvr)
    }
}

async fn store(nvr: &Nvr) -> Store {
    let mut store = nvr.running.recorder.as_ref().expect("it records").store();
    let opened = tokio::time::timeout(PATIENCE, store.wait_for(Option::is_some));
    let opened = opened.await.expect("opened in time").expect("the recorder runs").clone();
    opened.expect("waited for it")
}

async fn count(store: &Store, subject: &Subject) -> usize {
    let always = UnixMicros(0)..UnixMicros(i64::MAX / 2);
    store.segments(subject, always, None, 1_000).await.expect("listed").rows.len()
}

/// Waits for a recording that is longer than it was.
async fn grows(nvr: &Nvr, subject: &Subject) {
    let store = store(nvr).await;
    let before = count(&store, subject).await;
    until("more is recorded", async || (count(&store, subject).await > before).then_some(())).await;
}

/// Whether a ticket is kept in the NVR's folder.
fn has_ticket(folder: &Path) -> bool {
    std::fs::read_dir(folder.join("tickets")).is_ok_and(|mut files| files.next().is_some())
}

/// Has the related camera recorded.
async fn plan(nvr: &Nvr, camera: CameraId) {
    let recorder = nvr.running.recorder.as_ref().expect("it records");
    until("the related camera", async || recorder.plan(FIRST_RELATED)).await;
    recorder.tell(FIRST_RELATED, Input::Plan(always(camera))).await.expect("taken");
}

#[tokio::test]
async fn what_is_related_is_recorded_and_goes_on_without_the_centre_through_a_restart() {
    let (world, mut scu) = World::new().await;
    let mut unit = world.start_unit().await;
    let nvr = world.start_nvr(Vec::new()).await;
    plan(&nvr, world.camera()).await;
    world.give_ticket(&mut scu, unit.running.quic_addr).await;
    grows(&nvr, &world.subject()).await;

    scu.kill().await;
    let away = unit.running.uplink.wait_for(|status| status.up.is_none());
    tokio::time::timeout(PATIENCE, away).await.expect("noticed").expect("runs");
    grows(&nvr, &world.subject()).await;

    // Its relations, its plan and its ticket outlive it: nobody tells it anything now.
    nvr.end().await;
    let nvr = world.start_nvr(Vec::new()).await;
    grows(&nvr, &world.subject()).await;
    nvr.end().await;
    unit.end().await;
}

#[tokio::test]
async fn a_relation_that_ends_takes_stream_recording_and_ticket_with_it() {
    let (world, mut scu) = World::new().await;
    let unit = world.start_unit().await;
    let nvr = world.start_nvr(Vec::new()).await;
    plan(&nvr, world.camera()).await;
    world.give_ticket(&mut scu, unit.running.quic_addr).await;
    grows(&nvr, &world.subject()).await;
    assert!(has_ticket(&world.folder("nvr")));

    let relations = Box::new(world.relations(2, false));
    let ask = RecordingRequest::Relate { relations };
    scu.say(ScuToPu::Recording(RecordingCall { request: 1, ask }));
    let ended = scu.heard(|message| match message {
        PuToScu::SessionReport { path: None, .. } => Some(()),
        _ => None,
    });
    ended.await;
    let recorder = nvr.running.recorder.as_ref().expect("it records");
    until("the camera to go", async || recorder.plan(FIRST_RELATED).is_none().then_some(())).await;
    until("the ticket to go", async || (!has_ticket(&world.folder("nvr"))).then_some(())).await;
    nvr.end().await;
    unit.end().await;
}

#[tokio::test]
async fn a_camera_of_its_own_is_recorded_as_a_units_is() {
    let (world, _scu) = World::new().await;
    *world.centre.relations.lock().expect("not poisoned") = None;
    let nvr = world.start_nvr(vec![synthetic("Door")]).await;
    assert_eq!(nvr.running.pu_id, world.nvr.0);
    let camera = CameraId { pu: world.nvr.0.clone(), channel: ChannelId(0) };
    let subject = Subject { recorder: world.nvr.0.clone(), camera, tier: StreamTier::Main };
    grows(&nvr, &subject).await;
    let recorder = nvr.running.recorder.as_ref().expect("it records");
    let plan = recorder.plan(ChannelId(0)).expect("it is recorded");
    assert_eq!(plan.borrow().plan.place, RecordingPlace::Pu);
    nvr.end().await;
}
