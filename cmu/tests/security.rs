//! Attacks that real systems fell to: the rows of SECURITY.md on registration, binding, ids,
//! tokens and SMS.

mod support;

use std::time::Duration;

use axum::http::Method;
use ed25519_dalek::Signer;
use serde_json::json;
use sightline_model::{PublicKey, ScuId, SessionToken};
use sightline_protocol::{
    ProblemKind,
    ps::{TokenBearer, registration_bytes},
    sc::{ScReply, ScRequest},
    sm::SmRequest,
};
use support::{Camera, Server, client_key};

const ANNA: &str = "+8613800138000";
const BERT: &str = "+8613800138001";

fn refused(reply: ScReply) -> ProblemKind {
    match reply {
        ScReply::Refused { problem } => problem.kind,
        other => panic!("not refused: {other:?}"),
    }
}

fn token_check(camera: &Camera, token: &str, presented_by: TokenBearer) -> ScRequest {
    let token = SessionToken::new(token.to_owned()).hash();
    ScRequest::TokenCheck { device: camera.pu.clone(), token, presented_by }
}

fn me() -> TokenBearer {
    TokenBearer::Key { client: client_key() }
}

#[tokio::test]
async fn kalay_register_with_known_id_and_wrong_key_is_refused() {
    let server = Server::new().await;
    let operator = server.operator().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let thief = Camera::new(2);
    let mut events = server.events(&token).await;
    assert_eq!(events.next().await["type"], "resync");
    let foreign = server.token(BERT).await;
    let mut of_others = server.events(&foreign).await;
    assert_eq!(of_others.next().await["type"], "resync");
    let scu: ScuId = "scu-evil".parse().expect("valid");

    // Knows the id; signs with a key of its own, then shows the real public key.
    for public_key in [thief.key.verifying_key(), camera.key.verifying_key()] {
        let mut registration = camera.registration(&scu, "n1");
        let signed = registration_bytes(&scu, "n1", &camera.pu);
        registration.public_key = PublicKey::from(public_key);
        registration.signature = thief.key.sign(&signed).into();
        let request = ScRequest::Register {
            scu: scu.clone(),
            scu_url: "wss://evil.example".into(),
            nonce: "n1".into(),
            observed: "203.0.113.66".parse().expect("an address"),
            registration: Box::new(registration),
        };
        assert_eq!(refused(server.sc(&request).await), ProblemKind::WrongKey);
    }
    // A recorded registration does not fit another SCU's or another nonce's challenge.
    let ScRequest::Register { registration, .. } = camera.request() else { unreachable!() };
    let replay = ScRequest::Register {
        scu,
        scu_url: "wss://evil.example".into(),
        nonce: "n2".into(),
        observed: "203.0.113.66".parse().expect("an address"),
        registration,
    };
    assert_eq!(refused(server.sc(&replay).await), ProblemKind::WrongKey);

    // The real device's route stays, and the owner's audit shows it.
    let play = camera.play(&server, &token, "client").await.expect(200).body;
    assert_eq!(play["signal_url"], "wss://scu.example/cs/v1");
    assert!(server.audit_has(&operator, "device.register", "wrong_key").await);

    // The owner alone is alerted, once for all the tries.
    let alert = events.next().await;
    assert_eq!((&alert["type"], &alert["kind"]), (&"alert".into(), &"wrong_key".into()));
    assert_eq!(alert["cameras"], json!([camera.id()]));
    camera.register(&server).await;
    let release = format!("/api/v1/devices/{}/binding", camera.pu);
    server.delete(&release, &token).await.expect(204);
    assert_eq!(events.next().await["type"], "camera_gone", "more than one alert");
    camera.bind(&server, &foreign).await.expect(201);
    assert_eq!(of_others.next().await["type"], "camera", "somebody else was alerted");
}

#[tokio::test]
async fn unprovisioned_devices_are_refused_where_the_domain_asks_for_it() {
    let known = Camera::new(1);
    let allowed = known.pu.clone();
    let server = Server::with(|c| {
        c.devices.registration = cmu::config::Registration::Provisioned;
        c.devices.allowed = vec![allowed];
    })
    .await;
    known.register(&server).await;
    let unknown = Camera::new(2).request();
    assert_eq!(refused(server.sc(&unknown).await), ProblemKind::UnknownDevice);
}

#[tokio::test]
async fn ilnkp2p_ids_cannot_be_guessed() {
    let server = Server::with(|c| c.limits.not_found_per_user.count = 5).await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let foreign = Camera::owned_by(&server, 1, &anna).await;
    let unbound = Camera::new(2);
    unbound.register(&server).await;
    let unknown = Camera::new(3);
    let mut answers = Vec::new();
    for camera in [&foreign, &unbound, &unknown] {
        let path = format!("/api/v1/cameras/{}", camera.id());
        answers.push(server.get(&path, &bert).await.problem(404, "not_found"));
    }
    assert!(answers.windows(2).all(|w| w[0].text == w[1].text));
    let headers = |a: &support::Answer| format!("{:?}", a.headers);
    assert!(answers.windows(2).all(|w| headers(&w[0]) == headers(&w[1])));

    let release = format!("/api/v1/devices/{}/binding", foreign.pu);
    server.delete(&release, &bert).await.problem(404, "not_found");
    foreign.play(&server, &bert, "client").await.problem(404, "not_found");
    // Five misses are spent: from now on nothing is answered, and the owner notices nothing.
    let path = format!("/api/v1/cameras/{}", unknown.id());
    let throttled = server.get(&path, &bert).await.problem(429, "rate_limited");
    assert!(throttled.headers.contains_key("retry-after"));
    server.get(&format!("/api/v1/cameras/{}", foreign.id()), &anna).await.expect(200);
}

#[tokio::test]
async fn tuya_bind_needs_proof_of_possession() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let camera = Camera::new(1);
    // Never registered and wrong secret are answered alike.
    let never = camera.bind(&server, &anna).await.problem(403, "wrong_claim_code");
    camera.register(&server).await;
    let log = camera.connect(&server).await;
    let mut guess = Camera::new(1);
    guess.code = sightline_model::ClaimCode::new(
        camera.pu.clone(),
        sightline_model::ClaimSecret::from_bytes([9; 10]),
    );
    let wrong = guess.bind(&server, &anna).await.problem(403, "wrong_claim_code");
    assert_eq!(never.text, wrong.text);

    camera.bind(&server, &anna).await.expect(201);
    camera.bind(&server, &bert).await.problem(409, "already_bound");
    // The device is told its owner, and after the release that it has none.
    server.delete(&format!("/api/v1/devices/{}/binding", camera.pu), &anna).await.expect(204);
    let asked = log.lock().expect("lock").clone();
    assert!(asked.iter().any(|r| matches!(r, SmRequest::OwnerChanged { owner: Some(_), .. })));
    assert!(asked.iter().any(|r| matches!(r, SmRequest::OwnerChanged { owner: None, .. })));
    assert!(asked.iter().any(|r| matches!(r, SmRequest::RevokeUser { user: Some(_), .. })));
    camera.bind(&server, &bert).await.expect(201);
}

#[tokio::test]
async fn tuya_a_held_button_lets_the_holder_take_the_camera_over() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let camera = Camera::owned_by(&server, 1, &anna).await;
    let ScRequest::Register { mut registration, scu, scu_url, nonce, observed } = camera.request()
    else {
        unreachable!()
    };
    registration.claim_unlocked = true;
    server.sc(&ScRequest::Register { registration, scu, scu_url, nonce, observed }).await;
    camera.bind(&server, &bert).await.expect(201);
    server.get(&format!("/api/v1/cameras/{}", camera.id()), &anna).await.problem(404, "not_found");
    // Once: the code is dead again.
    camera.bind(&server, &anna).await.problem(409, "already_bound");
}

#[tokio::test]
async fn tuya_binding_from_elsewhere_is_refused_where_the_operator_asks_for_it() {
    let server = Server::with(|c| c.devices.bind_from_same_address = true).await;
    let token = server.token(ANNA).await;
    let mut camera = Camera::new(1);
    camera.observed = "198.51.100.1".into();
    camera.register(&server).await;
    camera.bind(&server, &token).await.problem(403, "forbidden");
    camera.observed = "192.0.2.1".into();
    camera.register(&server).await;
    camera.connect(&server).await;
    camera.bind(&server, &token).await.expect(201);
}

#[tokio::test]
async fn tuya_binding_is_throttled() {
    let server = Server::with(|c| c.limits.bind_per_user.count = 3).await;
    let token = server.token(ANNA).await;
    let camera = Camera::new(1);
    for _ in 0..3 {
        camera.bind(&server, &token).await.problem(403, "wrong_claim_code");
    }
    camera.bind(&server, &token).await.problem(429, "rate_limited");
}

#[tokio::test]
async fn eufy_play_tokens_end_with_time_logout_and_release() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let play = async |token: &str| {
        let body = camera.play(&server, token, "client").await.expect(200).body;
        body["token"].as_str().expect("token").to_owned()
    };
    let shown = play(&token).await;
    assert!(matches!(
        server.sc(&token_check(&camera, &shown, me())).await,
        ScReply::TokenGranted(_)
    ));
    // Never issued, and issued for another device.
    let made_up = token_check(&camera, "x.y.z", me());
    assert_eq!(refused(server.sc(&made_up).await), ProblemKind::InvalidToken);
    let other = Camera::new(2);
    other.register(&server).await;
    let foreign = token_check(&other, &shown, me());
    assert_eq!(refused(server.sc(&foreign).await), ProblemKind::InvalidToken);
    // Time.
    server.clock.advance(Duration::from_secs(14));
    camera.register(&server).await;
    server.clock.advance(Duration::from_secs(286));
    assert_eq!(
        refused(server.sc(&token_check(&camera, &shown, me())).await),
        ProblemKind::TokenExpired
    );
    // Logout.
    camera.register(&server).await;
    let second = server.token(ANNA).await;
    let shown = play(&second).await;
    server.delete("/api/v1/sessions/current", &second).await.expect(204);
    assert_eq!(
        refused(server.sc(&token_check(&camera, &shown, me())).await),
        ProblemKind::TokenRevoked
    );
    // Release.
    let third = server.token(ANNA).await;
    let shown = play(&third).await;
    server.delete(&format!("/api/v1/devices/{}/binding", camera.pu), &third).await.expect(204);
    assert_eq!(
        refused(server.sc(&token_check(&camera, &shown, me())).await),
        ProblemKind::TokenRevoked
    );
    // Bound again, the old token stays dead.
    camera.bind(&server, &third).await.expect(201);
    assert_eq!(
        refused(server.sc(&token_check(&camera, &shown, me())).await),
        ProblemKind::TokenRevoked
    );
}

#[tokio::test]
async fn eufy_a_second_client_cannot_use_a_play_token() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let ip = |text: &str| TokenBearer::Address { ip: text.parse().expect("an address") };
    let shown = camera.play(&server, &token, "client").await.expect(200).body;
    let shown = shown["token"].as_str().expect("token");
    // A token of a CU with a key works with that key only, from the first use on.
    for thief in [ip("203.0.113.1"), TokenBearer::Key { client: PublicKey::from_bytes([1; 32]) }] {
        let reply = server.sc(&token_check(&camera, shown, thief)).await;
        assert_eq!(refused(reply), ProblemKind::TokenInUse);
    }
    // A token for a plain player belongs to the first address that shows it.
    let shown = camera.play(&server, &token, "rtsp").await.expect(200).body;
    let shown = shown["token"].as_str().expect("token");
    for _ in 0..2 {
        let reply = server.sc(&token_check(&camera, shown, ip("192.0.2.7"))).await;
        assert!(matches!(reply, ScReply::TokenGranted(_)), "{reply:?}");
    }
    let reply = server.sc(&token_check(&camera, shown, ip("192.0.2.8"))).await;
    assert_eq!(refused(reply), ProblemKind::TokenInUse);
}

#[tokio::test]
async fn wyze_what_a_user_sees_is_read_with_its_ownership() {
    let server = Server::new().await;
    let (anna, bert) = (server.token(ANNA).await, server.token(BERT).await);
    let mut cameras = Vec::new();
    for seed in 1..=6 {
        let owner = if seed % 2 == 0 { &anna } else { &bert };
        cameras.push(Camera::owned_by(&server, seed, owner).await);
    }
    // Everything reconnects while both users poll.
    let polls = async {
        for _ in 0..10 {
            for (token, remainder) in [(&anna, 0), (&bert, 1)] {
                let list = server.get("/api/v1/cameras", token).await.expect(200).body;
                let ids: Vec<_> = list["cameras"].as_array().expect("list").clone();
                assert_eq!(ids.len(), 3);
                for (i, camera) in cameras.iter().enumerate() {
                    let mine = (i + 1) % 2 == remainder;
                    assert_eq!(ids.iter().any(|c| c["id"] == camera.id()), mine);
                }
            }
        }
    };
    let reconnects = async {
        for _ in 0..5 {
            for camera in &cameras {
                camera.register(&server).await;
            }
        }
    };
    tokio::join!(polls, reconnects);
}

#[tokio::test]
async fn ring_staff_without_the_owners_grant_see_nothing() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let operator = server.operator().await;
    let owned = camera.play(&server, &operator, "client").await.problem(403, "forbidden");
    let unknown = Camera::new(9).play(&server, &operator, "client").await.problem(403, "forbidden");
    assert_eq!(owned.text, unknown.text);
    assert!(server.audit_has(&operator, "camera.play", "forbidden").await);
}

#[tokio::test]
async fn ring_guesses_are_capped_across_addresses() {
    let server = Server::with(|c| c.limits.sign_in_per_number.count = 8).await;
    let mut answers = Vec::new();
    for i in 0..10 {
        let from = format!("198.51.{i}.1");
        answers.push(server.enter_code(ANNA, "000000", &from).await.status.as_u16());
    }
    assert_eq!(answers.iter().filter(|s| **s == 429).count(), 2, "{answers:?}");
    // Somebody else signs in all the same.
    server.token(BERT).await;
}

#[tokio::test]
async fn five_wrong_codes_kill_the_code() {
    let server = Server::new().await;
    server.ask_code(ANNA, "192.0.2.1").await.expect(202);
    let code = server.inbox.code(ANNA);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        server.enter_code(ANNA, wrong, "192.0.2.1").await.problem(403, "wrong_code");
    }
    server.enter_code(ANNA, &code, "192.0.2.1").await.problem(403, "wrong_code");
}

#[tokio::test]
async fn sms_pumping_is_capped() {
    let server = Server::with(|c| {
        c.sms.countries = vec!["CN".into()];
        c.limits.sms_per_number.count = 2;
        c.limits.sms_per_address.count = 4;
        c.limits.sms_per_network.count = 6;
        c.limits.sms_total.count = 9;
    })
    .await;
    let number = |i: u32| format!("+86138001380{i:02}");
    // A country off the list, and numbers that do not exist.
    server.ask_code("+4915112345678", "192.0.2.1").await.problem(403, "forbidden");
    server.ask_code("+8600000000000", "192.0.2.1").await.problem(400, "invalid_request");
    assert_eq!(server.inbox.len(), 0);
    // One number, from everywhere.
    for i in 0..4 {
        let answer = server.ask_code(&number(0), &format!("10.{i}.0.1")).await;
        assert_eq!(answer.status.as_u16(), if i < 2 { 202 } else { 429 });
    }
    assert_eq!(server.inbox.len(), 2);
    // One address, then its network.
    for i in 0..8 {
        let answer = server.ask_code(&number(10 + i), &format!("10.9.0.{}", 1 + i / 4)).await;
        assert_eq!(answer.status.as_u16(), if i < 6 { 202 } else { 429 }, "{i}");
    }
    let fifth = server.ask_code(&number(30), "10.9.0.1").await.problem(429, "rate_limited");
    assert!(fifth.headers.contains_key("retry-after"));
    // All of it together.
    server.ask_code(&number(40), "10.20.0.1").await.expect(202);
    server.ask_code(&number(41), "10.21.0.1").await.problem(429, "rate_limited");
    assert_eq!(server.inbox.len(), 9);
}

#[tokio::test]
async fn gb28181_default_and_short_secrets_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("password");
    let mut config = cmu::Config::default();
    config.database.url = "postgres://cmu:changeme@localhost/cmu".into();
    assert!(config.check().is_err());
    config.database.url = String::new();
    config.sms.gateway = cmu::config::Gateway::Smpp;
    config.sms.smpp.address = "127.0.0.1:2775".into();
    config.sms.smpp.system_id = "sightline".into();
    config.sms.smpp.password_file = Some(file.clone());
    for bad in ["", "abc", "password", "Password", "waytoolong"] {
        std::fs::write(&file, bad).expect("written");
        assert!(config.check().is_err(), "{bad} was taken");
    }
    std::fs::write(&file, "x7Kq2_vB\n").expect("written");
    assert!(config.check().is_ok());
}

#[tokio::test]
async fn codes_and_numbers_do_not_come_back_in_answers() {
    let server = Server::new().await;
    let answer = server.ask_code(ANNA, "192.0.2.1").await.expect(202);
    let code = server.inbox.code(ANNA);
    assert!(!answer.text.contains(&code) && !answer.text.contains("13800138000"));
    let operator = server.operator().await;
    for path in ["/api/v1/operator/subscriptions", "/api/v1/operator/audit"] {
        let text = server.get(path, &operator).await.expect(200).text;
        assert!(!text.contains("13800138000"), "{path} shows a number");
    }
    let body = json!({ "refresh_token": "x" });
    let path = "/api/v1/sessions/refresh";
    let answer = server.call_from("192.0.2.1", Method::POST, path, None, Some(body)).await;
    answer.problem(401, "unauthenticated");
}
