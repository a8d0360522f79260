//! Interface Sc: leases and their fencing, reports, and what is pushed to customer units.

mod support;

use std::time::Duration;

use sightline_model::{MediaSessionId, PuId, ScuId};
use sightline_protocol::{
    ProblemKind, decode,
    pc::{MediaTransport, PathReport},
    ps::Addresses,
    sc::{ScReply, ScRequest},
    sm::LeaseGranted,
    subject,
};
use support::{Camera, Server};

const ANNA: &str = "+8613800138000";

fn scu() -> ScuId {
    "scu-1".parse().expect("valid")
}

#[tokio::test]
async fn a_new_registration_fences_the_one_before() {
    let server = Server::new().await;
    let camera = Camera::new(1);
    let subject = subject::lease_events(&server.config.domain);
    let mut leases = server.bus.subscribe(&subject, None).await.expect("subscribed");
    let first = camera.register(&server).await.epoch;
    let second = camera.register(&server).await.epoch;
    assert_eq!(second, first + 1);
    for epoch in [first, second] {
        let event = leases.next().await.expect("an event");
        let event: LeaseGranted = decode(&event.payload).expect("a lease").body;
        assert_eq!((event.device, event.epoch), (camera.pu.clone(), epoch));
    }
    let device = camera.pu.clone();
    let addresses = Addresses::default();
    let stale = [
        ScRequest::Addresses { device: device.clone(), epoch: first, addresses },
        ScRequest::Channels { device: device.clone(), epoch: first, channels: Vec::new() },
    ];
    for request in stale {
        match server.sc(&request).await {
            ScReply::Refused { problem } => assert_eq!(problem.kind, ProblemKind::StaleLease),
            other => panic!("an older lease wrote: {other:?}"),
        }
    }
    let unknown: PuId = Camera::new(2).pu;
    let leases = vec![(device.clone(), first), (device.clone(), second), (unknown.clone(), 1)];
    let renewed = server.sc(&ScRequest::RenewLeases { scu: scu(), leases }).await;
    // The device stands among the lost ones only for a lease that is not the last one; an SCU
    // never holds two leases of one device, so the epoch that counts decides.
    assert_eq!(renewed, ScReply::LeasesRenewed { lost: vec![unknown] });
    let leases = vec![(device.clone(), first)];
    let renewed = server.sc(&ScRequest::RenewLeases { scu: scu(), leases }).await;
    assert_eq!(renewed, ScReply::LeasesRenewed { lost: vec![device.clone()] });
    // Another SCU cannot renew it either.
    let other: ScuId = "scu-2".parse().expect("valid");
    let leases = vec![(device.clone(), second)];
    let renewed = server.sc(&ScRequest::RenewLeases { scu: other, leases }).await;
    assert_eq!(renewed, ScReply::LeasesRenewed { lost: vec![device] });
}

#[tokio::test]
async fn presence_follows_leases_reports_and_releases() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let presence = async || {
        let path = format!("/api/v1/cameras/{}", camera.id());
        server.get(&path, &token).await.expect(200).body["presence"].clone()
    };
    assert_eq!(presence().await, "online");
    let play = camera.play(&server, &token, "client").await.expect(200).body;
    let session: MediaSessionId = play["session"].as_str().expect("id").parse().expect("a session");
    let report = |path| ScRequest::SessionReport {
        device: camera.pu.clone(),
        epoch: 1,
        session: session.clone(),
        path,
    };
    let path = PathReport::new(MediaTransport::Webrtc, false, "same network");
    assert_eq!(server.sc(&report(Some(path))).await, ScReply::Done);
    assert_eq!(presence().await, "active");
    assert_eq!(server.sc(&report(None)).await, ScReply::Done);
    assert_eq!(presence().await, "online");
    server.clock.advance(Duration::from_secs(15));
    assert_eq!(presence().await, "offline");
    // Its SCU was slow: the lease comes back by itself.
    let leases = vec![(camera.pu.clone(), 1)];
    server.sc(&ScRequest::RenewLeases { scu: scu(), leases }).await;
    assert_eq!(presence().await, "online");
    server.sc(&ScRequest::Release { device: camera.pu.clone(), epoch: 1 }).await;
    assert_eq!(presence().await, "offline");
}

#[tokio::test]
async fn a_report_of_a_session_whose_right_has_ended_is_refused() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let play = camera.play(&server, &token, "client").await.expect(200).body;
    let session: MediaSessionId = play["session"].as_str().expect("id").parse().expect("a session");
    let transport = MediaTransport::Webrtc;
    let path = PathReport::new(transport, false, "");
    let report = |path| ScRequest::SessionReport {
        device: camera.pu.clone(),
        epoch: 1,
        session: session.clone(),
        path,
    };
    let release = format!("/api/v1/devices/{}/binding", camera.pu);
    server.delete(&release, &token).await.expect(204);
    let refused = server.sc(&report(Some(path))).await;
    assert!(
        matches!(&refused, ScReply::Refused { problem } if problem.kind == ProblemKind::TokenRevoked),
        "{refused:?}"
    );
    assert_eq!(server.sc(&report(None)).await, ScReply::Done);
}

#[tokio::test]
async fn changes_are_pushed_to_their_owner() {
    let server = Server::new().await;
    let token = server.token(ANNA).await;
    let camera = Camera::owned_by(&server, 1, &token).await;
    let other = server.token("+8613800138001").await;
    let _foreign = Camera::owned_by(&server, 2, &other).await;

    let mut events = server.events(&token).await;
    assert_eq!(events.next().await["type"], "resync");
    server.sc(&ScRequest::Release { device: camera.pu.clone(), epoch: 1 }).await;
    let event = events.next().await;
    assert_eq!(
        (&event["type"], &event["camera"]["presence"]),
        (&"camera".into(), &"offline".into())
    );
    camera.register(&server).await;
    assert_eq!(events.next().await["camera"]["presence"], "online");
    // The lease runs out and nobody says so: the sweep does.
    server.clock.advance(Duration::from_secs(16));
    assert_eq!(events.next().await["camera"]["presence"], "offline");
    let release = format!("/api/v1/devices/{}/binding", camera.pu);
    server.delete(&release, &token).await.expect(204);
    let event = events.next().await;
    assert_eq!((&event["type"], &event["id"]), (&"camera_gone".into(), &camera.id().into()));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_harms_nobody() {
    let server = Server::new().await;
    let subject = subject::cmu(&server.config.domain);
    for bad in [&b""[..], b"{", b"{\"v\":2,\"body\":{}}", b"{\"v\":1,\"body\":{\"type\":\"x\"}}"] {
        let reply = server.bus.request(&subject, bad.to_vec().into(), Duration::from_secs(5)).await;
        let reply: ScReply = decode(&reply.expect("an answer")).expect("a reply").body;
        assert!(
            matches!(reply, ScReply::Refused { problem } if problem.kind == ProblemKind::InvalidRequest)
        );
    }
    Camera::new(1).register(&server).await;
}
