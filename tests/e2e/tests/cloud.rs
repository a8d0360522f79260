//! Recording to the cloud storage and looking back from there (A6.1.13, A8.7.1): a store on the centre's own
//! disk, and a real S3 store.

mod uploads;

use std::process::Command;

use e2e::{S3, tool, trace, wait_for};
use serde_json::Value;
use uploads::{LIMIT, Recording, answered, files, time};

/// How many pictures a player finds.
fn pictures(what: &str) -> Option<u64> {
    let ffprobe = tool("ffprobe")?;
    let output = Command::new(ffprobe)
        .args(["-v", "error", "-count_packets", "-select_streams", "v:0", "-show_entries"])
        .args(["stream=nb_read_packets", "-of", "csv=p=0", what])
        .output()
        .expect("ffprobe runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let first = said.lines().next().unwrap_or_default();
    let number = first.trim_matches(|c: char| !c.is_ascii_digit()).parse();
    Some(number.unwrap_or_else(|_| panic!("{what}: {output:?}")))
}

/// What is recorded is listed, comes back as a file that proves itself, and plays elsewhere.
fn looked_back(recording: &Recording) {
    let (from, to) = recording.wait_for_seconds(10);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("evidence.mp4");
    let exported = recording.export((from, to), &file);
    assert!(exported.status.success(), "{exported:?}");
    recording.cu.ok(&["verify", file.to_str().expect("UTF-8")]);
    if let Some(found) = pictures(file.to_str().expect("UTF-8")) {
        assert!(found >= 100, "{found} pictures in ten seconds");
    }
    // Another player, which knows no account: the address alone.
    let (from, to) = (time(from), time(to));
    let span = ["--from", &from, "--to", &to];
    let link = recording.cu.ok(&[&["record", "playlist", "Yard"][..], &span].concat());
    if let Some(found) = pictures(link.trim()) {
        assert!(found >= 100, "{found} pictures over HLS");
    }
    let space = recording.cu.ok(&["record", "space", "--json"]);
    let space: Value = serde_json::from_str(&space).expect("JSON");
    assert!(space["space"]["used_bytes"].as_u64().is_some_and(|used| used > 100_000), "{space}");
}

#[test]
fn the_centres_own_disk_is_a_cloud_storage() {
    let Some(recording) = Recording::start(&[]) else { return };
    looked_back(&recording);
    recording.leaves_the_spool();
    let kept = files(&recording.centre.data.path().join("cmu/cloud"));
    assert!(kept >= 2, "{kept} segments");
}

#[test]
fn an_s3_store_is_a_cloud_storage() {
    let Some(s3) = S3::start() else { return };
    let Some(recording) = Recording::start(&s3.settings()) else { return };
    looked_back(&recording);
    recording.leaves_the_spool();
    // The unit was given requests, never a key.
    let log = recording.centre.log("pu-agent");
    assert!(!log.contains("X-Amz-Signature"), "a signed request was logged");
}

#[test]
fn nothing_is_lost_when_the_store_goes_and_the_agent_is_killed() {
    let Some(mut s3) = S3::start() else { return };
    let Some(mut recording) = Recording::start(&s3.settings()) else { return };
    let (from, _) = recording.wait_for_seconds(4);
    s3.stop();
    let held = recording.spooled();
    wait_for("a spool that fills", LIMIT, || (recording.spooled() >= held + 2).then_some(()));
    // Killed, with neither warning nor flush.
    recording.centre.kill("pu-agent");
    let mark = recording.centre.mark();
    s3.start_again();
    recording.centre.restart("pu-agent");
    recording.centre.wait_registered(&mark);
    // The agent records again by its plan: what is newest then lies behind the break.
    let recorded = wait_for("what was recorded meanwhile", LIMIT, || {
        let (_, to) = recording.stretch()?;
        (to - from >= 20_000_000).then_some(to)
    });
    recording.leaves_the_spool();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.mp4");
    let exported = recording.export((from, recorded), &file);
    assert!(exported.status.success(), "{exported:?}");
    let report = recording.cu.ok(&["verify", file.to_str().expect("UTF-8")]);
    println!("{report}");
}

/// A8.7.1, steps 1 to 6.
const PLAN: &[&str] = &[
    "Cm CU>CMU set_plan",
    "Sm CMU>SCU recording",
    "Ps SCU>PU recording",
    "Ps PU>SCU recorded",
    "Sm SCU>CMU recorded",
    "Cm CMU>CU plan_set",
];

/// Steps 7 and 8, then 9 for the first segment: leave is asked, the bytes go to the store itself.
const STORE: &[&str] = &[
    "Ps PU>SCU cloud_open",
    "Sc SCU>CMU cloud_open",
    "Sc CMU>SCU cloud_opened",
    "Ps PU>SCU cloud_upload",
    "Sc SCU>CMU cloud_upload",
    "Sc CMU>SCU cloud_put",
    "Cp PU>CS segment",
    "Ps PU>SCU cloud_stored",
    "Sc SCU>CMU cloud_stored",
    "Su CMU>CS look",
    "Sc CMU>SCU cloud_stored",
];

/// Playback: the list from the CMU, the record from the store.
const PLAYBACK: &[&str] = &["Cm CU>CMU segments", "Cm CMU>CU segments", "Cc CU>CS segment"];

/// Each of these hops when it is met first.
fn first(mut seen: Vec<trace::Sent>, hops: &[&str]) -> Vec<trace::Sent> {
    seen.sort();
    let mut met = std::collections::HashSet::new();
    seen.retain(|sent| hops.contains(&sent.hop.as_str()) && met.insert(sent.hop.clone()));
    seen
}

fn assert_order(what: &str, seen: Vec<trace::Sent>, expected: &[&str]) {
    let seen = first(seen, expected);
    if let Err(difference) = trace::check(&seen, expected) {
        panic!("{what} is not in the order of the Recommendation\n{difference}");
    }
    trace::prove_strict(&seen, expected);
    for sent in &seen {
        println!("{what}: {} {} {}", sent.at, sent.hop, sent.about);
    }
}

#[test]
fn a8_7_1_recording_to_the_cloud_and_looking_back_in_order() {
    let Some(recording) = Recording::start(&[]) else { return };
    let (centre, cu) = (&recording.centre, &recording.cu);
    let (from, to) = recording.wait_for_seconds(4);
    assert_order("A8.7.1 recording", centre.trace_since(&centre.mark_start()), STORE);

    let before = centre.mark();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("back.mp4");
    let (from, to, out) = (time(from), time(to), file.to_str().expect("UTF-8"));
    let export = ["record", "export", "Yard", "--on", "cloud"];
    let span = ["--from", &from, "--to", &to, "--out", out];
    let (output, own) = cu.traced(&[&export[..], &span].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_order("A8.7.1 playback", [centre.trace_since(&before), own].concat(), PLAYBACK);

    let (before, own) = wait_for("an answer in time", LIMIT, || {
        let before = centre.mark();
        let plan = ["record", "plan", "Yard", "--on", "cloud", "--set", "nothing"];
        let (output, own) = cu.traced(&plan);
        answered(&output).then_some((before, own))
    });
    // The plan is read before and after it is set, by the same messages.
    let mut seen = [centre.trace_since(&before), own].concat();
    seen.sort();
    let set = seen.iter().position(|sent| sent.hop == PLAN[0]).unwrap_or_default();
    assert_order("A8.7.1 plan", seen.split_off(set), PLAN);
}
