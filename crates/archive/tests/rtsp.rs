//! RTSP players look back: what was recorded comes once, in the order and at the times asked for.
//! Every picture carries its number, which is read from what was decoded.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::{process::Stdio, sync::atomic::Ordering::SeqCst};

use sightline_media::AccessUnit;
use sightline_media_io::rtsp_server::{pinned_tls, quic};
use sightline_model::{PublicKey, UnixMicros};
use sightline_rtsp::{
    client::{ClientError, Event, Replay},
    replay::Scale,
};
use support::{
    film::{BEHIND_GAP, COUNT, GROUP, PICTURE_BYTES, number, numbers, taken},
    unit::{PATIENCE, Unit, Viewer},
};
use tokio::{io::AsyncReadExt, process::Command};

const AT_ONCE: Replay = Replay { scale: Scale::NORMAL, rate_control: false, recorded_times: true };

fn paced(scale: f64) -> Replay {
    Replay { scale: Scale::new(scale).expect("a scale"), rate_control: true, recorded_times: true }
}

fn taken_at(units: &[AccessUnit]) -> Vec<UnixMicros> {
    units.iter().map(AccessUnit::captured_at).collect()
}

/// Times that went through NTP's fractions.
fn assert_taken(units: &[AccessUnit], expected: &[u32]) {
    let found = taken_at(units);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        let off = found.0.abs_diff(taken(*expected).0);
        assert!(off <= 1_000, "picture {expected} is {off} us off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_picture_once_forwards_and_over_a_gap() {
    let unit = Unit::start().await;
    let viewer = unit.play(&unit.url(0.0, None), AT_ONCE).await;
    let units = viewer.all().await;
    let expected: Vec<u32> = (0..COUNT).collect();
    assert_eq!(numbers(unit.film.video(), &units), expected);
    assert_taken(&units, &expected);
    // A span that begins within a group: what is needed to decode it comes in front.
    let units = unit.play(&unit.url(1.5, Some(2.5)), AT_ONCE).await.all().await;
    let found = numbers(unit.film.video(), &units);
    assert_eq!(found, (GROUP..25).collect::<Vec<_>>());
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_reverse_every_group_forwards_the_newest_first() {
    let unit = Unit::start().await;
    let back = Replay {
        scale: Scale::new(-1.0).expect("a scale"),
        rate_control: false,
        recorded_times: true,
    };
    let units = unit.play(&unit.url(0.0, Some(60.0)), back).await.all().await;
    let groups = (0..COUNT / GROUP).rev();
    let expected: Vec<u32> = groups.flat_map(|group| group * GROUP..(group + 1) * GROUP).collect();
    assert_eq!(numbers(unit.film.video(), &units), expected);
    assert_taken(&units, &expected);
    // As a player shows them: each group from its end.
    let shown: Vec<_> = taken_at(&units)
        .chunks(GROUP as usize)
        .flat_map(|group| group.iter().rev().copied().collect::<Vec<_>>())
        .collect();
    assert!(shown.is_sorted_by(|a, b| a > b), "time runs back, every picture once");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_sixteen_the_keyframes_and_gaps_take_no_time() {
    let unit = Unit::start().await;
    let url = unit.url(0.0, Some(50.0));
    let units = unit.play(&url, paced(16.0)).await.all().await;
    let expected: Vec<u32> = (0..COUNT).step_by(GROUP as usize).collect();
    assert!(units.iter().all(AccessUnit::is_keyframe));
    assert_eq!(numbers(unit.film.video(), &units), expected);
    assert_taken(&units, &expected);
    // The clock that a plain player goes by: a second of the recording is 1/16 of one.
    let plain = Replay { recorded_times: false, ..paced(16.0) };
    let units = unit.play(&url, plain).await.all().await;
    let stamp = |unit: &AccessUnit| match unit {
        AccessUnit::Video { timestamp, .. } | AccessUnit::Audio { timestamp, .. } => *timestamp,
    };
    let steps: Vec<_> = units.windows(2).map(|pair| stamp(&pair[1]) - stamp(&pair[0])).collect();
    assert_eq!(steps.len() + 1, expected.len());
    for (index, step) in (1_u32..).zip(&steps) {
        if index * GROUP == BEHIND_GAP {
            // The clock goes on while a machine is busy, but never through the 30 s that are missing.
            assert!((1..30 * 90_000 / 16).contains(step), "{step} over the gap");
        } else {
            assert!((5_624..=5_626).contains(step), "{step} before {index}");
        }
    }
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_leaves_nothing_out() {
    let unit = Unit::start().await;
    let mut viewer = unit.play(&unit.url(3.0, Some(5.0)), paced(4.0)).await;
    let mut units = Vec::new();
    while units.len() < 5 {
        units.extend(viewer.unit().await);
    }
    viewer.client.pause(std::time::Instant::now());
    loop {
        match viewer.next().await {
            Event::Unit(unit) => units.push(unit),
            Event::Paused => break,
            other => panic!("{other:?}"),
        }
    }
    viewer.client.resume(std::time::Instant::now());
    assert!(matches!(viewer.next().await, Event::Playing), "nothing comes while it stands");
    units.extend(viewer.all().await);
    assert_taken(&units, &(30..50).collect::<Vec<_>>());
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_quic_as_over_tcp() {
    let unit = Unit::start().await;
    let public: PublicKey = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().into();
    let bind = "127.0.0.1:0".parse().expect("valid");
    let endpoint = quic::server_endpoint(bind, &pinned_tls::pkcs8(&[1; 32])).expect("a good key");
    let address = endpoint.local_addr().expect("bound");
    let (server, (token, tasks)) = (unit.server.clone(), unit.tasks());
    let serving = tasks.clone();
    tasks.spawn(async move { server.serve_quic(endpoint, token, serving).await });
    let own = quinn::Endpoint::client(bind).expect("a socket");
    let connection = quic::connect(&own, address, &pinned_tls::pkcs8(&[2; 32]), public)
        .await
        .expect("both hold their keys");
    let (send, receive) = connection.open_bi().await.expect("a stream");
    let stream = tokio::io::join(receive, send);
    let units = Viewer::new(stream, &unit.url(10.0, Some(44.0)), AT_ONCE).all().await;
    assert_eq!(numbers(unit.film.video(), &units), (100..140).collect::<Vec<_>>());
    unit.stop().await;
}

/// What a player is told when it may not, or cannot.
async fn refusal(unit: &Unit, url: &str) -> (u16, String) {
    let mut viewer = unit.play(url, AT_ONCE).await;
    loop {
        match viewer.next().await {
            Event::Failed(ClientError::Refused { status, reason, .. }) => return (status, reason),
            Event::Described(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals() {
    let unit = Unit::start().await;
    let good = unit.url(0.0, Some(5.0));
    assert_eq!(refusal(&unit, &good.replace("?token=owner", "")).await.0, 401);
    assert_eq!(refusal(&unit, &good.replace("owner", "thief")).await.0, 401);
    assert_eq!(refusal(&unit, &good.replace("owner", "guest")).await.0, 403);
    assert_eq!(refusal(&unit, &good.replace("/0/", "/7/")).await.0, 404);
    for (from, to) in [(13.0, Some(40.0)), (-60.0, Some(-1.0)), (51.0, None)] {
        let (status, words) = refusal(&unit, &unit.url(from, to)).await;
        assert_eq!((status, words.as_str()), (457, "nothing was recorded there"), "{from}");
    }
    // The camera is away: what is happening cannot be watched, what has happened can.
    let live = format!("rtsp://{}/0?token=owner", unit.address);
    assert_eq!(refusal(&unit, &live).await.0, 503);
    unit.stop().await;
}

/// A player that takes nothing holds up the reading of the store, not the other way.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_slowly_has_little_read_ahead() {
    let unit = Unit::start().await;
    let (ours, _serving) = unit.dial(2_048);
    let bytes: usize = unit.film.units.iter().map(AccessUnit::len).sum();
    assert!(bytes > 1 << 20, "a film of {bytes} bytes fits what is kept for a player");
    let mut viewer = Viewer::new(ours, &unit.url(0.0, None), AT_ONCE);
    // 128 KiB are kept for a player, and a picture or two besides.
    let kept = (160 << 10) * COUNT as usize / bytes + 2;
    let mut count = 0;
    while let Some(_unit) = viewer.unit().await {
        count += 1;
        // Segments are of two seconds; one for DESCRIBE, one ahead, and one that may have begun.
        let needed = (count + kept).div_ceil(20) + 3;
        let asked = unit.archive.asked.load(SeqCst);
        assert!(asked <= needed, "{asked} were asked for {count} pictures");
    }
    assert_eq!(count, COUNT as usize);
    unit.stop().await;
}

fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
    });
    if !found {
        eprintln!("NOT TESTED: {program} is not installed");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_plays_a_span_over_tcp_and_udp() {
    if !installed("ffmpeg") {
        return;
    }
    let unit = Unit::start().await;
    for transport in ["tcp", "udp"] {
        let url = unit.url(11.0, Some(43.0));
        let arguments = [
            "-v",
            "error",
            "-rtsp_transport",
            transport,
            "-i",
            &url,
            "-fps_mode",
            "passthrough",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "gray",
            "-",
        ];
        let mut command = Command::new("ffmpeg");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut player = command.stderr(Stdio::piped()).spawn().expect("starts");
        let mut stdout = player.stdout.take().expect("piped");
        let mut pictures = Vec::new();
        tokio::time::timeout(PATIENCE, stdout.read_to_end(&mut pictures))
            .await
            .expect("it ends with the span")
            .expect("read");
        let output = player.wait_with_output().await.expect("ended");
        let words = String::from_utf8_lossy(&output.stderr);
        let found: Vec<u32> =
            pictures.chunks(PICTURE_BYTES).map(|picture| number(picture, 160)).collect();
        let mut expected: Vec<u32> = (110..130).collect();
        if transport == "udp" && found.len() + 1 == expected.len() {
            // The goodbye comes by a socket of its own and may be read before the last picture.
            expected.pop();
        }
        assert_eq!(found, expected, "{transport}: {words}");
    }
    unit.stop().await;
}
