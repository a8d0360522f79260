//! What owners have said of their recordings in the cloud holds through the loss of the list, and what they
//! delete leaves nothing behind (decision 0112).

mod support;
mod unit;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use sightline_model::{CameraId, ChannelId, UserId};
use sightline_protocol::cp::{CloudReply, CloudRequest};
use sightline_recording::statement::GapReason;
use support::{Camera, Server};
use unit::{Film, LONG_US, T0, Unit};

const ANNA: &str = "+8613800138000";
const BERT: &str = "+8613800138001";

async fn bound<'a>(server: &'a Server, camera: &'a Camera, token: &str) -> Unit<'a> {
    camera.register(server).await;
    camera.connect(server).await;
    camera.bind(server, token).await.expect(201);
    let unit = Unit::of(server, camera, token).await;
    assert_eq!(unit.open().await, Ok(CloudReply::Opened));
    unit
}

async fn stored(unit: &mut Unit<'_>, count: usize) -> Vec<Film> {
    let films: Vec<Film> = (0..count).map(|_| unit.film(1_000)).collect();
    for film in &films {
        unit.store(film).await;
    }
    films
}

/// Locks the segments from one to another, counted from 0, the last not included.
async fn lock(unit: &Unit<'_>, token: &str, span: (i64, i64), locked: bool) {
    let at = |n: i64| T0 + n * LONG_US;
    let change = json!({ "place": "cs", "from": at(span.0), "to": at(span.1), "locked": locked });
    unit.camera.put(unit.server, token, "recordings/lock", change).await.expect(200);
}

async fn plan(unit: &Unit<'_>, token: &str, keep: Value) {
    let plan = json!({ "seen_revision": 7, "strategies": [], "keep": keep });
    unit.camera.put(unit.server, token, "plans/cs", plan).await.expect(204);
}

/// The files of objects whose names have this in them.
fn objects(server: &Server, part: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&server.config.data_dir.join("cloud"), &mut found);
    found.retain(|path| path.to_string_lossy().contains(part));
    found
}

fn camera_id(camera: &Camera) -> CameraId {
    CameraId { pu: camera.pu.clone(), channel: ChannelId(0) }
}

async fn used(server: &Server, token: &str) -> Value {
    server.get("/api/v1/cloud", token).await.expect(200).body
}

#[tokio::test]
async fn a_list_that_is_made_again_knows_locks_and_age_limits() {
    let server = Server::new().await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    let films = stored(&mut unit, 4).await;
    lock(&unit, &token, (0, 3), true).await;
    lock(&unit, &token, (1, 2), false).await;
    plan(&unit, &token, json!({ "max_age_s": 3_600, "event_max_age_s": 7_200 })).await;
    assert_eq!(objects(&server, ".terms").len(), 1, "one for a chain");

    // The database is lost; what there was lies in the store.
    let dir = tempfile::tempdir().expect("a folder");
    let mut config = server.config.clone();
    config.cloud.dir = Some(server.config.data_dir.join("cloud"));
    config.data_dir = dir.path().into();
    let rebuilt = cmu::rebuild_cloud(&config).await.expect("rebuilt");
    assert_eq!((rebuilt.segments, rebuilt.locked, rebuilt.strange), (4, 2, 0));
    let url = config.database_url().expect("a URL");
    let db = cmu_storage::Database::connect(url.expose(), config.domain.clone()).await;
    let db = db.expect("opened");
    let chain = unit.chain.to_string();
    for (film, locked) in films.iter().zip([true, false, true, false]) {
        let row = db.cloud().segment(&chain, film.sequence).await.expect("read").expect("listed");
        assert_eq!(row.locked, locked, "segment {}", film.sequence);
    }
    let aged = db.cloud().aged().await.expect("read");
    assert_eq!(
        (aged.len(), aged[0].max_age_s, aged[0].event_max_age_s),
        (1, Some(3_600), Some(7_200))
    );
    assert_eq!((&aged[0].user, &aged[0].camera), (&unit.owner, &camera_id(&camera)));
    // Once more changes nothing.
    let again = cmu::rebuild_cloud(&config).await.expect("rebuilt");
    assert_eq!((again.segments, again.known, again.locked), (0, 4, 2));
}

#[tokio::test]
async fn terms_go_with_what_was_said_and_come_with_a_chain() {
    let server = Server::new().await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    stored(&mut unit, 1).await;
    lock(&unit, &token, (0, 1), true).await;
    assert_eq!(objects(&server, ".terms").len(), 1);
    lock(&unit, &token, (0, 1), false).await;
    assert!(objects(&server, ".terms").is_empty(), "nothing is said any more");
    // An age limit from before the chain was begun.
    let other = Camera::new(2);
    other.register(&server).await;
    other.connect(&server).await;
    other.bind(&server, &token).await.expect(201);
    let unit = Unit::of(&server, &other, &token).await;
    plan(&unit, &token, json!({ "max_age_s": 3_600 })).await;
    assert!(objects(&server, ".terms").is_empty());
    assert_eq!(unit.open().await, Ok(CloudReply::Opened));
    server.cmu.look_after_cloud().await.expect("done");
    let terms = objects(&server, ".terms");
    assert_eq!(terms.len(), 1);
    let text = fs::read_to_string(&terms[0]).expect("read");
    assert_eq!(text, r#"{"version":1,"max_age_s":3600}"#);
}

#[tokio::test]
async fn the_next_owner_s_plan_is_not_for_what_the_one_before_recorded() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let camera = Camera::new(1);
    let mut unit = bound(&server, &camera, &anna).await;
    stored(&mut unit, 2).await;
    plan(&unit, &anna, json!({ "max_age_s": 3_600 })).await;
    let release = format!("/api/v1/devices/{}/binding", camera.pu);
    server.delete(&release, &anna).await.expect(204);
    camera.bind(&server, &bert).await.expect(201);
    plan(&unit, &bert, json!({})).await;
    server.clock.advance(Duration::from_secs(3_700));
    server.cmu.look_after_cloud().await.expect("done");
    let anna = server.token(ANNA).await;
    assert_eq!(used(&server, &anna).await["used_bytes"], 0, "it grows old as she has planned");
}

#[tokio::test]
async fn what_somebody_deletes_leaves_nothing_behind() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let camera = Camera::new(1);
    let mut unit = bound(&server, &camera, &anna).await;
    stored(&mut unit, 2).await;
    let (owner, entries) = (unit.owner.clone(), vec![unit.gap(GapReason::NotPlanned)]);
    unit.ask(CloudRequest::Note { owner, entries }).await.expect("noted");
    lock(&unit, &anna, (0, 1), true).await;
    plan(&unit, &anna, json!({ "max_age_s": 86_400 })).await;
    let hers: UserId = unit.owner.clone();
    // Released, it is still hers, told as such, and nobody else's.
    server.delete(&format!("/api/v1/devices/{}/binding", camera.pu), &anna).await.expect(204);
    camera.bind(&server, &bert).await.expect(201);
    let space = used(&server, &anna).await;
    let told = &space["devices"][0];
    assert_eq!((&told["bound"], &told["segments"]), (&json!(false), &json!(2)), "{space}");
    assert_eq!((&told["from"], &told["bytes"]), (&json!(T0), &json!(2_000)));
    assert_eq!(used(&server, &bert).await.get("devices"), None);
    // Another owner cannot delete it.
    let erase = format!("/api/v1/cloud/devices/{}", camera.pu);
    assert_eq!(server.delete(&erase, &bert).await.expect(200).body["segments"], 0);
    server.cmu.look_after_cloud().await.expect("done");
    assert_eq!(used(&server, &anna).await["used_bytes"], 2_000);

    assert_eq!(server.delete(&erase, &anna).await.expect(200).body["segments"], 2);
    server.cmu.look_after_cloud().await.expect("done");
    assert_eq!(objects(&server, hers.as_str()), Vec::<PathBuf>::new(), "something of hers is left");
    assert_eq!(used(&server, &anna).await.get("devices"), None);
}

#[tokio::test]
async fn a_unit_goes_on_with_its_chain_after_its_owner_has_deleted_everything() {
    let server = Server::new().await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    stored(&mut unit, 2).await;
    server.delete(&format!("/api/v1/cloud/devices/{}", camera.pu), &token).await.expect(200);
    // Before the store has been swept.
    let film = unit.film(1_000);
    unit.store(&film).await;
    let (owner, entries) = (unit.owner.clone(), vec![unit.gap(GapReason::NotPlanned)]);
    unit.ask(CloudRequest::Note { owner, entries }).await.expect("noted");
    lock(&unit, &token, (2, 3), true).await;
    server.cmu.look_after_cloud().await.expect("done");
    let left = |part: &str| objects(&server, part).len();
    // Segment; the chain's beginning and the gap since; terms.
    assert_eq!((left(".mp4"), left(".entry"), left(".terms")), (2, 2, 1), "with its metadata");
    let path = "recordings/proof?from=2027-01-15T07:40:00Z&to=2027-01-15T08:00:00Z&tier=main";
    camera.ask(&server, &token, path).await.expect(200);
}

#[tokio::test]
async fn entries_that_explain_nothing_any_more_go() {
    let server = Server::with(|config| config.cloud.free_bytes = 1_000).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    stored(&mut unit, 1).await;
    for _ in 0..2 {
        let (owner, entries) = (unit.owner.clone(), vec![unit.gap(GapReason::CameraAway)]);
        unit.ask(CloudRequest::Note { owner, entries }).await.expect("noted");
    }
    let entries = || objects(&server, ".entry").len();
    server.cmu.look_after_cloud().await.expect("done");
    assert_eq!(entries(), 3, "they follow a segment");
    // The next one pushes the first out; then nothing stands before it but the chain's beginning.
    let film = unit.film(1_000);
    assert_eq!(unit.upload(&film).await, Ok(CloudReply::Full { missing_bytes: 1_000 }));
    unit.ask(CloudRequest::MakeRoom { bytes: 1_000 }).await.expect("made");
    unit.store(&film).await;
    server.cmu.look_after_cloud().await.expect("done");
    assert_eq!(entries(), 1);
}
