//! Recording to the cloud storage, as units and viewers meet it: what is stored and shown, and what is
//! refused.

mod support;
mod unit;

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json};
use sightline_model::{Causes, DeviceKind};
use sightline_protocol::{
    ProblemKind,
    cp::{CloudReply, CloudRequest},
    ps::RecordingRequest,
    sm::SmRequest,
};
use sightline_recording::{
    chain::{Expected, Proof},
    statement::GapReason,
};
use support::{Camera, Server};
use unit::{Film, LONG_US, T0, Unit};

const ANNA: &str = "+8613800138000";
const BERT: &str = "+8613800138001";
/// All that the tests record lies within.
const SPAN: &str = "from=2027-01-15T07:40:00Z&to=2027-01-15T08:00:00Z";

async fn server(free_bytes: u64) -> Server {
    Server::with(|config| config.cloud.free_bytes = free_bytes).await
}

async fn bound<'a>(server: &'a Server, camera: &'a Camera, token: &str) -> Unit<'a> {
    camera.register(server).await;
    camera.connect(server).await;
    camera.bind(server, token).await.expect(201);
    let unit = Unit::of(server, camera, token).await;
    assert_eq!(unit.open().await, Ok(CloudReply::Opened));
    unit
}

async fn fetch(server: &Server, url: &str, range: Option<&str>) -> Response {
    let mut get = Request::get(url);
    if let Some(range) = range {
        get = get.header(header::RANGE, range);
    }
    server.raw(get.body(Body::empty()).expect("a request"), "192.0.2.9").await
}

async fn body(response: Response) -> Vec<u8> {
    to_bytes(response.into_body(), 1 << 20).await.expect("a body").to_vec()
}

async fn segments(server: &Server, camera: &Camera, token: &str) -> Vec<Value> {
    let path = format!("recordings/segments?{SPAN}&tier=main");
    let list = camera.ask(server, token, &path).await.expect(200).body;
    list["segments"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn what_a_unit_uploads_is_listed_fetched_and_proven() {
    let server = server(1 << 20).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    let films: Vec<Film> = (0..3).map(|n| unit.film(1_000 + n)).collect();
    for film in &films {
        unit.store(film).await;
    }
    // Asked again, after a break, it is known.
    assert_eq!(unit.upload(&films[0]).await, Ok(CloudReply::Stored));
    assert_eq!(unit.stored(&films[0]).await, Ok(CloudReply::Stored));
    let (owner, entries) = (unit.owner.clone(), vec![unit.gap(GapReason::NotPlanned)]);
    let note = CloudRequest::Note { owner, entries };
    assert_eq!(unit.ask(note.clone()).await, Ok(CloudReply::Noted));
    assert_eq!(unit.ask(note).await, Ok(CloudReply::Noted));

    let listed = segments(&server, &camera, &token).await;
    assert_eq!(listed.len(), 3);
    for (segment, film) in listed.iter().zip(&films) {
        let url = segment["url"].as_str().expect("an address");
        assert!(url.starts_with("/cs/v1/"), "relative to the portal: {url}");
        assert_eq!(segment["bytes"], film.bytes.len());
        let whole = fetch(&server, url, None).await;
        assert_eq!(whole.status(), StatusCode::OK);
        assert_eq!(whole.headers()[header::ACCEPT_RANGES], "bytes");
        assert_eq!(body(whole).await, film.bytes);
        let part = fetch(&server, url, Some("bytes=10-19")).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(body(part).await, film.bytes[10..20]);
    }
    let space = server.get("/api/v1/cloud", &token).await.expect(200).body;
    assert_eq!((&space["used_bytes"], &space["quota_bytes"]), (&json!(3_003), &json!(1 << 20)));

    let path = format!("recordings?{SPAN}");
    let timeline = camera.ask(&server, &token, &path).await.expect(200).body;
    assert_eq!(timeline["sources"][0]["place"], "cs");
    let spans = timeline["spans"].as_array().expect("spans");
    assert_eq!((spans[0]["from"].as_i64(), spans.len()), (Some(T0), 1), "{timeline}");
    assert_eq!(spans[0]["to"].as_i64(), Some(T0 + 3 * LONG_US));
    let gaps = timeline["gaps"].as_array().expect("gaps");
    let after = gaps.iter().find(|gap| gap["from"] == spans[0]["to"]).expect("a gap behind");
    assert_eq!(after["reason"], "not_planned");
    let days = "recordings/days?zone=UTC&year=2027&month=1";
    let days = camera.ask(&server, &token, days).await.expect(200).body;
    assert!(days["days"].as_array().expect("days").contains(&json!(15)), "{days}");

    let path = format!("recordings/proof?{SPAN}&tier=main");
    let proof = camera.ask(&server, &token, &path).await.expect(200).text;
    let proof = Proof::parse(proof.as_bytes()).expect("a proof");
    let mut verifier = proof.chains[0].verifier(Expected::of(camera.pu.clone()));
    for entry in &proof.chains[0].entries {
        if let Some((sequence, segment)) = verifier.push(&entry.entry()) {
            let film = &films[usize::try_from(sequence.0).expect("few") - 1];
            assert_eq!(segment.len, film.bytes.len() as u64);
        }
    }
    let report = verifier.finish();
    assert!(report.is_sound() && report.segments == 3, "{report:?}");
}

#[tokio::test]
async fn a_span_over_two_chains_is_proven_as_one() {
    let server = server(1 << 20).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    for chain in 0..2 {
        if chain > 0 {
            unit.begin_another().await;
        }
        let film = unit.film(1_000);
        assert_eq!(film.sequence, 1, "each chain counts from one");
        unit.store(&film).await;
    }
    let path = format!("recordings/proof?{SPAN}&tier=main");
    let proof = camera.ask(&server, &token, &path).await.expect(200).text;
    let proof = Proof::parse(proof.as_bytes()).expect("no two files of one name");
    assert_eq!(proof.chains.len(), 2);
    for chain in &proof.chains {
        let mut verifier = chain.verifier(Expected::of(camera.pu.clone()));
        let found = chain.entries.iter().filter_map(|entry| verifier.push(&entry.entry())).count();
        let report = verifier.finish();
        assert!(report.is_sound() && (found, report.segments) == (1, 1), "{report:?}");
    }
}

#[tokio::test]
async fn a_playlist_is_for_one_user_and_camera_and_ends_with_the_right() {
    let server = server(1 << 20).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    let film = unit.film(1_000);
    unit.store(&film).await;
    let path = format!("/api/v1/cameras/{}/recordings/playlist", camera.id());
    let request = json!({ "from": T0, "to": T0 + 60_000_000, "tier": "main" });
    let link = server.post(&path, &token, request.clone()).await.expect(200).body;
    let url = link["url"].as_str().expect("an address").to_owned();
    let playlist = fetch(&server, &url, None).await;
    assert_eq!(playlist.status(), StatusCode::OK);
    let text = String::from_utf8(body(playlist).await).expect("text");
    let name = format!("{}/{:012}.mp4", unit.chain, film.sequence);
    assert!(text.contains(&format!("#EXT-X-BYTERANGE:990@10\n{name}")), "{text}");
    assert!(text.ends_with("#EXT-X-ENDLIST\n"));
    let segment = url.replace("playlist.m3u8", &name);
    let sent_on = fetch(&server, &segment, None).await;
    assert_eq!(sent_on.status(), StatusCode::TEMPORARY_REDIRECT);
    let at = sent_on.headers()[header::LOCATION].to_str().expect("text").to_owned();
    assert_eq!(body(fetch(&server, &at, None).await).await, film.bytes);

    let altered = url.replacen("eyJ", "eyK", 1);
    assert_ne!(altered, url);
    assert_eq!(fetch(&server, &altered, None).await.status(), StatusCode::UNAUTHORIZED);
    let long = json!({ "from": T0, "to": T0 + 21_600_000_001_i64, "tier": "main" });
    server.post(&path, &token, long).await.problem(400, "invalid_request");
    let bert = server.token(BERT).await;
    server.post(&path, &bert, request.clone()).await.problem(404, "not_found");
    // It ends with the sign-in that asked for it.
    let second = server.token(ANNA).await;
    let link = server.post(&path, &second, request).await.expect(200).body;
    let its = link["url"].as_str().expect("an address").to_owned();
    assert_eq!(fetch(&server, &its, None).await.status(), StatusCode::OK);
    server.delete("/api/v1/sessions/current", &second).await.expect(204);
    assert_eq!(fetch(&server, &its, None).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(fetch(&server, &url, None).await.status(), StatusCode::OK);
    // Released: at once, though its time is not over.
    server.delete(&format!("/api/v1/devices/{}/binding", camera.pu), &token).await.expect(204);
    assert_eq!(fetch(&server, &url, None).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(fetch(&server, &segment, None).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn presigned_urls_leaked_or_swapped_are_refused() {
    let server = server(1 << 20).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    let (film, other) = (unit.film(1_000), unit.film(1_000));
    let request = unit.leave(&film).await;
    let url = request.url.expose().clone();
    // For one object, of one length and content, with its metadata.
    let elsewhere = url.replace("000000000001.mp4", "000000000002.mp4");
    assert_ne!(elsewhere, url);
    let put = async |url: &str, bytes: &[u8]| unit.put_at(url, &request, bytes.to_vec()).await;
    assert_eq!(put(&elsewhere, &film.bytes).await, StatusCode::FORBIDDEN);
    assert_eq!(put(&url, &film.bytes[1..]).await, StatusCode::FORBIDDEN);
    assert_eq!(put(&url, &other.bytes).await, StatusCode::BAD_REQUEST);
    assert_eq!(Unit::refused(unit.stored(&film).await), ProblemKind::NotFound);
    // In time only.
    server.clock.advance(Duration::from_secs(901));
    assert_eq!(put(&url, &film.bytes).await, StatusCode::FORBIDDEN);
    unit.store(&film).await;

    // The sign-in's token has ended, too.
    let token = server.token(ANNA).await;
    let listed = segments(&server, &camera, &token).await;
    let read = listed[0]["url"].as_str().expect("an address").to_owned();
    assert_eq!(fetch(&server, &read, None).await.status(), StatusCode::OK);
    let swapped = read.replace("000000000001.mp4", "000000000002.mp4");
    assert_eq!(fetch(&server, &swapped, None).await.status(), StatusCode::FORBIDDEN);
    for path in ["/cs/../etc/passwd", "/cs/v1/..%2f..%2fetc/passwd", "/cs/cloud.secret"] {
        let (_, query) = read.split_once('?').expect("a query");
        let answer = fetch(&server, &format!("{path}?{query}"), None).await;
        assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
    }
    server.clock.advance(Duration::from_secs(301));
    assert_eq!(fetch(&server, &read, None).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_unit_stores_what_it_has_signed_itself_and_for_its_owner_alone() {
    let server = server(1 << 20).await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let (yard, gate) = (Camera::new(1), Camera::new(2));
    let mut unit = bound(&server, &yard, &anna).await;
    let mut other = bound(&server, &gate, &bert).await;
    let (film, foreign) = (unit.film(1_000), other.film(1_000));
    // Another unit's segment, though it is signed well.
    assert_eq!(Unit::refused(unit.upload(&foreign).await), ProblemKind::InvalidRequest);
    other.store(&foreign).await;
    let (chain, sequence) = (other.chain.to_string(), foreign.sequence);
    let stored = unit.ask(CloudRequest::Stored { chain, sequence }).await;
    assert_eq!(Unit::refused(stored), ProblemKind::NotFound);
    // Altered by a bit, or of a chain that was not begun.
    let mut altered = film.clone();
    altered.entry.signature = foreign.entry.signature;
    assert_eq!(Unit::refused(unit.upload(&altered).await), ProblemKind::InvalidRequest);
    let mut unread = film.clone();
    unread.entry.encoded = "AAAA".into();
    assert_eq!(Unit::refused(unit.upload(&unread).await), ProblemKind::InvalidRequest);
    // For somebody who is not the owner: what was recorded for them is not given to the owner.
    let (owner, entry) = (other.owner.clone(), film.entry.clone());
    let upload = CloudRequest::Upload { owner, entry, correction_us: 0, time_known: true };
    assert_eq!(Unit::refused(unit.ask(upload).await), ProblemKind::Forbidden);
    // By an older registration.
    let stale = Unit::of(&server, &yard, &anna).await;
    assert_eq!(Unit::refused(unit.upload(&film).await), ProblemKind::StaleLease);
    assert_eq!(stale.open().await, Ok(CloudReply::Opened));
    // Nobody sees what is another's.
    yard.ask(&server, &bert, &format!("recordings/segments?{SPAN}&tier=main"))
        .await
        .problem(404, "not_found");
    gate.ask(&server, "", &format!("recordings/segments?{SPAN}&tier=main"))
        .await
        .problem(401, "unauthenticated");
    assert_eq!(segments(&server, &gate, &bert).await.len(), 1);
}

#[tokio::test]
async fn when_space_is_full_the_oldest_goes_unless_it_is_locked() {
    let server = server(3_000).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    let films: Vec<Film> = (0..5).map(|_| unit.film(1_000)).collect();
    for film in &films[..3] {
        unit.store(film).await;
    }
    let lock = |from: i64, to: i64| json!({ "place": "cs", "from": T0 + from * LONG_US, "to": T0 + to * LONG_US, "locked": true });
    let locked = camera.put(&server, &token, "recordings/lock", lock(0, 1)).await.expect(200).body;
    assert_eq!(locked, json!({ "segments": 1, "bytes": 1_000 }));
    assert_eq!(unit.upload(&films[3]).await, Ok(CloudReply::Full { missing_bytes: 1_000 }));
    let room = CloudRequest::MakeRoom { bytes: 1_000 };
    let made = CloudReply::RoomMade { segments: 1, bytes: 1_000 };
    assert_eq!(unit.ask(room.clone()).await, Ok(made));
    // Room that is there already is not made again.
    let none = CloudReply::RoomMade { segments: 0, bytes: 0 };
    assert_eq!(unit.ask(room.clone()).await, Ok(none));
    unit.store(&films[3]).await;
    let kept: Vec<_> = segments(&server, &camera, &token).await;
    let kept: Vec<_> = kept.iter().map(|one| one["sequence"].as_u64().expect("a number")).collect();
    assert_eq!(kept, [1, 3, 4], "the oldest that was not locked has gone");
    camera.put(&server, &token, "recordings/lock", lock(0, 9)).await.expect(200);
    assert_eq!(unit.upload(&films[4]).await, Ok(CloudReply::Full { missing_bytes: 1_000 }));
    assert_eq!(Unit::refused(unit.ask(room).await), ProblemKind::NoSpaceLeft);

    // More is given by the operator alone.
    let path = format!("/api/v1/operator/subscriptions/{}/cloud", unit.owner);
    let more = Some(json!({ "quota_bytes": 4_000 }));
    let put = axum::http::Method::PUT;
    let by = async |token: &str| {
        server.call_from("192.0.2.1", put.clone(), &path, Some(token), more.clone()).await
    };
    by(&token).await.problem(403, "forbidden");
    by(&server.operator().await).await.expect(200);
    unit.store(&films[4]).await;
}

#[tokio::test]
async fn a_clip_that_never_comes_leaves_nothing_and_an_object_in_no_list_is_listed() {
    let server = server(2_000).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    let event = Causes { event: true, ..Causes::default() };
    let (never, late) = (unit.film_of(1_000, event), unit.film_of(1_000, event));
    unit.leave(&never).await;
    let request = unit.leave(&late).await;
    assert_eq!(unit.put(&request, late.bytes.clone()).await, StatusCode::OK);
    let used = async |token: &str| {
        server.get("/api/v1/cloud", token).await.expect(200).body["used_bytes"].as_u64()
    };
    assert_eq!(used(&token).await, Some(2_000), "reserved space counts");
    assert_eq!(server.cmu.look_after_cloud().await.expect("done"), 0);
    assert_eq!(used(&token).await, Some(2_000), "a reservation lives on while it can be used");
    server.clock.advance(Duration::from_secs(600));
    // Asked again it lives longer.
    unit.leave(&late).await;
    server.clock.advance(Duration::from_secs(3_001));
    assert_eq!(server.cmu.look_after_cloud().await.expect("done"), 0);
    let token = server.token(ANNA).await;
    assert_eq!(used(&token).await, Some(1_000));
    assert_eq!(unit.stored(&late).await, Ok(CloudReply::Stored));

    // A request that is used again after its segment was deleted.
    let again = unit.film(1_000);
    let request = unit.leave(&again).await;
    assert_eq!(unit.put(&request, again.bytes.clone()).await, StatusCode::OK);
    assert_eq!(unit.stored(&again).await, Ok(CloudReply::Stored));
    let path = format!("/api/v1/cloud/devices/{}", camera.pu);
    let gone = server.delete(&path, &token).await.expect(200).body;
    assert_eq!(gone["segments"], 2);
    assert!(segments(&server, &camera, &token).await.is_empty());
    assert_eq!(server.cmu.look_after_cloud().await.expect("done"), 0);
    assert_eq!(used(&token).await, Some(0));
    assert_eq!(unit.put(&request, again.bytes.clone()).await, StatusCode::OK);
    assert_eq!(server.cmu.look_after_cloud().await.expect("done"), 1, "it is found");
    assert_eq!(server.cmu.look_after_cloud().await.expect("done"), 0);
    assert_eq!(used(&token).await, Some(1_000), "it counts, and can be deleted");
    assert_eq!(segments(&server, &camera, &token).await.len(), 1);
}

#[tokio::test]
async fn what_lies_in_the_cloud_stands_beside_what_an_nvr_has() {
    let server = server(1 << 20).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    let film = unit.film(1_000);
    unit.store(&film).await;
    let nvr = Camera { kind: DeviceKind::Nvr, ..Camera::new(2) };
    nvr.register(&server).await;
    let asked = nvr.connect(&server).await;
    nvr.bind(&server, &token).await.expect(201);
    let relation = format!("/api/v1/nvrs/{}/cameras/{}", nvr.pu, camera.id());
    let answer = server.call_from("192.0.2.1", Method::PUT, &relation, Some(&token), None).await;
    answer.expect(200);

    let path = format!("recordings?{SPAN}");
    let timeline = camera.ask(&server, &token, &path).await.expect(200).body;
    assert_eq!(timeline["sources"][0]["place"], "cs", "{timeline}");
    let days = "recordings/days?zone=UTC&year=2027&month=1";
    let days = camera.ask(&server, &token, days).await.expect(200).body;
    let days = days["days"].as_array().expect("days");
    // The recorders of these tests have something on the 21st.
    assert!([15, 21].iter().all(|day| days.contains(&json!(day))), "{days:?}");
    let asked = asked.lock().expect("lock");
    let of_nvr = |which: fn(&RecordingRequest) -> bool| {
        asked.iter().any(|request| match request {
            SmRequest::Recording { ask, .. } => which(ask),
            _ => false,
        })
    };
    assert!(of_nvr(|ask| matches!(ask, RecordingRequest::List(_))), "{asked:?}");
    assert!(of_nvr(|ask| matches!(ask, RecordingRequest::Days { .. })), "{asked:?}");
}

#[tokio::test]
async fn what_lies_in_the_cloud_is_shown_without_its_unit_and_says_that_it_is_away() {
    let server = server(1 << 20).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    camera.register(&server).await;
    camera.bind(&server, &token).await.expect(201);
    let mut unit = Unit::of(&server, &camera, &token).await;
    assert_eq!(unit.open().await, Ok(CloudReply::Opened));
    let silent = json!([{ "place": "pu", "recorder": camera.pu.to_string(), "reason": "offline" }]);
    let path = format!("recordings?{SPAN}");
    let days = "recordings/days?zone=UTC&year=2027&month=1";
    for path in [path.as_str(), days] {
        camera.ask(&server, &token, path).await.problem(503, "device_offline");
    }
    let film = unit.film(1_000);
    unit.store(&film).await;
    let timeline = camera.ask(&server, &token, &path).await.expect(200).body;
    assert_eq!(timeline["sources"][0]["place"], "cs", "{timeline}");
    assert_eq!(timeline["silent"], silent);
    let days = camera.ask(&server, &token, days).await.expect(200).body;
    assert_eq!((&days["days"], &days["silent"]), (&json!([15]), &silent));
}

#[tokio::test]
async fn everybody_sees_their_own_time_in_the_cloud() {
    let server = server(1 << 20).await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let camera = Camera::new(1);
    let mut unit = bound(&server, &camera, &anna).await;
    let hers = unit.film(1_000);
    unit.store(&hers).await;
    let binding = format!("/api/v1/devices/{}/binding", camera.pu);
    server.delete(&binding, &anna).await.expect(204);
    // Nobody's unit stores nothing.
    let film = unit.film(1_000);
    assert_eq!(Unit::refused(unit.upload(&film).await), ProblemKind::Forbidden);
    camera.bind(&server, &bert).await.expect(201);
    assert!(segments(&server, &camera, &bert).await.is_empty(), "what was hers");
    let path = format!("recordings?{SPAN}");
    let timeline = camera.ask(&server, &bert, &path).await.expect(200).body;
    assert_eq!(timeline["spans"], json!([]), "{timeline}");
    // What the unit still holds of hers is not his.
    assert_eq!(Unit::refused(unit.upload(&film).await), ProblemKind::Forbidden);
    let used = async |token: &str| {
        server.get("/api/v1/cloud", token).await.body["used_bytes"].as_u64().expect("bytes")
    };
    assert_eq!((used(&anna).await, used(&bert).await), (1_000, 0));
    // It is hers again, and shows what was hers.
    server.delete(&binding, &bert).await.expect(204);
    camera.bind(&server, &anna).await.expect(201);
    assert_eq!(segments(&server, &camera, &anna).await.len(), 1);
}

#[tokio::test]
async fn recordings_grow_old_as_the_plan_says() {
    let server = server(1 << 20).await;
    let (token, camera) = (server.token(ANNA).await, Camera::new(1));
    let mut unit = bound(&server, &camera, &token).await;
    let event = Causes { event: true, ..Causes::default() };
    let (old, clip) = (unit.film(1_000), unit.film_of(1_000, event));
    unit.store(&old).await;
    unit.store(&clip).await;
    let plan = json!({ "seen_revision": 7, "strategies": [],
        "keep": { "max_age_s": 3_600, "event_max_age_s": 86_400 } });
    camera.put(&server, &token, "plans/cs", plan).await.expect(204);
    server.cmu.look_after_cloud().await.expect("done");
    assert_eq!(segments(&server, &camera, &token).await.len(), 2);
    server.clock.advance(Duration::from_secs(3_600));
    server.cmu.look_after_cloud().await.expect("done");
    let token = server.token(ANNA).await;
    let left = segments(&server, &camera, &token).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["sequence"], clip.sequence);
}
