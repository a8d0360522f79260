//! A8.1 and A8.3 at the SCU: who is registered, who is refused, and that a refusal harms nobody.

mod common;

use common::{Centre, Pu, Ws, id_of, key, registration, soon};
use sightline_model::{Presence, UnixMicros};
use sightline_protocol::{
    MAX_MESSAGE_BYTES, ProblemKind,
    ps::{self, Addresses, PuToScu, ScuToPu, TokenBearer},
    sc::ScRequest,
};

#[tokio::test]
async fn a_pu_registers_over_quic_and_is_released() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    assert_eq!(scu.presence(&pu.id), Presence::Online);
    pu.is_alive().await;
    pu.send(&PuToScu::Addresses(Addresses::default())).await;
    pu.send(&PuToScu::Channels { channels: vec![] }).await;
    centre.saw("addresses", |r| matches!(r, ScRequest::Addresses { epoch: 1, .. })).await;
    centre.saw("channels", |r| matches!(r, ScRequest::Channels { epoch: 1, .. })).await;
    assert_eq!(scu.presence(&pu.id), Presence::Inactive);
    let id = pu.id.clone();
    drop(pu);
    centre.saw("release", |r| matches!(r, ScRequest::Release { epoch: 1, .. })).await;
    assert_eq!(scu.presence(&id), Presence::Offline);
}

#[tokio::test]
async fn a_pu_registers_over_websocket() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut socket = Ws::connect(&scu, ps::WEBSOCKET_PATH).await;
    let challenge = socket.next().await;
    socket.send(&registration(&key(1), &id_of(&key(1)), &challenge)).await;
    assert!(matches!(socket.next().await, ScuToPu::Registered { epoch: 1, .. }));
    assert_eq!(scu.presence(&id_of(&key(1))), Presence::Online);
}

/// SECURITY: Kalay CVE-2021-28372, a device taken over by registering with its id.
#[tokio::test]
async fn a_registration_with_a_wrong_key_leaves_the_real_pu_alone() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut real = Pu::registered(&centre, &scu, key(1)).await;
    let mut thief = Pu::connect(&centre, &scu, key(2)).await;
    let challenge = thief.next().await;
    thief.send(&registration(&key(2), &real.id, &challenge)).await;
    thief.is_refused(ProblemKind::WrongKey).await;
    real.is_alive().await;
    assert_eq!(scu.presence(&real.id), Presence::Online);
}

#[tokio::test]
async fn an_unknown_device_is_refused() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    centre.books.lock().unknown.push(id_of(&key(1)));
    let mut pu = Pu::connect(&centre, &scu, key(1)).await;
    let challenge = pu.next().await;
    pu.send(&registration(&pu.key, &pu.id, &challenge)).await;
    pu.is_refused(ProblemKind::UnknownDevice).await;
}

#[tokio::test]
async fn a_nonce_of_another_connection_or_of_ones_own_is_refused() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut first = Pu::connect(&centre, &scu, key(1)).await;
    let mut second = Pu::connect(&centre, &scu, key(1)).await;
    let (challenge, other) = (first.next().await, second.next().await);
    assert_ne!(challenge, other, "a nonce is used once");
    second.send(&registration(&second.key, &second.id, &challenge)).await;
    second.is_refused(ProblemKind::WrongKey).await;

    let made = registration(&first.key, &first.id, &challenge);
    first.send(&made).await;
    assert!(matches!(first.next().await, ScuToPu::Registered { .. }));
    // The same registration again: the nonce is used.
    first.send(&made).await;
    first.is_refused(ProblemKind::InvalidRequest).await;
}

#[tokio::test]
async fn nothing_but_a_registration_is_taken_first() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut pu = Pu::connect(&centre, &scu, key(1)).await;
    pu.next().await;
    pu.send(&PuToScu::Channels { channels: vec![] }).await;
    pu.is_refused(ProblemKind::Unauthenticated).await;
    assert!(centre.books.lock().seen.is_empty());
}

#[tokio::test]
async fn bad_frames_end_their_connection_and_no_other() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut bystander = Pu::registered(&centre, &scu, key(1)).await;
    for bad in
        [&b"{"[..], b"", b"\xff\xfe", br#"{"v":2,"body":{}}"#, br#"{"v":1,"body":{"type":"x"}}"#]
    {
        let mut pu = Pu::registered(&centre, &scu, key(2)).await;
        pu.send_raw(bad).await;
        pu.is_refused(ProblemKind::InvalidRequest).await;
    }
    for length in [MAX_MESSAGE_BYTES as u32 + 1, u32::MAX] {
        let mut pu = Pu::registered(&centre, &scu, key(2)).await;
        pu.send_length(length).await;
        pu.is_refused(ProblemKind::InvalidRequest).await;
    }
    let mut socket = Ws::connect(&scu, ps::WEBSOCKET_PATH).await;
    let _: ScuToPu = socket.next().await;
    socket.send_text("x".repeat(MAX_MESSAGE_BYTES + 1)).await;
    assert!(matches!(socket.next().await, ScuToPu::Refused { problem }
        if problem.kind == ProblemKind::InvalidRequest));
    bystander.is_alive().await;
}

#[tokio::test]
async fn a_silent_connection_is_ended() {
    let centre = Centre::start().await;
    let mut config = centre.config();
    config.limits.sign_in_timeout_ms = 200;
    config.limits.keep_alive_ms = 200;
    let scu = scu::start(config, centre.bus.clone(), &centre.lifecycle).await.expect("started");
    let mut unregistered = Pu::connect(&centre, &scu, key(1)).await;
    unregistered.next().await;
    unregistered.is_refused(ProblemKind::Timeout).await;
    let mut registered = Ws::connect(&scu, ps::WEBSOCKET_PATH).await;
    let challenge = registered.next().await;
    registered.send(&registration(&key(2), &id_of(&key(2)), &challenge)).await;
    assert!(matches!(registered.next().await, ScuToPu::Registered { keep_alive_ms: 200, .. }));
    assert!(matches!(registered.next().await, ScuToPu::Refused { problem }
        if problem.kind == ProblemKind::Timeout));
    centre.saw("release", |r| matches!(r, ScRequest::Release { .. })).await;
}

#[tokio::test]
async fn connections_of_one_address_are_bounded() {
    let centre = Centre::start().await;
    let mut config = centre.config();
    config.limits.connections_per_ip = 1;
    let scu = scu::start(config, centre.bus.clone(), &centre.lifecycle).await.expect("started");
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let refused = centre.quic().connect(scu.quic_addr, "localhost").expect("valid").await;
    assert!(refused.is_err());
    let url = format!("ws://{}{}", scu.http_addr.expect("bound"), ps::WEBSOCKET_PATH);
    assert!(tokio_tungstenite::connect_async(url).await.is_err());
    pu.is_alive().await;
}

#[tokio::test]
async fn a_newer_registration_fences_the_older_here_and_elsewhere() {
    let centre = Centre::start().await;
    let (here, there) = (centre.scu().await, centre.scu().await);
    let mut first = Pu::registered(&centre, &here, key(1)).await;
    let mut second = Pu::registered(&centre, &here, key(1)).await;
    first.is_refused(ProblemKind::StaleLease).await;
    let mut third = Pu::registered(&centre, &there, key(1)).await;
    second.is_refused(ProblemKind::StaleLease).await;
    third.is_alive().await;
    assert_eq!(here.presence(&third.id), Presence::Offline);
    assert_eq!(there.presence(&third.id), Presence::Online);
    let released = centre.books.lock().seen.iter().any(|r| matches!(r, ScRequest::Release { .. }));
    assert!(!released, "a fenced connection has no lease to give back");
}

#[tokio::test]
async fn a_token_check_comes_back_with_its_number() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let good = sightline_model::SessionToken::new("good".to_owned()).hash();
    let bad = sightline_model::SessionToken::new("bad".to_owned()).hash();
    centre.books.lock().tokens.push(good.as_str().to_owned());
    for (request, token) in [(5, good), (6, bad)] {
        let presented_by = TokenBearer::Address { ip: [127, 0, 0, 1].into() };
        pu.send(&PuToScu::TokenCheck { request, token, presented_by }).await;
        let ScuToPu::TokenResult { request: number, result } = pu.next().await else {
            panic!("no result")
        };
        assert_eq!((number, result.is_ok()), (request, request == 5));
    }
}

#[tokio::test]
async fn a_ticket_is_asked_of_the_cmu_and_its_no_comes_back_with_its_number() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let mut nvr = Pu::registered(&centre, &scu, key(1)).await;
    let pu = sightline_model::PuId::from_public_key(&key(2).verifying_key().into());
    let camera = sightline_model::CameraId { pu, channel: sightline_model::ChannelId(0) };
    nvr.send(&PuToScu::TicketRequest { request: 7, camera: camera.clone() }).await;
    let ScuToPu::Ticket { request, result } = nvr.next().await else { panic!("no ticket") };
    assert_eq!((request, result.expect_err("no").kind), (7, ProblemKind::NotFound));
    let asked = |r: &ScRequest| matches!(r, ScRequest::Ticket { camera: of, .. } if *of == camera);
    assert!(centre.books.lock().seen.iter().any(asked), "the CMU was not asked");
}

#[tokio::test]
async fn a_pu_is_told_when_its_scu_goes_away() {
    let centre = Centre::start().await;
    let scu_life = sightline_service_kit::lifecycle::Lifecycle::new();
    let scu = scu::start(centre.config(), centre.bus.clone(), &scu_life).await.expect("started");
    let mut pu = Pu::registered(&centre, &scu, key(1)).await;
    let told = async {
        assert!(matches!(pu.next().await, ScuToPu::Goodbye));
        assert!(pu.try_next().await.is_none());
        drop(pu);
    };
    let (ended, ()) = soon("end", async { tokio::join!(scu_life.shutdown(), told) }).await;
    assert!(ended, "a task did not end");
    centre.saw("release", |r| matches!(r, ScRequest::Release { .. })).await;
}

#[tokio::test]
async fn the_scu_is_the_clock() {
    let centre = Centre::start().await;
    let scu = centre.scu().await;
    let before = UnixMicros::from(std::time::SystemTime::now());
    let mut pu = Pu::connect(&centre, &scu, key(1)).await;
    let challenge = pu.next().await;
    pu.send(&registration(&pu.key, &pu.id, &challenge)).await;
    let ScuToPu::Registered { server_time, observed, .. } = pu.next().await else {
        panic!("not registered")
    };
    assert!(server_time >= before && observed.ip().is_loopback());
}
