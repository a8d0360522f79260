//! What the demo records is on the disk as files that others' players open.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use e2e::{Cu, Demo, tool, wait_for};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Files of this kind below a folder.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_demo_records_when_it_is_asked_to() {
    let demo = Demo::start(&["--record"]);
    let dir = demo.data.path().join("recordings");
    let segments = wait_for("two segments", PATIENCE, || {
        let found = files(&dir, "mp4");
        (found.len() >= 2).then_some(found)
    });
    let Some(ffprobe) = tool("ffprobe") else { return };
    for segment in &segments {
        let output = Command::new(&ffprobe)
            .args(["-v", "error", "-count_packets", "-select_streams", "v:0", "-show_entries"])
            .args(["stream=codec_name,width,nb_read_packets", "-of", "csv=p=0"])
            .arg(segment)
            .output()
            .expect("ffprobe runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<_> = said.trim().split(',').collect();
        assert_eq!(fields[..2], ["h264", "1280"], "{said} {output:?}");
        let pictures: u32 = fields[2].parse().expect("a number");
        // A busy machine leaves pictures out.
        assert!(pictures >= 10, "a segment of {pictures} pictures");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn the_demo_records_nothing_unasked() {
    let demo = Demo::start(&[]);
    let info = &demo.info;
    let cu = Cu::login(&info.portal, &info.phone, &info.sms_log, None);
    cu.ok(&["bind", &info.claim_code]);
    cu.wait_for_camera("Demo camera");
    // A segment of four seconds would have been closed at the keyframe behind them.
    let watched = tempfile::tempdir().expect("a folder");
    let out = watched.path().join("live.mp4");
    let out = out.to_str().expect("UTF-8");
    cu.ok(&["play", "1", "--seconds", "7", "--out", out]);
    for extension in ["mp4", "part"] {
        let found = files(demo.data.path(), extension);
        assert!(found.is_empty(), "it was recorded: {found:?}");
    }
    assert!(!demo.data.path().join("recordings").exists());
}

#[test]
fn a_person_looks_back_in_the_portal() {
    let demo = Demo::start(&["--record"]);
    let Some(report) = demo.browse(&["--seconds", "2", "--lookback", "25"]) else { return };
    println!("{}", report["lookback"]);
    let pictures = report.pointer("/lookback/forwards/pictures").and_then(|n| n.as_u64());
    assert!(pictures.is_some_and(|pictures| pictures > 10), "{report}");
}

#[test]
fn an_export_opens_everywhere_and_proves_itself() {
    let demo = Demo::start(&["--record"]);
    let info = &demo.info;
    let cu = Cu::login(&info.portal, &info.phone, &info.sms_log, None);
    cu.ok(&["bind", &info.claim_code]);
    cu.wait_for_camera("Demo camera");
    let spans = wait_for("three segments", PATIENCE, || {
        let output = cu.run(&["record", "list", "1", "--json"]);
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let spans = list["timeline"]["spans"].as_array()?.clone();
        let length: i64 = spans
            .iter()
            .map(|s| s["to"].as_i64().unwrap_or(0) - s["from"].as_i64().unwrap_or(0))
            .sum();
        (length >= 10_000_000).then_some(spans)
    });
    let time = |us: i64| jiff::Timestamp::from_second(us / 1_000_000).expect("a time").to_string();
    let from = time(spans[0]["from"].as_i64().expect("a time"));
    let to = time(spans.last().and_then(|s| s["to"].as_i64()).expect("a time"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("evidence.mp4");
    let out = file.to_str().expect("UTF-8");
    cu.ok(&["record", "export", "1", "--from", &from, "--to", &to, "--out", out]);
    cu.ok(&["verify", out]);
    assert!(!folder.path().join("evidence.mp4.part").exists(), "what it was made from has gone");
    if let Some(ffprobe) = tool("ffprobe") {
        let output = Command::new(ffprobe)
            .args(["-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries"])
            .args(["stream=nb_read_frames,duration", "-of", "csv=p=0"])
            .arg(&file)
            .output()
            .expect("ffprobe runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<f64> = said.trim().split(',').map(|f| f.parse().expect(&said)).collect();
        assert!(fields[0] >= 8.0 && fields[1] >= 100.0, "{said} {output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    // One bit less, and it is no proof any more.
    let mut bytes = std::fs::read(&file).expect("own file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("own file");
    let altered = cu.run(&["verify", out]);
    assert_eq!(altered.status.code(), Some(6), "{altered:?}");
}
