//! Recordings and plans over Cm: who may ask, what is passed on, and what is refused.

mod support;

use serde_json::{Value, json};
use sightline_model::{RecordingPlace, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind,
    ps::RecordingRequest,
    sc::{ScReply, ScRequest},
    sm::SmRequest,
};
use support::{Camera, Server};

const ANNA: &str = "+8613800138000";
const BERT: &str = "+8613800138001";
const HOUR: &str = "recordings?from=2026-11-21T17:00:00Z&to=2026-11-21T18:00:00Z";

fn always() -> Value {
    let strategy = json!({ "id": "always", "tier": "main", "trigger": { "on": "continuous" } });
    json!({ "seen_revision": 7, "strategies": [strategy], "keep": { "max_age_s": 604_800 } })
}

#[tokio::test]
async fn the_recorder_is_asked_and_its_answer_passed_on() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::new(1);
    camera.register(&server).await;
    let asked = camera.connect(&server).await;
    camera.bind(&server, &token).await.expect(201);

    let timeline = camera.ask(&server, &token, &format!("{HOUR}&max_spans=9&tier=sub")).await;
    let timeline = timeline.expect(200).body;
    let [from, to] = ["from", "to"].map(|end| timeline[end].as_i64().expect("a time"));
    assert_eq!(to - from, 3_600_000_000);
    let days = "recordings/days?zone=Europe/Berlin&year=2026&month=11";
    assert_eq!(camera.ask(&server, &token, days).await.expect(200).body["days"], json!([21]));
    assert_eq!(camera.ask(&server, &token, "plans").await.expect(200).body["plans"], json!([]));
    camera.put(&server, &token, "plans/pu", always()).await.expect(204);
    let on = json!({ "on": true });
    camera.put(&server, &token, "plans/pu/manual/button", on).await.expect(204);
    let lock = json!({ "place": "pu", "from": 1, "to": 2, "locked": true });
    let locked = camera.put(&server, &token, "recordings/lock", lock).await.expect(200);
    assert_eq!(locked.body, json!({ "segments": 15, "bytes": 30 }));

    let asked = asked.lock().expect("lock");
    let asks: Vec<_> = asked
        .iter()
        .filter_map(|request| match request {
            SmRequest::Recording { device, ask } => {
                assert_eq!(*device, camera.pu);
                Some(&**ask)
            }
            _ => None,
        })
        .collect();
    let [
        RecordingRequest::List(query),
        RecordingRequest::Days { .. },
        RecordingRequest::ReadPlans { .. },
        RecordingRequest::SetPlan { plan },
        RecordingRequest::Manual { strategy, on: true, .. },
        RecordingRequest::Lock(_),
    ] = &asks[..]
    else {
        panic!("{asks:?}");
    };
    assert_eq!(query.from, UnixMicros(1_795_280_400_000_000));
    assert_eq!((query.max_spans, query.camera.to_string()), (9, camera.id()));
    assert_eq!((plan.revision, plan.place), (8, RecordingPlace::Pu));
    assert_eq!(strategy.as_str(), "button");
}

#[tokio::test]
async fn recordings_are_the_owners_alone() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let camera = Camera::owned_by(&server, 1, &anna).await;
    for path in [HOUR, "recordings/days?zone=UTC&year=2026&month=11", "plans"] {
        camera.ask(&server, &bert, path).await.problem(404, "not_found");
        camera.ask(&server, "", path).await.problem(401, "unauthenticated");
    }
    let lock = json!({ "place": "pu", "from": 1, "to": 2, "locked": false });
    camera.put(&server, &bert, "recordings/lock", lock).await.problem(404, "not_found");
    camera.put(&server, &bert, "plans/pu", always()).await.problem(404, "not_found");
    let on = json!({ "on": false });
    camera.put(&server, &bert, "plans/pu/manual/x", on).await.problem(404, "not_found");
    // A recorder that nobody reaches.
    let away = Camera::new(2);
    away.register(&server).await;
    away.bind(&server, &anna).await.expect(201);
    away.ask(&server, &anna, HOUR).await.problem(503, "device_offline");
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anybody_is_asked() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    for bad in [
        "recordings",
        "recordings?from=yesterday&to=2026-11-21T18:00:00Z",
        "recordings?from=1&to=2",
        "recordings?from=2026-11-21T17:00:00Z&to=2026-11-21T18:00:00Z&max_spans=-1",
        "recordings?from=2026-11-21T17:00:00Z&to=2026-11-21T18:00:00Z&tier=best",
        "recordings/days?zone=../x&year=2026&month=11",
        "recordings/days?zone=UTC&year=2026&month=300",
    ] {
        camera.ask(&server, &token, bad).await.problem(400, "invalid_request");
    }
    let mut plan = always();
    plan["strategies"][0]["id"] = "no name".into();
    camera.put(&server, &token, "plans/pu", plan).await.problem(400, "invalid_request");
    let mut twice = always();
    let one = twice["strategies"][0].clone();
    twice["strategies"].as_array_mut().expect("a list").push(one);
    camera.put(&server, &token, "plans/pu", twice).await.problem(400, "invalid_request");
    let mut tiny = always();
    tiny["keep"]["max_bytes"] = 1.into();
    camera.put(&server, &token, "plans/pu", tiny).await.problem(400, "invalid_request");
    let mut last = always();
    last["seen_revision"] = u64::MAX.into();
    camera.put(&server, &token, "plans/pu", last).await.problem(400, "invalid_request");
    camera.put(&server, &token, "plans/moon", always()).await.problem(404, "not_found");
    // The recorder's own refusal.
    let mut stale = always();
    stale["seen_revision"] = 0.into();
    camera.put(&server, &token, "plans/pu", stale).await.problem(409, "plan_changed");
}

fn report(camera: &Camera, epoch: u64, state: &str, heads: &Value) -> ScRequest {
    let storage = json!({ "state": state, "recorded_bytes": 5, "locked_bytes": 0 });
    let report = json!({ "recorder": camera.pu, "storage": storage, "heads": heads });
    let report = serde_json::from_value(report).expect("a report");
    ScRequest::RecorderReport { device: camera.pu.clone(), epoch, report: Box::new(report) }
}

/// What the audit log has of an action, sorted: all of it is of one moment.
async fn audited(server: &Server, staff: &str, action: &str) -> Vec<String> {
    let list = server.get("/api/v1/operator/audit", staff).await.expect(200).body;
    let entries = list["entries"].as_array().expect("entries");
    let found = entries.iter().filter(|entry| entry["action"] == action);
    let outcome = |entry: &Value| entry["outcome"].as_str().expect("an outcome").to_owned();
    let mut outcomes: Vec<_> = found.map(outcome).collect();
    outcomes.sort();
    outcomes
}

#[tokio::test]
async fn a_storage_that_goes_bad_is_kept_and_told_once() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::new(1);
    let lease = camera.register(&server).await;
    camera.bind(&server, &token).await.expect(201);
    let mut events = server.events(&token).await;
    assert_eq!(events.next().await["type"], "resync");
    let report = |state: &str, epoch: u64| report(&camera, epoch, state, &json!([]));
    for state in ["ok", "full", "full"] {
        assert_eq!(server.sc(&report(state, lease.epoch)).await, ScReply::Done);
    }
    let stale = server.sc(&report("failing", lease.epoch + 1)).await;
    assert!(matches!(stale, ScReply::Refused { .. }), "{stale:?}");
    let staff = server.operator().await;
    assert_eq!(audited(&server, &staff, "recorder.storage").await, ["full"]);
    // One that comes and goes fills neither the owner's screen nor the log.
    for state in ["ok", "full", "ok", "full", "away"] {
        assert_eq!(server.sc(&report(state, lease.epoch)).await, ScReply::Done);
    }
    assert_eq!(audited(&server, &staff, "recorder.storage").await, ["away", "full", "ok"]);
    for kind in ["storage_full", "storage_away"] {
        let event = events.next().await;
        assert_eq!((&event["type"], &event["kind"]), (&"alert".into(), &kind.into()), "{event}");
    }
}

#[tokio::test]
async fn a_chain_that_got_shorter_is_found() {
    let server = Server::new().await;
    let camera = Camera::new(1);
    let lease = camera.register(&server).await;
    let staff = server.operator().await;
    let head = |sequence: u64| {
        let source = json!({ "place": "pu", "recorder": camera.pu, "tier": "main" });
        let (chain, hash) = ("a1".repeat(16), format!("{sequence:064x}"));
        json!({
            "camera": camera.id(), "source": source, "chain": chain, "sequence": sequence,
            "hash": hash, "at": 1
        })
    };
    let told = async |heads: Value| server.sc(&report(&camera, lease.epoch, "ok", &heads)).await;
    for heads in [json!([head(5)]), json!([]), json!([head(6)])] {
        assert_eq!(told(heads).await, ScReply::Done);
    }
    assert!(audited(&server, &staff, "recorder.chains").await.is_empty());
    // That the storage was away in between does not hide it; and it is said once.
    for heads in [json!([]), json!([head(5)]), json!([head(4)])] {
        assert_eq!(told(heads).await, ScReply::Done);
    }
    assert_eq!(audited(&server, &staff, "recorder.chains").await, ["chain_receded"]);

    let mut long = head(7);
    long["chain"] = "a1".repeat(17).into();
    let refused = told(json!([long])).await;
    let is_bad = |problem: &Problem| problem.kind == ProblemKind::InvalidRequest;
    assert!(matches!(&refused, ScReply::Refused { problem } if is_bad(problem)), "{refused:?}");
}
