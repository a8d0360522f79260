//! MP4 files are read back by ffprobe, whole and cut off.

use std::{path::Path, process::Command};

use bytes::{BufMut, Bytes, BytesMut};
use sightline_media::{
    AccessUnit, AudioTrack, ParameterSets, StreamDescription, VideoTrack,
    mp4::{Mp4Error, Writer},
};
use sightline_model::{AudioCodec, UnixMicros};

#[path = "mp4/segment.rs"]
mod segment;

const START: i64 = 1_700_000_000_000_000;

struct Picture {
    /// 90 kHz, from zero.
    pts: i64,
    keyframe: bool,
    data: Bytes,
}

fn tool(name: &str, args: &[&str]) -> Vec<u8> {
    let out = Command::new(name).args(args).output().unwrap_or_else(|e| {
        panic!("{name} is needed for this test; `cargo xtask setup` installs it: {e}")
    });
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    let complaints = String::from_utf8_lossy(&out.stderr);
    // Mono without a layout is no fault of the file.
    let serious = |l: &&str| !l.trim().is_empty() && !l.starts_with("Guessed Channel Layout");
    assert_eq!(complaints.lines().find(serious), None, "{name}");
    out.stdout
}

/// Codes four seconds of a test picture, `gop` pictures between keyframes, and takes it apart.
fn pictures(dir: &Path, codec: &str, gop: u32, b_frames: u32) -> (VideoTrack, Vec<Picture>) {
    let reference = dir.join("reference.mp4");
    let reference = reference.to_str().expect("utf-8");
    let (gop, b_frames) = (gop.to_string(), b_frames.to_string());
    let x265 = format!("log-level=none:bframes={b_frames}:keyint={gop}");
    let mut args =
        vec!["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=4"];
    args.extend([
        "-c:v",
        codec,
        "-pix_fmt",
        "yuv420p",
        "-preset",
        "ultrafast",
        "-g",
        &gop,
        "-bf",
        &b_frames,
    ]);
    if codec == "libx265" {
        args.extend(["-x265-params", &x265]);
    }
    args.push(reference);
    tool("ffmpeg", &args);
    let packets = tool(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "packet=pts_time,flags,size,pos",
            "-of",
            "json",
            reference,
        ],
    );
    let packets: serde_json::Value = serde_json::from_slice(&packets).expect("json");
    let file = Bytes::from(std::fs::read(reference).expect("read"));
    let number =
        |v: &serde_json::Value| v.as_str().expect("text").parse::<usize>().expect("number");
    let pictures = packets["packets"].as_array().expect("list").iter().map(|p| {
        let (at, size) = (number(&p["pos"]), number(&p["size"]));
        let pts: f64 = p["pts_time"].as_str().expect("time").parse().expect("number");
        let keyframe = p["flags"].as_str().expect("flags").starts_with('K');
        Picture { pts: (pts * 90_000.0).round() as i64, keyframe, data: file.slice(at..at + size) }
    });
    (track(dir, codec, reference), pictures.collect())
}

/// Parameter sets as the coder gives them in Annex B.
fn track(dir: &Path, codec: &str, reference: &str) -> VideoTrack {
    let raw = dir.join("raw.bin");
    let raw = raw.to_str().expect("utf-8");
    let (filter, format) = if codec == "libx265" {
        ("hevc_mp4toannexb", "hevc")
    } else {
        ("h264_mp4toannexb", "h264")
    };
    tool(
        "ffmpeg",
        &["-v", "error", "-y", "-i", reference, "-c", "copy", "-bsf:v", filter, "-f", format, raw],
    );
    let raw = std::fs::read(raw).expect("read");
    let mut nals = Vec::new();
    let mut from = None;
    let mut i = 0;
    while i + 3 <= raw.len() && nals.len() < 8 {
        if raw[i..i + 3] == [0, 0, 1] {
            if let Some(from) = from {
                let end = if raw[i - 1] == 0 { i - 1 } else { i };
                nals.push(Bytes::copy_from_slice(&raw[from..end]));
            }
            from = Some(i + 3);
            i += 3;
        } else {
            i += 1;
        }
    }
    let find = |kind: u8| {
        let kind_of = |n: &&Bytes| if codec == "libx265" { n[0] >> 1 & 0x3f } else { n[0] & 0x1f };
        nals.iter().find(|n| kind_of(n) == kind).expect("parameter set").clone()
    };
    let parameter_sets = if codec == "libx265" {
        ParameterSets::H265 { vps: find(32), sps: find(33), pps: find(34) }
    } else {
        ParameterSets::H264 { sps: find(7), pps: find(8) }
    };
    VideoTrack { width: 320, height: 180, fps: 25.0, parameter_sets }
}

/// A keyframe as it comes from a source, with its parameter sets in front.
fn unit(track: &VideoTrack, picture: &Picture, base: i64) -> AccessUnit {
    let mut data = BytesMut::new();
    if picture.keyframe {
        let sets: Vec<&Bytes> = match &track.parameter_sets {
            ParameterSets::H264 { sps, pps } => vec![sps, pps],
            ParameterSets::H265 { vps, sps, pps } => vec![vps, sps, pps],
        };
        for set in sets {
            data.put_u32(set.len() as u32);
            data.put_slice(set);
        }
    }
    data.put_slice(&picture.data);
    AccessUnit::Video {
        timestamp: base + picture.pts,
        captured_at: UnixMicros(START + picture.pts * 100 / 9),
        keyframe: picture.keyframe,
        disposable: false,
        codec: track.codec(),
        data: data.freeze(),
    }
}

fn sound(at_ms: i64, clock_hz: u32, data: &[u8]) -> AccessUnit {
    AccessUnit::Audio {
        timestamp: 77_000 + at_ms * i64::from(clock_hz) / 1_000,
        captured_at: UnixMicros(START + at_ms * 1_000),
        data: Bytes::copy_from_slice(data),
    }
}

/// Four seconds of a tone in AAC-LC at 16 kHz, mono.
fn aac_frames() -> Vec<Vec<u8>> {
    let adts = tool(
        "ffmpeg",
        &[
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:sample_rate=16000:duration=4",
            "-c:a",
            "aac",
            "-f",
            "adts",
            "-",
        ],
    );
    let mut frames = Vec::new();
    let mut rest = &adts[..];
    while rest.len() > 7 {
        let length =
            usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5]) >> 5;
        frames.push(rest[7..length].to_vec());
        rest = &rest[length..];
    }
    frames
}

struct Written {
    fragmented: Vec<u8>,
    complete: Vec<u8>,
    left_out: Option<&'static str>,
}

fn write(stream: &StreamDescription, units: &[AccessUnit]) -> Written {
    let mut writer = Writer::new(stream, UnixMicros(START)).expect("writer");
    let mut file = Vec::new();
    for unit in units {
        file.extend(writer.push(unit).expect("push"));
    }
    let fragmented = file.clone();
    let left_out = writer.left_out();
    let end = writer.finish().expect("finish");
    file.extend(end.append);
    for (offset, bytes) in end.patches {
        let offset = usize::try_from(offset).expect("small");
        file[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
    Written { fragmented, complete: file, left_out }
}

/// What ffprobe says; any complaint of it fails the test. Everything is decoded too.
fn probe(dir: &Path, bytes: &[u8]) -> serde_json::Value {
    let path = dir.join("out.mp4");
    std::fs::write(&path, bytes).expect("write");
    let path = path.to_str().expect("utf-8");
    tool("ffmpeg", &["-v", "warning", "-i", path, "-f", "null", "-"]);
    let out = tool(
        "ffprobe",
        &[
            "-v",
            "warning",
            "-count_packets",
            "-show_streams",
            "-show_format",
            "-show_packets",
            "-of",
            "json",
            path,
        ],
    );
    serde_json::from_slice(&out).expect("json")
}

fn seconds(value: &serde_json::Value) -> f64 {
    value.as_str().expect("text").parse().expect("number")
}

fn interleave(
    track: &VideoTrack,
    pictures: &[Picture],
    mut sounds: Vec<AccessUnit>,
) -> Vec<AccessUnit> {
    // In the order of capture, as a connection carries them.
    let mut units: Vec<AccessUnit> = Vec::new();
    sounds.reverse();
    for picture in pictures {
        let video = unit(track, picture, 5_000_000);
        while sounds.last().is_some_and(|s| s.captured_at() <= video.captured_at()) {
            units.extend(sounds.pop());
        }
        units.push(video);
    }
    units
}

fn pts(probe: &serde_json::Value, kind: &str) -> Vec<f64> {
    let packets = probe["packets"].as_array().expect("list");
    packets.iter().filter(|p| p["codec_type"] == kind).map(|p| seconds(&p["pts_time"])).collect()
}

#[test]
fn h264_with_opus_keeps_every_picture_and_its_time() {
    let dir = tempfile::tempdir().expect("dir");
    let (track, pictures) = pictures(dir.path(), "libx264", 50, 0);
    let audio =
        AudioTrack { codec: AudioCodec::Opus, clock_hz: 48_000, channels: 2, config: Bytes::new() };
    let stream = StreamDescription { video: Some(track.clone()), audio: Some(audio) };
    // Sound begins before the picture and is 7 ms off its grid.
    let sounds = (0..210).map(|i| sound(i * 20 - 93, 48_000, &[0xfc, 0xff, 0xfe])).collect();
    let written = write(&stream, &interleave(&track, &pictures, sounds));
    let whole = probe(dir.path(), &written.complete);
    let video = pts(&whole, "video");
    assert_eq!(video.len(), 100);
    for (got, picture) in video.iter().zip(&pictures) {
        let wanted = (picture.pts - pictures[0].pts) as f64 / 90_000.0;
        assert!((got - wanted).abs() < 0.001, "{got} instead of {wanted}");
    }
    let audio = pts(&whole, "audio");
    assert!(audio.len() > 190, "{}", audio.len());
    // 93 = 4 * 20 + 13: the first piece behind the first picture is 7 ms late.
    assert!((audio[1] - 0.027).abs() < 0.001, "{}", audio[1]);
    assert!((seconds(&whole["format"]["duration"]) - 4.0).abs() < 0.05);
    assert!(whole["packets"][0]["flags"].as_str().expect("flags").starts_with('K'));

    let cut = probe(dir.path(), &written.fragmented);
    assert!(pts(&cut, "video").len() >= 50, "a crash loses the last fragment at most");
}

#[test]
fn reordered_pictures_keep_their_times() {
    let dir = tempfile::tempdir().expect("dir");
    for codec in ["libx264", "libx265"] {
        let (track, pictures) = pictures(dir.path(), codec, 25, 2);
        assert!(pictures.windows(2).any(|w| w[1].pts < w[0].pts), "the test needs B pictures");
        let stream = StreamDescription { video: Some(track.clone()), audio: None };
        let written = write(&stream, &interleave(&track, &pictures, Vec::new()));
        let whole = probe(dir.path(), &written.complete);
        let times = pts(&whole, "video");
        assert_eq!(times.len(), pictures.len());
        for (got, picture) in times.iter().zip(&pictures) {
            let wanted = (picture.pts - pictures[0].pts) as f64 / 90_000.0;
            assert!((got - wanted).abs() < 0.001, "{codec}: {got} instead of {wanted}");
        }
    }
}

#[test]
fn h265_with_g711_and_aac() {
    let dir = tempfile::tempdir().expect("dir");
    let (track, pictures) = pictures(dir.path(), "libx265", 25, 0);
    let aac: Vec<_> =
        aac_frames().iter().enumerate().map(|(i, f)| sound(i as i64 * 64, 16_000, f)).collect();
    let ulaw: Vec<_> = (0..200).map(|i| sound(i * 20, 8_000, &[0xff; 160])).collect();
    let cases = [
        (AudioCodec::Pcmu, 8_000, Bytes::new(), ulaw.clone(), "pcm_mulaw"),
        (AudioCodec::Pcma, 8_000, Bytes::new(), ulaw, "pcm_alaw"),
        // AudioSpecificConfig: AAC-LC, 16 kHz, mono.
        (AudioCodec::Aac, 16_000, Bytes::from_static(&[0x14, 0x08]), aac, "aac"),
    ];
    for (codec, clock_hz, config, sounds, name) in cases {
        let audio = AudioTrack { codec, clock_hz, channels: 1, config };
        let stream = StreamDescription { video: Some(track.clone()), audio: Some(audio) };
        let written = write(&stream, &interleave(&track, &pictures, sounds));
        let whole = probe(dir.path(), &written.complete);
        assert_eq!(whole["streams"][0]["codec_name"], "hevc");
        assert_eq!(whole["streams"][1]["codec_name"], name);
        let length = seconds(&whole["streams"][1]["duration"]);
        assert!((length - 4.0).abs() < 0.1, "{name} lasts {length} s");
        probe(dir.path(), &written.fragmented);
    }
}

#[test]
fn a_source_that_restarts_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("dir");
    let (track, pictures) = pictures(dir.path(), "libx264", 25, 0);
    let stream = StreamDescription { video: Some(track.clone()), audio: None };
    let mut units: Vec<_> = pictures.iter().map(|p| unit(&track, p, 9_000_000)).collect();
    // The same four seconds again, five seconds later by the wall clock, on another clock.
    units.extend(pictures.iter().map(|p| match unit(&track, p, -70_000) {
        AccessUnit::Video { timestamp, captured_at, keyframe, disposable, codec, data } => {
            let captured_at = UnixMicros(captured_at.0 + 5_000_000);
            AccessUnit::Video { timestamp, captured_at, keyframe, disposable, codec, data }
        }
        other @ AccessUnit::Audio { .. } => other,
    }));
    let whole = probe(dir.path(), &write(&stream, &units).complete);
    let times = pts(&whole, "video");
    assert_eq!(times.len(), 200);
    assert!((times[100] - 5.0).abs() < 0.05, "{}", times[100]);
    assert!(times.windows(2).all(|w| w[1] > w[0]));
}

#[test]
fn starts_at_a_keyframe_and_says_what_it_leaves_out() {
    let dir = tempfile::tempdir().expect("dir");
    let (track, pictures) = pictures(dir.path(), "libx264", 50, 0);
    let g722 =
        AudioTrack { codec: AudioCodec::G722, clock_hz: 8_000, channels: 1, config: Bytes::new() };
    let stream = StreamDescription { video: Some(track.clone()), audio: Some(g722) };
    let written = write(&stream, &interleave(&track, &pictures[10..], Vec::new()));
    assert!(written.left_out.expect("reason").contains("G.722"));
    assert_eq!(pts(&probe(dir.path(), &written.complete), "video").len(), 50);

    let writer = Writer::new(&stream, UnixMicros(START)).expect("writer");
    assert!(matches!(writer.finish(), Err(Mp4Error::Empty)));
    let nothing = StreamDescription::default();
    assert!(matches!(Writer::new(&nothing, UnixMicros(START)), Err(Mp4Error::NoTrack)));
    let sps = Bytes::from_static(&[0x67]);
    let broken = ParameterSets::H264 { pps: sps.clone(), sps };
    let video = Some(VideoTrack { parameter_sets: broken, ..track });
    let broken = StreamDescription { video, audio: None };
    assert!(matches!(Writer::new(&broken, UnixMicros(START)), Err(Mp4Error::Description(_))));
}
