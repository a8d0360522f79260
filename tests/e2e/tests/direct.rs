//! The media's way is direct: agent, centre and viewer are three hosts, and nothing but signalling
//! passes the centre (A6.1.1).

mod apart;

use std::time::{Duration, Instant};

use e2e::{Process, namespaces_allowed, tool, wait_for};
use serde_json::Value;

use self::apart::{Apart, end, json, playing};

/// How long the links are counted; by hand as `TEST_SECONDS` says.
fn seconds() -> u64 {
    std::env::var("TEST_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn both((received, sent): (u64, u64)) -> u64 {
    received + sent
}

/// Counts what passes the links of centre and agent meanwhile.
fn count(apart: &Apart, viewer: &str, meanwhile: impl FnOnce()) {
    let links = || ["centre", "agent"].map(|host| both(apart.lab.link_bytes(host)));
    let before = links();
    meanwhile();
    let after = links();
    let [centre, agent] = [0, 1].map(|i| after[i] - before[i]);
    let percent = 100.0 * centre as f64 / agent as f64;
    println!("{viewer}: agent's link {agent} bytes, centre's {centre}: {percent:.3} %");
    assert!(agent > 1_000_000, "{viewer}: hardly anything was played: {agent} bytes");
    assert!(centre * 100 < agent, "{viewer}: {centre} of {agent} bytes passed the centre");
}

#[test]
fn nothing_of_a_browsers_picture_passes_the_centre() {
    if !namespaces_allowed() {
        return;
    }
    let apart = Apart::start(|_| ());
    let watched = (seconds() + 3).to_string();
    let arguments = ["--timeline", "--seconds", &watched];
    let Some(mut browser) = apart.browser(&arguments) else { return };
    playing(&mut browser);
    count(&apart, "browser", || {
        let mut from = None;
        json(&mut browser, seconds() + 20, |line| {
            let now = line["t_ms"].as_u64()?;
            (now - *from.get_or_insert(now) >= seconds() * 1_000).then_some(())
        });
    });
    let report = json(&mut browser, 60, |line| line.get("path").is_some().then(|| line.clone()));
    println!("{report}");
    assert_eq!(report["path"]["relayed"], false, "{report}");
    assert_eq!(browser.wait(Duration::from_secs(60)), Some(0), "{report}");
}

/// A line of `cu play --stats --json` with pictures in it.
fn stats(line: &Value) -> Option<&Value> {
    let stats = line.get("stats")?;
    (stats["fps"].as_f64()? > 0.0).then_some(stats)
}

fn play(apart: &Apart, via: &str) -> Process {
    Process::start(&mut apart.cu(&["--json", "play", "1", "--via", via, "--stats"]))
}

#[test]
fn nothing_of_cus_picture_passes_the_centre() {
    if !namespaces_allowed() {
        return;
    }
    let apart = Apart::start(|_| ());
    apart.cu_binds();
    for via in ["quic", "webrtc"] {
        let mut cu = play(&apart, via);
        json(&mut cu, 30, |line| stats(line).map(|_| ()));
        count(&apart, via, || {
            let mut lines = 0;
            json(&mut cu, seconds() + 20, |line| {
                let stats = stats(line)?;
                assert_eq!(stats["path"]["relayed"], false, "{line}");
                lines += 1;
                (lines >= seconds()).then_some(())
            });
        });
        end(&mut cu);
    }
}

#[test]
fn where_udp_is_blocked_the_agent_registers_over_websocket() {
    if !namespaces_allowed() {
        return;
    }
    let Some(nft) = tool("nft") else { return };
    let apart = Apart::start(|lab| block_udp(&mut lab.command("centre", &nft)));
    let log = apart.agent_log();
    let registered = log.lines().find(|line| line.contains("registered")).unwrap_or_default();
    println!("{registered}");
    assert!(registered.to_lowercase().contains("websocket"), "{log}");
    // And it serves: the signalling comes over it.
    apart.cu_binds();
    let mut cu = play(&apart, "quic");
    json(&mut cu, 30, |line| stats(line).map(|_| ()));
    end(&mut cu);
}

fn block_udp(nft: &mut std::process::Command) {
    let rules = "add table inet block; \
                 add chain inet block in { type filter hook input priority 0; }; \
                 add rule inet block in udp dport 7443 drop";
    assert!(nft.arg(rules).status().is_ok_and(|s| s.success()), "nft was refused");
}

/// The requirement: back so long after the agent's address has changed.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn an_agent_whose_address_changes_is_back_within_5_s() {
    if !namespaces_allowed() {
        return;
    }
    let apart = Apart::start(|_| ());
    apart.cu_binds();
    for address in ["192.0.2.77", "192.0.2.78"] {
        apart.lab.set_address("agent", address);
        let changed = Instant::now();
        let back = wait_for("the new address at the centre", Duration::from_secs(30), || {
            let url = apart.cu(&["play", "1", "--print-url"]).output().expect("cu starts");
            let url = String::from_utf8_lossy(&url.stdout).contains(&format!("//{address}:"));
            url.then(|| changed.elapsed())
        });
        println!("{address}: a session at the new address after {back:?}");
        assert!(back < BACK_WITHIN, "{address}: back after {back:?}");
        for via in ["quic", "webrtc"] {
            let mut cu = play(&apart, via);
            let path = json(&mut cu, 30, |line| {
                let path = stats(line)?["path"].clone();
                path.is_object().then_some(path)
            });
            println!("{address}: {path}");
            assert!(path["remote"].as_str().is_some_and(|r| r.contains(address)), "{path}");
            end(&mut cu);
        }
    }
}
