//! How media travels: what the CMU takes of it, and what the operator sees.

mod support;

use axum::http::Method;
use cmu::clock::Clock;
use serde_json::json;
use sightline_model::{MediaSessionId, NatDependence, NatReport, Rung, UnixMicros};
use sightline_protocol::{
    ProblemKind,
    cs::StageTimes,
    decode, encode,
    pc::{MediaTransport, PathReport},
    sc::{ScReply, ScRequest},
    sd::{MAX_USAGE_ENTRIES, MtuCommand, MtuStatus, MtuUsage, UsageEntry, UsageReply},
    sm::{SmOrder, SmReply},
    subject,
};
use support::{Camera, Server};

const ANNA: &str = "+8613800138000";

async fn playing(server: &Server, camera: &Camera, token: &str) -> MediaSessionId {
    let play = camera.play(server, token, "client").await.expect(200).body;
    play["session"].as_str().expect("id").parse().expect("a session")
}

fn viewer_report(camera: &Camera, session: &MediaSessionId, rung: Rung) -> ScRequest {
    ScRequest::ViewerReport {
        device: camera.pu.clone(),
        session: session.clone(),
        path: PathReport::on(MediaTransport::Webrtc, rung, "as measured"),
        stages: Some(StageTimes::from_ends([80, 95, 130, 150, 170, 190, 220])),
        nat: Some(NatReport::default()),
    }
}

async fn networks(server: &Server, operator: &str, side: &str) -> serde_json::Value {
    let path = format!("/api/v1/operator/networks?side={side}");
    server.get(&path, operator).await.expect(200).body["networks"].clone()
}

#[tokio::test]
async fn the_operator_sees_rungs_and_stages_by_network_and_no_person() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let operator = server.operator().await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    for last in [Rung::Punched, Rung::Punched, Rung::Host] {
        let session = playing(&server, &camera, &token).await;
        // Over the relay at first, and the stages come once although they are reported twice.
        for rung in [Rung::RelayUdp, last] {
            let reply = server.sc(&viewer_report(&camera, &session, rung)).await;
            assert_eq!(reply, ScReply::Done);
        }
    }
    for (side, network) in [("viewer", "192.0.2.0/24"), ("pu", "192.0.2.0/24")] {
        let rows = networks(&server, &operator, side).await;
        assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
        assert_eq!((&rows[0]["network"], &rows[0]["sessions"]), (&network.into(), &3.into()));
        let rungs =
            json!([{ "rung": "host", "sessions": 1 }, { "rung": "punched", "sessions": 2 }]);
        assert_eq!(rows[0]["rungs"], rungs);
        let stages = rows[0]["stages"].as_array().expect("stages");
        assert_eq!(stages.len(), StageTimes::NAMES.len() + 1);
        let total = stages.last().expect("the total");
        assert_eq!(total["stage"], "total");
        assert!((220..242).contains(&total["p50_ms"].as_u64().expect("a number")), "{total}");
        let text = rows.to_string();
        assert!(!text.contains(ANNA) && !text.contains("192.0.2.1"), "{text}");
    }
}

#[tokio::test]
async fn the_operator_sees_why_sessions_are_relayed() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let operator = server.operator().await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let symmetric = NatReport {
        mapping: Some(NatDependence::AddressAndPortDependent),
        filtering: Some(NatDependence::AddressAndPortDependent),
        ..NatReport::default()
    };
    let nat = ScRequest::Nat { device: camera.pu.clone(), epoch: 1, nat: symmetric.clone() };
    assert_eq!(server.sc(&nat).await, ScReply::Done);
    let causes = async || networks(&server, &operator, "viewer").await[0]["relay_causes"].clone();
    let count = |cause: &str, sessions: u64| json!({ "cause": cause, "sessions": sessions });

    let session = playing(&server, &camera, &token).await;
    let report = |rung, nat: Option<&NatReport>| {
        let mut report = viewer_report(&camera, &session, rung);
        if let ScRequest::ViewerReport { nat: of, .. } = &mut report {
            *of = nat.cloned();
        }
        report
    };
    server.sc(&report(Rung::RelayUdp, None)).await;
    assert_eq!(causes().await, json!([count("pu_symmetric", 1)]));
    // What the viewer finds out later changes the cause, and stays known.
    server.sc(&report(Rung::RelayUdp, Some(&symmetric))).await;
    server.sc(&report(Rung::RelayTcp, None)).await;
    assert_eq!(causes().await, json!([count("both_symmetric", 1)]));
    let other = playing(&server, &camera, &token).await;
    server.sc(&viewer_report(&camera, &other, Rung::RelayUdp)).await;
    let both = json!([count("both_symmetric", 1), count("pu_symmetric", 1)]);
    assert_eq!(causes().await, both);
    // One that has found a direct way counts for no cause.
    server.sc(&report(Rung::Probed, None)).await;
    assert_eq!(causes().await, json!([count("pu_symmetric", 1)]));
    let nat64 = NatReport { nat64: Some(true), ..NatReport::default() };
    server.sc(&report(Rung::RelayUdp, Some(&nat64))).await;
    let both = json!([count("pu_symmetric", 1), count("viewer_nat64", 1)]);
    assert_eq!(causes().await, both);
}

#[tokio::test]
async fn a_device_counts_only_while_its_viewer_says_nothing() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let operator = server.operator().await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let session = playing(&server, &camera, &token).await;
    let report = |rung| ScRequest::SessionReport {
        device: camera.pu.clone(),
        epoch: 1,
        session: session.clone(),
        path: Some(PathReport::on(MediaTransport::Webrtc, rung, "as the device sees it")),
    };
    let rungs = async || networks(&server, &operator, "viewer").await[0]["rungs"].clone();
    assert_eq!(server.sc(&report(Rung::RelayTcp)).await, ScReply::Done);
    assert_eq!(rungs().await, json!([{ "rung": "relay_tcp", "sessions": 1 }]));
    server.sc(&viewer_report(&camera, &session, Rung::Probed)).await;
    server.sc(&report(Rung::Host)).await;
    assert_eq!(rungs().await, json!([{ "rung": "probed", "sessions": 1 }]));
}

#[tokio::test]
async fn a_report_of_a_foreign_or_revoked_session_counts_nothing() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let operator = server.operator().await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let other = Camera::owned_by(&server, 2, &token).await;
    let session = playing(&server, &camera, &token).await;
    let refused = |reply: ScReply| {
        assert!(
            matches!(&reply, ScReply::Refused { problem } if problem.kind == ProblemKind::NotFound),
            "{reply:?}"
        );
    };
    refused(server.sc(&viewer_report(&other, &session, Rung::Host)).await);
    let unknown = "no-such-session".parse().expect("valid");
    refused(server.sc(&viewer_report(&camera, &unknown, Rung::Host)).await);
    let release = format!("/api/v1/devices/{}/binding", camera.pu);
    server.delete(&release, &token).await.expect(204);
    refused(server.sc(&viewer_report(&camera, &session, Rung::Host)).await);
    assert_eq!(networks(&server, &operator, "viewer").await, json!([]));
}

#[tokio::test]
async fn stages_that_do_not_add_up_are_not_counted() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let operator = server.operator().await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let session = playing(&server, &camera, &token).await;
    let mut report = viewer_report(&camera, &session, Rung::Host);
    if let ScRequest::ViewerReport { stages: Some(stages), .. } = &mut report {
        stages.total_ms += 100;
    }
    assert_eq!(server.sc(&report).await, ScReply::Done);
    let rows = networks(&server, &operator, "viewer").await;
    assert_eq!((&rows[0]["sessions"], &rows[0]["stages"]), (&1.into(), &json!([])));
}

#[tokio::test]
async fn a_device_tells_of_its_nats_under_its_last_lease_only() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let nat = |epoch| ScRequest::Nat {
        device: camera.pu.clone(),
        epoch,
        nat: NatReport { udp: Some(false), ..NatReport::default() },
    };
    assert_eq!(server.sc(&nat(1)).await, ScReply::Done);
    let stale = server.sc(&nat(7)).await;
    assert!(
        matches!(&stale, ScReply::Refused { problem } if problem.kind == ProblemKind::StaleLease)
    );
}

fn entry(user: &str, bytes: u64) -> UsageEntry {
    UsageEntry {
        allocation: 1,
        user: user.into(),
        bytes_to_peers: bytes,
        bytes_from_peers: 0,
        packets: 1,
        from: UnixMicros(0),
        to: UnixMicros(i64::MAX),
        allocated_s: 1,
        ended: true,
    }
}

async fn report_usage(server: &Server, usage: &MtuUsage) -> UsageReply {
    let subject = subject::mtu_usage(&server.config.domain);
    let limit = std::time::Duration::from_secs(5);
    let reply = server.bus.request(&subject, encode(usage, None).into(), limit).await;
    decode(&reply.expect("an answer")).expect("a reply").body
}

#[tokio::test]
async fn what_relays_report_is_accounted_to_the_user_of_the_session() {
    let server = Server::new().await;
    let signed_in = server.sign_in(ANNA).await;
    let token = signed_in["access_token"].as_str().expect("a token");
    let operator = server.operator().await;
    let camera = Camera::owned_by(&server, 1, token).await;
    let session = playing(&server, &camera, token).await;
    let now = server.clock.now();
    let entry = UsageEntry { from: now, to: now, ..entry(session.as_str(), 5_000) };
    let usage = |entries| MtuUsage { mtu: "m1".parse().expect("valid"), run: "r".into(), entries };
    let entries = vec![entry.clone(), UsageEntry { user: "no session!".into(), ..entry.clone() }];
    for _ in 0..2 {
        assert_eq!(report_usage(&server, &usage(entries.clone())).await, UsageReply::Stored);
    }
    let long = vec![entry; MAX_USAGE_ENTRIES + 1];
    let refused = report_usage(&server, &usage(long)).await;
    assert!(matches!(refused, UsageReply::Refused { .. }), "{refused:?}");

    let user = signed_in["user"]["id"].as_str().expect("an id");
    let of = |query: String| {
        let (server, operator) = (&server, operator.clone());
        async move {
            let path = format!("/api/v1/operator/usage{query}");
            server.get(&path, &operator).await.expect(200).body.clone()
        }
    };
    let usage = of(format!("?user={user}")).await;
    let mtus = usage["mtus"].as_array().expect("a list");
    assert_eq!((mtus.len(), &mtus[0]["bytes"]), (1, &5_000.into()), "{usage}");
    let rows = &usage["sessions"];
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    assert_eq!((&rows[0]["user"], &rows[0]["bytes"]), (&user.into(), &5_000.into()));
    let nothing = json!({ "sessions": [], "mtus": [] });
    assert_eq!(of("?user=somebody-else".into()).await, nothing);
    assert_eq!(of(String::new()).await, usage);
    let rows = networks(&server, &operator, "viewer").await;
    assert_eq!(rows, json!([]), "no rung is known");
    server.sc(&viewer_report(&camera, &session, Rung::RelayUdp)).await;
    assert_eq!(networks(&server, &operator, "viewer").await[0]["relayed_bytes"], 5_000);
}

#[tokio::test]
async fn the_operator_sees_relays_and_drains_them_through_an_scu() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let operator = server.operator().await;
    let domain = &server.config.domain;
    let put = |token: String, mtu: &'static str| {
        let (server, body) = (&server, Some(json!({ "draining": true })));
        let path = format!("/api/v1/operator/mtus/{mtu}");
        async move { server.call_from("192.0.2.1", Method::PUT, &path, Some(&token), body).await }
    };
    // Without any SCU nobody can be told.
    put(operator.clone(), "m1").await.problem(504, "timeout");

    let mut orders = server.bus.subscribe(&subject::scu(domain), Some("scu")).await.expect("bus");
    let scu = tokio::spawn(async move {
        while let Some(message) = orders.next().await {
            let order = decode::<SmOrder>(&message.payload).expect("an order").body;
            let SmOrder::DrainMtu { mtu, drain } = order;
            let reply = if mtu.as_str() == "m1" && drain {
                SmReply::Done
            } else {
                let problem = sightline_protocol::Problem::new(ProblemKind::NotFound, "no MTU");
                SmReply::Refused { problem }
            };
            message.reply.expect("a request").send(encode(&reply, None).into()).await;
        }
    });
    put(operator.clone(), "m1").await.expect(204);
    put(operator.clone(), "m2").await.problem(404, "not_found");
    put(token.clone(), "m1").await.problem(403, "forbidden");
    assert!(server.audit_has(&operator, "mtu.drain", "ok").await);
    assert!(server.audit_has(&operator, "mtu.drain", "forbidden").await);
    scu.abort();

    for path in ["mtus", "usage", "networks?side=pu"] {
        let path = format!("/api/v1/operator/{path}");
        server.get(&path, &token).await.problem(403, "forbidden");
    }
    server.get("/api/v1/operator/networks?side=x", &operator).await.problem(400, "invalid_request");
    let status = MtuStatus {
        draining: true,
        ..MtuStatus::new("m1".parse().expect("valid"), vec![], 0.5, false, UnixMicros(0))
    };
    let announce = encode(&status, None);
    server.bus.publish(&subject::mtu_status(domain), announce.into()).await.expect("bus");
    let listed = async || server.get("/api/v1/operator/mtus", &operator).await.expect(200).body;
    let begin = std::time::Instant::now();
    while listed().await["mtus"].as_array().is_none_or(Vec::is_empty) {
        assert!(begin.elapsed().as_secs() < 10, "the announcement was not taken");
        tokio::task::yield_now().await;
    }
    let mtus = listed().await["mtus"].clone();
    assert_eq!((&mtus[0]["mtu"], &mtus[0]["draining"]), (&"m1".into(), &true.into()));
    server.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(listed().await["mtus"], json!([]), "an MTU that is gone is not listed");
    // The protocol of Sd has a golden file; here only that the word exists.
    assert_eq!(encode(&MtuCommand::Drain, None), br#"{"v":1,"body":{"type":"drain"}}"#);
}
