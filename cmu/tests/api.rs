//! Every route: what it does, and what it refuses.

mod support;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::json;
use sightline_protocol::{ps::ChannelStatus, sc::ScRequest};
use support::{Camera, Server, read};

const ANNA: &str = "+8613800138000";
const BERT: &str = "+8613800138001";

#[tokio::test]
async fn info_needs_no_sign_in() {
    let server = Server::new().await;
    let path = "/api/v1/info";
    let answer = server.call_from("192.0.2.1", Method::GET, path, None, None).await.expect(200);
    assert_eq!(answer.body["domain"], "sightline.local");
    assert_eq!(answer.body["approval"], "automatic");
}

#[tokio::test]
async fn a_person_signs_up_by_sms_and_is_known_the_next_time() {
    let server = Server::new().await;
    let first = server.sign_in(ANNA).await;
    let me = server.get("/api/v1/me", first["access_token"].as_str().expect("token")).await;
    let me = me.expect(200).body;
    assert_eq!(me["phone_masked"], "+•••••••••••00");
    assert_eq!(me["subscription"], "active");
    assert_eq!(me["is_operator"], false);
    let second = server.sign_in(ANNA).await;
    assert_eq!(first["user"]["id"], second["user"]["id"]);
    assert_ne!(first["client"], second["client"]);
}

#[tokio::test]
async fn a_code_works_once_and_for_five_minutes() {
    let server = Server::new().await;
    server.ask_code(ANNA, "192.0.2.1").await.expect(202);
    let code = server.inbox.code(ANNA);
    server.enter_code(ANNA, &code, "192.0.2.1").await.expect(201);
    server.enter_code(ANNA, &code, "192.0.2.1").await.problem(403, "wrong_code");

    server.ask_code(ANNA, "192.0.2.1").await.expect(202);
    let code = server.inbox.code(ANNA);
    server.clock.advance(std::time::Duration::from_secs(300));
    server.enter_code(ANNA, &code, "192.0.2.1").await.problem(403, "wrong_code");
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_copy_ends_the_sign_in() {
    let server = Server::new().await;
    let signed_in = server.sign_in(ANNA).await;
    let refresh = |token: &str| {
        let body = Some(json!({ "refresh_token": token }));
        let path = "/api/v1/sessions/refresh";
        server.call_from("192.0.2.1", Method::POST, path, None, body)
    };
    let first = signed_in["refresh_token"].as_str().expect("token").to_owned();
    let second = refresh(&first).await.expect(200).body;
    let second_token = second["refresh_token"].as_str().expect("token");
    assert_ne!(first, second_token);
    server.clock.advance(std::time::Duration::from_secs(60));
    refresh(&first).await.problem(401, "unauthenticated");
    // The thief's copy and the owner's token are both dead now, and so is the access token.
    refresh(second_token).await.problem(401, "unauthenticated");
    let access = second["access_token"].as_str().expect("token");
    server.get("/api/v1/me", access).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_browser_keeps_its_refresh_token_in_a_strict_cookie() {
    let server = Server::with(|c| c.public_url = "https://cameras.example".into()).await;
    server.ask_code(ANNA, "192.0.2.1").await.expect(202);
    let body = json!({
        "phone": ANNA, "code": server.inbox.code(ANNA),
        "client_key": support::client_key().to_string()
    });
    let path = "/api/v1/sessions";
    let answer =
        server.call_from("192.0.2.1", Method::POST, path, None, Some(body)).await.expect(201);
    assert!(answer.body.get("refresh_token").is_none());
    let cookie = answer.headers[header::SET_COOKIE].to_str().expect("text").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/api/v1/sessions"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let pair = cookie.split(';').next().expect("a pair").to_owned();
    let request = Request::post("/api/v1/sessions/refresh").header(header::COOKIE, pair);
    let request = request.body(Body::empty()).expect("a request");
    let answer = read(server.raw(request, "192.0.2.1").await).await.expect(200);
    assert!(answer.headers.contains_key(header::SET_COOKIE));
}

#[tokio::test]
async fn signing_out_ends_tokens_and_access_ends_by_itself() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let answer = server.delete("/api/v1/sessions/current", &token).await.expect(204);
    assert!(answer.headers[header::SET_COOKIE].to_str().expect("text").contains("Max-Age=0"));
    server.get("/api/v1/me", &token).await.problem(401, "unauthenticated");

    let token = server.token(ANNA).await;
    server.clock.advance(std::time::Duration::from_secs(600));
    server.get("/api/v1/me", &token).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn forged_and_foreign_tokens_are_not_accepted() {
    let (server, other) = (Server::new().await, Server::new().await);
    let foreign = other.token(ANNA).await;
    let own = server.token(ANNA).await;
    let mut forged = own.clone();
    let last = if forged.ends_with('A') { 'B' } else { 'A' };
    forged.replace_range(forged.len() - 10..forged.len() - 9, &last.to_string());
    for bad in [foreign.as_str(), &forged, "", "x.y.z", "eyJhbGciOiJub25lIn0.e30."] {
        server.get("/api/v1/me", bad).await.problem(401, "unauthenticated");
    }
    let camera = Camera::owned_by(&server, 1, &own).await;
    let play = camera.play(&server, &own, "client").await.expect(200).body;
    let play_token = play["token"].as_str().expect("token");
    server.get("/api/v1/me", play_token).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_camera_is_bound_listed_renamed_and_released() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::new(1);
    let lease = camera.register(&server).await;
    assert_eq!((lease.epoch, lease.owner), (1, None));
    camera.connect(&server).await;
    let bound = camera.bind(&server, &token).await.expect(201).body;
    assert_eq!(bound["cameras"][0]["name"], "Yard");
    // Again: nothing changes.
    camera.bind(&server, &token).await.expect(201);

    let path = format!("/api/v1/cameras/{}", camera.id());
    let change = Some(json!({ "name": "车库" }));
    server.call_from("192.0.2.1", Method::PATCH, &path, Some(&token), change).await.expect(200);
    let list = server.get("/api/v1/cameras", &token).await.expect(200).body;
    assert_eq!(list["cameras"][0]["name"], "车库");
    assert_eq!(list["cameras"][0]["presence"], "online");
    for bad in ["", "a\r\nb", &"x".repeat(65)] {
        let change = Some(json!({ "name": bad }));
        let answer = server.call_from("192.0.2.1", Method::PATCH, &path, Some(&token), change);
        answer.await.problem(400, "invalid_request");
    }
    let release = format!("/api/v1/devices/{}/binding", camera.pu);
    server.delete(&release, &token).await.expect(204);
    server.delete(&release, &token).await.problem(404, "not_found");
    server.get(&path, &token).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_subscription_waits_for_the_operator() {
    let server = Server::with(|c| c.approval = sightline_protocol::cm::Approval::Operator).await;
    let signed_in = server.sign_in(ANNA).await;
    let (token, user) = (signed_in["access_token"].as_str().expect("t"), &signed_in["user"]["id"]);
    assert_eq!(signed_in["user"]["subscription"], "pending");
    let camera = Camera::new(1);
    camera.register(&server).await;
    camera.connect(&server).await;
    camera.bind(&server, token).await.problem(403, "not_approved");

    let operator = server.operator().await;
    server.get("/api/v1/operator/subscriptions", token).await.problem(403, "forbidden");
    let rows = server.get("/api/v1/operator/subscriptions", &operator).await.expect(200).body;
    assert!(rows["subscriptions"].as_array().expect("rows").iter().any(|r| &r["user"] == user));
    let path = format!("/api/v1/operator/subscriptions/{}", user.as_str().expect("id"));
    let put = |by: String, to: &'static str| {
        let (server, path) = (&server, &path);
        async move {
            let body = Some(json!({ "subscription": to }));
            server.call_from("192.0.2.1", Method::PUT, path, Some(&by), body).await
        }
    };
    put(token.to_owned(), "active").await.problem(403, "forbidden");
    put(operator.clone(), "active").await.expect(200);
    camera.bind(&server, token).await.expect(201);
    put(operator.clone(), "suspended").await.expect(200);
    camera.play(&server, token, "client").await.problem(403, "not_approved");
    server.get("/api/v1/operator/audit", token).await.problem(403, "forbidden");
    assert!(server.audit_has(&operator, "subscription.change", "forbidden").await);
}

#[tokio::test]
async fn a_play_answer_says_where_and_how() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let play = camera.play(&server, &token, "client").await.expect(200).body;
    assert_eq!(play["signal_url"], "wss://scu.example/cs/v1");
    assert_eq!(play["camera"], camera.id());
    let url = play["rtsp_urls"][0].as_str().expect("a URL");
    let shown = play["token"].as_str().expect("token");
    assert_eq!(url, format!("rtsp://192.168.1.9:554/0?token={shown}"));
}

#[tokio::test]
async fn a_camera_that_is_away_is_said_to_be() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::new(1);
    let lease = camera.register(&server).await;
    camera.bind(&server, &token).await.expect(201);
    // Registered, but its SCU does not answer.
    camera.play(&server, &token, "client").await.problem(503, "device_offline");
    camera.connect(&server).await;
    let channels = ScRequest::Channels {
        device: camera.pu.clone(),
        epoch: lease.epoch,
        channels: vec![ChannelStatus {
            fault: Some("no answer".into()),
            ..camera.channel("Yard", false)
        }],
    };
    server.sc(&channels).await;
    camera.play(&server, &token, "client").await.problem(503, "camera_offline");
    server.clock.advance(std::time::Duration::from_secs(16));
    camera.play(&server, &token, "client").await.problem(503, "device_offline");
}

#[tokio::test]
async fn a_camera_that_is_starting_is_waited_for() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let report = |online| ScRequest::Channels {
        device: camera.pu.clone(),
        epoch: 1,
        channels: vec![camera.channel("Yard", online)],
    };
    server.sc(&report(false)).await;
    let starts = async {
        // The question is asked, and waits, before the camera comes up.
        tokio::task::yield_now().await;
        server.sc(&report(true)).await
    };
    let (play, _) = tokio::join!(camera.play(&server, &token, "client"), starts);
    play.expect(200);
}

#[tokio::test]
async fn bad_requests_get_problems_and_nothing_else() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let _ = BERT;
    let post = |body: String, ty: &'static str| {
        let request = Request::post("/api/v1/sms-codes").header(header::CONTENT_TYPE, ty);
        server.raw(request.body(Body::from(body)).expect("a request"), "192.0.2.1")
    };
    for bad in ["", "{", "[]", "{}", r#"{"phone":1}"#, r#"{"phone":"13800138000"}"#] {
        let answer = read(post(bad.into(), "application/json").await).await;
        answer.problem(400, "invalid_request");
    }
    let long = format!(r#"{{"phone":"{}"}}"#, "1".repeat(70_000));
    read(post(long, "application/json").await).await.problem(413, "invalid_request");
    read(post("{}".into(), "text/plain").await).await.problem(400, "invalid_request");
    server.get("/api/v1/nothing", &token).await.problem(404, "not_found");
    server.get("/api", &token).await.problem(404, "not_found");
    server.get("/api/v1/bindings", &token).await.problem(405, "invalid_request");
    for bad in ["%24(id)", "..%2F..", "a;b", "%0d%0a"] {
        server.get(&format!("/api/v1/cameras/{bad}"), &token).await.problem(404, "not_found");
    }
    let code = json!({ "claim_code": "abcd" });
    server.post("/api/v1/bindings", &token, code).await.problem(400, "invalid_request");
}

#[tokio::test]
async fn the_document_is_served_and_up_to_date() {
    let server = Server::new().await;
    let answer = server.get("/api/openapi.json", "").await.expect(200);
    assert_eq!(answer.body["openapi"].as_str().map(|v| &v[..2]), Some("3."));
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api/openapi.json");
    let kept = std::fs::read_to_string(kept).expect("docs/api/openapi.json");
    assert!(kept == cmu::openapi_json(), "run: cmu openapi --out docs/api/openapi.json");
}
