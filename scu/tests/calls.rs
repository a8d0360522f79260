//! A8.4 at the SCU: a CU reaches a PU through its own SCU or another, and what ends a call.

mod common;
#[path = "../../crates/bus/tests/nats_server/mod.rs"]
mod nats_server;

use common::{Centre, PATIENCE, Pu, Ws, bytes, domain, id_of, key, session, soon};
use sightline_model::{Capabilities, ChannelId, Presence, PuId, Rung, UnixMicros, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    cs::{self, CsRequest, CuToScu, ScuToCu, StageTimes},
    decode, encode,
    pc::{MediaTransport, PathReport},
    ps::{PuToScu, ScuToPu},
    sc::ScRequest,
    sd::{MtuCommand, MtuReply, MtuStatus, RollCall},
    sm::{SmOrder, SmReply, SmRequest},
    subject,
};

fn prepare(device: &PuId) -> SmRequest {
    SmRequest::PrepareMedia {
        device: device.clone(),
        session: session("call"),
        user: UserId::from_random([1; 16]),
        channel: ChannelId(0),
        capabilities: Capabilities::default(),
    }
}

/// Prepares a call, and runs it up to flowing media.
async fn call(centre: &Centre, pu: &mut Pu, cu: &mut Ws) {
    let prepared = centre.sm(&pu.id, prepare(&pu.id)).await.expect("answered");
    assert!(matches!(prepared, SmReply::Prepared { .. }), "{prepared:?}");
    assert!(matches!(pu.next().await, ScuToPu::PrepareMedia { .. }));
    cu.offer("call", &pu.id).await;
    // Candidates right behind the offer must not overtake it.
    for n in 0..3 {
        let candidate = format!("candidate:{n}");
        cu.send(&CuToScu::Candidate { session: session("call"), candidate }).await;
    }
    assert!(matches!(pu.next().await, ScuToPu::MediaOffer { .. }));
    for n in 0..3 {
        let expected = format!("candidate:{n}");
        assert!(matches!(pu.next().await, ScuToPu::Candidate { candidate, .. }
            if candidate == expected));
    }
    pu.answers(&session("call")).await;
    assert!(matches!(cu.next().await, ScuToCu::Answer { .. }));
    let candidate = "candidate:pu".to_owned();
    pu.send(&PuToScu::Candidate { session: session("call"), candidate }).await;
    assert!(matches!(cu.next().await, ScuToCu::Candidate { .. }));
    let path = Some(PathReport::new(MediaTransport::Webrtc, false, "LAN"));
    pu.send(&PuToScu::SessionReport { session: session("call"), path }).await;
    pu.is_alive().await;
}

#[tokio::test]
async fn a_cu_reaches_a_pu_on_the_same_scu() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let mut cu = Ws::connect(&scu, cs::WEBSOCKET_PATH).await;
    call(&centre, &mut pu, &mut cu).await;
    assert_eq!(scu.presence(&pu.id), Presence::Active);
    cu.send(&CuToScu::End { session: session("call") }).await;
    assert!(matches!(pu.next().await, ScuToPu::EndSession { problem: None, .. }));
    pu.is_alive().await;
    assert_eq!(scu.presence(&pu.id), Presence::Online);
}

async fn across(centre: &Centre) {
    let (scu_of_cu, scu_of_pu) = (centre.scu().await, centre.scu().await);
    let mut pu = Pu::registered(centre, &scu_of_pu, key(1)).await;
    let mut cu = Ws::connect(&scu_of_cu, cs::WEBSOCKET_PATH).await;
    call(centre, &mut pu, &mut cu).await;
    // A CU that closes its connection has finished.
    cu.close().await;
    assert!(matches!(pu.next().await, ScuToPu::EndSession { .. }));

    // What the CMU takes away ends at the CU, wherever it is.
    let mut cu = Ws::connect(&scu_of_cu, cs::WEBSOCKET_PATH).await;
    call(centre, &mut pu, &mut cu).await;
    let revoke = SmRequest::RevokeUser { device: pu.id.clone(), user: None };
    assert_eq!(centre.sm(&pu.id, revoke).await, Ok(SmReply::Done));
    assert!(matches!(pu.next().await, ScuToPu::RevokeUser { user: None }));
    assert!(matches!(cu.next().await, ScuToCu::Ended { problem: Some(p), .. }
        if p.kind == ProblemKind::TokenRevoked));
}

#[tokio::test]
async fn a_cu_reaches_a_pu_on_another_scu() {
    across(&Centre::start().await).await;
}

#[tokio::test]
async fn a_cu_reaches_a_pu_on_another_scu_over_nats() {
    let Some(server) = nats_server::NatsServer::start().await else { return };
    let bus = sightline_bus::Bus::nats(&server.url).await.expect("connected");
    across(&Centre::over(bus).await).await;
}

/// What was sent before has been taken.
async fn cu_is_alive(cu: &mut Ws) {
    cu.send(&CuToScu::KeepAlive { cu_time: UnixMicros(1) }).await;
    let reply = cu.next().await;
    assert!(matches!(reply, ScuToCu::KeepAliveAck { .. }), "{reply:?}");
}

fn path_report(of: &str) -> CuToScu {
    CuToScu::PathReport {
        session: session(of),
        path: PathReport::on(MediaTransport::Webrtc, Rung::Punched, "through both routers"),
        stages: Some(StageTimes::from_ends([80, 95, 130, 150, 170, 190, 220])),
        nat: None,
    }
}

#[tokio::test]
async fn a_call_goes_on_when_its_device_moves_to_another_scu() {
    let centre = Centre::start().await;
    let (scu_of_cu, scu_of_pu) = (centre.scu().await, centre.scu().await);
    let mut before = Pu::registered(&centre, &scu_of_pu, key(1)).await;
    let mut cu = Ws::connect(&scu_of_cu, cs::WEBSOCKET_PATH).await;
    call(&centre, &mut before, &mut cu).await;
    let mut pu = Pu::registered(&centre, &scu_of_cu, key(1)).await;
    let path = Some(PathReport::new(MediaTransport::Webrtc, false, "LAN"));
    pu.send(&PuToScu::SessionReport { session: session("call"), path }).await;
    pu.is_alive().await;
    assert_eq!(scu_of_cu.presence(&pu.id), Presence::Active);
    cu.send(&CuToScu::End { session: session("call") }).await;
    assert!(matches!(pu.next().await, ScuToPu::EndSession { problem: None, .. }));
}

#[tokio::test]
async fn a_cu_reports_the_path_of_its_own_session_and_of_no_other() {
    let centre = Centre::start().await;
    let (scu_of_cu, scu_of_pu) = (centre.scu().await, centre.scu().await);
    let mut pu = Pu::registered(&centre, &scu_of_pu, key(1)).await;
    let mut cu = Ws::connect(&scu_of_cu, cs::WEBSOCKET_PATH).await;
    let mut stranger = Ws::connect(&scu_of_cu, cs::WEBSOCKET_PATH).await;
    // Nothing to report yet.
    cu.send(&path_report("call")).await;
    call(&centre, &mut pu, &mut cu).await;
    stranger.send(&path_report("call")).await;
    stranger.offer("theirs", &pu.id).await;
    assert!(matches!(pu.next().await, ScuToPu::MediaOffer { .. }));
    // Not answered yet.
    stranger.send(&path_report("theirs")).await;
    cu_is_alive(&mut stranger).await;
    assert_eq!(centre.viewer_reports(), []);
    cu.send(&path_report("call")).await;
    cu.send(&path_report("theirs")).await;
    cu_is_alive(&mut cu).await;
    centre.saw("the report", |r| matches!(r, ScRequest::ViewerReport { .. })).await;
    let reports = centre.viewer_reports();
    assert!(
        matches!(&reports[..], [ScRequest::ViewerReport { device, session: of, path, stages: Some(_), .. }]
            if *device == pu.id && *of == session("call") && path.rung == Some(Rung::Punched)),
        "{reports:?}"
    );
}

#[tokio::test]
async fn an_operator_drains_an_mtu_through_any_scu() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    centre.announce_mtu().await;
    let pu = Pu::registered(&centre, &scu, key(1)).await;
    let order = |mtu: &str| SmOrder::DrainMtu { mtu: mtu.parse().expect("valid id"), drain: true };
    assert!(matches!(centre.order(&order("mtu-1")).await, SmReply::Refused { problem }
        if problem.kind == ProblemKind::NotFound));
    let mut commands = centre.mtu_commands("mtu-1").await;
    let obeying = tokio::spawn(async move {
        let message = commands.next().await.expect("a command");
        let command = decode::<MtuCommand>(&message.payload).expect("readable").body;
        assert_eq!(command, MtuCommand::Drain);
        let status = Box::new(MtuStatus { draining: true, ..common::mtu_status("mtu-1") });
        let done = encode(&MtuReply::Done { status }, None);
        message.reply.expect("a request").send(done.into()).await;
    });
    assert_eq!(centre.order(&order("mtu-1")).await, SmReply::Done);
    obeying.await.expect("obeyed");
    // At once, without waiting for the next announcement.
    let prepared = centre.sm(&pu.id, prepare(&pu.id)).await.expect("answered");
    assert_eq!(prepared, SmReply::Prepared { ice_servers: vec![] });
}

#[tokio::test]
async fn relays_are_offered_with_credentials_to_both_sides() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    centre.announce_mtu().await;
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let mut cu = Ws::connect(&scu, cs::WEBSOCKET_PATH).await;
    let SmReply::Prepared { ice_servers } =
        centre.sm(&pu.id, prepare(&pu.id)).await.expect("answered")
    else {
        panic!("not prepared")
    };
    let username = ice_servers.iter().find_map(|s| s.username.clone()).expect("a relay");
    assert!(username.ends_with(":call"), "{username}");
    assert!(matches!(pu.next().await, ScuToPu::PrepareMedia { .. }));
    cu.offer("call", &pu.id).await;
    let ScuToPu::MediaOffer { offer, .. } = pu.next().await else { panic!("no offer") };
    assert!(offer.ice_servers.iter().any(|s| s.credential.is_some()));
}

/// MTUs announce themselves every two seconds only.
#[tokio::test]
async fn an_scu_that_has_just_started_asks_who_relays() {
    let centre = Centre::start().await;
    let questions = centre.bus.subscribe(&subject::mtu_roll_call(&domain()), None).await;
    let mut questions = questions.expect("bus");
    let scu = centre.scu().await;
    let question = soon("a question", questions.next()).await.expect("open");
    assert_eq!(decode::<RollCall>(&question.payload).expect("readable").body, RollCall::default());
    // It listens already when it asks.
    centre.announce_mtu().await;
    let pu = Pu::registered(&centre, &scu, key(1)).await;
    let prepared = centre.sm(&pu.id, prepare(&pu.id)).await.expect("answered");
    let SmReply::Prepared { ice_servers } = prepared else { panic!("not prepared") };
    assert!(!ice_servers.is_empty(), "no relay");
}

#[tokio::test]
async fn a_device_that_is_not_there_is_offline() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let unknown = id_of(&key(7));
    let mut cu = Ws::connect(&scu, cs::WEBSOCKET_PATH).await;
    cu.offer("call", &unknown).await;
    cu.is_refused(ProblemKind::DeviceOffline).await;
    assert!(matches!(
        centre.sm(&unknown, prepare(&unknown)).await,
        Err(sightline_bus::BusError::NoResponder(_))
    ));
}

#[tokio::test]
async fn a_refusal_and_a_lost_pu_reach_the_cu() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let mut cu = Ws::connect(&scu, cs::WEBSOCKET_PATH).await;
    cu.offer("call", &pu.id).await;
    assert!(matches!(pu.next().await, ScuToPu::MediaOffer { .. }));
    let result = Err(Problem::new(ProblemKind::TokenExpired, "too late"));
    pu.send(&PuToScu::MediaAnswer { session: session("call"), result }).await;
    cu.is_refused(ProblemKind::TokenExpired).await;
    cu.offer("call", &pu.id).await;
    assert!(matches!(pu.next().await, ScuToPu::MediaOffer { .. }));
    drop(pu);
    cu.is_refused(ProblemKind::DeviceOffline).await;
}

/// SECURITY: Meari 2026, one device's credential used for another's subject.
#[tokio::test]
async fn a_pu_cannot_speak_in_the_call_of_another() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let mut foreign = Pu::registered(&centre, &scu, key(2)).await;
    let mut cu = Ws::connect(&scu, cs::WEBSOCKET_PATH).await;
    cu.offer("call", &pu.id).await;
    assert!(matches!(pu.next().await, ScuToPu::MediaOffer { .. }));
    foreign.answers(&session("call")).await;
    foreign.send(&PuToScu::SessionReport { session: session("call"), path: None }).await;
    foreign.is_alive().await;
    let result = Err(Problem::new(ProblemKind::Busy, "the real one"));
    pu.send(&PuToScu::MediaAnswer { session: session("call"), result }).await;
    cu.is_refused(ProblemKind::Busy).await;
}

#[tokio::test]
async fn a_cu_cannot_end_the_call_of_another() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let mut cu = Ws::connect(&scu, cs::WEBSOCKET_PATH).await;
    call(&centre, &mut pu, &mut cu).await;
    let mut foreign = Ws::connect(&scu, cs::WEBSOCKET_PATH).await;
    foreign.send(&CuToScu::End { session: session("call") }).await;
    foreign.close().await;
    pu.is_alive().await;
    assert_eq!(scu.presence(&pu.id), Presence::Active);
}

#[tokio::test]
async fn malformed_messages_of_a_cu_are_answered_and_harm_nobody() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let mut cu = Ws::connect(&scu, cs::WEBSOCKET_PATH).await;
    for bad in ["", "{", r#"{"v":9,"body":{}}"#, r#"{"v":1,"body":{"type":"offer"}}"#] {
        cu.send_text(bad.to_owned()).await;
        assert!(matches!(cu.next().await, ScuToCu::Malformed { problem }
            if problem.kind == ProblemKind::InvalidRequest));
    }
    call(&centre, &mut pu, &mut cu).await;
    let device = subject::device(&domain(), &pu.id);
    let reply = centre.bus.request(&device, "rubbish".into(), PATIENCE).await.expect("answered");
    assert!(matches!(
        sightline_protocol::decode::<SmReply>(&reply).expect("readable").body,
        SmReply::Refused { .. }
    ));
    pu.is_alive().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off_and_others_live_on() {
    let centre = Centre::start().await;
    let mut config = centre.config();
    config.limits.queue = 4;
    let scu = scu::start(config, centre.bus.clone(), &centre.lifecycle).await.expect("started");
    let slow = Pu::registered(&centre, &scu, key(1)).await;
    let mut other = Pu::registered(&centre, &scu, key(2)).await;
    let subject = subject::device(&domain(), &slow.id);
    let capabilities = Capabilities::default();
    soon("end of the slow PU", async {
        let mut n = 0_u16;
        while scu.presence(&slow.id) != Presence::Offline {
            n = n.wrapping_add(1);
            let prepare = SmRequest::PrepareMedia {
                device: slow.id.clone(),
                session: session("call"),
                user: UserId::from_random([1; 16]),
                channel: ChannelId(n),
                capabilities: capabilities.clone(),
            };
            centre.bus.publish(&subject, bytes(&prepare)).await.expect("bus");
            tokio::task::yield_now().await;
        }
    })
    .await;
    other.is_alive().await;
}

#[tokio::test]
async fn another_scu_cannot_end_a_call_that_it_does_not_have() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let subject = subject::device(&domain(), &pu.id);
    let end = CsRequest::End { session: session("nobody") };
    centre.bus.publish(&subject, bytes(&end)).await.expect("bus");
    pu.is_alive().await;
}
