//! Who is refused, and how soon: separate processes, real keys, real tokens.

mod middleman;

use std::{
    net::{IpAddr, Ipv4Addr},
    process::Output,
    time::{Duration, Instant},
};

use e2e::{Centre, Cu, Player, Process, free_port, http, trace, wait_for};
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use middleman::{Middleman, Trick};
use serde_json::Value;
use sightline_model::{ClaimCode, ClaimSecret, PublicKey};
use sightline_protocol::{
    ProblemKind, decode, encode,
    ps::{Addresses, PuToScu, Registration, ScuToPu, registration_bytes},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

const ANNA: &str = "+8613800138000";
const BERT: &str = "+8613800138001";
/// Exit codes of `cu`, see `cu --help`.
const REFUSED: i32 = 4;
const UNREACHABLE: i32 = 5;
const SECURITY: i32 = 6;

fn login(centre: &Centre, phone: &str) -> Cu {
    Cu::login(&centre.portal, phone, &centre.sms_log(), Some(&centre.ca()))
}

/// A person with the camera bound and giving a picture.
fn owner(centre: &Centre) -> Cu {
    let cu = login(centre, ANNA);
    centre.wait_registered(&centre.mark_start());
    cu.ok(&["bind", &centre.claim_code]);
    cu.wait_for_camera("Yard");
    cu
}

/// The exit code, and what the problem is called.
fn refusal(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let error: Value =
        text.lines().rev().find_map(|l| serde_json::from_str(l).ok()).unwrap_or_default();
    let problem = error["error"]["problem"].as_str().unwrap_or_default().to_owned();
    (output.status.code().unwrap_or(-1), problem)
}

/// A stream that runs: `cu` has said that pictures come.
fn watching(cu: &Cu, via: &str) -> Process {
    let mut command = cu.command();
    let mut watch =
        Process::start(command.args(["--json", "play", "Yard", "--stats", "--via", via]));
    watch.line(Duration::from_secs(20), |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["stats"]["fps"].as_f64().filter(|fps| *fps > 0.0)
    });
    watch
}

#[test]
fn an_unknown_device_is_refused() {
    let known = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let settings = [
        ("cmu", "SIGHTLINE_DEVICES__REGISTRATION", "provisioned"),
        ("cmu", "SIGHTLINE_DEVICES__ALLOWED", &format!("[\"{known}\"]")),
    ];
    let Some(centre) = Centre::start_with(&settings) else { return };
    let refused = || {
        let hops = trace::read(&centre.log("scu"));
        hops.iter().any(|sent| sent.hop == "Ps SCU>PU refused").then_some(())
    };
    wait_for("the refusal", Duration::from_secs(10), refused);
    assert!(!trace::read(&centre.log("scu")).iter().any(|s| s.hop == "Ps SCU>PU registered"));
    let cu = login(&centre, ANNA);
    let bind = cu.run(&["--json", "bind", &centre.claim_code]);
    assert_eq!(refusal(&bind), (REFUSED, "wrong_claim_code".into()));
}

/// What somebody who knows the id, but not the key, can send.
async fn register_as(port: u16, pu: &str, shown: PublicKey, key: &SigningKey) -> ProblemKind {
    let (mut socket, _) = connect_async(format!("ws://localhost:{port}/ps/v1")).await.expect("SCU");
    loop {
        let message = socket.next().await.expect("an answer").expect("an answer");
        let Message::Text(text) = message else { continue };
        match decode::<ScuToPu>(text.as_bytes()).expect("readable").body {
            ScuToPu::Challenge { scu, nonce } => {
                let pu = pu.parse().expect("an id");
                let claim = ClaimCode::new(pu, ClaimSecret::from_bytes([7; 10]));
                let pu = claim.pu_id().clone();
                let registration = Registration {
                    signature: key.sign(&registration_bytes(&scu, &nonce, &pu)).into(),
                    pu,
                    public_key: shown,
                    claim: claim.hash(),
                    claim_unlocked: true,
                    addresses: Addresses::default(),
                    channels: Vec::new(),
                    agent: "thief".into(),
                    kind: sightline_model::DeviceKind::Pu,
                };
                let text = encode(&PuToScu::Register(Box::new(registration)), None);
                let text = String::from_utf8(text).expect("JSON");
                socket.send(Message::text(text)).await.expect("sent");
            }
            ScuToPu::Refused { problem } => return problem.kind,
            ScuToPu::KeepAliveAck { .. } => {}
            other => panic!("the thief got {other:?}"),
        }
    }
}

#[test]
fn kalay_a_known_id_with_another_key_changes_nothing_for_the_real_pu() {
    let Some(centre) = Centre::start() else { return };
    let cu = owner(&centre);
    let mut viewer = Player::connect(&cu.rtsp_url("Yard"));
    viewer.play();
    let camera: Value = serde_json::from_str(&cu.ok(&["list", "--json"])).expect("JSON");
    let real = camera["cameras"][0]["device_key"].as_str().expect("a key").parse().expect("a key");
    let before = centre.mark();

    let (pu, thief) = (centre.pu_id(), SigningKey::from_bytes(&[66; 32]));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for shown in [thief.verifying_key().into(), real] {
        let attack = register_as(centre.ports.cs, &pu, shown, &thief);
        assert_eq!(runtime.block_on(attack), ProblemKind::WrongKey);
    }
    viewer.media(500_000);
    assert_eq!(Player::connect(&cu.rtsp_url("Yard")).describe(), 200);
    let hops = centre.trace_since(&before);
    assert!(!hops.iter().any(|s| s.hop == "Ps PU>SCU register"), "the real PU had to come back");
}

#[test]
fn binding_needs_the_code_and_a_camera_that_is_free() {
    let Some(centre) = Centre::start() else { return };
    let anna = owner(&centre);
    let bert = login(&centre, BERT);
    let pu = centre.pu_id();
    // Tuya: knowing the id is not enough.
    let guess = ClaimCode::new(pu.parse().expect("an id"), ClaimSecret::from_bytes([9; 10]));
    let wrong = bert.run(&["--json", "bind", &guess.to_string()]);
    assert_eq!(refusal(&wrong), (REFUSED, "wrong_claim_code".into()));
    let taken = bert.run(&["--json", "bind", &centre.claim_code]);
    assert_eq!(refusal(&taken), (REFUSED, "already_bound".into()));
    let code = serde_json::json!({ "claim_code": centre.claim_code });
    let token = bert.access_token();
    let (portal, bearer) = (centre.ports.portal, Some(token.as_str()));
    assert_eq!(http(portal, "POST", "/api/v1/bindings", bearer, Some(&code)).status, 409);

    // No right: a foreign camera is answered like one that does not exist, whatever is asked.
    let unknown = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let play = serde_json::json!({ "capabilities": {}, "player": "rtsp" });
    let rename = serde_json::json!({ "name": "Mine" });
    let (cameras, devices) = ("/api/v1/cameras", "/api/v1/devices");
    let asked = [
        ("GET", format!("{cameras}/{{}}.0"), None),
        ("PATCH", format!("{cameras}/{{}}.0"), Some(&rename)),
        ("POST", format!("{cameras}/{{}}.0/play"), Some(&play)),
        ("DELETE", format!("{devices}/{{}}/binding"), None),
    ];
    for (method, path, body) in asked {
        let ask = |id: &str| http(portal, method, &path.replace("{}", id), bearer, body);
        let (foreign, missing) = (ask(&pu), ask(unknown));
        assert_eq!(foreign.status, 404, "{method} {path}: {}", foreign.body);
        assert_eq!((missing.status, &missing.body), (404, &foreign.body), "{method} {path}");
        // The head without its date.
        let head = |head: &str| head.lines().filter(|l| !l.starts_with("date")).collect::<String>();
        assert_eq!(head(&missing.head), head(&foreign.head), "{method} {path}");
    }
    assert!(!bert.ok(&["list", "--json"]).contains(&pu));
    assert_eq!(refusal(&bert.run(&["--json", "play", &format!("{pu}.0")])).0, REFUSED);
    assert!(anna.ok(&["list", "--json"]).contains("\"Yard\""), "the owner notices nothing");
}

#[test]
fn a_play_token_serves_one_client_and_one_unit() {
    let Some(centre) = Centre::start() else { return };
    let cu = owner(&centre);
    let second_pu = centre.second_pu();
    wait_for("the second camera", Duration::from_secs(20), || {
        let bound = cu.run(&["bind", &second_pu.claim_code]);
        bound.status.success().then_some(())
    });
    cu.wait_for_camera("Gate");
    let url = cu.rtsp_url("Yard");
    assert_eq!(Player::connect(&url.without_token()).describe(), 401, "no token");

    // Foreign: a good token, at another unit of the same owner.
    let elsewhere = url.at(([127, 0, 0, 1], second_pu.rtsp).into());
    assert_eq!(Player::connect(&elsewhere).describe(), 401, "foreign token");
    // Forged: another expiry under the same signature.
    let (head, token) = url.text.split_once("token=").expect("a token");
    let parts: Vec<&str> = token.split('.').collect();
    let forged = format!("{head}token={}.{}x.{}", parts[0], parts[1], parts[2]);
    assert_eq!(Player::connect(&e2e::RtspUrl::new(&forged)).describe(), 401, "forged token");

    // The first address that shows it may come again; a second address may not.
    let second: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
    assert_eq!(Player::connect(&url).describe(), 200);
    assert_eq!(Player::connect_from(second, &url).describe(), 403, "second client");
    assert_eq!(Player::connect(&url).describe(), 200, "the first client tries again");

    // A client with a key: its sign-in, copied to a machine with another key.
    let thief = cu.stolen();
    for via in ["quic", "webrtc"] {
        let stolen = thief.run(&["--json", "play", "Yard", "--via", via, "--seconds", "1"]);
        assert_eq!(
            refusal(&stolen).0,
            REFUSED,
            "{via}: {}",
            String::from_utf8_lossy(&stolen.stdout)
        );
        let own = cu.run(&["--json", "play", "Yard", "--via", via, "--seconds", "1"]);
        assert!(own.status.success(), "{via}: {}", String::from_utf8_lossy(&own.stdout));
    }
}

#[test]
fn an_expired_token_is_refused() {
    let Some(centre) = Centre::start_with(&[("cmu", "SIGHTLINE_TOKENS__PLAY_S", "30")]) else {
        return;
    };
    let cu = owner(&centre);
    let url = cu.rtsp_url("Yard");
    assert_eq!(Player::connect(&url).describe(), 200);
    wait_for("the token's end", Duration::from_secs(45), || {
        let status = Player::connect(&url).describe();
        assert!(status == 200 || status == 401, "expired: {status}");
        (status == 401).then_some(())
    });
    assert_eq!(Player::connect(&cu.rtsp_url("Yard")).describe(), 200, "a new token");
}

#[test]
fn a_pu_that_is_offline_is_said_to_be() {
    let Some(mut centre) = Centre::start() else { return };
    let cu = owner(&centre);
    centre.pu.stop();
    wait_for("the absence", Duration::from_secs(10), || {
        cu.ok(&["list", "--json"]).contains("\"offline\"").then_some(())
    });
    let begin = Instant::now();
    let play = cu.run(&["--json", "play", "Yard"]);
    println!("PU offline: refused after {:?}", begin.elapsed());
    assert_eq!(refusal(&play), (UNREACHABLE, "device_offline".into()));
}

#[test]
fn cs2_a_substituted_certificate_or_key_gets_no_picture() {
    let port = free_port();
    let url = format!("ws://localhost:{port}");
    let Some(centre) = Centre::start_with(&[("scu", "SIGHTLINE_PUBLIC_URL", &url)]) else { return };
    let middleman = Middleman::start(port, centre.ports.cs);
    let cu = owner(&centre);
    let file = centre.data.path().join("picture.mp4");
    let out = file.to_str().expect("a path in UTF-8");
    let play =
        || cu.run(&["--json", "play", "Yard", "--via", "webrtc", "--seconds", "1", "--out", out]);
    for trick in [Trick::Fingerprint, Trick::Key] {
        middleman.play(trick);
        let output = play();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(SECURITY), "{trick:?}: {said}");
        assert!(!file.exists(), "{trick:?}: a picture came");
    }
    // The middleman itself is no obstacle, only his tricks are.
    middleman.play(Trick::None);
    let output = play();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(file.metadata().is_ok_and(|m| m.len() > 10_000));
}

#[test]
fn releasing_a_camera_ends_its_streams() {
    let Some(centre) = Centre::start() else { return };
    let cu = owner(&centre);
    let url = cu.rtsp_url("Yard");
    let mut player = Player::connect(&url);
    player.play();
    let mut streams = [watching(&cu, "quic"), watching(&cu, "webrtc")];
    player.media(10_000);
    let begin = Instant::now();
    cu.ok(&["release", "Yard", "--yes"]);
    player.wait_for_end();
    println!("released: RTSP ended after {:?}", begin.elapsed());
    for (stream, via) in streams.iter_mut().zip(["QUIC", "WebRTC"]) {
        let code = stream.wait(Duration::from_secs(10));
        println!("released: {via} ended after {:?}, exit code {code:?}", begin.elapsed());
        assert_ne!(code, Some(0));
    }
    assert_eq!(Player::connect(&url).describe(), 401, "the URL of before");
}

#[test]
fn a_killed_scu_is_found_again_and_streams_go_on() {
    let Some(mut centre) = Centre::start() else { return };
    let cu = owner(&centre);
    let mut player = Player::connect(&cu.rtsp_url("Yard"));
    player.play();
    let mut streams = [watching(&cu, "quic"), watching(&cu, "webrtc")];
    let before = centre.mark();
    centre.scu.signal("KILL");
    centre.scu.wait(Duration::from_secs(5));
    let begin = Instant::now();
    centre.restart("scu");
    centre.wait_registered(&before);
    println!("SCU killed and restarted: registered again after {:?}", begin.elapsed());
    player.media(500_000);
    for stream in &mut streams {
        for _ in 0..2 {
            stream.line(Duration::from_secs(10), |line| {
                let line: Value = serde_json::from_str(line).ok()?;
                line["stats"]["fps"].as_f64().filter(|fps| *fps > 10.0)
            });
        }
        stream.signal("INT");
        assert_eq!(stream.wait(Duration::from_secs(10)), Some(0), "the stream went on to its end");
    }
    cu.wait_for_camera("Yard");
    assert!(cu.run(&["play", "Yard", "--via", "webrtc", "--seconds", "1"]).status.success());
}
