//! Recordings are fetched as files, on the port on which players speak RTSP: whole, in parts, and only
//! by whom they belong to.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::{process::Stdio, sync::Arc};

use sha2::{Digest as _, Sha256};
use sightline_model::{StreamTier, UnixMicros};
use sightline_recording::{
    chain::{Expected, FileState, Proof},
    statement::{Digest, Segment},
};
use sightline_rtsp::{client::Replay, replay::Scale};
use support::{
    film::{BEHIND_GAP, COUNT, recorder, taken},
    http::{get, proof_of},
    unit::{PATIENCE, Unit},
};
use tokio::process::Command;

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
    let answer = get(unit.address, &proof_of(taken(0), taken(COUNT)), Some("owner"), "").await;
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

/// What a playlist lists.
#[derive(Debug, Default)]
struct Listed {
    /// Name and query of the file.
    uri: String,
    duration_us: u64,
    /// The head and the rest of it, as they are fetched.
    bytes: Vec<u8>,
}

/// Bytes of a file, by a range such as `400@600`: how many, and from where on.
async fn bytes(unit: &Unit, uri: &str, range: &str) -> Vec<u8> {
    let (count, from) = range.split_once('@').expect("a range");
    let [count, from] = [count, from].map(|number| number.parse::<u64>().expect("a number"));
    let range = format!("Range: bytes={from}-{}\r\n", from + count - 1);
    let answer = get(unit.address, &format!("/recordings/0/main/{uri}"), None, &range).await;
    assert_eq!((answer.status, answer.body.len() as u64), (206, count), "{uri}");
    answer.body
}

/// Plays a playlist of the whole film, as far as that can be done by its words; how many seams it has.
async fn played(unit: &Unit) -> (Vec<Listed>, usize) {
    let (from, to) = (taken(0).0, taken(COUNT).0);
    let path = format!("/recordings/0/main/playlist.m3u8?from={from}&to={to}&token=owner");
    let answer = get(unit.address, &path, None, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/vnd.apple.mpegurl"));
    let text = String::from_utf8(answer.body).expect("text");
    let (mut all, mut seams) = (Vec::new(), 0);
    let (mut next, mut head, mut range) = (Listed::default(), Vec::new(), String::new());
    for line in text.lines() {
        let tag = |name: &str| line.strip_prefix(name);
        if let Some(map) = tag("#EXT-X-MAP:URI=\"") {
            let (uri, range) = map.split_once("\",BYTERANGE=\"").expect("a range");
            head = bytes(unit, uri, range.trim_end_matches('"')).await;
        } else if let Some(duration) = tag("#EXTINF:") {
            let digits = duration.trim_end_matches(',').replace('.', "");
            next.duration_us = digits.parse().expect("microseconds");
        } else if let Some(of) = tag("#EXT-X-BYTERANGE:") {
            range = of.to_owned();
        } else if tag("#EXT-X-DISCONTINUITY").is_some() {
            seams += 1;
        } else if tag("#").is_none() {
            let body = bytes(unit, line, &range).await;
            let one =
                Listed { uri: line.to_owned(), bytes: [&head[..], &body[..]].concat(), ..next };
            all.push(one);
            next = Listed::default();
        }
    }
    assert!(text.starts_with("#EXTM3U\n") && text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    (all, seams)
}

/// Whether all of a playlist is what was recorded, byte for byte.
fn assert_plays(listed: &[Listed], found: &[(String, Segment)]) {
    assert_eq!(listed.len(), found.len());
    for (listed, (name, segment)) in listed.iter().zip(found) {
        assert_eq!(listed.uri, format!("{name}?token=owner"));
        assert_eq!(listed.duration_us, segment.duration_us);
        assert_eq!(Digest(Sha256::digest(&listed.bytes).into()), segment.content, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playlist_names_the_bytes_of_all_that_was_recorded() {
    let unit = Unit::start().await;
    let found = listed(&unit).await;
    let (played, seams) = played(&unit).await;
    assert_plays(&played, &found);
    assert_eq!(seams, 1, "the film has one gap");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_costs_its_own_seconds_and_no_others() {
    let unit = Unit::start().await;
    let found = listed(&unit).await;
    unit.lose(2);
    let (played, seams) = played(&unit).await;
    assert_plays(&played, &[&found[..2], &found[3..]].concat());
    assert_eq!(seams, 2);
    let path = |n: usize| format!("/recordings/0/main/{}", found[n].0);
    for (n, status) in [(1, 200), (2, 410), (3, 200)] {
        assert_eq!(get(unit.address, &path(n), Some("owner"), "").await.status, status, "{n}");
    }
    assert_eq!(listed(&unit).await, found, "that it was recorded is proven all the same");
    // Whose it is not learns nothing of it.
    unit.visible.send_replace(Arc::new([]));
    assert_eq!(get(unit.address, &path(2), Some("owner"), "").await.status, 404);
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_takes_each_begins_with_what_belongs_to_one() {
    let unit = Unit::start().await;
    // The clock was set back: the fourth and the fifth second once more.
    unit.film.shoot_again(StreamTier::Main, taken(30)).await;
    let all = listed(&unit).await;
    // In the middle of a segment of the one and of the other.
    let from = taken(35);
    unit.visible.send_replace(Arc::new([from..UnixMicros(i64::MAX)]));
    let own: Vec<_> = all.iter().filter(|(_, segment)| segment.start >= from).cloned().collect();
    assert_eq!(all.len() - own.len(), 3);
    assert_eq!(listed(&unit).await, own);
    let (played, _) = played(&unit).await;
    assert_plays(&played, &own);
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
    let all = proof_of(taken(0), taken(COUNT));
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
    // Nor what ended in somebody else's time.
    let to = UnixMicros(found[found.len() - 1].1.end().0 - 1);
    unit.visible.send_replace(Arc::new([from..to]));
    let left = listed(&unit).await;
    assert_eq!(left[..], found[1..found.len() - 1]);
    unit.visible.send_replace(Arc::new([]));
    assert_eq!(get(unit.address, &all, Some("owner"), "").await.status, 404);
    unit.stop().await;
}
