//! The uplink over real sockets: what changes while it runs.

mod support;

use std::sync::Arc;

use pu_agent::{
    identity::Identity,
    uplink::{Handler, Status, Uplink, clock::Clock, dial::Server, link::Transport},
};
use sightline_model::UserId;
use sightline_protocol::ps::{Addresses, PuToScu, RecordingAnswer, RecordingReply, ScuToPu};
use sightline_service_kit::lifecycle::Lifecycle;
use support::{Centre, FakeScu, Fault, Levers, PATIENCE};
use tokio::sync::watch;

struct Deaf;

impl Handler for Deaf {
    fn message(&self, _: ScuToPu) {}
    fn registered(&self) {}
    fn owner(&self, _: Option<UserId>) {}
}

struct Unit {
    uplink: Uplink,
    status: watch::Receiver<Status>,
    levers: Levers,
    clock: Clock,
    _lifecycle: Lifecycle,
    _dir: tempfile::TempDir,
}

fn unit(centre: &Centre, scu: &FakeScu) -> Unit {
    let dir = tempfile::tempdir().expect("temporary folder");
    let identity = Arc::new(Identity::load_or_create(dir.path()).expect("identity"));
    let (lifecycle, clock) = (Lifecycle::new(), Clock::default());
    let server = Server {
        quic: Some(scu.quic.to_string()),
        websocket: format!("ws://{}/ps/v1", scu.websocket).parse().ok(),
    };
    let (driver, uplink, levers) = support::uplink(&identity, centre, server, &clock, &lifecycle);
    let (status, kept) = (uplink.status(), uplink.clone());
    lifecycle.spawn(async move {
        let _keep = uplink;
        driver.run(Arc::new(Deaf)).await;
    });
    Unit { uplink: kept, status, levers, clock, _lifecycle: lifecycle, _dir: dir }
}

impl Unit {
    async fn up(&mut self, over: Transport) {
        let wait = self.status.wait_for(|s| s.up == Some(over));
        tokio::time::timeout(PATIENCE, wait).await.expect("in time").expect("runs");
    }
}

#[tokio::test]
async fn a_unit_on_websocket_comes_back_to_quic_when_udp_is_free_again() {
    let centre = Centre::new();
    let mut scu = FakeScu::start(&centre, (0, 0), false, Fault::None).await;
    let mut unit = unit(&centre, &scu);
    assert_eq!(scu.registered().await.1, "websocket");
    unit.up(Transport::WebSocket).await;
    scu.unblock_udp();
    assert_eq!(scu.registered().await.1, "quic");
    unit.up(Transport::Quic).await;
}

#[tokio::test]
async fn new_addresses_are_told_and_stand_in_the_next_registration() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut unit = unit(&centre, &scu);
    scu.registered().await;
    unit.up(Transport::Quic).await;
    let rtsp = vec!["192.0.2.7:8554".parse().expect("address")];
    let moved = Addresses { rtsp, ..Addresses::default() };
    unit.levers.addresses.send_replace(moved.clone());
    let told = scu.heard(|m| match m {
        PuToScu::Addresses(addresses) => Some(addresses),
        _ => None,
    });
    assert_eq!(told.await, moved);
    scu.say(ScuToPu::Goodbye);
    assert_eq!(scu.registered().await.0.addresses, moved);
}

#[tokio::test]
async fn the_clock_follows_the_centre() {
    let centre = Centre::new();
    let mut scu = FakeScu::start(&centre, (0, 0), true, Fault::ClockAhead).await;
    let mut unit = unit(&centre, &scu);
    scu.registered().await;
    unit.up(Transport::Quic).await;
    let near = (unit.clock.offset_us() - support::AHEAD_US).abs();
    assert!(near < 5_000_000, "{}", unit.clock.offset_us());
}

#[tokio::test]
async fn a_unit_that_is_refused_says_why() {
    let centre = Centre::new();
    let scu = FakeScu::start(&centre, (0, 0), true, Fault::OtherNonce).await;
    let mut unit = unit(&centre, &scu);
    let told = unit.status.wait_for(|s| {
        s.fault.as_ref().is_some_and(|fault| fault.starts_with("the service refuses this unit: "))
    });
    tokio::time::timeout(PATIENCE, told).await.expect("in time").expect("runs");
}

#[tokio::test]
async fn an_answer_reaches_only_the_registration_in_which_was_asked() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut unit = unit(&centre, &scu);
    scu.registered().await;
    unit.up(Transport::Quic).await;
    let asked_in = unit.status.borrow_and_update().registration();
    assert!(asked_in.is_some());
    scu.say(ScuToPu::Goodbye);
    scu.registered().await;
    let again = unit.status.wait_for(|s| s.registration().is_some_and(|new| Some(new) != asked_in));
    let again = tokio::time::timeout(PATIENCE, again).await.expect("in time").expect("runs");
    let now = again.registration();
    drop(again);
    let answer =
        |request| PuToScu::Recorded(RecordingAnswer { request, result: Ok(RecordingReply::Done) });
    unit.uplink.answer(asked_in, answer(1));
    unit.uplink.answer(None, answer(2));
    unit.uplink.answer(now, answer(3));
    // They go out in their order.
    let heard = scu.heard(|m| match m {
        PuToScu::Recorded(answer) => Some(answer.request),
        _ => None,
    });
    assert_eq!(heard.await, 3, "an answer to what another SCU may have asked");
}
