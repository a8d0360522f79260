//! NVRs over Cm, Sm and Sc (A8.7.2, decision 0099): who may relate what, what both ends are told, what an
//! NVR gets for it, and what ends with it.

mod support;

use axum::http::Method;
use serde_json::{Value, json};
use sightline_model::{CameraId, ChannelId, DeviceKind, PuId, Right, SessionToken};
use sightline_protocol::{
    Problem, ProblemKind,
    cm::PlayAnswer,
    ps::{FIRST_RELATED, RecordingRequest, RelatedNvr, Relations, TokenBearer},
    sc::{Lease, ScReply, ScRequest},
    sm::SmRequest,
    subject,
};
use std::sync::{Arc, Mutex};
use support::{Answer, Camera, Server};

const ANNA: &str = "+8613800138000";
const BERT: &str = "+8613800138001";
const HOUR: &str = "recordings?from=2026-11-21T17:00:00Z&to=2026-11-21T18:00:00Z";

type Asked = Arc<Mutex<Vec<SmRequest>>>;

/// A device that is registered, connected and bound.
struct Device {
    camera: Camera,
    lease: Lease,
    asked: Asked,
}

impl Device {
    async fn new(server: &Server, seed: u8, kind: DeviceKind, token: &str) -> Self {
        let camera = Camera { kind, ..Camera::new(seed) };
        let lease = camera.register(server).await;
        let asked = camera.connect(server).await;
        camera.bind(server, token).await.expect(201);
        Self { camera, lease, asked }
    }

    fn id(&self) -> CameraId {
        CameraId { pu: self.camera.pu.clone(), channel: ChannelId(0) }
    }

    fn pu(&self) -> &PuId {
        &self.camera.pu
    }

    /// What it was told last of its relations.
    fn told(&self) -> Option<Relations> {
        let asked = self.asked.lock().expect("lock");
        asked.iter().rev().find_map(|request| match request {
            SmRequest::Recording { ask, .. } => match &**ask {
                RecordingRequest::Relate { relations } => Some((**relations).clone()),
                _ => None,
            },
            _ => None,
        })
    }

    fn ended(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("lock");
        let ended = asked.iter().filter_map(|request| match request {
            SmRequest::EndSession { session, .. } => Some(session.to_string()),
            _ => None,
        });
        ended.collect()
    }

    async fn ticket(&self, server: &Server, camera: &CameraId) -> Result<PlayAnswer, Problem> {
        let (device, epoch) = (self.pu().clone(), self.lease.epoch);
        match server.sc(&ScRequest::Ticket { device, epoch, camera: camera.clone() }).await {
            ScReply::Ticket(ticket) => Ok(*ticket),
            ScReply::Refused { problem } => Err(problem),
            other => panic!("{other:?}"),
        }
    }

    /// What the centre says when this device is shown a token by the holder of that key.
    async fn check(&self, server: &Server, token: &SessionToken, by: &Camera) -> ScReply {
        let presented_by = TokenBearer::Key { client: by.key.verifying_key().into() };
        let (device, token) = (self.pu().clone(), token.hash());
        server.sc(&ScRequest::TokenCheck { device, token, presented_by }).await
    }
}

fn path(nvr: &Device, camera: &CameraId) -> String {
    format!("/api/v1/nvrs/{}/cameras/{camera}", nvr.pu())
}

async fn relate(server: &Server, token: &str, nvr: &Device, camera: &CameraId) -> Answer {
    server.call_from("192.0.2.1", Method::PUT, &path(nvr, camera), Some(token), None).await
}

/// A person's NVR and unit, related.
async fn related(server: &Server, token: &str) -> (Device, Device) {
    let nvr = Device::new(server, 1, DeviceKind::Nvr, token).await;
    let unit = Device::new(server, 2, DeviceKind::Pu, token).await;
    let answer = relate(server, token, &nvr, &unit.id()).await.expect(200);
    assert_eq!(answer.body, json!({ "nvr_told": true, "pu_told": true }));
    (nvr, unit)
}

#[tokio::test]
async fn both_ends_are_told_and_the_list_shows_it() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let (nvr, unit) = related(&server, &token).await;
    let told = nvr.told().expect("told");
    assert_eq!((told.records.len(), told.recorded_by.len()), (1, 0));
    assert_eq!((&told.records[0].camera, told.records[0].channel), (&unit.id(), FIRST_RELATED));
    assert_eq!(told.records[0].name, "Yard");
    let by = RelatedNvr { nvr: nvr.pu().clone(), channel: ChannelId(0) };
    assert_eq!(unit.told().expect("told").recorded_by, [by]);

    let list = server.get("/api/v1/nvrs", &token).await.expect(200).body;
    assert_eq!(list["nvrs"].as_array().map(Vec::len), Some(1), "the unit is no NVR");
    assert_eq!(list["nvrs"][0]["records"][0]["camera"], unit.id().to_string());
    assert_eq!(list["nvrs"][0]["online"], true);
    // Once more changes nothing.
    relate(&server, &token, &nvr, &unit.id()).await.expect(200);
    assert_eq!(nvr.told().expect("told").records, told.records);
    // A registration tells them, too.
    let lease = nvr.camera.register(&server).await;
    assert_eq!(lease.relations.expect("told").records, told.records);
}

#[tokio::test]
async fn nobody_relates_what_is_not_theirs() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let nvr = Device::new(&server, 1, DeviceKind::Nvr, &anna).await;
    let unit = Device::new(&server, 2, DeviceKind::Pu, &anna).await;
    let others_nvr = Device::new(&server, 3, DeviceKind::Nvr, &bert).await;
    let others_unit = Device::new(&server, 4, DeviceKind::Pu, &bert).await;
    let no = async |token: &str, nvr: &Device, camera: &Device| {
        relate(&server, token, nvr, &camera.id()).await.problem(404, "not_found");
        server.delete(&path(nvr, &camera.id()), token).await.problem(404, "not_found");
    };
    no(&anna, &others_nvr, &unit).await;
    no(&anna, &nvr, &others_unit).await;
    no(&bert, &nvr, &unit).await;
    relate(&server, "", &nvr, &unit.id()).await.problem(401, "unauthenticated");
    // A device that is no NVR, and a camera of the NVR's own.
    relate(&server, &anna, &unit, &nvr.id()).await.problem(400, "invalid_request");
    relate(&server, &anna, &nvr, &nvr.id()).await.problem(400, "invalid_request");
    for device in [&nvr, &unit, &others_nvr, &others_unit] {
        assert_eq!(device.told(), None, "somebody was told of it");
    }
    let list = server.get("/api/v1/nvrs", &bert).await.expect(200).body;
    assert_eq!(list["nvrs"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_camera_has_one_nvr() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let (nvr, unit) = related(&server, &token).await;
    let second = Device::new(&server, 3, DeviceKind::Nvr, &token).await;
    relate(&server, &token, &second, &unit.id()).await.problem(409, "already_related");
    server.delete(&path(&nvr, &unit.id()), &token).await.expect(204);
    relate(&server, &token, &second, &unit.id()).await.expect(200);
    assert!(nvr.told().expect("told").records.is_empty());
    assert_eq!(unit.told().expect("told").recorded_by[0].nvr, *second.pu());
    // Back again: its number is a new one, so that no token of before opens anything.
    server.delete(&path(&second, &unit.id()), &token).await.expect(204);
    relate(&server, &token, &nvr, &unit.id()).await.expect(200);
    assert_eq!(nvr.told().expect("told").records[0].channel, ChannelId(FIRST_RELATED.0 + 1));
}

#[tokio::test]
async fn a_ticket_is_for_the_related_nvr_alone_and_ends_with_the_relation() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let (nvr, unit) = related(&server, &anna).await;
    let other = Device::new(&server, 3, DeviceKind::Nvr, &anna).await;
    let stranger = Device::new(&server, 4, DeviceKind::Nvr, &bert).await;
    for device in [&other, &stranger, &unit] {
        let refused = device.ticket(&server, &unit.id()).await.expect_err("not related");
        assert_eq!(refused.kind, ProblemKind::Forbidden);
    }
    let second = CameraId { channel: ChannelId(1), ..unit.id() };
    let refused = nvr.ticket(&server, &second).await.expect_err("another camera of the unit");
    assert_eq!(refused.kind, ProblemKind::Forbidden);

    let ticket = nvr.ticket(&server, &unit.id()).await.expect("related");
    assert_eq!((&ticket.camera, &ticket.device.pu), (&unit.id(), unit.pu()));
    let ScReply::TokenGranted(grant) = unit.check(&server, &ticket.token, &nvr.camera).await else {
        panic!("the unit is told no");
    };
    assert!(grant.rights.allows(Right::View) && !grant.rights.allows(Right::Manage));
    assert!(!grant.rights.allows(Right::Ptz) && !grant.rights.allows(Right::Playback));
    let problem = |reply| match reply {
        ScReply::Refused { problem } => problem.kind,
        other => panic!("{other:?}"),
    };
    // Another key shows it, and at another device.
    let stolen = unit.check(&server, &ticket.token, &other.camera).await;
    assert_eq!(problem(stolen), ProblemKind::TokenInUse);
    let elsewhere = other.check(&server, &ticket.token, &nvr.camera).await;
    assert_eq!(problem(elsewhere), ProblemKind::InvalidToken);

    server.delete(&path(&nvr, &unit.id()), &anna).await.expect(204);
    assert_eq!(unit.ended(), [ticket.session.to_string()], "its stream was not ended");
    let after = unit.check(&server, &ticket.token, &nvr.camera).await;
    assert_eq!(problem(after), ProblemKind::TokenRevoked);
    let refused = nvr.ticket(&server, &unit.id()).await.expect_err("withdrawn");
    assert_eq!(refused.kind, ProblemKind::Forbidden);
}

#[tokio::test]
async fn a_device_that_changes_hands_loses_its_relations() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let (nvr, unit) = related(&server, &anna).await;
    let ticket = nvr.ticket(&server, &unit.id()).await.expect("related");
    let release = format!("/api/v1/devices/{}/binding", unit.pu());
    server.delete(&release, &anna).await.expect(204);
    assert!(nvr.told().expect("told").records.is_empty(), "the NVR was not told");
    assert!(unit.told().expect("told").recorded_by.is_empty(), "the unit was not told");
    let after = unit.check(&server, &ticket.token, &nvr.camera).await;
    assert!(matches!(after, ScReply::Refused { .. }), "{after:?}");
    // The new owner's camera is not recorded by Anna's NVR; nor does it come back with the camera.
    unit.camera.bind(&server, &bert).await.expect(201);
    assert!(nvr.ticket(&server, &unit.id()).await.is_err());
    server.delete(&release, &bert).await.expect(204);
    unit.camera.bind(&server, &anna).await.expect(201);
    assert!(nvr.ticket(&server, &unit.id()).await.is_err(), "a relation came back by itself");
    let list = server.get("/api/v1/nvrs", &anna).await.expect(200).body;
    assert_eq!(list["nvrs"][0]["records"], json!([]));
    // The same of the NVR.
    relate(&server, &anna, &nvr, &unit.id()).await.expect(200);
    server.delete(&format!("/api/v1/devices/{}/binding", nvr.pu()), &anna).await.expect(204);
    assert!(unit.told().expect("told").recorded_by.is_empty());
}

#[tokio::test]
async fn whoever_may_look_back_is_sent_to_the_nvr_and_to_that_camera_alone() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let (nvr, unit) = related(&server, &anna).await;
    let play = format!("/api/v1/cameras/{}/play", unit.id());
    let ask = json!({ "player": "client", "recorder": nvr.pu().to_string() });
    let answer = server.post(&play, &anna, ask.clone()).await.expect(200).body;
    assert_eq!(answer["device"]["pu"], nvr.pu().to_string());
    assert_eq!(answer["camera"], format!("{}.{}", nvr.pu(), FIRST_RELATED));
    server.post(&play, &bert, ask.clone()).await.problem(404, "not_found");
    let other = json!({ "player": "client", "recorder": unit.pu().to_string() });
    server.post(&play, &anna, other).await.problem(404, "not_found");
    // What it opened ends with the relation.
    let session: String = answer["session"].as_str().expect("an id").into();
    server.delete(&path(&nvr, &unit.id()), &anna).await.expect(204);
    assert_eq!(nvr.ended(), [session]);
    server.post(&play, &anna, ask).await.problem(404, "not_found");
}

#[tokio::test]
async fn the_nvr_is_asked_for_plans_and_recordings_and_outlives_the_unit() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let nvr = Device::new(&server, 1, DeviceKind::Nvr, &token).await;
    // A unit that nobody reaches.
    let unit = Camera::new(2);
    unit.register(&server).await;
    unit.bind(&server, &token).await.expect(201);
    unit.put(&server, &token, "plans/nvr", plan()).await.problem(404, "not_found");
    let id = CameraId { pu: unit.pu.clone(), channel: ChannelId(0) };
    let answer = relate(&server, &token, &nvr, &id).await.expect(200);
    assert_eq!(answer.body, json!({ "nvr_told": true, "pu_told": false }));
    unit.put(&server, &token, "plans/nvr", plan()).await.expect(204);
    unit.ask(&server, &token, HOUR).await.expect(200);
    unit.ask(&server, &token, "plans").await.expect(200);
    let asked = nvr.asked.lock().expect("lock");
    let of_nvr: Vec<_> = asked
        .iter()
        .filter_map(|request| match request {
            SmRequest::Recording { ask, .. } => Some(&**ask),
            _ => None,
        })
        .collect();
    let [
        RecordingRequest::Relate { .. },
        RecordingRequest::SetPlan { plan },
        RecordingRequest::List(query),
        RecordingRequest::ReadPlans { .. },
    ] = &of_nvr[..]
    else {
        panic!("{of_nvr:?}");
    };
    assert_eq!((&plan.camera, &query.camera), (&id, &id));
}

#[tokio::test]
async fn a_recorder_that_cannot_be_asked_is_named_with_its_reason() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let (nvr, unit) = related(&server, &token).await;
    let days = "recordings/days?zone=UTC&year=2026&month=11";
    for path in [HOUR, days, "plans"] {
        let both = unit.camera.ask(&server, &token, path).await.expect(200).body;
        assert_eq!(both.get("silent"), None, "{path}: both have answered");
    }
    // A unit that nobody reaches, and one whose SCU hears it and gets no answer.
    let (away, mute) = (Camera::new(3), Camera::new(4));
    for camera in [&away, &mute] {
        camera.register(&server).await;
        camera.bind(&server, &token).await.expect(201);
        let id = CameraId { pu: camera.pu.clone(), channel: ChannelId(0) };
        relate(&server, &token, &nvr, &id).await.expect(200);
    }
    let subject = subject::device(&server.config.domain, &mute.pu);
    let _unheard = server.bus.subscribe(&subject, None).await.expect("subscribed");
    for (camera, reason) in [(&away, "offline"), (&mute, "no_answer")] {
        let silent =
            json!([{ "place": "pu", "recorder": camera.pu.to_string(), "reason": reason }]);
        for path in [HOUR, days, "plans"] {
            let answer = camera.ask(&server, &token, path).await.expect(200).body;
            assert_eq!(answer["silent"], silent, "{path}");
        }
    }
    // Where nobody answers it is the answer, as it is of a camera without an NVR.
    let alone = Camera::new(5);
    alone.register(&server).await;
    alone.bind(&server, &token).await.expect(201);
    alone.ask(&server, &token, HOUR).await.problem(503, "device_offline");
}

fn plan() -> Value {
    let strategy = json!({ "id": "always", "tier": "main", "trigger": { "on": "continuous" } });
    json!({ "seen_revision": 7, "strategies": [strategy], "keep": {} })
}
