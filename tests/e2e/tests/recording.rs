//! What the demo records is on the disk as files that others' players open.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use e2e::{Demo, tool, wait_for};

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
        assert!(pictures >= 50, "a segment of {pictures} pictures");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn the_demo_records_nothing_unasked() {
    let demo = Demo::start(&[]);
    assert!(files(demo.data.path(), "mp4").is_empty());
    assert!(!demo.data.path().join("recordings").exists());
}

#[test]
fn a_person_looks_back_in_the_portal() {
    let demo = Demo::start(&["--record"]);
    let Some(report) = demo.browse(&["--seconds", "2", "--lookback", "25"]) else { return };
    println!("{}", report["lookback"]);
    let pictures = report.pointer("/lookback/forwards/pictures").and_then(|n| n.as_u64());
    assert!(pictures.is_some_and(|pictures| pictures > 50), "{report}");
}
