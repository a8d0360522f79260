//! `play` and `snapshot`: the binary against a real PU's servers; ffprobe reads what it gives.

mod common;
#[path = "common/unit.rs"]
mod unit;

use std::{path::Path, process::Stdio, sync::atomic::Ordering};

use common::{Portal, answer, cu, device_key, expect_exit, portal, sign_in_home, stdout};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use unit::{Unit, unit};

async fn watched(home: &Path) -> (Portal, Unit) {
    let (portal, unit) = (portal().await, unit(device_key()).await);
    sign_in_home(home, &portal).await;
    let mut centre = portal.centre.lock().await;
    centre.bound = true;
    centre.play = Some(sightline_protocol::cm::PlayAnswer {
        quic: vec![unit.quic],
        signal_url: unit.signal_url.clone(),
        ..answer()
    });
    drop(centre);
    (portal, unit)
}

async fn ffprobe(input: &str) -> serde_json::Value {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_streams", "-show_format", "-count_packets", "-of", "json"]);
    if input.starts_with("rtsp:") {
        command.args(["-rtsp_transport", "tcp"]);
    }
    let run = command.arg(input).stdin(Stdio::null()).kill_on_drop(true).output();
    let run = tokio::time::timeout(std::time::Duration::from_secs(40), run);
    let output =
        run.await.expect("in time").expect("ffprobe is needed; `cargo xtask setup` installs it");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    serde_json::from_slice(&output.stdout).expect("json")
}

async fn records(via: &str) {
    let dir = tempfile::tempdir().expect("dir");
    let (_portal, _unit) = watched(dir.path()).await;
    let file = dir.path().join("out.mp4");
    let name = file.to_str().expect("utf-8");
    let args =
        ["--json", "play", "Garden", "--via", via, "--out", name, "--seconds", "3", "--stats"];
    let output = cu(dir.path(), &args).await;
    expect_exit(&output, 0);
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|l| serde_json::from_str(l).expect("json")).collect();
    let stats = lines.iter().filter_map(|l| l.get("stats")).next_back().expect("stats");
    assert!(stats["fps"].as_f64().expect("fps") > 5.0, "{stats}");
    assert_eq!(stats["path"]["transport"], via);
    assert_eq!(stats["path"]["relayed"], false);
    assert!(lines.iter().any(|l| l.get("recorded").is_some()));
    let found = ffprobe(name).await;
    let video = &found["streams"][0];
    assert_eq!((&video["codec_name"], &video["width"]), (&"h264".into(), &320.into()));
    assert_eq!(found["streams"][1]["codec_name"], "pcm_mulaw", "{via} has sound");
    let seconds: f64 = found["format"]["duration"].as_str().expect("text").parse().expect("number");
    assert!((2.8..3.3).contains(&seconds), "{via}: {seconds} s");
    let (early, pictures) = caught_up(&picture_times(name).await);
    assert!((65..=78).contains(&pictures), "{via}: {pictures} pictures");
    // Over WebRTC the pictures since the keyframe, one second's at most, come first and fast; over
    // QUIC they keep their own times.
    let most = if via == "webrtc" { 26 } else { 0 };
    assert!(early <= most, "{via}: {early} pictures were caught up with");
}

/// When each picture is shown, in seconds.
async fn picture_times(file: &str) -> Vec<f64> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time"]);
    let output = command.args(["-of", "csv=p=0", file]).output().await.expect("it ran before");
    let text = String::from_utf8(output.stdout).expect("text");
    let times = text.lines().map(|line| line.trim_end_matches(',').parse().expect("seconds"));
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Pictures at the beginning that follow each other faster than the camera's 40 ms, and the others,
/// none of which may.
fn caught_up(times: &[f64]) -> (usize, usize) {
    let fast = |pair: &&[f64]| pair[1] - pair[0] < 0.03;
    let early = times.windows(2).take_while(fast).count();
    let later = &times[early..];
    assert!(!later.windows(2).any(|pair| fast(&pair)), "too fast in the middle: {times:?}");
    (early, later.len())
}

#[tokio::test]
async fn quic_gives_a_file_that_ffprobe_reads() {
    records("quic").await;
}

#[tokio::test]
async fn webrtc_gives_a_file_that_ffprobe_reads() {
    records("webrtc").await;
}

#[tokio::test]
async fn who_is_asked_to_terminate_ends_the_file_first() {
    let dir = tempfile::tempdir().expect("dir");
    let (_portal, _unit) = watched(dir.path()).await;
    let file = dir.path().join("out.mp4");
    let name = file.to_str().expect("utf-8");
    let mut play = Command::new(env!("CARGO_BIN_EXE_cu"))
        .arg("--home")
        .arg(dir.path())
        .args(["--json", "play", "Garden", "--out", name, "--stats"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(play.stdout.take().expect("piped")).lines();
    // A line of figures comes every second.
    while file.metadata().map_or(0, |m| m.len()) == 0 {
        lines.next_line().await.expect("line").expect("it has not ended");
    }
    let process = play.id().expect("it runs").to_string();
    let asked = Command::new("kill").args(["-TERM", &process]).status().await.expect("runs");
    assert!(asked.success());
    let mut recorded = None;
    while let Some(line) = lines.next_line().await.expect("line") {
        let line: serde_json::Value = serde_json::from_str(&line).expect("json");
        recorded = line.get("recorded").cloned().or(recorded);
    }
    let ended = tokio::time::timeout(std::time::Duration::from_secs(40), play.wait()).await;
    assert_eq!(ended.expect("in time").expect("runs").code(), Some(0));
    assert_eq!(recorded.expect("what was written")["file"], name);
    assert_eq!(ffprobe(name).await["streams"][0]["codec_name"], "h264");
}

#[tokio::test]
async fn any_player_can_open_the_stream() {
    let dir = tempfile::tempdir().expect("dir");
    let (_portal, _unit) = watched(dir.path()).await;
    let mut play = Command::new(env!("CARGO_BIN_EXE_cu"))
        .arg("--home")
        .arg(dir.path())
        .args(["--json", "play", "Garden", "--rtsp-listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(play.stdout.take().expect("piped")).lines();
    let line = lines.next_line().await.expect("line").expect("line");
    let line: serde_json::Value = serde_json::from_str(&line).expect("json");
    let url = line["listening"]["url"].as_str().expect("url");
    let mut child = Command::new("ffmpeg")
        .args(["-v", "error", "-rtsp_transport", "tcp", "-i", url, "-t", "1", "-f", "null", "-"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("ffmpeg is needed; `cargo xtask setup` installs it");
    let status = tokio::time::timeout(std::time::Duration::from_secs(40), child.wait()).await;
    assert!(status.expect("in time").expect("runs").success());
}

#[tokio::test]
async fn a_snapshot_is_a_jpeg_of_the_right_size() {
    let dir = tempfile::tempdir().expect("dir");
    let (_portal, _unit) = watched(dir.path()).await;
    let file = dir.path().join("garden.jpg");
    let name = file.to_str().expect("utf-8");
    expect_exit(&cu(dir.path(), &["snapshot", "Garden", name]).await, 0);
    let found = ffprobe(name).await;
    assert_eq!(
        (&found["streams"][0]["codec_name"], &found["streams"][0]["height"]),
        (&"mjpeg".into(), &180.into())
    );
}

#[tokio::test]
async fn another_unit_in_the_cameras_place_is_found_out() {
    let dir = tempfile::tempdir().expect("dir");
    let (portal, _unit) = watched(dir.path()).await;
    let other = unit(ed25519_dalek::SigningKey::from_bytes(&[43; 32])).await;
    let mut centre = portal.centre.lock().await;
    let answer = centre.play.as_mut().expect("set");
    answer.quic = vec![other.quic];
    answer.signal_url = other.signal_url.clone();
    drop(centre);
    expect_exit(&cu(dir.path(), &["play", "Garden", "--seconds", "1"]).await, 6);
    expect_exit(&cu(dir.path(), &["play", "Garden", "--seconds", "1", "--via", "webrtc"]).await, 6);
}

#[tokio::test]
async fn a_substituted_dtls_fingerprint_is_found_out() {
    let dir = tempfile::tempdir().expect("dir");
    let (_portal, unit) = watched(dir.path()).await;
    unit.hostile.store(true, Ordering::Relaxed);
    let file = dir.path().join("out.mp4");
    let name = file.to_str().expect("utf-8");
    let args = ["play", "Garden", "--via", "webrtc", "--out", name, "--seconds", "1"];
    expect_exit(&cu(dir.path(), &args).await, 6);
    assert!(!file.exists(), "nothing was played");
}

#[tokio::test]
async fn a_refused_token_and_a_dead_address_have_their_exit_codes() {
    let dir = tempfile::tempdir().expect("dir");
    let (portal, unit) = watched(dir.path()).await;
    let mut foreign = portal.centre.lock().await.play.clone().expect("set");
    foreign.token = sightline_model::SessionToken::new("foreign".into());
    portal.centre.lock().await.play = Some(foreign.clone());
    expect_exit(&cu(dir.path(), &["play", "Garden", "--seconds", "1"]).await, 4);
    foreign.quic.clear();
    portal.centre.lock().await.play = Some(foreign);
    expect_exit(&cu(dir.path(), &["play", "Garden", "--seconds", "1"]).await, 5);
    drop(unit);
}

#[tokio::test]
async fn doctor_says_what_works() {
    let dir = tempfile::tempdir().expect("dir");
    let (_portal, _unit) = watched(dir.path()).await;
    let output = cu(dir.path(), &["doctor", "--json"]).await;
    // The small portal has no /info, so its clock is asked in vain; everything else works.
    let found: serde_json::Value =
        serde_json::from_str(stdout(&output).lines().next().expect("line")).expect("json");
    let checks = found["checks"].as_array().expect("list");
    for what in ["portal", "sign-in", "QUIC to the camera", "signalling", "verdict"] {
        let check = checks.iter().find(|c| c["what"] == what);
        assert_eq!(check.map(|c| &c["ok"]), Some(&true.into()), "{what}: {found}");
    }
}
