//! Somebody meddles with recordings: in a file that was taken along, in a folder of segments, on the card. What is
//! altered or missing is named with its time. (What a recorder has overwritten is not:
//! `pu-agent/tests/recorder_tampering.rs`.)

mod shelf;
mod uploads;

use std::{fs, path::Path};

use e2e::{Centre, Cu, acknowledged, interruptions, now, stretch, time_text, wait_for};
use serde_json::{Value, json};
use shelf::Shelf;
use sightline_model::{Absence, UnixMicros};
use sightline_recording::{
    chain::{Piece, Proof, ProvenEntry, decode, time_text as exact},
    statement::{Segment, What},
};
use uploads::{LIMIT, PHONE};

/// Exit code of `cu`: a recording that is not as it was made.
const SECURITY: Option<i32> = Some(6);

/// A unit that records to a card, with so many segments on it.
fn recorded(card: &Path, segments: u64) -> Option<(Centre, Cu)> {
    let dir = card.to_str().expect("UTF-8");
    let centre = Centre::start_with(&[("pu-agent", "SIGHTLINE_RECORDING__DIR", dir)])?;
    centre.wait_registered(&centre.mark_start());
    let cu = Cu::login(&centre.portal, PHONE, &centre.sms_log(), Some(&centre.ca()));
    cu.ok(&["bind", &centre.claim_code]);
    cu.wait_for_camera("Yard");
    let since = acknowledged(centre.ports.pu_admin).unwrap_or(0);
    wait_for("segments", LIMIT, || {
        acknowledged(centre.ports.pu_admin).filter(|count| *count >= since + segments)
    });
    Some((centre, cu))
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("read");
    bytes[at] ^= 1;
    fs::write(file, bytes).expect("written");
}

/// The exit code of `cu verify`, and what it has found.
fn verify(cu: &Cu, path: &Path) -> (Option<i32>, Vec<Value>) {
    let output = cu.run(&["--json", "verify", path.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&output.stdout);
    let reports = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let findings = reports.filter_map(|report| report["findings"].as_array().cloned());
    (output.status.code(), findings.flatten().collect())
}

/// The segments of a proof.
fn segments(proof: &Proof) -> Vec<(ProvenEntry, Segment)> {
    let entries = proof.chains.iter().flat_map(|chain| &chain.entries);
    let segment = |entry: &ProvenEntry| match decode(&entry.entry()).expect("an entry").what {
        What::Segment(segment) => Some((entry.clone(), segment)),
        _ => None,
    };
    entries.filter_map(segment).collect()
}

/// That one thing was found, and when that was.
fn assert_names(found: (Option<i32>, Vec<Value>), segment: &Segment, word: &str) {
    assert_eq!(found.0, SECURITY, "{found:?}");
    let [finding] = &found.1[..] else { panic!("one thing was done: {found:?}") };
    let span = json!({ "from": exact(segment.start), "to": exact(segment.end()) });
    assert_eq!(finding["span"], span, "{finding}");
    let words = finding["words"].as_str().unwrap_or_default();
    assert!(words.starts_with(word) && words.contains(&exact(segment.start)), "{words}");
}

#[test]
fn what_was_altered_or_deleted_of_an_export_is_named_with_its_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (began, card) = (now(), folder.path().join("card"));
    fs::create_dir(&card).expect("own folder");
    let Some((_centre, cu)) = recorded(&card, 4) else { return };
    let timeline = wait_for("the timeline", LIMIT, || cu.timeline("Yard", began));
    let (from, to) = stretch(&timeline).expect("it was recorded");
    let file = folder.path().join("evidence.mp4");
    let (from, to, out) = (time_text(from), time_text(to), file.to_str().expect("UTF-8"));
    let span = ["--from", &from, "--to", &to, "--out", out];
    cu.ok(&[&["record", "export", "Yard"][..], &span].concat());
    assert_eq!(verify(&cu, &file), (Some(0), Vec::new()));
    let proof = folder.path().join("evidence.mp4.proof.json");
    let proof = Proof::parse(&fs::read(proof).expect("beside it")).expect("a proof");
    let proven = segments(&proof);
    assert!(proven.len() >= 3, "{} segments", proven.len());

    // As files, each by itself.
    let apart = folder.path().join("apart");
    let rebuilt = ["verify", out, "--rebuild", apart.to_str().expect("UTF-8")];
    cu.ok(&rebuilt);
    let mut names: Vec<_> = fs::read_dir(&apart).expect("rebuilt").flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    assert_eq!(names.len(), proven.len());
    let mut by_files = proof.clone();
    let entries = by_files.chains.iter_mut().flat_map(|chain| &mut chain.entries);
    for (entry, file) in entries.filter(|entry| !entry.pieces.is_empty()).zip(&names) {
        entry.file = file.file_name().into_string().ok();
        entry.pieces.clear();
    }
    fs::write(apart.join("proof.json"), by_files.to_json().expect("a proof")).expect("written");
    assert_eq!(verify(&cu, &apart), (Some(0), Vec::new()));
    fs::remove_file(names[1].path()).expect("removed");
    assert_names(verify(&cu, &apart), &proven[1].1, "MISSING");

    // In the middle of what the export holds of a segment.
    let (entry, segment) = &proven[2];
    let held = entry.pieces.iter().filter_map(|piece| match piece {
        Piece::Export { at, len } => Some((*len, at + len / 2)),
        Piece::Bytes { .. } => None,
    });
    let (_, middle) = held.max().expect("its bytes are in the export");
    flip(&file, usize::try_from(middle).expect("small"));
    assert_names(verify(&cu, &file), segment, "ALTERED");
}

#[test]
fn what_was_deleted_from_a_card_is_a_gap_and_what_was_altered_is_handed_to_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let (began, card) = (now(), folder.path().join("card"));
    fs::create_dir(&card).expect("own folder");
    let Some((mut centre, cu)) = recorded(&card, 5) else { return };
    centre.pu.stop();
    let camera = format!("{}.0", centre.pu_id());
    let on_card = Shelf::new(&card, &centre.data.path().join("pu"), &camera).segments();
    let (from, to, deleted) = &on_card[1];
    fs::remove_file(deleted).expect("removed");
    let (altered_from, altered_to, altered) = &on_card[3];
    let len = fs::metadata(altered).expect("it is there").len();
    flip(altered, usize::try_from(len / 2).expect("small"));
    let mark = centre.mark();
    centre.restart("pu-agent");
    centre.wait_registered(&mark);

    let damaged = wait_for("the timeline", LIMIT, || {
        let mut gaps = interruptions(&cu.timeline("Yard", began)?);
        gaps.retain(|gap| gap.reason == Absence::Damaged);
        (!gaps.is_empty()).then_some(gaps)
    });
    let [gap] = &damaged[..] else { panic!("one segment was deleted: {damaged:?}") };
    assert_eq!((&gap.from, &gap.to), (from, to));
    // Its bytes are not what the unit has signed, whoever else they come from.
    let file = folder.path().join("evidence.mp4");
    let middle = UnixMicros((altered_from.0 + altered_to.0) / 2);
    let behind = UnixMicros(middle.0 + 1_000_000);
    let (from, to, out) = (time_text(middle), time_text(behind), file.to_str().expect("UTF-8"));
    let span = ["--from", &from, "--to", &to, "--on", "unit", "--out", out];
    let exported = cu.run(&[&["record", "export", "Yard"][..], &span].concat());
    assert_eq!(exported.status.code(), SECURITY, "{exported:?}");
    assert!(!file.exists(), "it was made all the same");
}
