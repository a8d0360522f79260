//! Recordings are fetched as files, on the port on which players speak RTSP: whole, in parts, and only
//! by whom they belong to.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::{net::SocketAddr, process::Stdio, sync::Arc};

use sha2::{Digest as _, Sha256};
use sightline_model::UnixMicros;
use sightline_recording::{
    chain::{Expected, FileState, Proof},
    statement::{Digest, Segment},
};
use sightline_rtsp::{client::Replay, replay::Scale};
use support::{
    film::{BEHIND_GAP, COUNT, recorder, taken},
    unit::{PATIENCE, Unit},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// One request on a connection of its own.
async fn get(address: SocketAddr, path: &str, token: Option<&str>, more: &str) -> Answer {
    let mut socket = TcpStream::connect(address).await.expect("listens");
    let token = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: unit\r\nConnection: close\r\n{token}{more}\r\n");
    socket.write_all(request.as_bytes()).await.expect("open");
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut all)).await;
    read.expect("in time").expect("open");
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(all[..end].to_vec()).expect("a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Answer { status, head, body: all[end + 4..].to_vec() }
}

fn span(from: UnixMicros, to: UnixMicros) -> String {
    format!("/recordings/0/main/proof?from={}&to={}", from.0, to.0)
}

/// The segments that a proof speaks of, and their names.
fn segments(json: &[u8]) -> Vec<(String, Segment)> {
    let proof = Proof::parse(json).expect("a proof");
    let mut found = Vec::new();
    for chain in &proof.chains {
        let mut verifier = chain.verifier(Expected::of(recorder()));
        for entry in &chain.entries {
            if let Some((sequence, segment)) = verifier.push(&entry.entry()) {
                verifier.file(sequence, &segment, FileState::Present);
                found.push((entry.file.clone().expect("a name"), segment));
            }
        }
        let report = verifier.finish();
        assert!(report.is_sound(), "{:?}", report.findings);
    }
    found
}

async fn listed(unit: &Unit) -> Vec<(String, Segment)> {
    let answer = get(unit.address, &span(taken(0), taken(COUNT)), Some("owner"), "").await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    segments(&answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_fetched_whole_and_in_parts_and_proves_itself() {
    let unit = Unit::start().await;
    let found = listed(&unit).await;
    assert_eq!(found.iter().map(|(_, segment)| segment.pictures).sum::<u32>(), COUNT);
    for (name, segment) in &found {
        let path = format!("/recordings/0/main/{name}");
        let whole = get(unit.address, &path, Some("owner"), "").await;
        assert_eq!(whole.status, 200);
        assert_eq!(Digest(Sha256::digest(&whole.body).into()), segment.content);
        let tag = whole.header("etag").expect("a tag").to_owned();
        let middle = whole.body.len() / 2;
        let range = format!("Range: bytes={middle}-\r\nIf-Range: {tag}\r\n");
        let rest = get(unit.address, &path, Some("owner"), &range).await;
        assert_eq!((rest.status, &rest.body[..]), (206, &whole.body[middle..]));
        let behind = format!("Range: bytes={}-\r\n", segment.len);
        assert_eq!(get(unit.address, &path, Some("owner"), &behind).await.status, 416);
    }
    // Players are served on the same port as before.
    let replay = Replay { scale: Scale::NORMAL, rate_control: false, recorded_times: false };
    let viewer = unit.play(&unit.url(0.0, Some(2.0)), replay).await;
    assert!(!viewer.all().await.is_empty());
    unit.stop().await;
}

/// What ffprobe counts in the playlist of a span; none where there is no ffprobe.
async fn counted(unit: &Unit, (from, to): (u32, u32), what: &str) -> Option<u32> {
    let (address, from, to) = (unit.address, taken(from).0, taken(to).0);
    let path = format!("recordings/0/main/playlist.m3u8?from={from}&to={to}&token=owner");
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", &format!("-count_{what}"), "-select_streams", "v:0"]);
    ffprobe.args(["-show_entries", &format!("stream=nb_read_{what}"), "-of", "csv=p=0"]);
    ffprobe.arg(format!("http://{address}/{path}")).stdout(Stdio::piped());
    let running = ffprobe.spawn().ok()?;
    let output = tokio::time::timeout(PATIENCE, running.wait_with_output()).await;
    let said = output.expect("in time").expect("it runs").stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let first = said.lines().next().map(|line| line.trim_matches(',').parse());
    Some(first.expect("a number").expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_knows_only_hls_plays_all_of_it() {
    let unit = Unit::start().await;
    if let Some(frames) = counted(&unit, (0, BEHIND_GAP), "frames").await {
        assert_eq!(frames, BEHIND_GAP);
        // Across the seam ffmpeg gets all pictures, too, and then decodes not all of them: it knows
        // no discontinuities in fragmented MP4.
        assert_eq!(counted(&unit, (0, COUNT), "packets").await, Some(COUNT));
    } else {
        eprintln!("skipped: no ffprobe here");
    }
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_what_is_not_theirs() {
    let unit = Unit::start().await;
    let found = listed(&unit).await;
    let (name, first) = &found[0];
    let path = format!("/recordings/0/main/{name}");
    let all = span(taken(0), taken(COUNT));
    for path in [&path, &all] {
        assert_eq!(get(unit.address, path, None, "").await.status, 401);
        assert_eq!(get(unit.address, path, Some("stranger"), "").await.status, 401);
        assert_eq!(get(unit.address, path, Some("guest"), "").await.status, 403);
        let other = path.replace("/0/", "/1/");
        assert_eq!(get(unit.address, &other, Some("owner"), "").await.status, 403);
    }
    let up = "/recordings/0/main/../../../../etc/passwd";
    for path in [up, "/recordings/0/main/999999999999.mp4", "/recordings/0/sub/proof?from=0&to=1"] {
        assert_eq!(get(unit.address, path, Some("owner"), "").await.status, 404, "{path}");
    }
    // What belonged to somebody else, and what began in their time.
    let from = UnixMicros(first.start.0 + 1);
    unit.visible.send_replace(Arc::new([from..UnixMicros(i64::MAX)]));
    assert_eq!(get(unit.address, &path, Some("owner"), "").await.status, 404);
    let left = listed(&unit).await;
    assert_eq!(left[..], found[1..]);
    unit.visible.send_replace(Arc::new([]));
    assert_eq!(get(unit.address, &all, Some("owner"), "").await.status, 404);
    unit.stop().await;
}
