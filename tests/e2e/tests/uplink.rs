//! The uplink of a PU survives its SCU: the unit is back within 5 s of the SCU, and whoever watches
//! meanwhile notices nothing (A6.1, "media flows without the centre").

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use e2e::{Centre, Cu, Process, wait_for};

/// The requirement: registered again so long after the SCU is up.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// How long the SCU is away while somebody watches: 10 s in CI, by hand as `TEST_SECONDS` says.
fn away() -> Duration {
    let seconds = std::env::var("TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

fn registrations(centre: &Centre) -> usize {
    centre.log("scu").matches("\"message\":\"registered\"").count()
}

fn wait_for_registration(centre: &Centre, before: usize) {
    wait_for("a registration", Duration::from_secs(30), || {
        (registrations(centre) > before).then_some(())
    });
}

fn kill_scu(centre: &mut Centre) {
    centre.scu.signal("KILL");
    centre.scu.wait(Duration::from_secs(5));
}

/// Starts the SCU on the same ports; returns how long after it the PU was back.
fn start_scu(centre: &mut Centre) -> Duration {
    let before = registrations(centre);
    centre.restart("scu");
    wait_for("the SCU", Duration::from_secs(10), || {
        TcpStream::connect(("127.0.0.1", centre.ports.cs)).ok()
    });
    let up = Instant::now();
    wait_for_registration(centre, before);
    up.elapsed()
}

#[test]
fn a_pu_is_back_within_5_s_of_its_scu() {
    let Some(mut centre) = Centre::start() else { return };
    wait_for_registration(&centre, 0);
    for away in [0, 1, 2, 3, 7].map(Duration::from_secs) {
        kill_scu(&mut centre);
        std::thread::park_timeout(away);
        let back = start_scu(&mut centre);
        println!("SCU away for {away:?}: PU back after {back:?}");
        assert!(back < BACK_WITHIN, "SCU away for {away:?}: PU back after {back:?}");
    }
}

/// Waits for the next second in which pictures came.
fn flowing(viewer: &mut Process) {
    viewer.line(Duration::from_secs(10), |line| {
        let figures: serde_json::Value = serde_json::from_str(line).ok()?;
        figures["stats"]["fps"].as_f64().filter(|fps| *fps > 0.0)
    });
}

#[test]
fn viewers_notice_nothing_while_the_scu_is_away() {
    let Some(mut centre) = Centre::start() else { return };
    wait_for_registration(&centre, 0);
    let ca = centre.ca();
    let cu = Cu::login(&centre.portal, "+8613800138000", &centre.sms_log(), Some(&ca));
    cu.ok(&["bind", &centre.claim_code]);
    cu.wait_for_camera("Yard");
    let play = |via: &str| {
        let mut command = cu.command();
        command.args(["play", "Yard", "--stats", "--json", "--via", via]);
        Process::start(&mut command)
    };
    let mut viewers = ["quic", "webrtc"].map(play);
    for viewer in &mut viewers {
        flowing(viewer);
    }
    kill_scu(&mut centre);
    let until = Instant::now() + away();
    while Instant::now() < until {
        for viewer in &mut viewers {
            flowing(viewer);
        }
    }
    let back = start_scu(&mut centre);
    println!("PU back after {back:?}");
    assert!(back < BACK_WITHIN, "PU back after {back:?}");
    for viewer in &mut viewers {
        flowing(viewer);
    }
    // The new SCU was told of the running sessions: the camera counts as watched.
    let active = || cu.ok(&["list", "--json"]).contains("\"active\"").then_some(());
    wait_for("presence active", Duration::from_secs(10), active);
}
