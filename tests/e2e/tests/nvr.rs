//! Recording on an NVR and looking back there (A8.7.2), between separate processes: the order of the
//! Recommendation, what a relation gives, and what ends with it.

use std::{process::Output, time::Duration};

use e2e::{
    Centre, Cu, GstCamera,
    trace::{Sent, check, prove_strict},
};
use serde_json::Value;

/// Figure 8-9, steps 3 and 5: the NVR's branch of relating.
const RELATE_NVR: &[&str] =
    &["Sm CMU>SCU recording", "Ps SCU>NVR recording", "Ps NVR>SCU recorded"];

/// Figure 8-9, steps 4 and 6: the PU's branch.
const RELATE_PU: &[&str] = &["Sm CMU>SCU recording", "Ps SCU>PU recording", "Ps PU>SCU recorded"];

/// Figure 8-9, steps 9 to 15.
const PLAN: &[&str] = &[
    "Cm CU>CMU set_plan",
    "Sm CMU>SCU recording",
    "Ps SCU>NVR recording",
    "Ps NVR>SCU recorded",
    "Sm SCU>CMU recorded",
    "Cm CMU>CU plan_set",
];

/// Figure 8-9, steps 16 and 17, with the ticket and its check (A8.4) that we put around them.
const TAKE: &[&str] = &[
    "Ps NVR>SCU ticket_request",
    "Sc SCU>CMU ticket",
    "Sm CMU>SCU prepare_media",
    "Sm SCU>CMU prepared",
    "Sc CMU>SCU ticket",
    "Ps SCU>NVR ticket",
    "Np NVR>PU media_request",
    "Ps PU>SCU token_check",
    "Sc SCU>CMU token_check",
    "Sc CMU>SCU token_granted",
    "Ps SCU>PU token_result",
    "Pc PU>CU media_response",
];

/// Figure 8-10, steps 1 to 6. Between CMU and SCU the same is asked of the unit at the same time, so that
/// these hops are seen twice and left out here.
const SEARCH: &[&str] =
    &["Cm CU>CMU recordings", "Ps SCU>NVR recording", "Ps NVR>SCU recorded", "Cm CMU>CU timeline"];

const ANNA: &str = "+8613800138000";
const BERT: &str = "+8613800138001";
const LIMIT: Duration = Duration::from_secs(60);

fn login(centre: &Centre, phone: &str) -> Cu {
    Cu::login(&centre.portal, phone, &centre.sms_log(), Some(&centre.ca()))
}

/// A centre, a unit and an NVR of one person; the unit records nothing by itself.
fn bound() -> Option<(Centre, e2e::Nvr, Cu)> {
    let centre = Centre::start()?;
    centre.wait_registered(&centre.mark_start());
    let nvr = centre.nvr();
    wait_registered(&centre);
    let cu = login(&centre, ANNA);
    cu.ok(&["bind", &centre.claim_code]);
    cu.ok(&["bind", &nvr.claim_code]);
    cu.wait_for_camera("Yard");
    Some((centre, nvr, cu))
}

fn wait_registered(centre: &Centre) {
    e2e::wait_for("the NVR's registration", LIMIT, || {
        let log = centre.trace_since(&centre.mark_start());
        log.iter().any(|sent| sent.hop == "Ps SCU>NVR registered").then_some(())
    });
}

/// A `cu` command that may have to be asked again, as long as answers come too late.
fn in_time(cu: &Cu, arguments: &[&str]) -> Output {
    /// What `cu` ends with when no answer came in time.
    const TIMEOUT: i32 = 7;
    e2e::wait_for("an answer in time", LIMIT, || {
        let output = cu.run(arguments);
        (output.status.code() != Some(TIMEOUT)).then_some(output)
    })
}

fn timeline(cu: &Cu) -> Option<Value> {
    timeline_of(cu, "Yard")
}

fn timeline_of(cu: &Cu, camera: &str) -> Option<Value> {
    let output = in_time(cu, &["record", "list", camera, "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).ok()?;
    list["timeline"]["spans"].as_array().is_some_and(|spans| !spans.is_empty()).then_some(list)
}

/// Has the NVR record, and waits for the first recording.
fn recorded(cu: &Cu) -> Value {
    cu.ok(&["nvr", "relate", "Yard"]);
    let set = ["record", "plan", "Yard", "--on", "nvr", "--set", "main"];
    assert!(in_time(cu, &set).status.success());
    e2e::wait_for("a recording on the NVR", LIMIT, || timeline(cu))
}

fn at(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).expect("a time").to_string()
}

/// Waits for the messages about one device to be those, in that order.
fn assert_order(what: &str, expected: &[&str], collect: impl Fn() -> Vec<Sent>) {
    let begin = std::time::Instant::now();
    let result = loop {
        let result = check(&collect(), expected);
        if result.is_ok() || begin.elapsed() > Duration::from_secs(20) {
            break result;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    if let Err(difference) = result {
        panic!("{what} is not in the order of the Recommendation\n{difference}");
    }
    prove_strict(&collect(), expected);
}

fn about(trace: Vec<Sent>, device: &str) -> Vec<Sent> {
    trace.into_iter().filter(|sent| sent.about == device).collect()
}

/// From the first of a flow's messages to its last.
fn between(mut trace: Vec<Sent>, flow: &[&str]) -> Vec<Sent> {
    trace.sort();
    let at = |hop: &str| trace.iter().position(|sent| sent.hop == hop);
    match (at(flow[0]), at(flow[flow.len() - 1])) {
        (Some(first), Some(last)) if first < last => trace[first..=last].to_vec(),
        _ => trace,
    }
}

#[test]
fn a8_7_2_relating_recording_and_looking_back_in_order() {
    let Some((centre, nvr, cu)) = bound() else { return };
    let unit = centre.pu_id();

    // Steps 1 to 8.
    let before = centre.mark();
    let (output, own) = cu.traced(&["nvr", "relate", "Yard"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(own.iter().filter(|sent| sent.hop == "Cm CU>CMU relate").count(), 1);
    assert_order("relating: the NVR", RELATE_NVR, || about(centre.trace_since(&before), &nvr.id));
    assert_order("relating: the PU", RELATE_PU, || about(centre.trace_since(&before), &unit));
    let all = centre.trace_since(&before);
    let when = |hop: &str| all.iter().position(|sent| sent.hop == hop).expect(hop);
    let told = when("Ps NVR>SCU recorded").max(when("Ps PU>SCU recorded"));
    assert!(told < when("Cm CMU>CU related"), "the CU was told before both ends had answered");

    // Steps 9 to 15, then 16 to 18.
    let (before, own) = e2e::wait_for("an answer in time", LIMIT, || {
        let before = centre.mark();
        let set = ["record", "plan", "Yard", "--on", "nvr", "--set", "main"];
        let (output, own) = cu.traced(&set);
        output.status.success().then_some((before, own))
    });
    assert_order("the strategy", PLAN, || {
        between([centre.trace_since(&before), own.clone()].concat(), PLAN)
    });
    assert_order("taking the stream", TAKE, || between(centre.trace_since(&before), TAKE));
    let list = e2e::wait_for("a recording on the NVR", LIMIT, || timeline(&cu));
    let source = &list["timeline"]["sources"][0];
    assert_eq!((&source["place"], &source["recorder"]), (&"nvr".into(), &nvr.id.clone().into()));

    // Playback, steps 1 to 6, and the record itself from the NVR to the CU, past the centre.
    let (before, own) = e2e::wait_for("an answer in time", LIMIT, || {
        let before = centre.mark();
        let (output, own) = cu.traced(&["record", "list", "Yard"]);
        output.status.success().then_some((before, own))
    });
    assert_order("searching", SEARCH, || {
        between([centre.trace_since(&before), own.clone()].concat(), SEARCH)
    });
    let from = list["timeline"]["spans"][0]["from"].as_i64().expect("a time");
    let file = centre.data.path().join("back.mp4");
    let (from, to, out) = (at(from), at(from + 2_000_000), file.to_str().expect("UTF-8"));
    cu.ok(&["play", "Yard", "--from", &from, "--to", &to, "--out", out]);
    assert!(std::fs::metadata(&file).expect("written").len() > 100_000);
}

#[test]
fn recordings_on_the_nvr_outlive_the_unit_and_prove_themselves() {
    let Some((mut centre, nvr, cu)) = bound() else { return };
    let list = recorded(&cu);
    centre.pu.stop();
    let from = list["timeline"]["spans"][0]["from"].as_i64().expect("a time");
    let file = centre.data.path().join("two.mp4");
    let (from, to, out) = (at(from), at(from + 2_000_000), file.to_str().expect("UTF-8"));
    // The unit is gone; the timeline is the NVR's, and so is the export.
    e2e::wait_for("the timeline without the unit", LIMIT, || timeline(&cu));
    cu.ok(&["record", "export", "Yard", "--from", &from, "--to", &to, "--on", "nvr", "--out", out]);
    cu.ok(&["verify", out, "--recorder", &nvr.id]);
    assert!(!cu.run(&["verify", out, "--recorder", &centre.pu_id()]).status.success());
}

#[test]
fn a_withdrawn_relation_ends_the_stream_and_hides_the_recordings() {
    let Some((centre, nvr, cu)) = bound() else { return };
    let list = recorded(&cu);
    let from = list["timeline"]["spans"][0]["from"].as_i64().expect("a time");
    // Somebody else has an NVR, too, and knows both ids: nothing of it is theirs.
    let bert = login(&centre, BERT);
    for foreign in [
        &["nvr", "relate", "Yard"][..],
        &["play", "Yard", "--from", &at(from), "--on", "nvr"][..],
        &["record", "list", "Yard"][..],
    ] {
        assert!(!bert.run(foreign).status.success(), "{foreign:?}");
    }
    let before = centre.mark();
    cu.ok(&["nvr", "unrelate", "Yard"]);
    // The unit ends the session, and admits none: the NVR asks for no other.
    e2e::wait_for("the end of the stream", LIMIT, || {
        let trace = centre.trace_since(&before);
        let ended = |sent: &Sent| sent.hop == "Ps PU>SCU session_report";
        trace.iter().any(ended).then_some(())
    });
    let output = cu.run(&["play", "Yard", "--from", &at(from), "--on", "nvr"]);
    assert!(!output.status.success(), "what was recorded is still shown");
    let after = centre.trace_since(&before);
    let given = ["Sc CMU>SCU ticket", "Sc CMU>SCU token_granted"];
    assert!(!after.iter().any(|sent| given.contains(&sent.hop.as_str())), "{after:?}");
    assert!(nvr.disk.exists());
}

#[test]
fn an_rtsp_camera_of_the_nvr_itself_is_recorded_and_looked_back_at() {
    let Some(camera) = GstCamera::start(&["--size", "320x180", "--audio", "pcmu"]) else { return };
    let Some(centre) = Centre::start() else { return };
    let source = camera.url("");
    let nvr = centre.nvr_with(&format!("[[camera]]\nname = \"Gate\"\nsource = \"{source}\"\n"));
    wait_registered(&centre);
    let cu = login(&centre, ANNA);
    cu.ok(&["bind", &nvr.claim_code]);
    cu.wait_for_camera("Gate");
    let list = e2e::wait_for("a recording", LIMIT, || timeline_of(&cu, "Gate"));
    let source = &list["timeline"]["sources"][0];
    assert_eq!((&source["place"], &source["recorder"]), (&"pu".into(), &nvr.id.clone().into()));
    let from = list["timeline"]["spans"][0]["from"].as_i64().expect("a time");
    let file = centre.data.path().join("gate.mp4");
    let (from, to, out) = (at(from), at(from + 2_000_000), file.to_str().expect("UTF-8"));
    cu.ok(&["play", "Gate", "--from", &from, "--to", &to, "--out", out]);
    assert!(std::fs::metadata(&file).expect("written").len() > 10_000);
}
