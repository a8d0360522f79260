//! The flows A8.1 to A8.4 between separate processes, in the order of H.626.4 clause 8.
//!
//! Every unit logs what it sends; the test merges the logs by time. Each live trace is also maimed
//! hop by hop, to prove that the check would notice.

use std::{
    process::{Command, Output},
    time::Duration,
};

use e2e::{
    BusTap, Centre, Cu, RtspTap, tool,
    trace::{self, Sent, check, prove_strict},
};

/// Figure 8-1.
const REGISTRATION: &[&str] =
    &["Ps PU>SCU register", "Sc SCU>CMU register", "Sc CMU>SCU registered", "Ps SCU>PU registered"];

/// Figure 8-2.
const BINDING: &[&str] = &["Cm CU>CMU bind", "Cm CMU>CU bound"];

/// The centre tells the PU what the viewer can show (clause 6, capability exchange) while step 2 of
/// figure 8-4 is under way. It is a branch: how far it is when step 3 goes out is left open.
const PREPARATION: &[&str] =
    &["Cm CU>CMU play", "Sm CMU>SCU prepare_media", "Ps SCU>PU prepare_media"];

/// Figure 8-4, the CU reaching the PU by itself.
const PLAY: &[&str] = &[
    "Cm CU>CMU play",
    "Sm CMU>SCU prepare_media",
    "Sm SCU>CMU prepared",
    "Cm CMU>CU play_answer",
    "Pc CU>PU media_request",
    "Ps PU>SCU token_check",
    "Sc SCU>CMU token_check",
    "Sc CMU>SCU token_granted",
    "Ps SCU>PU token_result",
    "Pc PU>CU media_response",
];

/// Figure 8-4 for WebRTC: steps 4 and 10 travel through the SCU, since the PU cannot be reached
/// before.
const PLAY_WEBRTC: &[&str] = &[
    "Cm CU>CMU play",
    "Sm CMU>SCU prepare_media",
    "Sm SCU>CMU prepared",
    "Cm CMU>CU play_answer",
    "Cs CU>SCU offer",
    "Ps SCU>PU media_offer",
    "Ps PU>SCU token_check",
    "Sc SCU>CMU token_check",
    "Sc CMU>SCU token_granted",
    "Ps SCU>PU token_result",
    "Ps PU>SCU media_answer",
    "Cs SCU>CU answer",
];

/// Figure 8-4 for QUIC through routers: as for WebRTC, and on the path that was found the request for
/// the media itself.
const PLAY_QUIC: &[&str] = &[
    "Cm CU>CMU play",
    "Sm CMU>SCU prepare_media",
    "Sm SCU>CMU prepared",
    "Cm CMU>CU play_answer",
    "Cs CU>SCU offer",
    "Ps SCU>PU media_offer",
    "Ps PU>SCU token_check",
    "Sc SCU>CMU token_check",
    "Sc CMU>SCU token_granted",
    "Ps SCU>PU token_result",
    "Ps PU>SCU media_answer",
    "Cs SCU>CU answer",
    "Pc CU>PU media_request",
    "Pc PU>CU media_response",
];

/// Figure 8-11, steps 1 to 5 and the answer to the CU. Step 6 is seen on the PU's storage.
const PLAN: &[&str] = &[
    "Cm CU>CMU set_plan",
    "Sm CMU>SCU recording",
    "Ps SCU>PU recording",
    "Ps PU>SCU recorded",
    "Sm SCU>CMU recorded",
    "Cm CMU>CU plan_set",
];

/// Figure 8-12, steps 1 to 6.
const SEARCH: &[&str] = &[
    "Cm CU>CMU recordings",
    "Sm CMU>SCU recording",
    "Ps SCU>PU recording",
    "Ps PU>SCU recorded",
    "Sm SCU>CMU recorded",
    "Cm CMU>CU timeline",
];

const PHONE: &str = "+8613800138000";

/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits for the trace to be complete, then checks it, and that the check is worth something.
fn assert_order(what: &str, expected: &[&str], collect: impl Fn() -> Vec<Sent>) {
    let begin = std::time::Instant::now();
    let result = loop {
        let result = check(&collect(), expected);
        if result.is_ok() || begin.elapsed() > Duration::from_secs(10) {
            break result;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    if let Err(difference) = result {
        panic!("{what} is not in the order of the Recommendation\n{difference}");
    }
    prove_strict(&collect(), expected);
    let mut trace = collect();
    trace.sort();
    for sent in trace.iter().filter(|sent| expected.contains(&sent.hop.as_str())) {
        println!("{what}: {} {} {}", sent.at, sent.hop, sent.about);
    }
}

fn login(centre: &Centre) -> Cu {
    Cu::login(&centre.portal, PHONE, &centre.sms_log(), Some(&centre.ca()))
}

/// A centre and a PU, and somebody to whom its camera belongs.
fn bound() -> Option<(Centre, Cu)> {
    let centre = Centre::start()?;
    centre.wait_registered(&centre.mark_start());
    let cu = login(&centre);
    cu.ok(&["bind", &centre.claim_code]);
    Some((centre, cu))
}

#[test]
fn a8_1_registration_and_a8_2_binding_in_order() {
    let Some(centre) = Centre::start() else { return };
    let start = centre.mark_start();
    assert_order("A8.1", REGISTRATION, || centre.trace_since(&start));
    let pu = centre.pu_id();

    let cu = login(&centre);
    let before = centre.mark();
    let (output, own) = cu.traced(&["bind", &centre.claim_code]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut trace = centre.trace_since(&before);
    trace.extend(own);
    assert_order("A8.2", BINDING, || trace.clone());
    // Step 4: success only for a registered device, so its registration came first.
    let mut all = centre.trace_since(&start);
    all.extend(trace.into_iter().filter(|sent| sent.hop.contains(" CU>")));
    all.retain(|sent| sent.about == pu);
    assert_order("A8.1 before A8.2", &[REGISTRATION, BINDING].concat(), || all.clone());
}

#[test]
fn a8_3_addresses_reach_the_centre_in_order() {
    let Some((mut centre, cu)) = bound() else { return };
    let mut bus = BusTap::start(centre.ports.nats, "sightline.*.cmu");
    let before = centre.mark();
    centre.restart("pu-agent");
    // Steps 3 and 4: the authentication carries local and NAT addresses.
    let register = bus.find(|body| (body["type"] == "register").then(|| body.clone()));
    let registration = &register["registration"];
    assert_eq!(registration["pu"], centre.pu_id());
    let signature = registration["signature"].as_str().unwrap_or_default();
    assert!(signature.len() > 80, "the registration proves the key: {registration}");
    let addresses = &registration["addresses"];
    let local = |port: u16| serde_json::json!([format!("127.0.0.1:{port}")]);
    assert_eq!(addresses["rtsp"], local(centre.ports.rtsp));
    assert_eq!(addresses["quic"], local(centre.ports.quic));
    for list in ["nat_rtsp", "nat_quic"] {
        assert!(addresses[list].is_array(), "{list} is missing in {addresses}");
    }
    assert_eq!(register["observed"], "127.0.0.1", "what the gateway makes of the address");
    // Steps 5 to 7.
    let pu = centre.pu_id();
    assert_order("A8.3", REGISTRATION, || {
        let mut trace = centre.trace_since(&before);
        trace.retain(|sent| sent.about == pu);
        trace
    });
    // Step 5: checked and stored, so that a CU is sent there.
    cu.wait_for_camera("Yard");
    let url = cu.rtsp_url("Yard");
    assert_eq!(url.address.port(), centre.ports.rtsp);
}

#[test]
fn a8_4_play_in_order_over_quic_webrtc_and_rtsp() {
    let Some(ffprobe) = tool("ffprobe") else { return };
    let Some((centre, cu)) = bound() else { return };
    cu.wait_for_camera("Yard");

    for (via, expected) in [("quic", PLAY_QUIC), ("webrtc", PLAY_WEBRTC)] {
        let before = centre.mark();
        let (output, own) = cu.traced(&["play", "Yard", "--via", via, "--seconds", "1"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let collect = || [centre.trace_since(&before), own.clone()].concat();
        assert_order(&format!("A8.4 over {via}"), expected, collect);
        assert_order(&format!("A8.4 over {via}, preparation"), PREPARATION, collect);
    }

    let before = centre.mark();
    let (output, mut own) = cu.traced(&["play", "Yard", "--print-url"]);
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let url = answer["rtsp"]["urls"][0].as_str().unwrap_or_else(|| panic!("no URL in {answer}"));
    let url = e2e::RtspUrl::new(url);
    let tap = RtspTap::start(url.address);
    let mut probe = Command::new(ffprobe);
    probe.args(["-v", "error", "-rtsp_transport", "tcp", "-show_streams", "-of", "json"]);
    let probed = probe.arg(url.at(tap.address).text).output().expect("ffprobe starts");
    let streams = String::from_utf8_lossy(&probed.stdout).into_owned();
    assert!(streams.contains("\"h264\""), "{streams}{}", String::from_utf8_lossy(&probed.stderr));
    own.extend(tap.seen());
    let collect = || [centre.trace_since(&before), own.clone()].concat();
    assert_order("A8.4 over RTSP", PLAY, collect);
    assert_order("A8.4 over RTSP, preparation", PREPARATION, collect);
}

/// What lies between the first and the last hop of a flow: the CU asks other things beside it.
fn between(mut trace: Vec<Sent>, flow: &[&str]) -> Vec<Sent> {
    trace.sort();
    let at = |hop: &str| trace.iter().position(|sent| sent.hop == hop);
    match (at(flow[0]), at(flow[flow.len() - 1])) {
        (Some(first), Some(last)) if first < last => trace[first..=last].to_vec(),
        _ => trace,
    }
}

/// Whether a `cu` command was answered in time.
fn answered(output: &Output) -> bool {
    /// What `cu` ends with when no answer came in time.
    const TIMEOUT: i32 = 7;
    let late = output.status.code() == Some(TIMEOUT);
    assert!(late || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    !late
}

#[test]
fn a8_7_3_recording_on_the_pu_and_looking_back_in_order() {
    let card = tempfile::tempdir().expect("a folder");
    let dir = card.path().to_str().expect("UTF-8").to_owned();
    let settings = [
        ("pu-agent", "SIGHTLINE_RECORDING__DIR", dir.as_str()),
        ("pu-agent", "SIGHTLINE_RECORDING__CONTINUOUS", "[]"),
    ];
    let Some(centre) = Centre::start_with(&settings) else { return };
    centre.wait_registered(&centre.mark_start());
    let cu = login(&centre);
    cu.ok(&["bind", &centre.claim_code]);
    cu.wait_for_camera("Yard");

    // The centre waits for a recorder 2.5 s at most: what was late is asked for again, and a plan that
    // was set all the same is read back first.
    let in_time = |arguments: &[&str]| {
        e2e::wait_for("an answer in time", LIMIT, || {
            let before = centre.mark();
            let (output, own) = cu.traced(arguments);
            answered(&output).then_some((before, own))
        })
    };
    let (before, own) = in_time(&["record", "plan", "Yard", "--set", "main"]);
    assert_order("A8.7.3 recording", PLAN, || {
        between([centre.trace_since(&before), own.clone()].concat(), PLAN)
    });
    // Step 6, and the plan that outlives a restart.
    let list = e2e::wait_for("a recording", LIMIT, || {
        let output = cu.run(&["record", "list", "Yard", "--json"]);
        let list = answered(&output).then(|| serde_json::from_slice(&output.stdout))?;
        let list: serde_json::Value = list.expect("JSON");
        list["timeline"]["spans"].as_array().is_some_and(|spans| !spans.is_empty()).then_some(list)
    });

    let (before, own) = in_time(&["record", "list", "Yard"]);
    assert_order("A8.7.3 playback", SEARCH, || {
        between([centre.trace_since(&before), own.clone()].concat(), SEARCH)
    });
    // Steps 7 to 11: the record itself goes from the PU to the CU, past the centre.
    let from = list["timeline"]["spans"][0]["from"].as_i64().expect("a time");
    let at = |us: i64| jiff::Timestamp::from_microsecond(us).expect("a time").to_string();
    let file = card.path().join("back.mp4");
    let out = file.to_str().expect("UTF-8");
    let (from, to) = (at(from), at(from + 2_000_000));
    cu.ok(&["play", "Yard", "--from", &from, "--to", &to, "--out", out]);
    assert!(std::fs::metadata(&file).expect("written").len() > 100_000);
}

/// What the check itself does, on a trace as the units log it.
#[test]
fn a_missing_a_swapped_and_a_doubled_hop_are_noticed() {
    let line = |second: usize, hop: &str| {
        let mut words = hop.split([' ', '>']);
        let mut next = || words.next().unwrap_or_default().to_owned();
        let (interface, from, to, message) = (next(), next(), next(), next());
        format!(
            "{{\"timestamp\":\"2026-01-02T03:04:{second:02}.000000Z\",\"level\":\"DEBUG\",\
             \"fields\":{{\"interface\":\"{interface}\",\"from\":\"{from}\",\"to\":\"{to}\",\
             \"message\":\"{message}\",\"about\":\"s\"}},\"target\":\"sightline::flow\"}}\n"
        )
    };
    for expected in [REGISTRATION, BINDING, PREPARATION, PLAY, PLAY_WEBRTC, PLAY_QUIC] {
        let other = "{\"target\":\"other\",\"fields\":{}}\nnot JSON\n".to_owned();
        let log: String = expected.iter().enumerate().map(|(i, hop)| line(i, hop)).collect();
        let noise = line(1, "Ps PU>SCU keep_alive");
        let good = trace::read(&[noise, other, log].concat());
        assert_eq!(check(&good, expected), Ok(()));
        prove_strict(&good, expected);
        for doubled in &good {
            let twice = [good.clone(), vec![doubled.clone()]].concat();
            let matters = expected.contains(&doubled.hop.as_str());
            assert_eq!(check(&twice, expected).is_err(), matters);
        }
    }
    assert!(check(&[], REGISTRATION).is_err());
}
