//! The whole agent against a small SCU: registration over QUIC and WebSocket, loss and return,
//! offers with their refusals.

mod support;

use std::{net::SocketAddr, path::Path, time::Duration};

use ed25519_dalek::{Signer, SigningKey};
use pu_agent::{
    Config, Running,
    config::{CameraConfig, Listen, ScuConfig, SyntheticForm},
    uplink::{Status, link::Transport},
};
use sightline_model::{MediaSessionId, PublicKey, SessionToken, Signature, UserId};
use sightline_protocol::{
    Problem, ProblemKind, cs,
    ps::{self, MediaAnswer, PuToScu, ScuToPu},
};
use sightline_service_kit::lifecycle::Lifecycle;
use support::{Centre, FakeScu, Fault, PATIENCE, session};

fn config(centre: &Centre, dir: &Path, scus: &[&FakeScu]) -> Config {
    let any = Listen { listen: SocketAddr::from(([127, 0, 0, 1], 0)) };
    let scu = scus.iter().map(|scu| ScuConfig {
        quic: Some(format!("localhost:{}", scu.quic.port())),
        websocket: format!("ws://127.0.0.1:{}/ps/v1", scu.websocket.port()).parse().ok(),
    });
    Config {
        data_dir: dir.join("unit"),
        centre_ca: Some(centre.ca()),
        scu: scu.collect(),
        camera: vec![CameraConfig {
            name: "Yard".into(),
            source: "synthetic".into(),
            synthetic: SyntheticForm { width: 320, height: 180, ..SyntheticForm::default() },
            ..CameraConfig::default()
        }],
        announce_loopback: true,
        rtsp: any,
        quic: any,
        webrtc: any,
        http: any,
        ..Config::default()
    }
}

struct Agent {
    running: Running,
    lifecycle: Lifecycle,
    dir: tempfile::TempDir,
}

async fn agent(centre: &Centre, scus: &[&FakeScu]) -> Agent {
    let dir = tempfile::tempdir().expect("temporary folder");
    let lifecycle = Lifecycle::new();
    let config = config(centre, dir.path(), scus);
    let running = pu_agent::start(config, &lifecycle).await.expect("started");
    Agent { running, lifecycle, dir }
}

impl Agent {
    async fn until(&mut self, wanted: impl FnMut(&Status) -> bool) -> Status {
        let wait = self.running.uplink.wait_for(wanted);
        tokio::time::timeout(PATIENCE, wait).await.expect("in time").expect("runs").clone()
    }
}

#[tokio::test]
async fn registers_over_quic_with_addresses_cameras_and_a_proof_of_its_key() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut agent = agent(&centre, &[&scu]).await;
    let (registration, over) = scu.registered().await;
    assert_eq!(over, "quic");
    assert_eq!(registration.pu, agent.running.pu_id);
    assert_eq!(registration.claim, agent.running.claim_code.hash());
    assert_eq!(registration.addresses.rtsp, [agent.running.rtsp_addr]);
    assert_eq!(registration.addresses.quic, [agent.running.quic_addr]);
    let status = agent.until(|s| s.up == Some(Transport::Quic)).await;
    assert_eq!(status.lease.expect("leased").domain.as_str(), support::DOMAIN);
    let channels = match registration.channels {
        channels if channels.iter().all(|c| c.online) => channels,
        _ => {
            scu.heard(|m| match m {
                PuToScu::Channels { channels } => channels[0].online.then_some(channels),
                _ => None,
            })
            .await
        }
    };
    assert_eq!((channels[0].name.as_str(), channels.len()), ("Yard", 1));
    assert!(agent.lifecycle.shutdown().await, "tasks were left");
}

#[tokio::test]
async fn a_centre_that_was_killed_finds_the_unit_again_after_its_restart() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut agent = agent(&centre, &[&scu]).await;
    scu.registered().await;
    agent.until(|s| s.up.is_some()).await;
    let ports = scu.kill().await;
    let mut scu = FakeScu::start(&centre, ports, true, Fault::None).await;
    let (registration, _) = scu.registered().await;
    assert_eq!(registration.pu, agent.running.pu_id);
    let again = |s: &Status| s.up.is_some() && s.lease.as_ref().is_some_and(|l| l.epoch > 1);
    agent.until(again).await;
}

/// The status of the answer to a DESCRIBE with this token.
async fn describe(address: SocketAddr, token: &SessionToken) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let token = token.expose();
    let request = format!("DESCRIBE rtsp://{address}/0?token={token} RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4_096];
    let length = stream.read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn restarted_while_the_centre_is_away_it_serves_its_lan_and_forgets_no_revocation() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut agent = agent(&centre, &[&scu]).await;
    scu.registered().await;
    agent.until(|s| s.up.is_some()).await;
    let claims = centre.claims(&agent.running.pu_id);
    let good = centre.sign(&claims);
    centre.grant(&good, &claims);
    assert_eq!(describe(agent.running.rtsp_addr, &good).await, "200");
    let mut other = claims.clone();
    other.sid = session("session-2");
    let revoked = centre.sign(&other);
    let problem = Some(Problem::new(ProblemKind::TokenRevoked, "signed out"));
    scu.say(ScuToPu::EndSession { session: other.sid, problem });
    let file = agent.dir.path().join("unit/gate.json");
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let noted = async {
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("session-2")) {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, noted).await.expect("on the disk in time");
    assert!(agent.lifecycle.shutdown().await, "tasks were left");
    let again = config(&centre, agent.dir.path(), &[&scu]);
    scu.kill().await;

    let lifecycle = Lifecycle::new();
    let running = pu_agent::start(again, &lifecycle).await.expect("started");
    assert_eq!(describe(running.rtsp_addr, &revoked).await, "401");
    assert_eq!(describe(running.rtsp_addr, &good).await, "200");
    assert!(lifecycle.shutdown().await, "tasks were left");
}

#[tokio::test]
async fn where_udp_is_blocked_websocket_serves() {
    let centre = Centre::new();
    let mut scu = FakeScu::start(&centre, (0, 0), false, Fault::None).await;
    let mut agent = agent(&centre, &[&scu]).await;
    let (_, over) = scu.registered().await;
    assert_eq!(over, "websocket");
    agent.until(|s| s.up == Some(Transport::WebSocket)).await;
}

#[tokio::test]
async fn a_dead_scu_is_passed_over_for_the_next() {
    let centre = Centre::new();
    let dead = FakeScu::on_any_port(&centre).await;
    let mut alive = FakeScu::on_any_port(&centre).await;
    let dir = tempfile::tempdir().expect("temporary folder");
    let config = config(&centre, dir.path(), &[&dead, &alive]);
    dead.kill().await;
    let lifecycle = Lifecycle::new();
    let _running = pu_agent::start(config, &lifecycle).await.expect("started");
    alive.registered().await;
}

#[tokio::test]
async fn a_centre_that_cannot_prove_itself_gets_nothing() {
    let (centre, other) = (Centre::new(), Centre::new());
    let scu = FakeScu::on_any_port(&other).await;
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut config = config(&centre, dir.path(), &[&scu]);
    config.scu[0].websocket = None;
    let lifecycle = Lifecycle::new();
    let mut running = pu_agent::start(config, &lifecycle).await.expect("started");
    let wait = running.uplink.wait_for(|s| s.fault.is_some());
    let status = tokio::time::timeout(PATIENCE, wait).await.expect("in time").expect("runs");
    let fault = status.fault.clone().expect("a fault");
    assert!(fault.contains("certificate") || fault.contains("UnknownIssuer"), "{fault}");
    assert!(status.lease.is_none() && status.up.is_none());
}

#[tokio::test]
async fn a_signature_over_another_nonce_registers_nobody() {
    let centre = Centre::new();
    let scu = FakeScu::start(&centre, (0, 0), true, Fault::OtherNonce).await;
    let agent = agent(&centre, &[&scu]).await;
    let forged = async {
        while scu.forged.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, forged).await.expect("an attempt");
    assert!(agent.running.uplink.borrow().lease.is_none());
}

#[tokio::test]
async fn holding_the_button_registers_anew_until_the_owner_changes() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let agent = agent(&centre, &[&scu]).await;
    assert!(!scu.registered().await.0.claim_unlocked);
    let identity = pu_agent::identity::Identity::load_or_create(&agent.dir.path().join("unit"))
        .expect("the same unit");
    identity.unlock_claim().expect("held");
    assert!(scu.registered().await.0.claim_unlocked);
    let anna: UserId = "anna".parse().expect("user");
    scu.say(ScuToPu::OwnerChanged { owner: Some(anna) });
    let closed = async {
        while identity.claim_unlocked() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("locked again");
}

#[tokio::test]
async fn two_agents_cannot_be_the_same_unit() {
    let centre = Centre::new();
    let scu = FakeScu::on_any_port(&centre).await;
    let agent = agent(&centre, &[&scu]).await;
    let twin = config(&centre, agent.dir.path(), &[&scu]);
    let error = pu_agent::start(twin, &Lifecycle::new()).await.expect_err("a twin started");
    assert!(error.to_string().contains("another agent"), "{error}");
}

const FINGERPRINT: &str = "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89";

fn sdp(fingerprint: &str) -> String {
    let lines = [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=video 9 UDP/TLS/RTP/SAVPF 102",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789abcdef01234567",
        "a=ice-options:trickle",
        &format!("a=fingerprint:sha-256 {fingerprint}"),
        "a=setup:actpass",
        "a=mid:0",
        "a=recvonly",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=rtpmap:102 H264/90000",
        "a=rtcp-fb:102 nack",
        "a=rtcp-fb:102 nack pli",
        "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "",
    ];
    lines.join("\r\n")
}

fn offer(key: &SigningKey, session: &MediaSessionId, token: &SessionToken) -> Box<cs::MediaOffer> {
    let signed = ps::offer_bytes(session, token, FINGERPRINT);
    Box::new(cs::MediaOffer {
        sdp: sdp(FINGERPRINT),
        token: token.clone(),
        client_key: key.verifying_key().into(),
        signature: Signature::from(key.sign(&signed)),
        ice_servers: Vec::new(),
    })
}

async fn answer(
    scu: &mut FakeScu,
    of: &MediaSessionId,
    offer: Box<cs::MediaOffer>,
) -> Result<MediaAnswer, Problem> {
    scu.say(ScuToPu::MediaOffer { session: of.clone(), offer });
    scu.heard(|m| match m {
        PuToScu::MediaAnswer { session, result } if session == *of => Some(result),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn an_offer_is_answered_with_a_signature_over_both_fingerprints() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut agent = agent(&centre, &[&scu]).await;
    scu.registered().await;
    agent.until(|s| s.up.is_some()).await;
    let online = agent.running.channels.wait_for(|c| c[0].online);
    tokio::time::timeout(PATIENCE, online).await.expect("in time").expect("runs");

    let key = SigningKey::from_bytes(&[21; 32]);
    let mut claims = centre.claims(&agent.running.pu_id);
    claims.cnf = Some(PublicKey::from(key.verifying_key()));
    let token = centre.sign(&claims);
    centre.grant(&token, &claims);
    let offer = offer(&key, &claims.sid, &token);
    let answer = answer(&mut scu, &claims.sid, offer).await.expect("answered");
    assert!(agent.running.pu_id.matches(&answer.public_key));
    let answered = ps::dtls_fingerprint(&answer.sdp).expect("a fingerprint");
    let signed = ps::answer_bytes(&claims.sid, FINGERPRINT, &answered);
    assert!(answer.public_key.verify(&signed, &answer.signature));
    let swapped = ps::answer_bytes(&claims.sid, FINGERPRINT, FINGERPRINT);
    assert!(!answer.public_key.verify(&swapped, &answer.signature));
}

#[tokio::test]
async fn offers_that_somebody_has_tampered_with_are_refused() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut agent = agent(&centre, &[&scu]).await;
    scu.registered().await;
    agent.until(|s| s.up.is_some()).await;
    let key = SigningKey::from_bytes(&[21; 32]);
    let thief = SigningKey::from_bytes(&[22; 32]);
    let mut claims = centre.claims(&agent.running.pu_id);
    claims.cnf = Some(PublicKey::from(key.verifying_key()));
    let token = centre.sign(&claims);
    centre.grant(&token, &claims);

    let mut swapped = offer(&key, &claims.sid, &token);
    swapped.sdp = sdp(&FINGERPRINT.replace("AB", "00"));
    let mut two = offer(&key, &claims.sid, &token);
    two.sdp.push_str(&format!("a=fingerprint:sha-256 {}\r\n", FINGERPRINT.replace("AB", "00")));
    let mut renamed = offer(&key, &claims.sid, &token);
    renamed.client_key = thief.verifying_key().into();
    let replayed = offer(&key, &session("session-9"), &token);
    for (of, offer, kind) in [
        (&claims.sid, swapped, ProblemKind::InvalidToken),
        (&claims.sid, two, ProblemKind::InvalidRequest),
        (&claims.sid, renamed, ProblemKind::InvalidToken),
        // A thief of the token signs properly, with a key of their own.
        (&claims.sid, offer(&thief, &claims.sid, &token), ProblemKind::TokenInUse),
        // The right client, for another session than the token's.
        (&session("session-9"), replayed, ProblemKind::InvalidToken),
    ] {
        let problem = answer(&mut scu, of, offer).await.expect_err("refused");
        assert_eq!(problem.kind, kind, "{problem}");
    }
    let mut broken = offer(&key, &claims.sid, &token);
    broken.sdp = format!("a=fingerprint:sha-256 {FINGERPRINT}\r\nnonsense");
    let problem = answer(&mut scu, &claims.sid, broken).await.expect_err("refused");
    assert_eq!(problem.kind, ProblemKind::InvalidRequest, "{problem}");
}

#[tokio::test]
async fn health_tells_whether_the_unit_is_registered() {
    let centre = Centre::new();
    let mut scu = FakeScu::on_any_port(&centre).await;
    let mut agent = agent(&centre, &[&scu]).await;
    scu.registered().await;
    agent.until(|s| s.up.is_some()).await;
    let wait = async { while !get(agent.running.http_addr, "/readyz").await.contains(" 200 ") {} };
    tokio::time::timeout(PATIENCE, wait).await.expect("ready in time");
    let metrics = get(agent.running.http_addr, "/metrics").await;
    assert!(metrics.contains("sightline_pu_uplink_up"), "{metrics}");
    scu.kill().await;
    agent.until(|s| s.up.is_none()).await;
    let wait = async { while !get(agent.running.http_addr, "/readyz").await.contains(" 503 ") {} };
    tokio::time::timeout(PATIENCE, wait).await.expect("unready in time");
    assert!(get(agent.running.http_addr, "/healthz").await.contains(" 200 "));
}

async fn get(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), socket.read_to_string(&mut text));
    read.await.expect("in time").expect("read");
    text
}
