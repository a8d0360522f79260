//! `play --from` with the camera's unit away: the rest comes from the cloud storage, what is missing is
//! said, and nothing is played that the unit has not signed.

#[allow(dead_code, reason = "each test program uses a part of this")]
mod common;

use std::{ops::Range, path::Path, process::Output, time::Duration};

use axum::{Json, Router, extract, routing::get};
use bytes::{Bytes, BytesMut};
use common::{Portal, claim_code, cu, device_key, expect_exit, portal_with, sign_in_home, stdout};
use ed25519_dalek::{Signer, SigningKey};
use sightline_media::{
    AccessUnit, ParameterSets, StreamDescription, VideoTrack, packetize::nal_units,
};
use sightline_media_io::codec::{H264Encoder, I420};
use sightline_model::{
    CameraId, ChannelId, PublicKey, RecordingPlace, RecordingSource, Secret, Signature, StreamTier,
    Timeline, TimelineSpan, UnixMicros,
};
use sightline_protocol::cm::{self, CloudSegment, CloudSegmentList, SilenceReason, SilentRecorder};
use sightline_recording::{
    chain::{ChainProof, Proof, ProvenEntry, Sign, Writer},
    clock::Moment,
    segmenter::{Config, Output as Step, RunEnd, Segmenter},
    statement::{Authority, BootId, Causes, ChainId, RunId, Segment, Subject, What},
};

/// 2026-11-21T17:00:00Z, when the first picture was taken.
const START: i64 = 1_795_280_400_000_000;
const SECOND: i64 = 1_000_000;
/// Pictures, ten in a second, in segments of two seconds.
const COUNT: i64 = 80;
const WIDTH: usize = 160;
const HEIGHT: usize = 96;

struct Key(SigningKey);

impl Sign for Key {
    fn public_key(&self) -> PublicKey {
        self.0.verifying_key().into()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).into()
    }
}

fn camera() -> CameraId {
    CameraId { pu: claim_code().pu_id().clone(), channel: ChannelId(0) }
}

fn at(seconds: i64) -> UnixMicros {
    UnixMicros(START + seconds * SECOND)
}

/// Segments as a unit has cut them.
fn film() -> Vec<(Segment, Bytes)> {
    let mut encoder = H264Encoder::new(10, 500_000).expect("an encoder");
    let mut segmenter =
        Segmenter::new(BootId(1), Config { target: Duration::from_secs(2), ..Config::default() });
    let (mut film, mut open) = (Vec::new(), BytesMut::new());
    let mut take = |segmenter: &mut Segmenter| {
        while let Some(step) = segmenter.poll_output() {
            match step {
                Step::Open(_) => open.clear(),
                Step::Append(bytes) => open.extend_from_slice(&bytes),
                Step::Close(draft) => {
                    let causes = Causes { continuous: true, ..Causes::default() };
                    let segment = draft.into_segment(RunId(1), causes, false);
                    film.push((segment, open.split().freeze()));
                }
                Step::RunEnded(_) | Step::Step(_) => {}
            }
        }
    };
    for number in 0..COUNT {
        let mut picture = I420::new(WIDTH, HEIGHT);
        picture.y.fill(u8::try_from(number * 3).expect("below 256"));
        let data = encoder.encode(&picture, number % 10 == 0).expect("encoded").expect("kept");
        let time = UnixMicros(START + number * SECOND / 10);
        let unit = AccessUnit::h264(number * 9_000, time, data);
        if number == 0 {
            segmenter.handle_description(&form(&unit)).expect("a form that can be recorded");
        }
        let monotonic_us = u64::try_from(time.0 - START).expect("behind the start") + 1_000_000;
        let moment = Moment { monotonic_us, time, authority: Authority::Centre };
        segmenter.handle_unit(&unit, &moment).expect("recorded");
        take(&mut segmenter);
    }
    segmenter.handle_end(RunEnd::Stopped);
    take(&mut segmenter);
    film
}

fn form(keyframe: &AccessUnit) -> StreamDescription {
    let AccessUnit::Video { data, .. } = keyframe else { panic!("a picture") };
    let find = |kind| nal_units(data).find(|nal| nal[0] & 0x1f == kind).expect("in a keyframe");
    let parameter_sets = ParameterSets::H264 { sps: find(7), pps: find(8) };
    let (width, height) = (WIDTH as u32, HEIGHT as u32);
    let video = VideoTrack { width, height, fps: 10.0, parameter_sets };
    StreamDescription { video: Some(video), audio: None }
}

/// The cloud storage, as the portal tells of it: only what begins at `from` or later lies in it.
#[derive(Clone)]
struct Cloud {
    segments: Vec<CloudSegment>,
    proof: Vec<u8>,
    objects: Vec<Bytes>,
}

fn cloud(from: UnixMicros) -> Cloud {
    let key = Key(device_key());
    let subject = Subject {
        recorder: claim_code().pu_id().clone(),
        camera: camera(),
        tier: StreamTier::Main,
    };
    let chain = ChainId([5; 16]);
    let (mut writer, begin) = Writer::begin(subject, chain, &key).expect("begun");
    let (mut segments, mut entries, mut objects) = (Vec::new(), Vec::new(), Vec::new());
    for (segment, bytes) in film() {
        let made = writer.append(What::Segment(segment.clone()), &key).expect("appended");
        if segment.start < from {
            continue;
        }
        let url = format!("{}/objects/{}", cm::PREFIX, objects.len());
        segments.push(CloudSegment {
            chain: chain.to_string(),
            sequence: made.sequence.0,
            run: segment.run.0,
            tier: StreamTier::Main,
            from: segment.start,
            to: segment.end(),
            time_known: true,
            causes: segment.causes,
            locked: false,
            bytes: segment.len,
            head_bytes: segment.head_len,
            sha256: segment.content.to_string(),
            url: Secret::new(url),
        });
        let mut proven = ProvenEntry::new(made.entry);
        proven.file = Some(format!("{}.mp4", made.sequence.0));
        entries.push(proven);
        objects.push(bytes);
    }
    let context = vec![ProvenEntry::new(begin.entry)];
    let proof = Proof::new(vec![ChainProof { recorder_key: key.public_key(), context, entries }]);
    Cloud { segments, proof: proof.to_json().expect("short"), objects }
}

/// The unit says that it has the first of these spans, the cloud the second.
fn timeline(unit: Range<i64>, cloud: Range<i64>, silent: bool) -> cm::CameraTimeline {
    let recorder = claim_code().pu_id().clone();
    let source =
        |place| RecordingSource { place, recorder: recorder.clone(), tier: StreamTier::Main };
    let has = |source: u16, span: Range<i64>, others: Vec<u16>| TimelineSpan {
        from: at(span.start),
        to: at(span.end),
        source,
        others,
        causes: Causes::default(),
        time_known: true,
        twice: false,
    };
    let both = unit.start.max(cloud.start)..unit.end.min(cloud.end);
    let mut spans = vec![
        has(0, unit.start..unit.end.min(cloud.start), Vec::new()),
        has(0, both.clone(), vec![1]),
        has(1, cloud.start.max(unit.end)..cloud.end, Vec::new()),
    ];
    spans.retain(|span| span.from < span.to);
    let reason = SilenceReason::Offline;
    let silent = silent.then_some(SilentRecorder {
        place: RecordingPlace::Pu,
        recorder: recorder.clone(),
        reason,
    });
    cm::CameraTimeline {
        timeline: Timeline {
            camera: camera(),
            from: at(0),
            to: at(8),
            resolution_us: 0,
            sources: vec![source(RecordingPlace::Pu), source(RecordingPlace::Cs)],
            spans,
            gaps: Vec::new(),
            events: Vec::new(),
        },
        silent: silent.into_iter().collect(),
    }
}

/// A portal whose camera is not connected.
async fn centre(home: &Path, timeline: cm::CameraTimeline, cloud: Cloud) -> Portal {
    let Cloud { segments, proof, objects } = cloud;
    let listed = move |extract::RawQuery(query): extract::RawQuery| {
        // The other encoding is asked for where this one has nothing near.
        let is_main = query.is_some_and(|query| query.contains("tier=main"));
        let segments = if is_main { segments.clone() } else { Vec::new() };
        let list = CloudSegmentList { segments, next: None, expires_at: UnixMicros(i64::MAX) };
        async move { Json(list) }
    };
    let object = move |extract::Path(number): extract::Path<usize>| {
        let object = objects[number].clone();
        async move { object }
    };
    let told = move || {
        let timeline = timeline.clone();
        async move { Json(timeline) }
    };
    let proven = move || {
        let proof = proof.clone();
        async move { proof }
    };
    let routes = Router::new()
        .route("/cameras/{id}/recordings", get(told))
        .route("/cameras/{id}/recordings/segments", get(listed))
        .route("/cameras/{id}/recordings/proof", get(proven))
        .route("/objects/{number}", get(object));
    let portal = portal_with(routes).await;
    sign_in_home(home, &portal).await;
    portal.centre.lock().await.bound = true;
    portal
}

async fn play(home: &Path, more: &[&str]) -> (Output, String) {
    let span = ["--from", "2026-11-21T17:00:00Z", "--to", "2026-11-21T17:00:08Z"];
    let output = cu(home, &[&["play", "Garden"][..], &span, more].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[tokio::test]
async fn what_the_unit_cannot_give_comes_from_the_cloud() {
    let home = tempfile::tempdir().expect("dir");
    let _portal = centre(home.path(), timeline(0..8, 0..8, true), cloud(at(0))).await;
    let file = home.path().join("out.mp4");
    let (output, said) = play(home.path(), &["--out", file.to_str().expect("UTF-8")]).await;
    expect_exit(&output, 0);
    assert!(said.contains("the camera's own unit is not connected"), "{said}");
    assert!(said.contains("going on elsewhere"), "{said}");
    assert!(!said.contains("Missing"), "{said}");
    assert_eq!(pictures(&file).await, COUNT);
}

/// Pictures in a file, as ffprobe counts them.
async fn pictures(file: &Path) -> i64 {
    let mut command = tokio::process::Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v", "-count_packets"]);
    command.args(["-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"]);
    let output = command.arg(file).kill_on_drop(true).output().await;
    let output = output.expect("ffprobe is needed; `cargo xtask setup` installs it");
    let text = String::from_utf8(output.stdout).expect("text");
    text.trim().trim_end_matches(',').parse().expect("a number")
}

#[tokio::test]
async fn what_nobody_else_has_is_said_to_be_missing() {
    let home = tempfile::tempdir().expect("dir");
    let _portal = centre(home.path(), timeline(0..4, 4..8, false), cloud(at(4))).await;
    let (output, said) = play(home.path(), &["--json", "--speed", "16"]).await;
    expect_exit(&output, 5);
    let missing = "Missing: 2026-11-21T17:00:00.000Z to 2026-11-21T17:00:04.000Z";
    assert!(said.contains(missing), "{said}");
    // The rest was played all the same.
    assert!(stdout(&output).contains("\"pictures\":"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("\"pictures\":0"), "{}", stdout(&output));
}

#[tokio::test]
async fn in_reverse_the_cloud_is_played_from_its_end() {
    let home = tempfile::tempdir().expect("dir");
    let _portal = centre(home.path(), timeline(0..0, 0..8, false), cloud(at(0))).await;
    let (output, said) = play(home.path(), &["--json", "--speed=-16"]).await;
    expect_exit(&output, 0);
    assert!(!said.contains("Missing"), "{said}");
    assert!(stdout(&output).contains("\"pictures\":"), "{}", stdout(&output));
}

#[tokio::test]
async fn bytes_that_the_unit_has_not_signed_are_not_played() {
    let home = tempfile::tempdir().expect("dir");
    let mut cloud = cloud(at(0));
    let mut bytes = cloud.objects[0].to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    cloud.objects[0] = bytes.into();
    let _portal = centre(home.path(), timeline(0..0, 0..8, false), cloud).await;
    let file = home.path().join("out.mp4");
    let args = ["--on", "cloud", "--out", file.to_str().expect("UTF-8")];
    let (output, said) = play(home.path(), &args).await;
    expect_exit(&output, 6);
    assert!(said.contains("signed"), "{said}");
    assert!(!file.exists(), "nothing of it was written");
}
