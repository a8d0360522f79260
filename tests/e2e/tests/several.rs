//! Several of each: two SCUs, two MTUs, CMU, NATS and PostgreSQL as processes of their own, from
//! what `infra/` gives to operators. A viewer at one SCU watches a camera at the other.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use e2e::{BusTap, Cu, Process, Several, tool, wait_for};
use serde_json::{Value, json};

const PHONE: &str = "+8613800138000";
const OPERATOR: &str = "+8613800138009";
/// The requirement: a device that loses its SCU is back at another one within this.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// The video does not pass through an SCU: nothing of it may be missing for longer than this, on a
/// machine on which a device has just registered and been asked for.
const MOST_MISSING_MS: u64 = 1_000;
/// How long one may wait for what has no requirement of its own.
const PATIENCE: Duration = Duration::from_secs(20);

fn signed_in(several: &Several) -> Cu {
    let cu = Cu::login(&several.portal, PHONE, &several.sms_log(), None);
    cu.ok(&["bind", &several.claim_code]);
    cu.wait_for_camera("Yard");
    cu
}

fn play(cu: &Cu) -> Process {
    let mut command = cu.command();
    command.args(["play", "Yard", "--stats", "--json", "--via", "webrtc"]);
    Process::start(&mut command)
}

/// The figures of the next second.
fn figures(viewer: &mut Process) -> Value {
    viewer.line(PATIENCE, |line| {
        let mut figures: Value = serde_json::from_str(line).ok()?;
        Some(figures["stats"].take()).filter(Value::is_object)
    })
}

/// Waits for a second in which pictures came.
fn flowing(viewer: &mut Process) {
    while figures(viewer)["fps"].as_f64().is_none_or(|fps| fps <= 5.0) {}
}

fn presence(several: &Several, token: &str) -> String {
    let list = several.api("GET", "/cameras", token, None).json();
    list["cameras"][0]["presence"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the device is at `scu` and counts as watched there; returns how long it took.
fn back_at(several: &Several, token: &str) -> Duration {
    let begin = Instant::now();
    wait_for("the device at the first SCU, and watched", PATIENCE, || {
        (several.pus_at("scu") == 1.0 && presence(several, token) == "active").then_some(())
    });
    begin.elapsed()
}

fn has_sent(several: &Several, unit: &str, hop: &str) -> bool {
    several.sent_by(unit).iter().any(|sent| sent.hop == hop)
}

#[test]
fn a_killed_scu_stops_no_video_and_its_devices_are_back_at_another() {
    let Some(mut several) = Several::start() else { return };
    let cu = signed_in(&several);
    let token = cu.access_token();
    let mut viewer = play(&cu);
    flowing(&mut viewer);
    // The viewer is at one SCU and the device at the other.
    assert!(has_sent(&several, "scu", "Cs SCU>CU answer"), "the viewer signals over the first");
    assert!(has_sent(&several, "scu-2", "Ps SCU>PU media_offer"), "the device is at the second");
    assert!(!has_sent(&several, "scu", "Ps SCU>PU media_offer"));
    wait_for("watched", PATIENCE, || (presence(&several, &token) == "active").then_some(()));

    while viewer.try_line(Duration::ZERO).is_some() {}
    let at_second = several.unit("scu-2");
    at_second.signal("KILL");
    at_second.wait(PATIENCE);
    let back = back_at(&several, &token);
    println!("the device was back, and watched, after {back:?}");
    assert!(back < BACK_WITHIN, "the device was back after {back:?}");
    // Of all seconds since the kill, and three more. A gap that has not ended counts, too.
    let seconds = back.as_secs() + 4;
    let gaps = (0..seconds).map(|_| figures(&mut viewer)["longest_gap_ms"].as_u64());
    let gap = gaps.max().flatten().expect("pictures");
    println!("longest gap between pictures: {gap} ms");
    assert!(gap < MOST_MISSING_MS, "a gap of {gap} ms");

    // The viewer ends its session over its own SCU, which is the device's by now.
    viewer.signal("INT");
    assert_eq!(viewer.wait(PATIENCE), Some(0));
    wait_for("watched no more", PATIENCE, || {
        (presence(&several, &token) == "online").then_some(())
    });
    // And a new one begins.
    cu.ok(&["play", "Yard", "--via", "webrtc", "--seconds", "1"]);
}

#[test]
fn an_scu_that_was_away_cannot_write_for_a_device_that_went_elsewhere() {
    let Some(mut several) = Several::start() else { return };
    let cu = signed_in(&several);
    let token = cu.access_token();
    let mut viewer = play(&cu);
    flowing(&mut viewer);
    let list = several.api("GET", "/cameras", &token, None).json();
    let device = list["cameras"][0]["device"]["pu"].clone();

    several.unit("scu-2").signal("STOP");
    let back = back_at(&several, &token);
    println!("the device was back, and watched, after {back:?}");
    several.unit("scu-2").signal("CONT");
    wait_for("the stale SCU to let go", PATIENCE, || {
        (several.pus_at("scu-2") == 0.0).then_some(())
    });

    // Whatever it says under its lease is refused, though it be the only one to say it.
    let cmu = "sightline.sightline_example.cmu";
    let stale = [
        json!({ "type": "channels", "device": device, "epoch": 1, "channels": [] }),
        json!({ "type": "addresses", "device": device, "epoch": 1, "addresses": {} }),
        json!({ "type": "nat", "device": device, "epoch": 1, "nat": {} }),
        json!({ "type": "session_report", "device": device, "epoch": 1, "session": "s", "path": null }),
    ];
    for request in stale {
        let reply = BusTap::ask(several.nats_port, cmu, &request);
        assert_eq!(reply["problem"]["type"], "stale_lease", "{request}: {reply}");
    }
    let renew = json!({ "type": "renew_leases", "scu": "scu-2", "leases": [[device, 1]] });
    let reply = BusTap::ask(several.nats_port, cmu, &renew);
    assert_eq!(reply["lost"], json!([device]), "{reply}");
    // Giving back what one has no longer changes nothing.
    let release = json!({ "type": "release", "device": device, "epoch": 1 });
    let _ = BusTap::ask(several.nats_port, cmu, &release);
    assert_eq!(presence(&several, &token), "active");
    assert_eq!(several.pus_at("scu"), 1.0);
    flowing(&mut viewer);
}

/// A new session, and the relays that it is given.
fn given(several: &Several, token: &str, camera: &str) -> (Value, Vec<Value>) {
    let body = json!({ "capabilities": {}, "player": "client" });
    let answer = several.api("POST", &format!("/cameras/{camera}/play"), token, Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut answer = answer.json();
    let servers = answer["ice_servers"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let relays = servers.into_iter().filter(|server| server["credential"].is_string());
    (answer["session"].take(), relays.collect())
}

#[test]
fn what_a_relay_carries_is_accounted_to_the_user_of_the_session() {
    let Some(client) = tool("turnutils_uclient") else { return };
    let Some(several) = Several::start() else { return };
    let cu = signed_in(&several);
    several.add_operator(OPERATOR);
    let operator = Cu::login(&several.portal, OPERATOR, &several.sms_log(), None).access_token();
    let token = cu.access_token();
    let list = several.api("GET", "/cameras", &token, None).json();
    let camera = list["cameras"][0]["id"].as_str().expect("an id").to_owned();
    let (session, turn) = wait_for("a relay", PATIENCE, || {
        let (session, mut servers) = given(&several, &token, &camera);
        servers.pop().map(|server| (session, server))
    });
    // turn:127.0.0.1:PORT?transport=udp
    let port = turn["urls"][0].as_str().and_then(|url| url.split([':', '?']).nth(2));
    let text = |key: &str| turn[key].as_str().expect("a credential").to_owned();
    let mut relaying = Command::new(client);
    // Between two allocations of the same credential: a hundred packets of 500 bytes each way.
    relaying.args(["-y", "-c", "-n", "100", "-l", "500", "-p", port.expect("a port")]);
    relaying.args(["-u", &text("username"), "-w", &text("credential"), "127.0.0.1"]);
    let output = relaying.output().expect("turnutils_uclient runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let me = several.api("GET", "/me", &token, None).json()["id"].clone();
    let usage = wait_for("the accounting", PATIENCE, || {
        let list = several.api("GET", "/operator/usage", &operator, None).json();
        let rows = list["sessions"].as_array()?;
        rows.iter().find(|row| row["session"] == session && row["bytes"] != 0).cloned()
    });
    println!("{usage}");
    assert_eq!(usage["user"], me);
    assert!(usage["bytes"].as_u64().is_some_and(|bytes| bytes >= 100 * 500), "{usage}");
    assert!(usage["packets"].as_u64().is_some_and(|packets| packets >= 100), "{usage}");
}

#[test]
fn a_session_has_two_relays_and_a_dead_or_draining_one_is_given_to_nobody() {
    let Some(mut several) = Several::start() else { return };
    let cu = signed_in(&several);
    let token = cu.access_token();
    several.add_operator(OPERATOR);
    let operator = Cu::login(&several.portal, OPERATOR, &several.sms_log(), None).access_token();
    let list = several.api("GET", "/cameras", &token, None).json();
    let camera = list["cameras"][0]["id"].as_str().expect("an id").to_owned();
    let given = |several: &Several| given(several, &token, &camera).1;
    wait_for("two relays", PATIENCE, || (given(&several).len() == 2).then_some(()));
    let both = given(&several);
    assert_ne!(both[0]["urls"], both[1]["urls"]);

    let mtus = several.api("GET", "/operator/mtus", &operator, None).json();
    let names: Vec<&str> =
        mtus["mtus"].as_array().into_iter().flatten().filter_map(|m| m["mtu"].as_str()).collect();
    assert_eq!(names, ["mtu-1", "mtu-2"]);
    let drain = |several: &Several, mtu: &str, draining: bool| {
        let body = json!({ "draining": draining });
        several.api("PUT", &format!("/operator/mtus/{mtu}"), &operator, Some(&body)).status
    };
    assert_eq!(drain(&several, "mtu-2", true), 204);
    assert_eq!(drain(&several, "mtu-3", true), 404);
    wait_for("one relay", PATIENCE, || (given(&several).len() == 1).then_some(()));
    assert_eq!(drain(&several, "mtu-2", false), 204);
    wait_for("both relays again", PATIENCE, || (given(&several).len() == 2).then_some(()));

    let killed = several.unit("mtu");
    killed.signal("KILL");
    killed.wait(PATIENCE);
    let begin = Instant::now();
    wait_for("the dead relay to be forgotten", PATIENCE, || {
        (given(&several).len() == 1).then_some(())
    });
    println!("the dead relay was forgotten after {:?}", begin.elapsed());
    // Where the stream goes on without it is shown in tests/nat.
}
